"""Hard negatives end to end: rejected in replays, written, and learnt by the published versions."""

import shutil

import numpy as np
import polars as pl
import pytest

from tamis.bundle import Kind, Versions
from tamis.cascade import FitContext
from tamis.jobs._rejections import FILE
from tamis.recall import TwoTower
from tamis.schema import ConfigError
from tamis.service import Parts, ProjectFolder

ANCHOR = "[cascade.channels.two_tower]\n"
QUICK = 'embedding_dim = 8\nstart = "random"\nfull_below = 0\nnegatives = 50\n'


def trained(ratings, folder, tamis_cli, extra):
    """A project of the channels hot and two_tower; `extra` are options of the latter."""
    shutil.copytree(ratings, folder, ignore=shutil.ignore_patterns("versions", "current*"))
    declared = folder / "tamis.toml"
    head, *sections = declared.read_text("utf-8").split("\n[")
    kept = [
        section
        for section in sections
        if not section.startswith("cascade.channels.")
        or section.startswith(("cascade.channels.hot]", "cascade.channels.two_tower]"))
    ]
    text = "\n[".join([head, *kept])
    assert ANCHOR in text
    declared.write_text(text.replace(ANCHOR, ANCHOR + QUICK + extra), "utf-8")
    result = tamis_cli("train", folder, "--json")
    assert result.code == 0, result.err
    return result.json


@pytest.fixture(scope="module")
def both(ratings, tamis_cli, tmp_path_factory):
    """The same project with and without hard negatives, and the report of the first."""
    folder = tmp_path_factory.mktemp("hard")
    report = trained(ratings, folder / "hard", tamis_cli, 'hard_negatives = "replays"\n')
    trained(ratings, folder / "plain", tamis_cli, "")
    return folder / "hard", folder / "plain", report


def test_training_writes_what_pre_rank_and_rank_rejected(both):
    hard, plain, report = both
    found = pl.read_parquet(hard / FILE)
    assert not (plain / FILE).exists()
    assert len(found) > 100
    assert "rank" in set(found["stage"])
    assert any(f"{len(found):,} candidates" in note and FILE in note for note in report["notes"])
    counts = report["hard_negatives"]
    assert all(0 < counts[kind.value]["two_tower"]["replays"] <= len(found) for kind in Kind)
    version = Versions(hard).current(Kind.EVALUATION)
    assert found["time"].n_unique() == 1
    assert found["time"][0] < version.manifest.data_until
    data = ProjectFolder(hard).data
    users, items = data.users.rows(found["user_id"]), data.items.rows(found["item_id"])
    assert (users >= 0).all()
    assert (items >= 0).all()
    # nobody is said to have rejected what he had chosen before
    known = data.as_of(int(found["time"][0]))
    liked = known.events.user[known.positive].astype(np.int64) * len(data.items)
    liked += known.events.item[known.positive]
    assert not np.isin(users.astype(np.int64) * len(data.items) + items, liked).any()


@pytest.mark.parametrize("kind", list(Kind))
def test_the_versions_have_learnt_from_the_rejections(both, kind):
    hard, plain, _ = (
        Parts.open(Versions(p).current(kind)).channels["two_tower"].item_vectors()
        for p in (*both[:2], both[1])
    )
    assert hard.shape == plain.shape
    assert not np.allclose(hard, plain, atol=1e-4)


def test_channels_are_evaluated_with_the_rejections_of_the_last_training(both, tamis_cli, tmp_path):
    project = shutil.copytree(both[0], tmp_path / "project")
    result = tamis_cli("evaluate", "channels", project, "--json")
    assert result.code == 0, result.err
    assert "two_tower" in result.json["channels"]
    (project / FILE).unlink()
    result = tamis_cli("evaluate", "channels", project)
    assert result.code != 0
    assert FILE in result.err


def test_a_fit_without_replays_says_where_they_come_from(both):
    data = ProjectFolder(both[0]).data
    with pytest.raises(ConfigError, match=r"`tamis train` makes them.*rejected\.parquet"):
        TwoTower(hard_negatives="replays").fit(data)
    # the file serves as one of rejections of any source, relative to the project's folder
    options = {"hard_negatives": FILE, "epochs": 1, "embedding_dim": 4}
    TwoTower(**options).fit(data, FitContext(folder=both[0]))
    with pytest.raises(ConfigError, match="neither 'log' nor 'replays' nor a file"):
        TwoTower(**options).fit(data, FitContext(folder=both[1]))
