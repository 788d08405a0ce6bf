"""Queries out of a log, whole and in parts; one query gives what several give."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tamis.cascade import Candidates, at_end, holdout_queries, valid_of
from tamis.cascade.fusion import ranks
from tamis.data import Ragged
from tamis.splitting import leave_one_out
from tamis.testing import two_clans


def test_queries_at_the_end_have_complete_histories():
    data = two_clans()
    users = np.array([3, -1, 0], np.int32)
    queries = at_end(data, users)
    for q, user in enumerate(users):
        mine = data.events.item[data.events.user == user]
        span = slice(queries.history.indptr[q], queries.history.indptr[q + 1])
        assert queries.history.item[span].tolist() == mine.tolist()
        assert queries.exclude[q].tolist() == sorted(set(mine.tolist()))
    assert (queries.time == data.end).all()
    assert len(at_end(data, users, exclude_seen=False).exclude.values) == 0


def test_queries_of_a_protocol_have_the_events_known_at_evaluation():
    holdout = leave_one_out(two_clans())
    queries = holdout_queries(holdout)
    known = holdout.known.events
    for q, user in enumerate(holdout.users):
        span = slice(queries.history.indptr[q], queries.history.indptr[q + 1])
        assert queries.history.item[span].tolist() == known.item[known.user == user].tolist()
        assert (queries.history.time[span] <= queries.time[q]).all()
        assert holdout.targets[q][0] not in queries.exclude[q]
    some = holdout_queries(holdout, rows=np.array([4, 2]))
    assert some.user.tolist() == holdout.users[[4, 2]].tolist()
    assert some.exclude[0].tolist() == queries.exclude[4].tolist()
    assert valid_of(holdout).targets is holdout.targets


def test_a_part_equals_a_batch_of_its_queries():
    queries = holdout_queries(leave_one_out(two_clans()))
    part = queries.part(3, 7)
    assert part.user.tolist() == queries.user[3:7].tolist()
    for q in range(4):
        a, b = queries.history.indptr[q + 3], queries.history.indptr[q + 4]
        span = slice(part.history.indptr[q], part.history.indptr[q + 1])
        assert part.history.item[span].tolist() == queries.history.item[a:b].tolist()
        assert part.exclude[q].tolist() == queries.exclude[q + 3].tolist()
    assert len(queries.part(5, 5)) == 0


@given(st.lists(st.sampled_from([0.5, 1.0, -2.0, 3.25, np.nan, np.inf, -np.inf]), max_size=12))
def test_one_query_is_ordered_and_ranked_as_each_of_several(values: list[float]) -> None:
    value = np.array(values, np.float32)
    n = len(value)
    one = Candidates(np.array([0, n]), np.arange(n, dtype=np.int32), {"value": value})
    twice = Candidates(np.array([0, n, 2 * n]), np.tile(one.item, 2), {"value": np.tile(value, 2)})
    order = one.best("value", n)
    assert np.array_equal(np.concatenate([order, n + order]), twice.best("value", n))
    alone = ranks(value, one.indptr)
    assert np.array_equal(np.tile(alone, 2), ranks(twice.columns["value"], twice.indptr))


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=2, max_size=4))
def test_the_union_for_one_query_is_sorted_and_without_repeats(lists: list[list[int]]) -> None:
    found = Ragged.union([Ragged.of([np.array(one, np.int32)]) for one in lists])
    assert found.values.tolist() == sorted({value for one in lists for value in one})
    assert found.indptr.tolist() == [0, len(found.values)]
    assert found.values.dtype == np.int32
