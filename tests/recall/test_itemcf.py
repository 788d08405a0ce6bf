"""ItemCF against its definition, on small random logs."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import FitContext, Valid
from tamis.cascade.query_batches import at_end
from tamis.data import Dataset, Events, Ragged, Table
from tamis.recall import ItemCF
from tamis.schema import (
    Behaviour,
    ConfigError,
    DataError,
    NotFittedError,
    TamisWarning,
    VersionError,
)

BEHAVIOURS = (
    Behaviour(name="click", weight=1, positive=True),
    Behaviour(name="share", weight=3, positive=True),
    Behaviour(name="long_view", weight=0.5),  # not positive, but its weight is declared
    Behaviour(name="skip"),
    Behaviour(name="dislike", weight=0),
)


def log_of(events, n_users=5, n_items=6, behaviours=BEHAVIOURS):
    """A data set of (user, item, behaviour code) in time order."""
    rows = np.array(events, dtype=np.int64).reshape(-1, 3)
    n = len(rows)
    time = np.arange(n, dtype=np.int64) * 1000
    return Dataset(
        Table("users", pl.Series([str(u) for u in range(n_users)]), pl.DataFrame()),
        Table("items", pl.Series([str(i) for i in range(n_items)]), pl.DataFrame()),
        Events(
            rows[:, 0].astype(np.int32),
            rows[:, 1].astype(np.int32),
            rows[:, 2].astype(np.uint8),
            time,
            time,
            np.full(n, np.nan, np.float32),
            np.full(n, -1),
            np.zeros(n, np.int16),
        ),
        behaviours,
    )


def interest_of(data, combine):
    """r of every user and item, and each user's liked items, the latest last."""
    weights = {}
    recent = {u: [] for u in range(len(data.users))}
    for u, i, b in zip(data.events.user, data.events.item, data.events.behaviour, strict=True):
        weight = data.behaviours[b].weight
        if data.behaviours[b].positive or weight:
            weights.setdefault((u, i), {})[b] = weight
            recent[u] = [j for j in recent[u] if j != i] + [i]
    R = np.zeros((len(data.users), len(data.items)))
    for pair, of_behaviour in weights.items():
        R[pair] = {"max": max, "sum": sum}[combine](of_behaviour.values())
    return R, recent


def naive(data, config, user, exclude):
    """Scores by definition: dense similarities, then a sum over the user's last liked items."""
    R, recent = interest_of(data, config.combine)
    n_items = R.shape[1]
    discount = {
        "log": lambda n: 1 / math.log(2 + n),
        "sqrt": lambda n: 1 / math.sqrt(n),
        "none": lambda n: 1.0,
    }[config.user_discount]
    sim = np.zeros((n_items, n_items))  # [seen, candidate]
    for j in range(n_items):
        for i in range(n_items):
            users = [u for u in range(len(R)) if R[u, i] > 0 and R[u, j] > 0]
            sim[j, i] = sum(discount((R[u] > 0).sum()) * R[u, i] * R[u, j] for u in users)
            if config.similarity == "cosine" and sim[j, i] > 0:
                a = config.asymmetry
                divisor = (R[:, j] ** 2).sum() ** a * (R[:, i] ** 2).sum() ** (1 - a)
                sim[j, i] /= divisor + config.shrinkage
    sim = np.where(np.eye(n_items, dtype=bool), 0, sim).astype(np.float32)
    kept = np.zeros_like(sim)
    for owner in range(n_items):
        if config.prune == "seen":
            best = np.lexsort((np.arange(n_items), -sim[owner]))[: config.neighbours]
            kept[owner, best] = sim[owner, best]
        else:
            best = np.lexsort((np.arange(n_items), -sim[:, owner]))[: config.neighbours]
            kept[best, owner] = sim[best, owner]
    if config.prune == "candidate":
        for seen in range(n_items):
            kept[seen, np.lexsort((np.arange(n_items), -kept[seen]))[config.longest :]] = 0
    scores = np.zeros(n_items)
    for age, j in enumerate(reversed(recent[user][-(config.last or 999) :])):
        scores += R[user, j] * (1 + age) ** -config.recency * kept[j]
    scores[list(exclude)] = 0
    return scores


