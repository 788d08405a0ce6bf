"""Offline as of t = online after replaying to t = the definition, for any stream of events."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.data import Dataset, Events, Table
from tamis.features import Histories, OfflineStatistics, OnlineStatistics, Recipes
from tamis.features._counting_kernels import NEVER
from tamis.features._groups import Groups
from tamis.features.group_statistics import GroupPlan
from tamis.features.pair_statistics import PairPlan
from tamis.features.window_names import WINDOWS
from tamis.features.windows import BUCKETS, Counts, OfflineCounts, OnlineCounts
from tamis.schema import Behaviour

USERS, ITEMS = 3, 4
BEHAVIOURS = (
    Behaviour(name="impression", impression=True),
    Behaviour(name="click"),
    Behaviour(name="like", positive=True),
)
MINUTE, DAY = 60_000, 86_400_000
START = 1_000 * DAY

# Moments sit on a coarse grid, on bucket edges and beside them, so that ties are the rule.
moment = st.one_of(
    st.integers(0, 40).map(lambda d: START + d * DAY),
    st.integers(0, 30).map(lambda m: START + 20 * DAY + m * 5 * MINUTE),
    st.integers(0, 5).map(lambda ms: START + 20 * DAY + ms),
)
delay = st.sampled_from([0, 0, 0, 1, 7 * MINUTE, DAY, 9 * DAY, -3, -2 * DAY])
event = st.tuples(
    st.integers(0, USERS - 1),
    st.integers(0, ITEMS - 1),
    st.integers(0, len(BEHAVIOURS) - 1),
    moment,
    delay,
    st.sampled_from([float("nan"), 1.0, 2.5, 4.0]),
)
streams = st.lists(event, max_size=40)


def dataset(stream):
    """The log of a stream, stably sorted by event time as a reader leaves it."""
    stream = sorted(stream, key=lambda e: e[3])
    user, item, behaviour, time, late, value = zip(*stream, strict=True) if stream else [()] * 6
    time = np.array(time, np.int64)
    events = Events(
        user=np.array(user, np.int32),
        item=np.array(item, np.int32),
        behaviour=np.array(behaviour, np.uint8),
        time=time,
        arrival=time + np.array(late, np.int64),
        value=np.array(value, np.float32),
        request=np.full(len(time), -1),
        position=np.zeros(len(time), np.int16),
    )
    ids = [pl.Series("id", [str(i) for i in range(n)]) for n in (USERS, ITEMS)]
    people = pl.DataFrame({"gender": ["f", None, "m"]})
    born = pl.DataFrame(
        {
            "published": [START, None, START + 10 * DAY, None],
            "author": ["ann", "ann", "bob", None],
            "tags": [["new", "red"], ["red"], None, ["red", "new"]],
        }
    )
    tables = Table("users", ids[0], people), Table("items", ids[1], born)
    return Dataset(*tables, events, BEHAVIOURS)


def groups_of(data):
    """By author, with items and fans, and by tags, of which an item has several."""
    authors = data.items.frame.select(pl.concat_list("author"))["author"]
    return GroupPlan(Groups.of("author", authors), author=True), GroupPlan(
        Groups.of("tags", data.items.frame["tags"])
    )


def pairs_of(data):
    """An item among users of a gender; a user with items of a tag."""
    genders = data.users.frame.select(pl.concat_list("gender"))["gender"]
    return PairPlan("user", Groups.of("gender", genders)), PairPlan(
        "own", Groups.of("tags", data.items.frame["tags"])
    )


def arrived(data, t):
    """The events that arrived before t, in order of arrival, ties as in the log."""
    order = np.argsort(data.events.arrival, kind="stable")
    return data.events.take(order[data.events.arrival[order] < t])


def everybody(t):
    user, item = np.arange(-1, USERS, dtype=np.int32), np.arange(-1, ITEMS, dtype=np.int32)
    return user, item, np.full(len(user), t), np.full(len(item), t)


def by_definition(data, key, keys, t):
    """Counts (K, W, B) by looping over everything: the definition, word for word."""
    counts = np.zeros((keys, len(WINDOWS), len(BEHAVIOURS)), np.int64)
    events = data.events
    for k, b, time, arrival in zip(key, events.behaviour, events.time, events.arrival, strict=True):
        if arrival >= t or k < 0:
            continue
        for w, window in enumerate(WINDOWS):
            if window != "all":
                width, n = BUCKETS[window]
                bucket = min(time, arrival) // width
                if not t // width - n < bucket <= t // width:
                    continue
            counts[k, w, b] += 1
    return counts


@given(streams, moment, moment)
@settings(max_examples=50, deadline=None)
def test_statistics_as_of_t_equal_a_replay_to_t(stream, cut, t):
    data = dataset(stream)
    cut, t = min(cut, t), max(cut, t)
    recipes = Recipes.fit(data, WINDOWS, groups_of(data), pairs_of(data))
    offline = OfflineStatistics(data, recipes=recipes)
    # A snapshot at an earlier cut, then one call per event, then the read.
    online = OnlineStatistics.of(data.as_of(cut), recipes=recipes)
    fresh = arrived(data, t)
    fresh = fresh.take(fresh.arrival >= cut)
    for k in range(len(fresh)):
        assert online.add(fresh.take(slice(k, k + 1))) == 1
    user, item, user_time, item_time = everybody(t)
    np.testing.assert_array_equal(offline.users(user, user_time), online.users(user, user_time))
    np.testing.assert_array_equal(offline.items(item, item_time), online.items(item, item_time))
    for number, group in enumerate(recipes.groups):
        sets = group.groups.set_of(item)
        left = offline.group(number, sets, item_time)
        np.testing.assert_array_equal(left, online.group(number, sets, item_time))
        expected = group_by_definition(data, group, item, t)
        np.testing.assert_allclose(left, expected, rtol=1e-6)
    # Every user with every item, as one query each; twice, to read more rows than pairs.
    query = np.tile(np.repeat(np.arange(len(user)), len(item)), 2)
    candidate = np.tile(item, 2 * len(user))
    for number, pair in enumerate(recipes.pairs):
        arguments = number, user, user_time, query, candidate
        left = offline.pair(*arguments)
        np.testing.assert_array_equal(left, online.pair(*arguments))
        once = slice(0, len(query) // 2)
        expected = pair_by_definition(data, pair, user[query[once]], candidate[once], t)
        np.testing.assert_allclose(left, np.tile(expected, (2, 1)), rtol=1e-6)


def pair_by_definition(data, pair, user, item, t):
    """The columns of candidates: counts of the events of each of their pairs, averaged."""
    genders, events = [*data.users.frame["gender"], None], data.events
    tags = [*(data.items.frame["tags"].to_list()), None]

    def columns(mine):
        found = by_definition(data, np.where(mine, 0, -1), 1, t)
        total = found[:, WINDOWS.index("all")]
        counts = Counts.zeros(1, len(WINDOWS), len(BEHAVIOURS))
        counts = counts._replace(windowed=found, total=total)
        return pair.recipe.columns(counts, np.array([t]), None)[0]

    out = []
    for u, i in zip(user, item, strict=True):
        if pair.kind == "user":
            same = np.array(
                [genders[u] is not None and genders[v] == genders[u] for v in events.user], np.bool_
            )
            masks = [same & (events.item == i)]
        else:
            masks = [
                (events.user == u) & np.array([tag in (tags[j] or []) for j in events.item], bool)
                for tag in tags[i] or [None]
            ]
        out.append(np.mean([columns(m) for m in masks], axis=0))
    return np.array(out)


def group_by_definition(data, group, item, t):
    """The columns of items: those of each of their values, of the events on its items, averaged."""
    values = [{"ann"}, {"ann"}, {"bob"}, set()]
    if group.groups.name == "tags":
        values = [{"new", "red"}, {"red"}, set(), {"new", "red"}]
    events = arrived(data, t)

    def columns(value):
        mine = events.take(np.array([value in values[i] for i in events.item], np.bool_))
        key = np.zeros(len(mine), np.int32)
        counts = OfflineCounts(key, mine, 1, len(BEHAVIOURS), WINDOWS)
        time = np.array([t])
        row = group.recipe.columns(counts.read(np.zeros(1, np.int32), time), time, None)[0]
        if not group.author:
            return row
        born = data.items.frame["published"].to_list()
        items = sum(
            value in v and (born[i] < t if born[i] is not None else i in events.item)
            for i, v in enumerate(values)
        )
        fans = len(set(mine.user[mine.behaviour == 2]))
        return np.append(row, np.log1p(np.array([items, fans]))).astype(np.float32)

    return np.stack(
        [
            np.mean(
                [columns(v) for v in sorted(values[i])]
                if i >= 0 and values[i]
                else [columns(None)],
                axis=0,
                dtype=np.float64,
            ).astype(np.float32)
            for i in item
        ]
    )


@given(streams, moment)
@settings(max_examples=50, deadline=None)
def test_counts_follow_the_definition(stream, t):
    data = dataset(stream)
    keys = np.arange(ITEMS, dtype=np.int32)
    expected = by_definition(data, data.events.item, ITEMS, t)
    offline = OfflineCounts(data.events.item, data.events, ITEMS, len(BEHAVIOURS), WINDOWS)
    online = OnlineCounts.empty(ITEMS, len(BEHAVIOURS), WINDOWS)
    known = arrived(data, t)
    online.add(known.item, known)
    for counts in (offline, online):
        found = counts.read(keys, np.full(ITEMS, t))
        np.testing.assert_array_equal(found.windowed, expected)
        np.testing.assert_array_equal(found.total, expected[:, WINDOWS.index("all")])
        value = np.zeros((ITEMS, len(BEHAVIOURS)))
        np.add.at(value, (known.item, known.behaviour), np.nan_to_num(known.value))
        np.testing.assert_allclose(found.value, value)
        moments = np.minimum(known.time, known.arrival)
        latest = [max(moments[known.item == k], default=NEVER) for k in keys]
        assert found.latest.tolist() == latest


@given(streams, st.lists(moment, min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_moments_asked_together_equal_moments_asked_alone(stream, times):
    data = dataset(stream)
    offline = OfflineStatistics(data, windows=WINDOWS)
    item = np.arange(len(times), dtype=np.int32) % ITEMS
    together = offline.items(item, np.array(times))
    for k, t in enumerate(times):
        alone = offline.items(item[k : k + 1], np.array([t]))
        np.testing.assert_array_equal(together[k : k + 1], alone)


@given(streams, moment, moment, st.sampled_from([None, 1, 3]))
@settings(max_examples=50, deadline=None)
def test_histories_as_of_t_equal_a_replay_to_t(stream, cut, t, last):
    data = dataset(stream)
    cut, t = min(cut, t), max(cut, t)
    offline = Histories.of(data)
    online = Histories.of(data.as_of(cut))
    known = arrived(data, t)
    fresh = known.take((known.arrival >= cut) & (known.behaviour > 0))
    for k in range(0, len(fresh), 2):
        online.add(fresh.take(slice(k, k + 2)))
    user, _, time, _ = everybody(t)
    left, right = offline.at(user, time, last), online.at(user, time, last)
    for name, column in vars(left).items():
        np.testing.assert_array_equal(column, getattr(right, name), err_msg=name)
    for q, u in enumerate(user):
        mine = known.take((known.user == u) & (known.behaviour > 0))
        tail = slice(None) if last is None else slice(-last, None)
        found = slice(left.indptr[q], left.indptr[q + 1])
        assert left.item[found].tolist() == mine.item[tail].tolist()
        assert left.time[found].tolist() == mine.time[tail].tolist()
        assert offline.seen(user, time)[q].tolist() == sorted(set(mine.item.tolist()))
        assert online.seen(user, time)[q].tolist() == sorted(set(mine.item.tolist()))


def test_equal_times_are_not_before_and_a_row_never_counts_itself():
    t = START + DAY
    data = dataset([(0, 1, 2, t, 0, 4.0), (0, 1, 1, t - 1, 0, 1.0), (0, 2, 1, t - 5, 5, 1.0)])
    counts = OfflineCounts(data.events.user, data.events, USERS, 3, ("all",))
    one = np.array([0], np.int32)
    assert counts.read(one, np.array([t])).windowed[0, 0].tolist() == [0, 1, 0]
    assert counts.read(one, np.array([t + 1])).windowed[0, 0].tolist() == [0, 2, 1]
    assert Histories.of(data).at(one, np.array([t])).item.tolist() == [1]
    assert Histories.of(data).at(one, np.array([t + 1])).item.tolist() == [1, 2, 1]


def test_events_of_the_snapshot_are_not_counted_twice():
    data = dataset([(0, 1, 2, START, 0, 4.0), (1, 1, 1, START + 5, 0, 1.0)])
    online, histories = OnlineStatistics.of(data), Histories.of(data)
    assert online.add(data.events) == 0
    assert histories.add(data.events) == 0
    assert len(histories) == 2


@pytest.mark.parametrize("impressions", [False, True])
def test_impressions_enter_histories_only_when_asked_for(impressions):
    data = dataset([(0, 1, 0, START, 0, 1.0), (0, 2, 1, START + 1, 0, 1.0)])
    history = Histories.of(data, impressions=impressions).at(
        np.array([0], np.int32), np.array([START + DAY])
    )
    assert history.item.tolist() == ([1, 2] if impressions else [2])
    assert Histories.of(data, impressions=impressions).seen(
        np.array([0], np.int32), np.array([START + DAY])
    )[0].tolist() == [2]
