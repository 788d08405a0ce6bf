"""`tamis init` recognises a table of the authors whom users follow by its values."""

import numpy as np
import polars as pl
import pytest

from tamis.data import read_dataset
from tamis.onboarding import guess_config
from tamis.schema import parse_config


@pytest.fixture
def folder(tmp_path):
    draw = np.random.default_rng(2)
    n = 600
    pl.DataFrame(
        {
            "user_id": [f"u{k}" for k in draw.integers(0, 40, n)],
            "item_id": [f"i{k}" for k in draw.integers(0, 60, n)],
            "timestamp": 1_600_000_000 + draw.integers(0, 9_000_000, n),
        }
    ).write_csv(tmp_path / "events.csv")
    pl.DataFrame(
        {
            "item_id": [f"i{k}" for k in range(60)],
            "title": [f"Song number {k}" for k in range(60)],
            "artist": [f"artist {k % 9}" for k in range(60)],
        }
    ).write_csv(tmp_path / "songs.csv")
    return tmp_path


def follow(folder, name, **columns):
    pl.DataFrame(columns).write_csv(folder / name)


def test_users_and_artists_are_a_table_of_follows(folder):
    users, artists = [f"u{k % 40}" for k in range(80)], [f"artist {k % 9}" for k in range(80)]
    follow(folder, "fans.csv", user_id=users, who=artists)
    found = guess_config(folder, "music")
    assert found.data["follows"] == {"path": "fans.csv", "user": "user_id", "author": "who"}
    assert found.data["cascade"]["channels"]["author"]["source"] == "followed"
    assert any("fans.csv says which authors users follow" in note for note in found.notes)
    data, rejects = read_dataset(parse_config(found.data), folder)
    assert len(data.follows) == 80
    assert not len(rejects)


@pytest.mark.parametrize(
    "columns",
    [
        {"user_id": [f"u{k}" for k in range(30)], "who": ["nobody"] * 30},
        {"user_id": [f"x{k}" for k in range(30)], "who": ["artist 1"] * 30},
        {"person": [f"u{k}" for k in range(30)], "who": ["artist 1"] * 30},
    ],
)
def test_other_tables_are_not(folder, columns):
    follow(folder, "fans.csv", **columns)
    found = guess_config(folder, "music")
    assert "follows" not in found.data
    assert "author" not in found.data["cascade"]["channels"]
