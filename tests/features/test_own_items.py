"""Features of known items: by hand, against plain Python, and online as offline."""

import itertools
import math
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.data import Dataset, Events, Table
from tamis.features import FeatureSpace, Histories, ItemRepeats
from tamis.features import own_items as module
from tamis.features.own_items import HALF_LIVES, OwnItemFeatures, wanted
from tamis.schema import Behaviour, ProjectConfig, SparseFeat

HOUR = 3_600_000
DAY = 24 * HOUR
START = 19_000 * DAY
USERS, ITEMS = 3, 4
BEHAVIOURS = (
    Behaviour(name="show", impression=True),
    Behaviour(name="view", weight=0.0),
    Behaviour(name="buy", positive=True),
)
SHOW, VIEW, BUY = range(3)


def dataset(stream) -> Dataset:
    """stream: (user, item, behaviour, hour, hours late)."""
    stream = sorted(stream, key=lambda e: e[3])
    user, item, behaviour, hour, late = (np.array(x) for x in zip(*stream, strict=True))
    time = START + hour.astype(np.int64) * HOUR
    n = len(stream)
    events = Events(
        user.astype(np.int32),
        item.astype(np.int32),
        behaviour.astype(np.uint8),
        time,
        time + late.astype(np.int64) * HOUR,
        np.full(n, np.nan, np.float32),
        np.full(n, -1, np.int64),
        np.zeros(n, np.int16),
    )
    tables = (
        Table(name, pl.Series("id", [str(i) for i in range(size)]), pl.DataFrame())
        for name, size in (("users", USERS), ("items", ITEMS))
    )
    return Dataset(*tables, events, BEHAVIOURS)


def rows_of(features, histories, time, query=None, item=None):
    """(users * items, inputs) of every user and item at `time` (ms), or of given candidates."""
    users = np.arange(USERS, dtype=np.int32)
    item = np.tile(np.arange(ITEMS, dtype=np.int32), USERS) if item is None else item
    bounds = np.arange(USERS + 1) * ITEMS if query is None else query
    moment = np.full(USERS, time, np.int64)
    out = np.full((len(item), len(features.names)), np.nan, np.float32)
    features.write(bounds, item, histories.at(users, moment), moment, out)
    return out


def expected(features, stream, user, item, hour):
    """The inputs by their definition, in plain Python; events as they arrived before `hour`."""
    known = [e for e in stream if e[0] == user and e[2] != SHOW and e[3] + e[4] < hour]
    mine = sorted((e[3], -k) for k, e in enumerate(known) if e[1] == item)
    row = dict.fromkeys(features.names, 0.0)
    if not mine:
        return row
    times = [t for t, _ in mine]
    gaps = [b - a for a, b in itertools.pairwise(times) if b - a >= 6]
    elapsed = max(hour - times[-1], 0) / 24
    row["own acted"] = 1
    row["own events"] = math.log1p(len(mine))
    row["own visits"] = math.log1p(len(gaps) + 1)
    row["own share"] = len(mine) / len(known)
    row["own days"] = math.log1p(elapsed)
    row["own repeat rate"] = float(features.repeats.rate[item])
    prior, spread = float(features.repeats.log_gap[item]), features.repeats.spread
    if not math.isnan(prior):
        gap = (sum(math.log(g / 24) for g in gaps) + prior) / (len(gaps) + 1)
        late = (math.log(elapsed) - gap) / spread if elapsed else -math.inf
        row["own gap"] = math.log1p(math.exp(gap))
        row["own late"] = min(max(late, -4), 4)
        row["own due"] = max(0.5 * math.erfc(-late / math.sqrt(2)), 2**-10)
    for days in HALF_LIVES:
        decayed = sum(2 ** (-max(hour - t, 0) / 24 / days) for t in times)
        row[f"own {days:g}d"] = math.log1p(decayed)
    counts = Counter(known[-k][2] for _, k in mine)
    row["own view"], row["own buy"] = math.log1p(counts[VIEW]), math.log1p(counts[BUY])
    return row


event = st.tuples(
    st.integers(0, USERS - 1),
    st.integers(0, ITEMS - 1),
    st.integers(0, 2),
    st.integers(0, 60).map(lambda x: x * 5),
    st.sampled_from([0, 0, 0, 7, 30]),
)