def check_against_definition(data, channel):
    users = np.arange(len(data.users), dtype=np.int32)
    for exclude_seen in (True, False):
        queries = at_end(data, users, exclude_seen)
        found = channel.recall(queries, len(data.items))
        for u in users:
            expected = naive(data, channel.config, u, queries.exclude[u])
            got = np.zeros(len(data.items))
            real = found.item[u] >= 0
            got[found.item[u][real]] = found.score[u][real]
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


PLAIN = {"asymmetry": 0.5, "shrinkage": 0, "recency": 0}
"""The plain cosine, with the same weight for all likes of the user."""


events = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(
    events,
    st.sampled_from(["cosine", "count"]),
    st.sampled_from(["log", "sqrt", "none"]),
    st.sampled_from([None, 1, 2]),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([(0.5, 0.0), (0.8, 30.0), (1.0, 0.5)]),
    st.sampled_from(["max", "sum"]),
)
def test_equals_the_definition(log, similarity, user_discount, last, recency, divisor, combine):
    data = log_of([(0, 0, 0), *log])
    divided = {"asymmetry": divisor[0], "shrinkage": divisor[1]} if similarity == "cosine" else {}
    channel = ItemCF(
        similarity=similarity,
        user_discount=user_discount,
        last=last,
        recency=recency,
        combine=combine,
        **divided,
    ).fit(data)
    check_against_definition(data, channel)


def log_without_ties(seed, n=60):
    """A random weight per behaviour keeps similarities distinct: ties may be cut either way."""
    random = np.random.default_rng(seed)
    kinds = tuple(
        Behaviour(name=str(b), weight=float(w), positive=True)
        for b, w in enumerate(random.uniform(0.5, 3, 9))
    )
    rows = np.stack([random.integers(0, 12, n), random.integers(0, 9, n), random.integers(0, 9, n)])
    return log_of(rows.T, 12, 9, kinds)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("prune", ["seen", "candidate"])
def test_pruned_lists_equal_the_definition(seed, prune):
    data = log_without_ties(seed)
    longest = {"longest": 3} if prune == "candidate" else {}
    check_against_definition(data, ItemCF(prune=prune, neighbours=2, **longest).fit(data))


def test_ties_go_to_the_lower_row():
    rows = [(u, i, 0) for u in range(3) for i in range(6)]  # all similarities are equal
    data = log_of(rows)
    lists = ItemCF(neighbours=2, prune="seen").fit(data)._arrays
    of = [sorted(lists["neighbour"][2 * i : 2 * i + 2].tolist()) for i in range(6)]
    assert of == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1], [0, 1]]
    found = ItemCF().fit(data).recall(at_end(data, np.zeros(1, np.int32), False), 4)
    np.testing.assert_array_equal(np.sort(found.item[0]), found.item[0])


def test_likes_with_the_same_time_have_the_same_age():
    # user 0 likes items 0 and 1 at one moment, then 2: ages 1, 1, 0
    data = log_of([(1, 0, 0), (1, 3, 0), (2, 1, 0), (2, 4, 0), (0, 0, 0), (0, 1, 0), (0, 2, 0)])
    time = data.events.time.copy()
    time[5] = time[4]
    data = replace(data, events=replace(data.events, time=time, arrival=time))
    channel = ItemCF(asymmetry=0.5, shrinkage=0, recency=1, user_discount="none").fit(data)
    found = channel.recall(at_end(data, np.array([0], np.int32)), 2)
    assert found.item.tolist() == [[3, 4]]
    np.testing.assert_allclose(found.score, [[1 / math.sqrt(2) / 2] * 2], rtol=1e-6)


def test_three_users_by_hand():
    # a: x y; b: x y z; c: z. Only users a and b have both x and y; f = 1/log 4, 1/log 5.
    frame = pl.DataFrame({"user_id": list("aabbbc"), "item_id": list("xyxyzz")})
    found = ItemCF(**PLAIN).fit(frame).recommend(["c", "a"], n=2)
    xz = 1 / math.log(5) / math.sqrt(2 * 2)
    assert found["user"].to_list() == ["c", "c", "a"]
    assert found["item"].to_list() == ["x", "y", "z"]
    assert found["rank"].to_list() == [1, 2, 1]
    np.testing.assert_allclose(found["score"].to_numpy(), [xz, xz, 2 * xz], rtol=1e-6)


