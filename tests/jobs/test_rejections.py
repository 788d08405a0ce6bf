"""Which candidates pre-rank and rank reject, and what is written of them."""

import numpy as np
import polars as pl

from tamis.cascade import Candidates, Queries
from tamis.data import Ragged, Table
from tamis.features import History
from tamis.jobs import _rejections
from tamis.jobs._order_choice import Judged
from tamis.jobs._rejections import rejecting_stage, rejections, time_of
from tamis.splitting import Window
from tamis.testing import two_clans

USERS = Table("users", pl.Series("id", ["a", "b", "c"]), pl.DataFrame())
ITEMS = Table("items", pl.Series("id", [f"i{k}" for k in range(8)]), pl.DataFrame())


def judged(prerank=True):
    """User c has 6 candidates, user a 3; pre-rank keeps 4."""
    candidates = Candidates(
        np.array([0, 6, 9], np.int64), np.array([0, 1, 2, 3, 4, 5, 5, 6, 7], np.int32)
    )
    queries = Queries(
        np.array([2, 0], np.int32), np.array([10, 10]), History.empty(2), Ragged.empty(2)
    )
    first = np.array([0.1, 0.9, 0.8, 0.2, 0.7, 0.6, 0.5, 0.4, 0.3], np.float32)
    value = np.array([9, 1, 2, 9, 4, 3, 3, 1, 2], np.float32)
    positives = Ragged(np.array([0, 1, 2]), np.array([1, 0], np.int32))
    return Judged(queries, candidates, first if prerank else None, value, positives, {}, keep=4)


def test_the_stage_that_rejects_each_candidate():
    # kept of c: items 1 2 4 5, ranked 4 5 | 2 1; of a: all, ranked 5 7 | 6
    assert rejecting_stage(judged(), 1).tolist() == [0, 1, 1, 0, -1, -1, -1, 1, -1]
    # a slate of three is never rejected
    assert rejecting_stage(judged(), 3).tolist() == [0, 1, -1, 0, -1, -1, -1, -1, -1]
    # without pre-rank: c ranked 0 3 4 | 5 2 1
    assert rejecting_stage(judged(False), 1).tolist() == [-1, 1, 1, -1, -1, 1, -1, 1, -1]


def test_the_rows_of_rejections_without_what_was_chosen(monkeypatch):
    found = rejections(judged(), 19, 1, USERS, ITEMS, 0)
    rows = set(found.rows())
    assert rows == {
        ("c", "i0", 19, "prerank"),
        ("c", "i2", 19, "rank"),  # not item 1, which the user chose in the window
        ("c", "i3", 19, "prerank"),
        ("a", "i6", 19, "rank"),
    }
    monkeypatch.setattr(_rejections, "PER_QUERY", 1)
    few = rejections(judged(), 19, 1, USERS, ITEMS, 0)
    assert few["user_id"].to_list() == ["c", "a"]
    assert set(few.rows()) < rows


def test_no_candidate_is_rejected_where_there_are_none():
    nothing = judged()
    empty = Candidates(np.zeros(3, np.int64), np.zeros(0, np.int32))
    none = np.zeros(0, np.float32)
    found = Judged(nothing.queries, empty, none, none, nothing.positives, {}, keep=4)
    assert len(rejections(found, 19, 1, USERS, ITEMS, 0)) == 0


def test_a_fit_on_what_was_known_at_the_windows_end_reads_the_rejections():
    """No event lies just before that end."""
    data = two_clans()
    last = int(np.sort(data.events.arrival)[len(data.events) // 2])
    after = int(data.events.arrival[data.events.arrival > last].min())
    for end in (last + 1, after, after - 1, data.end + 1_000):
        time = time_of(Window(0, end), data)
        assert time < data.as_of(end).end
        assert time >= data.as_of(last).end