@settings(deadline=None)
@given(st.lists(event, min_size=1, max_size=40), st.integers(1, 330))
def test_inputs_follow_their_definition(stream, hour):
    data = dataset(stream)
    features = OwnItemFeatures.fit(data)
    found = rows_of(features, Histories.of(data), START + hour * HOUR)
    stream = sorted(stream, key=lambda e: e[3])
    last = [features.names.index(f"own last {name}") for name in ("view", "buy")]
    for k in range(USERS * ITEMS):
        row = expected(features, stream, k // ITEMS, k % ITEMS, hour)
        for at, name in enumerate(features.names):
            if at not in last:
                assert found[k, at] == pytest.approx(row[name], rel=2e-4, abs=1e-5), name
        assert found[k, last].sum() == row["own acted"]


@settings(deadline=None)
@given(st.lists(event, min_size=2, max_size=40), st.integers(0, 40), st.integers(0, 330))
def test_online_equals_offline(stream, first, hour):
    """Events appended to a snapshot give the inputs of a log that holds them from the start."""
    data = dataset(stream)
    time = START + hour * HOUR
    features = OwnItemFeatures.fit(data)
    offline = rows_of(features, Histories.of(data), time)
    order = np.argsort(data.events.arrival, kind="stable")
    cut = int(data.events.arrival[order[min(first, len(order) - 1)]])
    online = Histories.of(data.as_of(cut))
    online.add(data.events.take(order))
    np.testing.assert_allclose(rows_of(features, online, time), offline, rtol=1e-5, atol=1e-6)


def test_by_hand():
    # user 0 bought item 1 on the days 0, 4 and 20, each after a view of an hour before
    stream = [(0, 1, b, d * 24 - (b == VIEW), 0) for d in (0, 4, 20) for b in (VIEW, BUY)]
    stream.append((0, 2, VIEW, 20 * 24, 0))
    features = OwnItemFeatures.fit(dataset(stream))
    gap = math.sqrt((4 - 1 / 24) * (16 - 1 / 24))  # from a purchase to the next view
    np.testing.assert_allclose(np.exp(features.repeats.log_gap), gap, rtol=1e-5)
    found = rows_of(features, Histories.of(dataset(stream)), START + 27 * DAY)
    row = dict(zip(features.names, found[1].tolist(), strict=True))
    late = math.log(7 / gap) / features.repeats.spread
    wanted_row = {
        "own acted": 1,
        "own events": math.log(7),
        "own visits": math.log(4),
        "own share": 6 / 7,
        "own days": math.log(8),
        "own gap": math.log(1 + gap),
        "own late": late,
        "own due": 0.5 * math.erfc(-late / math.sqrt(2)),
        "own view": math.log(4),
        "own buy": math.log(4),
        "own last view": 0,
        "own last buy": 1,
    }
    for name, value in wanted_row.items():
        assert row[name] == pytest.approx(value, rel=1e-5), name
    assert not found[0].any(), "a candidate that the user does not know"
    assert found[2, features.names.index("own last view")] == 1


def test_blocks_of_queries_give_the_same(monkeypatch):
    stream = [(u, i, BUY, 10 * k + u, 0) for u in range(USERS) for i in (0, 2) for k in range(9)]
    features, histories = OwnItemFeatures.fit(dataset(stream)), Histories.of(dataset(stream))
    whole = rows_of(features, histories, START + 100 * HOUR)
    assert whole[:, 0].sum() == USERS * 2
    monkeypatch.setattr(module, "EVENTS_PER_BLOCK", 5)
    np.testing.assert_array_equal(rows_of(features, histories, START + 100 * HOUR), whole)


REPEATED = [(0, 0, BUY, 24 * d, 0) for d in range(5)]
ONCE = [(u, i, BUY, 24 * (u + i), 0) for u in range(USERS) for i in range(ITEMS)]


def project(**options) -> ProjectConfig:
    cascade = {"channels": {"hot": {}}, "rank": {"use": "lr"}} | options.pop("cascade", {})
    return ProjectConfig.model_validate(
        {
            "name": "p",
            "events": {"path": "e.csv"},
            "items": {"path": "i.csv", "id": "id"},
            "behaviours": {"buy": {"positive": True}},
            "cascade": cascade,
            **options,
        }
    )


def test_they_are_on_where_users_come_back():
    assert wanted(dataset(REPEATED), None)
    assert not wanted(dataset(ONCE), None)
    assert wanted(dataset(REPEATED), project())
    assert wanted(dataset(ONCE), project(repeats=True))
    assert not wanted(dataset(REPEATED), project(repeats=False))
    seen = {"filters": {"seen": {}}}
    assert not wanted(dataset(REPEATED), project(cascade=seen))
    assert wanted(dataset(REPEATED), project(cascade=seen, repeats=True))
    some = {"filters": {"mine": {"use": "seen", "behaviours": ["view"]}}}
    assert wanted(dataset(REPEATED), project(cascade=some))


def test_a_space_has_them_and_keeps_them(tmp_path):
    data = dataset(REPEATED + ONCE)
    space = FeatureSpace.fit(data, [SparseFeat("item_id")], windows=())
    user, time = np.array([0, 2], np.int32), np.full(2, START + 6 * DAY)
    history = Histories.of(data).at(user, time)
    asked = (user, time, history, np.array([1, 0, 0]), np.array([0, 0, 3], np.int32))

    def inputs(of):
        names = [c.name for c in of.layout.dense]
        block = of.rows(*asked).blocks[-1].dense
        return dict(zip(names, block.T.tolist(), strict=True))

    found = inputs(space)
    np.testing.assert_allclose(found["own buy"], np.log1p([1, 6, 1]), rtol=1e-6)
    space.save(tmp_path)
    assert inputs(FeatureSpace.load(tmp_path)) == found
    without = FeatureSpace.fit(dataset(ONCE), [SparseFeat("item_id")], windows=())
    assert not any(c.name.startswith("own ") for c in without.layout.dense)
    assert (space.format, without.format) == (2, 1)  # releases before these inputs refuse them


def test_a_log_without_a_gap_has_no_lateness():
    features = OwnItemFeatures.fit(dataset(ONCE))
    assert np.isnan(features.repeats.log_gap).all()
    assert isinstance(features.repeats, ItemRepeats)
    found = rows_of(features, Histories.of(dataset(ONCE)), START + 30 * DAY)
    assert np.isfinite(found).all()
    gap, late, due = (features.names.index(f"own {n}") for n in ("gap", "late", "due"))
    assert not found[:, [gap, late, due]].any()
    assert found[:, 0].all()
