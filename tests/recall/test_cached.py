"""The cached channel recalls ranked items that were not shown, first in, first out."""

import numpy as np
import polars as pl
import pytest

from tamis.cascade import Candidates, FitContext, Home, Queries
from tamis.data import Ragged, Table
from tamis.features._lists import History
from tamis.recall import Cached
from tamis.schema import ConfigError
from tamis.testing import two_clans

ITEMS, USERS = 10, 3
HOUR = 3_600_000


@pytest.fixture
def clock(monkeypatch):
    """A fixed clock; calling it advances the time by hours."""
    now = [1_700_000_000_000]
    monkeypatch.setattr("tamis.recall.cached._now", lambda: now[0])
    return lambda hours: now.__setitem__(0, now[0] + int(hours * HOUR))


def table(name, ids):
    return Table(name, pl.Series("id", ids), pl.DataFrame())


def home(tmp_path, items=None):
    items = items or [f"i{k}" for k in range(ITEMS)]
    return Home(
        tmp_path, "shop", "v1", table("users", ["ann", "bob", "cat"]), table("items", items)
    )


def bound(tmp_path, items=None, **options):
    channel = Cached(**options).fit(two_clans(), FitContext())
    channel.bind(home(tmp_path, items))
    return channel


def queries(*users, exclude=()):
    n = len(users)
    lists = [np.array(sorted(exclude), np.int32)] * n
    return Queries(
        np.array(users, np.int32), np.zeros(n, np.int64), History.empty(n), Ragged.of(lists)
    )


def answer(channel, user, ranked, shown, value=None):
    """One response: ranked item rows, best first, and those of them in the slate."""
    value = np.linspace(1, 0, len(ranked)) if value is None else np.array(value)
    everything = Candidates(
        np.array([0, len(ranked)]), np.array(ranked, np.int32), {"value": value.astype(np.float32)}
    )
    slate = Candidates(np.array([0, len(shown)]), np.array(shown, np.int32))
    channel.remember(queries(user), everything, slate)


def items(channel, user, k=ITEMS, exclude=()):
    found = channel.recall(queries(user, exclude=exclude), k).item[0]
    return found[found >= 0].tolist()


def test_without_a_store_nothing_is_recalled_or_remembered(tmp_path):
    channel = Cached().fit(two_clans(), FitContext())
    answer(channel, 0, [1, 2, 3], [1])
    assert items(channel, 0) == []
    channel.bind(home(tmp_path))
    assert items(channel, 0) == []


def test_ranked_items_that_were_not_shown_are_recalled(tmp_path, clock):
    channel = bound(tmp_path)
    answer(channel, 0, [5, 3, 8, 1], [3])
    assert items(channel, 0) == [5, 8, 1]
    assert items(channel, 0, k=2) == [5, 8]
    assert items(channel, 1) == []
    clock(1.5)
    found = channel.recall(queries(0), 3)
    np.testing.assert_allclose(found.score[0], -1.5, rtol=1e-4)  # hours


def test_the_latest_items_come_first_and_shown_items_are_removed(tmp_path, clock):
    channel = bound(tmp_path)
    answer(channel, 0, [1, 2], [])
    clock(1)
    answer(channel, 0, [3, 2, 4], [])
    assert items(channel, 0) == [3, 4, 1, 2]
    answer(channel, 0, [1, 4], [4])
    assert items(channel, 0) == [3, 1, 2]


def test_first_in_first_out(tmp_path, clock):
    channel = bound(tmp_path, size=3, keep=2)
    answer(channel, 0, [1, 2, 3], [])
    assert items(channel, 0) == [1, 2]  # keep: the best two
    clock(1)
    answer(channel, 0, [4, 5], [])
    assert items(channel, 0) == [4, 5, 1]  # size: 2 was added before 1, which was better


def test_old_items_are_removed_even_if_they_are_ranked_again(tmp_path, clock):
    channel = bound(tmp_path, max_age=2)
    answer(channel, 0, [1], [])
    clock(1.5)
    answer(channel, 0, [1, 2], [])
    assert items(channel, 0) == [2, 1]
    clock(1)
    assert items(channel, 0) == [2]


def test_excluded_items_are_not_recalled(tmp_path):
    channel = bound(tmp_path)
    answer(channel, 0, [1, 2, 3], [])
    assert items(channel, 0, exclude=[1, 3]) == [2]


def test_unknown_users_have_no_queue(tmp_path):
    channel = bound(tmp_path)
    answer(channel, -1, [1, 2], [])
    assert items(channel, -1) == []
    assert not (tmp_path / "stores").exists()


def test_items_without_a_finite_value_are_not_added(tmp_path):
    channel = bound(tmp_path)
    answer(channel, 0, [1, 2, 3], [], value=[1.0, -np.inf, np.nan])
    assert items(channel, 0) == [1]


def test_queues_remain_valid_for_a_version_with_other_rows(tmp_path):
    """i2 has another row in the next version, and i3 is gone."""
    answer(bound(tmp_path), 0, [1, 2, 3], [])
    assert items(bound(tmp_path, items=["new", "i2", "i1"]), 0) == [2, 1]


def test_a_batch_is_answered_like_single_requests(tmp_path):
    channel = bound(tmp_path)
    answer(channel, 0, [1, 2, 3], [])
    answer(channel, 2, [4], [])
    found = channel.recall(queries(2, -1, 0, 1), 2)
    assert found.item.tolist() == [[4, -1], [-1, -1], [1, 2], [-1, -1]]
    assert np.isneginf(found.score[found.item < 0]).all()


def test_a_batch_of_responses_is_remembered(tmp_path):
    channel = bound(tmp_path)
    ranked = Candidates(
        np.array([0, 2, 4]), np.array([1, 2, 3, 4], np.int32), {"value": np.ones(4, np.float32)}
    )
    channel.remember(
        queries(0, 1), ranked, Candidates(np.array([0, 1, 1]), np.array([2], np.int32))
    )
    assert (items(channel, 0), items(channel, 1)) == ([1], [3, 4])


def test_two_channels_have_separate_queues(tmp_path):
    one, other = bound(tmp_path), Cached().fit(two_clans(), FitContext())
    other.name = "cached_long"
    other.bind(home(tmp_path))
    answer(one, 0, [1], [])
    assert (items(one, 0), items(other, 0)) == ([1], [])


def test_an_invalid_size_is_refused():
    with pytest.raises(ConfigError, match=r"size = 0"):
        Cached(size=0)


def test_a_deleted_user_who_comes_again_has_no_queue(tmp_path, clock):
    channel = bound(tmp_path)
    answer(channel, 0, [1, 2, 3], [1])
    users = channel._home.users
    users.remove(0)
    row = int(users.add(["ann"])[0])
    assert (channel.recall(queries(row), 3).item == -1).all(), "written before the deletion"
    channel.forget_stored("ann", {})
    ((left, _),) = channel._queues.waiting(["ann"], 0)
    assert list(left) == []
    answer(channel, row, [1, 2, 3], [1])
    ((left, _),) = channel._queues.waiting(["ann"], 0)
    assert list(left) == [], "until the next version"
