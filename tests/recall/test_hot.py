"""The hot channel against its definition."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.cascade import Queries
from tamis.data import Events, Ragged
from tamis.data.frame import dataset_from_frame
from tamis.features import History
from tamis.recall import Hot
from tamis.schema import Behaviour

DAY = 86_400


def unknown_users(exclude):
    q = len(exclude)
    lists = Ragged.of([np.array(sorted(x), np.int32) for x in exclude])
    return Queries(np.full(q, -1, np.int32), np.zeros(q, np.int64), History.empty(q), lists)


def log(days, items):
    return pl.DataFrame(
        {
            "user_id": range(len(items)),
            "item_id": items,
            "at": [1_700_000_000 + d * DAY for d in days],
        }
    )


def test_half_life_by_hand():
    # three old likes of x (20 days: 1/4 each at a half-life of 10), one of y today
    channel = Hot(half_life=10).fit(log([0, 0, 0, 20], list("xxxy")), time="at")
    found = channel.recall(unknown_users([[]]), 3)
    assert found.item.tolist() == [[1, 0, -1]]
    np.testing.assert_allclose(found.score[0, :2], [1, 0.75], rtol=1e-6)
    without_decay = Hot(half_life=math.inf).fit(log([0, 0, 0, 20], list("xxxy")), time="at")
    assert without_decay.recall(unknown_users([[]]), 2).item.tolist() == [[0, 1]]


def likes(items, days):
    n = len(items)
    times = np.array([1_700_000_000_000 + int(d * DAY * 1000) for d in days], np.int64)
    columns = np.zeros(n, np.int32), np.array(items, np.int32), np.zeros(n, np.uint8)
    rest = np.ones(n, np.float32), np.full(n, -1), np.zeros(n, np.int16)
    return Events(*columns, times, times, *rest)


def test_a_like_counts_while_the_version_serves():
    # x has 3/4 and y 1 at the end of the log; item 2 is new
    channel = Hot(half_life=10).fit(log([0, 0, 0, 20], list("xxxy")), time="at")
    channel.count_events(likes([0, 2, 2], [20, 10, 30]))
    found = channel.recall(unknown_users([[], [2]]), 3)
    assert found.item.tolist() == [[2, 0, 1], [0, 1, -1]]
    np.testing.assert_allclose(found.score[0], [0.5 + 2, 1.75, 1], rtol=1e-6)
    opened = Hot(half_life=10).fit(log([0, 0, 0, 20], list("xxxy")), time="at")
    opened.restore(channel.appended())
    again = opened.recall(unknown_users([[], [2]]), 3)
    assert again.item.tolist() == found.item.tolist()
    assert again.score.tolist() == found.score.tolist()


def test_very_old_items_do_not_underflow():
    channel = Hot(half_life=0.001).fit(log([0, 1, 900], list("abc")), time="at")
    assert channel.recall(unknown_users([[]]), 3).item[0, 0] == 2
    assert set(channel.recall(unknown_users([[]]), 3).item[0]) == {0, 1, 2}


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=40),
    st.lists(st.sets(st.integers(0, 12)), min_size=1, max_size=4),
    st.integers(1, 12),
)
def test_excluded_items_are_skipped(items, exclude, k):
    data = dataset_from_frame(pl.DataFrame({"user_id": [0] * len(items), "item_id": sorted(items)}))
    found = Hot(half_life=math.inf).fit(data).recall(unknown_users(exclude), k)
    rows = data.items.rows([str(i) for i in items])
    counts = np.bincount(rows)
    order = sorted(range(len(counts)), key=lambda i: (-counts[i], i))
    for q, refused in enumerate(exclude):
        expected = [i for i in order if i not in refused][:k]
        assert [i for i in found.item[q] if i >= 0] == expected
        assert found.score[q, : len(expected)].tolist() == [counts[i] for i in expected]


def test_rows_below_min_value_do_not_count():
    frame = pl.DataFrame({"user_id": [1, 2, 3], "item_id": list("xxy"), "stars": [1, 2, 5]})
    found = Hot().fit(frame, value="stars", min_value=4).recommend([9], n=5)
    assert found["item"].to_list() == ["y"]
    assert found["score"].to_list() == [pytest.approx(1)]


def test_behaviours_count_by_their_declared_weights():
    # x: a like of weight 2; y: a long view of weight 0.5, which is not positive; z: a view, whose
    # weight is not declared; w: a dislike of weight 0. Nothing decays.
    behaviours = (
        Behaviour(name="like", positive=True, weight=2),
        Behaviour(name="long_view", weight=0.5),
        Behaviour(name="view"),
        Behaviour(name="dislike", weight=0),
    )
    data = dataset_from_frame(pl.DataFrame({"user_id": [1, 2, 3, 4], "item_id": list("xyzw")}))
    events = replace(data.events, behaviour=np.arange(4, dtype=np.uint8))
    data = replace(data, events=events, behaviours=behaviours)
    found = Hot(half_life=math.inf).fit(data).recall(unknown_users([[]]), 4)
    assert data.items.ids.gather(found.item[0][:2]).to_list() == ["x", "y"]
    np.testing.assert_allclose(found.score[0, :2], [2, 0.5], rtol=1e-6)
    assert found.item[0, 2:].tolist() == [-1, -1]
