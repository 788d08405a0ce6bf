"""Full ranking against a naive sort, and its metrics against the metrics of slates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.data import Ragged
from tamis.evaluate import full_rank, hit, mean, mrr, ndcg, recall
from tamis.evaluate import full_rank as function
from tamis.schema import ConfigError, DataError


def some_lists(random, users, items, most):
    sizes = random.integers(0, most + 1, users)
    return Ragged.of([random.permutation(items)[:n].astype(np.int32) for n in sizes])


def naive(users, items, seen, k):
    lists = np.full((len(users), k), -1)
    for u, vector in enumerate(users):
        scores = items @ vector
        order = [i for i in np.argsort(-scores, kind="stable") if i not in seen[u]][:k]
        lists[u, : len(order)] = order
    return lists


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 7), st.integers(1, 9), st.integers(1, 12))
def test_equals_a_sort_of_all_items(seed, users, items, k):
    random = np.random.default_rng(seed)
    # whole numbers: many ties, no rounding
    u = random.integers(-2, 3, (users, 2)).astype(np.float32)
    i = random.integers(-2, 3, (items, 2)).astype(np.float32)
    seen, targets = (some_lists(random, users, items, 4) for _ in range(2))
    found = full_rank(u, i, seen, targets, (1, k))
    lists = naive(u, i, seen, max(1, k))
    assert (found.lists == lists).all()
    for metric in (hit, recall, ndcg, mrr):
        for at in (1, k):
            expected = mean(metric(lists.astype(np.int32), targets, at))
            got = found.metrics[f"{metric.__name__}@{at}"]
            assert got == pytest.approx(expected, nan_ok=True)


def test_tiles_and_blocks_change_nothing(monkeypatch):
    random = np.random.default_rng(0)
    users = random.standard_normal((70, 8)).astype(np.float32)
    items = random.standard_normal((500, 8)).astype(np.float32)
    seen, targets = (some_lists(random, 70, 500, 30) for _ in range(2))
    whole = full_rank(users, items, seen, targets)
    module = __import__(function.__module__, fromlist=["USERS"])
    monkeypatch.setattr(module, "USERS", 16)
    monkeypatch.setattr(module, "ITEMS", 96)
    small = full_rank(users, items, seen, targets)
    assert (whole.lists == small.lists).all()
    assert (whole.lists == naive(users, items, seen, 20)).all()
    assert whole.metrics == small.metrics
    assert (np.diff(whole.scores, axis=1) <= 0).all()


def test_a_known_answer():
    users = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    items = np.array([[3, 0], [2, 1], [1, 5]], np.float32)
    seen = Ragged.of([np.array([0], np.int32), np.array([], np.int32), np.array([], np.int32)])
    targets = Ragged.of([np.array(x, np.int32) for x in ([2], [0, 7], [])])
    found = full_rank(users, items, seen, targets, (1, 2))
    assert found.lists.tolist() == [[1, 2], [2, 1], [2, 0]]  # the third's items 0 and 1 tie
    assert found.metrics["hit@2"] == 0.5  # the first finds 2 second; 7 is no item
    assert found.metrics["hit@1"] == 0
    assert found.metrics["ndcg@2"] == pytest.approx(0.5 / np.log2(3))
    assert found.metrics["recall@2"] == 0.5
    assert found.metrics["mrr@2"] == 0.25


def test_no_users_no_items_and_no_targets():
    none = np.zeros((0, 4), np.float32)
    items = np.ones((3, 4), np.float32)
    assert np.isnan(full_rank(none, items, None, Ragged.empty(0)).metrics["hit@10"])
    found = full_rank(items, none, None, Ragged.empty(3))
    assert (found.lists == -1).all()


def test_errors_explain_how_to_fix_them():
    vectors, lists = np.ones((2, 3), np.float32), Ragged.empty(2)
    with pytest.raises(ConfigError, match=r"ks = \[\]: at least one list length"):
        full_rank(vectors, vectors, None, lists, ())
    with pytest.raises(DataError, match=r"equally wide rows"):
        full_rank(vectors, np.ones((2, 4), np.float32), None, lists)
    with pytest.raises(DataError, match="targets has 3 lists for 2 users: one each"):
        full_rank(vectors, vectors, None, Ragged.empty(3))
