"""Swing against its definition, on small random logs."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade.query_batches import at_end
from tamis.data import Dataset, Events, Table
from tamis.recall import Swing
from tamis.schema import Behaviour

BEHAVIOURS = (
    Behaviour(name="like", weight=1, positive=True),
    Behaviour(name="share", weight=3, positive=True),
    Behaviour(name="skip"),
    Behaviour(name="long_view", weight=0.5),  # not positive, but its weight is declared
)


def log_of(rows, n_users=6, n_items=6):
    """A data set of (user, item, behaviour code) in time order."""
    user, item, kind = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    n = len(user)
    time = np.arange(n, dtype=np.int64) * 1000
    return Dataset(
        Table("users", pl.Series([str(u) for u in range(n_users)]), pl.DataFrame()),
        Table("items", pl.Series([str(i) for i in range(n_items)]), pl.DataFrame()),
        Events(
            user.astype(np.int32),
            item.astype(np.int32),
            kind.astype(np.uint8),
            time,
            time,
            np.full(n, np.nan, np.float32),
            np.full(n, -1),
            np.zeros(n, np.int16),
        ),
        BEHAVIOURS,
    )


def latest_pairs(data, fit_last, most_users):
    """The (user, item) pairs left after the two caps, by definition."""
    pairs = []
    for u, i, b in zip(data.events.user, data.events.item, data.events.behaviour, strict=True):
        if data.behaviours[b].positive or data.behaviours[b].weight:
            pairs = [p for p in pairs if p != (u, i)] + [(u, i)]
    of_user = {u: [p for p in pairs if p[0] == u][-fit_last:] for u in range(len(data.users))}
    pairs = [p for p in pairs if p in of_user[p[0]]]
    of_item = {i: [p for p in pairs if p[1] == i][-most_users:] for i in range(len(data.items))}
    return [p for p in pairs if p in of_item[p[1]]]


def similarities(data, alpha, fit_last=500, most_users=500):
    """(items, items) by definition: every unordered pair of users once."""
    pairs = latest_pairs(data, fit_last, most_users)
    items = {u: {i for v, i in pairs if v == u} for u in range(len(data.users))}
    sim = np.zeros((len(data.items), len(data.items)))
    for u, v in combinations(items, 2):
        common = items[u] & items[v]
        for i in common:
            for j in common - {i}:
                weight = 1 / np.sqrt(len(items[u]) * len(items[v]))
                sim[i, j] += weight / (alpha + len(common))
    return sim


PLAIN = {"power": 1, "popularity": 0, "recency": 0}
"""Options with which the score is the plain sum of similarities."""


def kept(channel):
    arrays, n = channel._arrays, channel._n_items
    sim = np.zeros((n, n))
    owner = np.repeat(np.arange(n), np.diff(arrays["indptr"]))
    sim[owner, arrays["neighbour"]] = arrays["similarity"]
    return sim


rows = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=60
)


@settings(max_examples=60, deadline=None)
@given(
    rows,
    st.sampled_from([0.5, 1.0, 20.0]),
    st.sampled_from([2, 3, 500]),
    st.sampled_from([2, 3, 500]),
    st.sampled_from(["seen", "candidate"]),
)
def test_equals_the_definition(log, alpha, fit_last, most_users, prune):
    data = log_of([(0, 0, 0), *log])
    options = {"alpha": alpha, "fit_last": fit_last, "most_users": most_users}
    channel = Swing(prune=prune, **options, **PLAIN).fit(data)
    sim = similarities(data, **options)
    np.testing.assert_allclose(kept(channel), sim, rtol=1e-5)
    votes = kept(Swing(prune=prune, power=0.5, popularity=0.3, **options).fit(data))
    pairs = latest_pairs(data, fit_last, most_users)
    users = np.maximum([sum(i == j for _, i in pairs) for j in range(6)], 1)
    np.testing.assert_allclose(votes, np.sqrt(sim) / users[:, None] ** 0.3, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(rows, st.sampled_from([0.0, 1.0]), st.sampled_from(["max", "sum"]))
def test_recall_sums_the_similarities(log, recency, combine):
    data = log_of([(0, 0, 0), *log])
    found = (
        Swing(**{**PLAIN, "recency": recency}, combine=combine)
        .fit(data)
        .recall(at_end(data, np.arange(6, dtype=np.int32), exclude_seen=False), 6)
    )
    sim = similarities(data, 1.0)
    for u in range(6):
        weights, recent = {}, []
        for v, i, b in zip(*(x.tolist() for x in columns(data)), strict=True):
            if v == u and b != 2:
                weights.setdefault(i, {})[b] = data.behaviours[b].weight
                recent = [i] + [j for j in recent if j != i]
        value = {i: {"max": max, "sum": sum}[combine](w.values()) for i, w in weights.items()}
        expected = sum(
            (value[j] * (1 + age) ** -recency * sim[j] for age, j in enumerate(recent)),
            np.zeros(6),
        )
        got = np.zeros(6)
        real = found.item[u] >= 0
        got[found.item[u][real]] = found.score[u][real]
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def columns(data):
    return data.events.user, data.events.item, data.events.behaviour


def test_two_users_by_hand():
    # u and v share x and y: w = 1/√3 · 1/√2, |I_u ∩ I_v| = 2; w shares only x with them.
    log = [("u", "x"), ("u", "y"), ("u", "z"), ("v", "x"), ("v", "y"), ("w", "x")]
    frame = pl.DataFrame(log, schema=["user_id", "item_id"], orient="row")
    found = Swing(alpha=0.5, **PLAIN).fit(frame).recommend(["w"])
    assert found.rows() == [("w", "y", 1, pytest.approx(1 / np.sqrt(6) / 2.5))]


def test_users_with_many_common_items_count_less():
    # users 0 and 1 share items 0–3; users 2 and 3, as busy, only 4 and 5.
    log = [(u, i, 0) for u in (0, 1) for i in range(4)]
    log += [(2, i, 0) for i in (4, 5, 6, 7)] + [(3, i, 0) for i in (4, 5, 8, 9)]
    sim = kept(Swing(**PLAIN).fit(log_of(log, n_items=10)))
    assert sim[4, 5] > sim[0, 1] > 0
    np.testing.assert_allclose([sim[4, 5], sim[0, 1]], [1 / 4 / 3, 1 / 4 / 5], rtol=1e-6)


def test_ranges_and_threads_do_not_change_the_result(monkeypatch):
    random = np.random.default_rng(1)
    log = np.stack([random.integers(0, 40, 600), random.integers(0, 30, 600), np.zeros(600)]).T
    data = log_of(log, 40, 30)
    whole = kept(Swing(neighbours=5).fit(data))
    monkeypatch.setattr("tamis.recall.neighbours.swing.MAX_SUMS", 700)
    monkeypatch.setattr("tamis.recall.neighbours.swing.ITEMS_PER_BLOCK", 3)
    monkeypatch.setattr("tamis.recall.neighbours.swing.USERS_PER_BLOCK", 7)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    np.testing.assert_array_equal(kept(Swing(neighbours=5).fit(data)), whole)


def test_because_names_the_item_that_adds_most_to_the_score():
    data = log_of([(u, i, 0) for u in (0, 1) for i in (0, 1)] + [(2, 0, 0), (2, 3, 0)])
    channel = Swing().fit(data)
    queries = at_end(data, np.array([2], np.int32))
    assert channel.recall(queries, 3).item.tolist() == [[1, -1, -1]]
    assert channel.because(queries, 1) == 0
    assert channel.because(queries, 5) is None
