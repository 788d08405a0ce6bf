"""Histories: order, appended events, saving. Point-in-time properties: tests/laws."""

import numpy as np
import polars as pl
import pytest

from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import Histories, History
from tamis.schema import Behaviour


def events(rows):
    """`rows`: user, item, arrival."""
    columns = np.array(rows, np.int64).reshape(-1, 3)
    n = len(columns)
    return Events(
        columns[:, 0].astype(np.int32),
        columns[:, 1].astype(np.int32),
        np.zeros(n, np.uint8),
        columns[:, 2] - 1,
        columns[:, 2],
        np.arange(n, dtype=np.float32),
        np.full(n, -1, np.int64),
        np.zeros(n, np.int16),
    )


def histories(rows, users=3):
    ids = pl.Series("id", [str(i) for i in range(users)])
    table = Table("users", ids, pl.DataFrame())
    return Histories.of(Dataset(table, table, events(rows), (Behaviour(name="click"),)))


def items(found):
    return [found.item[a:b].tolist() for a, b in zip(found.indptr, found.indptr[1:], strict=False)]


def at(known, users, time, last=None):
    users = np.array(users, np.int32)
    return items(known.at(users, np.full(len(users), time), last))


ROWS = [(0, 5, 10), (1, 6, 10), (0, 7, 5), (0, 8, 10)]


def test_order_is_by_arrival_then_log():
    assert at(histories(ROWS), [0, 1, 2, -1, 9], 100) == [[7, 5, 8], [6], [], [], []]
    assert at(histories(ROWS), [0], 100, last=2) == [[5, 8]]
    assert at(histories(ROWS), [0], 100, last=0) == [[]]
    assert at(histories(ROWS), [0], 10) == [[7]]


def test_values_and_times_go_with_their_items():
    found = histories(ROWS).at(np.array([0], np.int32), np.array([100]))
    assert found.value.tolist() == [2, 0, 3]
    assert found.time.tolist() == [4, 9, 9]


def test_added_events_follow_the_base():
    known = histories(ROWS)
    assert known.end == 11
    assert known.add(events([(0, 1, 20), (2, 2, 21), (0, 3, 22)])) == 3
    assert at(known, [0, 2], 100) == [[7, 5, 8, 1, 3], [2]]
    assert at(known, [0, 2], 22, last=2) == [[8, 1], [2]]
    assert len(known) == 7


def test_events_added_out_of_order_are_sorted():
    known = histories(ROWS)
    known.add(events([(0, 1, 30), (0, 2, 20), (0, 3, 30), (0, 4, 20)]))
    assert at(known, [0], 100) == [[7, 5, 8, 2, 4, 1, 3]]
    assert at(known, [0], 30) == [[7, 5, 8, 2, 4]]


def test_old_events_and_unknown_rows_are_left_out():
    known = histories(ROWS)
    assert known.add(events([(0, 1, 9), (-1, 1, 20), (0, -1, 20)])) == 0
    assert known.add(events([])) == 0


def test_new_users_begin_a_history():
    known = histories(ROWS)
    known.add(events([(50, 1, 20), (50, 2, 21)]))
    assert at(known, [50, 49], 100) == [[1, 2], []]


def test_appending_grows_the_arrays():
    known = histories([])
    for start in range(0, 5000, 500):
        rows = [(k % 3, k, 100 + k) for k in range(start, start + 500)]
        assert known.add(events(rows)) == 500
    assert at(known, [1], 10_000)[0] == list(range(1, 5000, 3))


@pytest.mark.parametrize("grown", [False, True])
def test_saved_and_opened(tmp_path, grown):
    known = histories(ROWS)
    if grown:
        known.add(events([(0, 1, 20), (5, 2, 21)]))
    known.save(tmp_path)
    again = Histories.load(tmp_path)
    assert len(again) == len(known)
    assert at(again, [0, 1, 5], 100) == at(known, [0, 1, 5], 100)
    later = events([(0, 9, 20), (0, 9, 40)])
    assert again.add(later) == (1 if grown else 2)


def test_seen_is_sorted_and_unique():
    known = histories([(0, 5, 1), (0, 3, 2), (0, 5, 3), (1, 9, 1)])
    seen = known.seen(np.array([0, 1, 2], np.int32), np.array([10, 10, 10]))
    assert isinstance(seen, Ragged)
    assert [seen[q].tolist() for q in range(3)] == [[3, 5], [9], []]


def test_the_most_frequent_items_count_appended_events():
    known = histories([(0, 5, 10), (1, 6, 10), (0, 6, 5), (2, 8, 10)])
    assert known.most_frequent(2).tolist() == [6, 5]
    known.add(events([(1, 8, 20), (2, 8, 21)]))
    assert known.most_frequent(9).tolist() == [8, 6, 5]
    assert histories([]).most_frequent(3).tolist() == []


@pytest.mark.parametrize("early", [False, True])
def test_the_most_frequent_items_do_not_depend_on_when_they_are_read(early):
    """Nor on forgotten events: of the base, of appended ones, and of both twice."""
    known = histories([(0, 5, 10), (1, 6, 10), (0, 6, 5), (2, 8, 10)] * 20)
    if early:
        assert known.most_frequent(9).tolist() == [6, 5, 8]
    known.add(events([(1, 8, 20), (4, 9, 21)]))
    assert not early or known.most_frequent(3).tolist() == [6, 8, 5]
    for user in (0, 4, 4, 0, 7):
        known.forget(user)
    assert known.most_frequent(9).tolist() == [8, 6]
    known.add(events([(4, 9, 22)]))
    assert known.most_frequent(2).tolist() == [8, 6]
    assert known.most_frequent(3).tolist() == [8, 6, 9]


def test_no_queries():
    found = histories(ROWS).at(np.zeros(0, np.int32), np.zeros(0, np.int64))
    assert isinstance(found, History)
    assert len(found) == 0