@pytest.mark.parametrize(("combine", "r"), [("max", 3.0), ("sum", 4.5)])
def test_interest_value_of_several_behaviours_by_hand(combine, r):
    # user 0 clicks item 0 twice, views it for long, shares it and skips it, and clicks item 1;
    # user 1 clicks both: r of item 0 is max(1, 0.5, 3) or 1 + 0.5 + 3.
    log = [(0, 0, 0), (0, 0, 2), (0, 0, 0), (0, 0, 1), (0, 0, 3), (0, 1, 0), (1, 0, 0), (1, 1, 0)]
    data = log_of([*log, (2, 0, 2)])
    channel = ItemCF(combine=combine, similarity="count", user_discount="none", recency=0).fit(data)
    found = channel.recall(at_end(data, np.array([2, 0], np.int32), False), 2)
    assert found.item[0].tolist() == [1, -1]
    assert found.score[0, 0] == pytest.approx(0.5 * (r + 1))  # its long view counts 0.5
    assert dict(zip(found.item[1].tolist(), found.score[1], strict=True)) == {
        1: pytest.approx(r * (r + 1)),
        0: pytest.approx(r + 1),
    }


def test_prune_is_chosen_by_held_out_likes():
    data = log_without_ties(1, n=200)
    targets = {}
    for prune in ("seen", "candidate"):  # targets that only one of the two recalls first
        queries = at_end(data, np.arange(12, dtype=np.int32), False)
        targets[prune] = ItemCF(neighbours=1, prune=prune).fit(data).recall(queries, 1).item[:, 0]
    assert (targets["seen"] != targets["candidate"]).any()
    for prune, item in targets.items():
        valid = Valid(queries, Ragged(np.arange(13), item))
        channel = ItemCF(neighbours=1, prune="auto")
        assert channel.chosen(data, FitContext(valid=valid)).prune == prune
        auto = channel.fit(data, FitContext(valid=valid))
        given = ItemCF(neighbours=1, prune=prune).fit(data)
        for name in ("indptr", "neighbour", "similarity"):
            np.testing.assert_array_equal(auto._arrays[name], given._arrays[name])
        # a later fit of the same training follows, whatever the held-out likes of its log say
        later = ItemCF(neighbours=1, prune="auto").fit(data, FitContext(former=auto))
        np.testing.assert_array_equal(later._arrays["neighbour"], given._arrays["neighbour"])


def test_prune_is_chosen_on_the_log_where_there_is_no_validation_data(tmp_path):
    channel = ItemCF(prune="auto").fit(log_without_ties(2, n=200))
    channel.save(tmp_path)
    assert json.loads((tmp_path / "channel.json").read_text())["facts"]["prune"] in (
        "seen",
        "candidate",
    )
    assert ItemCF(prune="auto").fit(log_of([(0, 0, 0), (0, 1, 0)]))._facts["prune"] == "candidate"


def test_recommend_keeps_the_types_of_ids_and_accepts_unknown_users():
    frame = pl.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [10, 20, 10, 30]})
    channel = ItemCF(neighbours=5, **PLAIN).fit(pd.DataFrame(frame.to_dict()))
    with pytest.warns(TamisWarning, match="1 of 2 users are not in the fitted log, such as 99"):
        found = channel.recommend(users=[1, 99], n=3)
    assert found.schema["item"] == pl.Int64
    assert found.rows()[0] == (1, 30, 1, pytest.approx(1 / math.log(4) / math.sqrt(2)))
    assert found.rows()[1:] == [(99, 10, 1, 2), (99, 20, 2, 1), (99, 30, 3, 1)]  # the most liked
    again = channel.recommend([1], exclude_seen=False)["item"].to_list()
    assert set(again) == {10, 20, 30}


