"""UserCF against its definition, on small random logs."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade.query_batches import at_end
from tamis.data import Dataset, Events, Table
from tamis.recall import UserCF
from tamis.schema import Behaviour, ConfigError, DataError

BEHAVIOURS = (
    Behaviour(name="like", weight=1, positive=True),
    Behaviour(name="share", weight=3, positive=True),
    Behaviour(name="skip"),
    Behaviour(name="long_view", weight=0.5),  # not positive, but its weight is declared
)
USERS, ITEMS = 7, 6


def log_of(rows, n_users=USERS, n_items=ITEMS):
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


def liked(rows, combine):
    """Each user's liked items, the latest first, and their values."""
    recent, weights = {u: [] for u in range(USERS)}, {}
    for u, i, b in rows:
        if b != 2:
            recent[u] = [i] + [j for j in recent[u] if j != i]
            weights.setdefault((u, i), {})[b] = BEHAVIOURS[b].weight
    of = {"max": max, "sum": sum}[combine]
    return recent, {pair: of(w.values()) for pair, w in weights.items()}


def naive(rows, config, user):
    """Scores by definition."""
    recent, value = liked(rows, config.combine)
    holders = {i: [u for u in recent if i in recent[u]] for i in range(ITEMS)}
    mine = recent[user][: config.last or ITEMS]
    sims = {}
    for v in recent:
        shared = set(mine) & set(recent[v])
        if v != user and shared:
            rare = sum(1 / math.log(1 + len(holders[i])) for i in shared)
            sims[v] = rare / math.sqrt(len(mine) * len(recent[v]))
    near = sorted(sims, key=lambda v: (-np.float32(sims[v]), v))[: config.neighbours]
    scores = np.zeros(ITEMS)
    for v in near:
        for i in recent[v][: config.last_of_neighbour or ITEMS]:
            scores[i] += sims[v] * value[v, i]
    return scores


rows = st.lists(
    st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), st.integers(0, 3)), max_size=50
)


def scores_of(found, u):
    got = np.zeros(ITEMS)
    real = found.item[u] >= 0
    got[found.item[u][real]] = found.score[u][real]
    return got


@settings(max_examples=80, deadline=None)
@given(
    rows,
    st.sampled_from([None, 1, 3]),
    st.sampled_from([None, 1, 2]),
    st.sampled_from(["max", "sum"]),
)
def test_equals_the_definition(log, last, last_of_neighbour, combine):
    log = [(0, 0, 0), *log]
    data = log_of(log)
    channel = UserCF(last=last, last_of_neighbour=last_of_neighbour, combine=combine).fit(data)
    found = channel.recall(at_end(data, np.arange(USERS, dtype=np.int32), False), ITEMS)
    for u in range(USERS):
        np.testing.assert_allclose(scores_of(found, u), naive(log, channel.config, u), rtol=1e-5)


def test_only_the_most_similar_users_are_read():
    log = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (1, 2, 0), (2, 1, 0), (2, 3, 0), (2, 4, 0)]
    data = log_of(log)
    for neighbours, items in ((1, [2]), (2, [2, 3, 4])):
        channel = UserCF(neighbours=neighbours).fit(data)
        found = channel.recall(at_end(data, np.array([0], np.int32)), 6)
        assert found.item[0][found.item[0] >= 0].tolist() == items
        np.testing.assert_allclose(
            scores_of(found, 0)[items], naive(log, channel.config, 0)[items], rtol=1e-6
        )


def test_two_users_by_hand():
    # x is liked by a, b and c, y by a and b: 1/log 4 + 1/log 3, over √(2 · 3).
    frame = pl.DataFrame({"user_id": list("aabbbc"), "item_id": list("xyxyzx")})
    found = UserCF().fit(frame).recommend(["a"])
    score = (1 / math.log(4) + 1 / math.log(3)) / math.sqrt(6)
    assert found.rows() == [("a", "z", 1, pytest.approx(score))]


def test_recall_uses_the_history_of_the_query():
    data = log_of([(0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 3, 0), (2, 4, 0)])
    channel = UserCF().fit(data)
    queries = at_end(data, np.array([0], np.int32))
    assert channel.recall(queries, 2).item.tolist() == [[1, -1]]
    later = replace(queries, history=replace(queries.history, item=np.array([3], np.int32)))
    assert channel.recall(later, 2).item.tolist() == [[3, 4]]
    unknown = replace(later, user=np.array([-1], np.int32))
    assert channel.recall(unknown, 2).item.tolist() == [[3, 4]]


def test_a_user_is_not_his_own_neighbour():
    data = log_of([(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 2, 0)])
    found = UserCF(neighbours=1).fit(data).recall(at_end(data, np.array([0], np.int32), False), 6)
    assert set(found.item[0].tolist()) == {0, 2, -1}


def test_most_users_keeps_the_latest_users():
    data = log_of([(1, 0, 0), (1, 1, 0), (2, 0, 0), (2, 2, 0), (0, 0, 0)])
    queries = at_end(data, np.array([0], np.int32))
    assert UserCF(most_users=2).fit(data).recall(queries, 2).item.tolist() == [[2, -1]]
    assert UserCF(most_users=3).fit(data).recall(queries, 2).item.tolist() == [[1, 2]]


def test_because_names_the_rarest_item_shared_with_the_most_important_user():
    # user 1 shares 0 (popular) and 1 (rare) and likes item 4
    data = log_of([(1, 0, 0), (1, 1, 0), (1, 4, 0), (2, 0, 0), (3, 0, 0), (0, 1, 0), (0, 0, 0)])
    channel = UserCF().fit(data)
    queries = at_end(data, np.array([0], np.int32))
    assert channel.because(queries, 4) == 1
    assert channel.because(queries, 5) is None


def test_blocks_and_threads_do_not_change_the_result(monkeypatch):
    random = np.random.default_rng(0)
    log = np.stack([random.integers(0, 50, 500), random.integers(0, 40, 500), np.zeros(500)]).T
    data = log_of(log, 50, 40)
    queries = at_end(data, np.arange(50, dtype=np.int32))
    whole = UserCF(neighbours=6).fit(data).recall(queries, 9)
    monkeypatch.setattr("tamis.recall.neighbours.usercf.QUERIES_PER_BLOCK", 7)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    parts = UserCF(neighbours=6).fit(data).recall(queries, 9)
    np.testing.assert_array_equal(whole.item, parts.item)
    np.testing.assert_array_equal(whole.score, parts.score)


def test_errors_name_the_value_and_how_to_fix_it():
    with pytest.raises(DataError, match=r"'usercf' found no positive event"):
        UserCF().fit(log_of([(0, 0, 2)]))
    with pytest.raises(
        ConfigError, match=r"neighbors = 3.*Did you mean `neighbours`. Options: combine, last, "
    ):
        UserCF(neighbors=3)
