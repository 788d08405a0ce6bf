"""A project whose ranker reads the user's history against the candidate, from tables to slates."""

import numpy as np
import pytest

import tamis

HISTORY = """
[[features]]
kind = "sparse"
name = "item_id"
side = "item"

[[features]]
kind = "varlen"
name = "liked"
history = ["like"]
shares = "item_id"
max_len = 12

[cascade]
prerank_keep = 30
slate = 5

[cascade.channels.itemcf]
quota = 40

[cascade.channels.hot]
quota = 40
fallback = true

[cascade.prerank]
use = "lr"
epochs = 1

[cascade.rank]
use = "RANKER"
epochs = 2
embedding_dim = 8
hidden_units = [16]
"""


@pytest.fixture(scope="module")
def films(tmp_path_factory, ratings_tables, tamis_cli):
    """The tables, and the declaration of everything but the cascade."""
    folder = ratings_tables(tmp_path_factory.mktemp("histories") / "films", 90, 90, 14)
    assert tamis_cli("init", folder).code == 0
    return folder, (folder / "tamis.toml").read_text("utf-8").partition("[cascade]")[0]


@pytest.mark.parametrize("ranker", ["din", "bst"])
def test_trained_and_asked(films, tamis_cli, ranker):
    folder, declared = films
    text = declared + HISTORY.replace("RANKER", ranker)
    (folder / "tamis.toml").write_text(text, "utf-8")
    said = tamis_cli("train", folder, "--json")
    assert said.code == 0, said.err
    recommender = tamis.open(folder)
    users = recommender.data.users.ids.to_list()[:6]
    for user in [*users, "nobody"]:
        answer = recommender.recommend(user)
        assert len(answer.items) == 5
        assert np.isfinite([placed.score for placed in answer.items]).all()
        assert not answer.degraded