def test_because_names_the_item_that_adds_most_to_the_score():
    frame = pl.DataFrame({"user_id": list("aaabbccd"), "item_id": list("wxywxyxz")})
    channel = ItemCF().fit(frame)
    data = channel._data
    queries = at_end(data, data.users.rows(["b"]))
    row = data.items.row
    assert channel.because(queries, row("y")) == row("x")
    assert channel.because(queries, row("z")) is None


def test_recall_reads_the_lists_of_the_users_items_alone():
    data = log_of([(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 2, 0), (2, 3, 0), (2, 4, 0), (3, 3, 0)])
    channel = ItemCF(prune="seen").fit(data)
    queries = at_end(data, np.array([0], np.int32))
    found = channel.recall(queries, 5)
    assert found.item[0].tolist() == [2, -1, -1, -1, -1]
    indptr, similarity = (channel._arrays[name].copy() for name in ("indptr", "similarity"))
    similarity[indptr[2] :] = np.nan  # lists of items 2 …, which user 0 does not have
    assert indptr[-1] > indptr[2]
    channel._arrays["similarity"] = similarity
    again = channel.recall(queries, 5)
    np.testing.assert_array_equal(again.item, found.item)
    np.testing.assert_array_equal(again.score, found.score)


def test_fit_last_reads_only_recent_items():
    rows = [(0, i, 0) for i in range(6)] + [(1, 0, 0), (1, 1, 0), (1, 5, 0)]
    few = ItemCF(fit_last=3).fit(log_of(rows))
    check = ItemCF().fit(log_of([r for r in rows if r[0] or r[1] > 2]))
    for name in ("indptr", "neighbour", "similarity"):
        np.testing.assert_array_equal(few._arrays[name], check._arrays[name])


def test_blocks_of_items_and_queries_change_nothing(monkeypatch):
    random = np.random.default_rng(0)
    rows = np.stack([random.integers(0, 50, 600), random.integers(0, 40, 600), np.zeros(600)]).T
    data = log_of(rows, 50, 40)
    queries = at_end(data, np.arange(50, dtype=np.int32))
    whole = ItemCF(neighbours=7).fit(data).recall(queries, 9)
    monkeypatch.setattr("tamis.recall.neighbours.itemcf.ITEMS_PER_BLOCK", 7)
    monkeypatch.setattr("tamis.recall.neighbours._channel.QUERIES_PER_BLOCK", 11)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    parts = ItemCF(neighbours=7).fit(data).recall(queries, 9)
    np.testing.assert_array_equal(whole.item, parts.item)
    np.testing.assert_array_equal(whole.score, parts.score)


def test_errors_name_the_value_and_how_to_fix_it(tmp_path):
    data = log_of([(0, 0, 3)])
    with pytest.raises(DataError, match=r"none is of \['click', 'share'\]"):
        ItemCF().fit(data)
    with pytest.raises(NotFittedError, match=r"'itemcf' is not fitted yet: call fit"):
        ItemCF().recall(at_end(data, np.array([0])), 3)
    with pytest.raises(NotFittedError, match="no log to recommend from"):
        ItemCF().recommend([1])
    with pytest.raises(NotFittedError, match="nothing to save"):
        ItemCF().save(tmp_path)
    with pytest.raises(
        ConfigError, match=r"neighbors = 5: unknown option. Did you mean `neighbours`"
    ):
        ItemCF(neighbors=5)
    with pytest.raises(ConfigError, match="takes a ItemCFConfig as its config, got a dict"):
        ItemCF({"neighbours": 5})
    with pytest.raises(VersionError, match=r"channel\.json is missing"):
        ItemCF.load(tmp_path / "none")
    with pytest.raises(ConfigError, match="k = 0"):
        ItemCF().fit(log_of([(0, 0, 0)])).recall(at_end(data, np.array([0])), 0)


def test_items_added_after_the_fit_are_ignored():
    channel = ItemCF().fit(log_of([(0, 0, 0), (0, 1, 0)], n_items=2), FitContext())
    grown = log_of([(0, 0, 0), (0, 7, 0)], n_items=9)
    found = channel.recall(at_end(grown, np.array([0], np.int32)), 4)
    assert found.item.tolist() == [[1, -1, -1, -1]]
