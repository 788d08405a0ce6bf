"""The table of follows: what is read, what is left out, and what is known at a time."""

import numpy as np
import pytest

from tamis.data import read_dataset
from tamis.schema import ConfigError, DataError, parse_config

DAY = 86_400


def config(follows=None, channel=None, author="author"):
    return parse_config(
        {
            "name": "tiny",
            "events": {"path": "events.csv"},
            "items": {"path": "items.csv", **({"author": author} if author else {})},
            "follows": {"path": "follows.csv", **(follows or {})},
            "behaviours": {"like": {"positive": True}},
            "cascade": {
                "channels": channel or {"author": {"source": "followed"}},
                "rank": {"use": "lr"},
            },
        }
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "events.csv").write_text("user_id,item_id,time\n7,1,1700000000\n8,2,1700000100\n")
    (tmp_path / "items.csv").write_text("item_id,author\n1,10\n2,ann\n")
    (tmp_path / "follows.csv").write_text(
        "user_id,author_id,since\n"
        f"8.0,10,{1_700_000_000 - DAY}\n"
        f"7,ann,{1_700_000_000 - 9 * DAY}\n"
        f"9,ann,{1_700_000_000 - DAY}\n"
        f"7,,{1_700_000_000 - DAY}\n"
        "8,ann,\n"
    )
    return tmp_path


def test_rows_of_known_users_are_read(folder):
    data, rejects = read_dataset(config(), folder)
    ids = data.users.ids.gather(data.follows.user).to_list()
    assert list(zip(ids, data.follows.author, strict=True)) == [
        ("8", "10"),
        ("7", "ann"),
        ("8", "ann"),
    ]
    found = {r["row"]: r["reason"] for r in rejects.frame.iter_rows(named=True)}
    assert found == {
        4: "unknown user: neither the table of users nor the events have the id",
        5: "empty author id",
    }
    assert data.as_of(0).follows is data.follows  # no times: all rows are known


def test_a_follow_is_known_from_its_time_on(folder):
    data, _ = read_dataset(config({"time": "since"}), folder)
    assert len(data.follows) == 2  # a row without a time is left out
    ms = 1000 * (1_700_000_000 - 5 * DAY)
    assert data.as_of(ms).follows.author.to_list() == ["ann"]
    assert len(data.as_of(int(data.follows.time.max())).follows) == 1  # strictly before
    assert len(data.as_of(int(data.follows.time.max()) + 1).follows) == 2
    assert np.array_equal(data.follows.take(np.array([True, False])).user, data.follows.user[:1])


def test_a_missing_column_is_named(folder):
    with pytest.raises(DataError, match=r'`follows.author` = "artist" is not a column'):
        read_dataset(config({"author": "artist"}), folder)


def test_a_table_without_effect_is_refused():
    with pytest.raises(ConfigError, match="`follows` has no effect: no channel reads it"):
        config(channel={"hot": {}})
    with pytest.raises(ConfigError, match="`follows` has no effect"):
        config(channel={"author": {"source": "liked"}})
    with pytest.raises(ConfigError, match=r"the items have none: set `items\.author`"):
        config(author=None)
    named = {"mine": {"use": "author", "source": "followed", "column": "author"}}
    assert config(channel=named, author=None).follows is not None
