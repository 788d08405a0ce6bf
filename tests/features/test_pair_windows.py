"""Statistics of a user per category and an item per audience in windows: by hand, live, saved."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tamis.data import Dataset, Events, Table
from tamis.features import FeatureSpace, OfflineStatistics, OnlineStatistics, Recipes
from tamis.features._groups import Groups
from tamis.features._pair_counts import pair_keys
from tamis.features._recent_counts import Packed, RecentCounts
from tamis.features.pair_statistics import PairPlan
from tamis.features.windows import BUCKETS
from tamis.schema import Behaviour, ConfigError, SparseFeat

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 19_000 * DAY
BEHAVIOURS = (Behaviour(name="impression", impression=True), Behaviour(name="click", positive=True))
SHOW, CLICK = range(2)
WINDOWS = ("1h", "1d", "7d", "30d", "all")
SHORT = WINDOWS[:-1]


def events_of(rows):
    """Rows of user, item, behaviour, time and arrival."""
    columns = [np.array(c) for c in zip(*rows, strict=True)] if rows else [np.zeros(0)] * 5
    user, item, behaviour, time, arrival = columns
    n = len(user)
    return Events(
        *(user.astype(np.int32), item.astype(np.int32), behaviour.astype(np.uint8)),
        *(time.astype(np.int64), arrival.astype(np.int64), np.full(n, np.nan, np.float32)),
        *(np.full(n, -1, np.int64), np.zeros(n, np.int16)),
    )


# u is f, v and w are m; a is of x and y, b of x.
LOG = [
    (0, 0, SHOW, START, START),
    (0, 0, CLICK, START, START + 20 * DAY),  # arrives twenty days late
    (1, 1, SHOW, START + 26 * DAY, START + 26 * DAY),
    (2, 1, SHOW, START + 29 * DAY, START + 29 * DAY),
    (2, 1, CLICK, START + 29 * DAY + 1, START + 29 * DAY + 1),
    (0, 1, SHOW, START + 30 * DAY - HOUR, START + 30 * DAY - HOUR),
    (0, 1, CLICK, START + 30 * DAY, START + 30 * DAY),  # not before the end of day 29
]
NOW = START + 30 * DAY


def dataset(rows=LOG):
    return Dataset(
        Table("users", pl.Series("id", list("uvw")), pl.DataFrame({"gender": ["f", "m", "m"]})),
        Table("items", pl.Series("id", list("ab")), pl.DataFrame({"kinds": [["x", "y"], ["x"]]})),
        events_of(rows),
        BEHAVIOURS,
    )


def plans(data):
    genders = data.users.frame.select(pl.concat_list("gender"))["gender"]
    kinds = Groups.of("kinds", data.items.frame["kinds"])
    return PairPlan("user", Groups.of("gender", genders)), PairPlan("own", kinds)


@pytest.mark.parametrize("live", [False, True])
def test_windows_by_hand(live):
    data = dataset()
    recipes = Recipes.fit(data, WINDOWS, (), plans(data))
    statistics = (
        OnlineStatistics.of(data.as_of(NOW), recipes) if live else OfflineStatistics(data, recipes)
    )

    def row(number, user, item):
        users, time = np.array([user], np.int32), np.array([NOW])
        query, items = np.zeros(1, np.int64), np.array([item], np.int32)
        found = statistics.pair(number, users, time, query, items)[0]
        return dict(zip(recipes.pairs[number].names, found.tolist(), strict=True))

    def counts(number, user, item, behaviour):
        found = row(number, user, item)
        return [np.expm1(found[f"count:{behaviour}:{w}"]) for w in WINDOWS]

    close = {"rtol": 1e-5, "atol": 1e-6}
    # b among m: shown on days 26 and 29, clicked on day 29. At the start of day 30, 1d holds the
    # hours since 1 o'clock of day 29, 7d the days 24 to 30, and 30d the days 1 to 30.
    np.testing.assert_allclose(counts(0, 1, 1, "impression"), [0, 0, 2, 2, 2], **close)
    np.testing.assert_allclose(counts(0, 2, 1, "click"), [0, 0, 1, 1, 1], **close)
    # b among f: shown an hour ago, while 1h holds the 55 minutes before now; clicked only now.
    np.testing.assert_allclose(counts(0, 0, 1, "impression"), [0, 1, 1, 1, 1], **close)
    np.testing.assert_allclose(counts(0, 0, 1, "click"), [0] * 5, **close)
    # u on x: a on day 0, which is out of 30d, whenever the click arrived; and b.
    np.testing.assert_allclose(counts(1, 0, 1, "impression"), [0, 1, 1, 1, 2], **close)
    np.testing.assert_allclose(counts(1, 0, 1, "click"), [0, 0, 0, 0, 1], **close)
    # u on a: the mean of the columns of x and y.
    both = row(1, 0, 0)
    assert both["count:impression:all"] == pytest.approx((np.log(3) + np.log(2)) / 2)
    assert both["count:impression:7d"] == pytest.approx(np.log(2) / 2)
    rate = recipes.pairs[0].recipe.rates[0]
    a, b = rate.alpha, rate.beta
    found = row(0, 1, 1)
    assert found["rate:click/impression:7d"] == pytest.approx((1 + a) / (2 + a + b))
    assert found["rate:click/impression:1h"] == pytest.approx(a / (a + b))
    assert found["count:events"] == pytest.approx(np.log(2))


def test_columns_are_in_the_windows_of_the_project():
    data, features = dataset(), [SparseFeat("user_id")]
    space = FeatureSpace.fit(data, features, windows=["30d", "1h"], groups=["own:kinds"])
    names = [c.name for c in space.layout.dense if c.name.startswith("own:kinds ")]
    assert [n for n in names if "impression" in n and "count" in n] == [
        "own:kinds count:impression:1h",
        "own:kinds count:impression:30d",
    ]
    assert names[-1] == "own:kinds count:events"


def test_groups_without_windows_are_refused():
    features = [SparseFeat("user_id")]
    with pytest.raises(ConfigError, match=r"groups = .* needs windows, and there are none"):
        FeatureSpace.fit(dataset(), features, windows=(), groups=["own:kinds"])
    with pytest.raises(ConfigError, match="write 'own:kinds' and add '7d' to `windows`"):
        FeatureSpace.fit(dataset(), features, windows=["all"], groups=["own:kinds:7d"])


class Naive:
    """Every event, counted by a loop whenever it is asked."""

    def __init__(self):
        self.events = []

    def add(self, key, events):
        moment = np.minimum(events.time, events.arrival)
        self.events += zip(key.tolist(), events.behaviour.tolist(), moment.tolist(), strict=True)

    def forget(self, first):
        self.events = [e for e in self.events if e[0] >> 32 != first]

    def read(self, keys, now):
        counts = dict[int, np.ndarray]()
        for key, behaviour, moment in self.events:
            for w, window in enumerate(SHORT):
                width, n = BUCKETS[window]
                if 0 <= now // width - moment // width < n:
                    its = counts.setdefault(key, np.zeros((len(WINDOWS), 2), np.int64))
                    its[w, behaviour] += 1
        none = np.zeros((len(WINDOWS), 2), np.int64)
        return np.stack([counts.get(key, none) for key in keys.tolist()])


def read(counts, keys, now):
    out = np.zeros((len(keys), len(WINDOWS), 2), np.int64)
    counts.read(keys, np.full(len(keys), now), out)
    return out


@pytest.mark.parametrize("seed", range(3))
def test_random_events_equal_a_naive_loop(seed, tmp_path):
    """Late events, pauses, forgotten users, snapshots, and counts that are saved and opened."""
    rng = np.random.default_rng(seed)
    counts, naive = RecentCounts(WINDOWS, Packed.empty()), Naive()
    opened_from = None
    every = pair_keys(*np.divmod(np.arange(30), 5))
    asked = np.append(every, [-1, 99 << 32])
    arrival = START
    for step in range(40):
        n = int(rng.integers(0, 25))
        arrivals = arrival + np.sort(rng.choice([0, 1, MINUTE, HOUR], n))
        late = rng.choice([0, 0, 0, 1, HOUR, 2 * DAY, 35 * DAY, -DAY], n)
        events = replace(
            events_of([(0, 0, 0, 0, 0)] * n),
            time=arrivals - late,
            arrival=arrivals,
            behaviour=rng.integers(0, 2, n).astype(np.uint8),
        )
        key = rng.choice(every, n)
        counts.add(key, events)
        naive.add(key, events)
        action = rng.integers(0, 5)
        if action == 0:
            user = int(rng.integers(0, 6))
            counts.forget(user)
            naive.forget(user)
        elif action == 1:
            folder = tmp_path / str(step)
            folder.mkdir()
            counts.save(folder)
            counts, opened_from = RecentCounts.load(folder, WINDOWS), folder
        elif action == 2 and opened_from is not None:
            saved = counts.changes()
            counts = RecentCounts.load(opened_from, WINDOWS)
            counts.restore(saved)
        arrival = int(arrivals.max(initial=arrival)) + 1
        for now in (arrival, arrival + HOUR, arrival + 3 * DAY, arrival):
            np.testing.assert_array_equal(read(counts, asked, now), naive.read(asked, now))
        arrival += int(rng.choice([0, 5 * MINUTE, HOUR, DAY, 10 * DAY]))


def test_memory_follows_the_windows():
    """Two years of 40,000 pairs that never return take no more than their last month."""
    counts, per_day = RecentCounts(("1d", "30d"), Packed.empty()), 55
    most = 0
    for day in range(730):
        at = START + day * DAY
        events = events_of([(0, 0, SHOW, at + k, at + k) for k in range(per_day)])
        counts.add(pair_keys(np.full(per_day, day), np.arange(per_day)), events)
        most = max(most, len(counts._cells.cell))
    alive = 30 * per_day + per_day  # a cell per pair and day, and one per pair and hour of today
    assert len(counts.changes()["cell"]) == alive
    assert most <= 3 * alive
    assert len(counts._added) <= 3 * 31 * per_day


def test_a_busy_pair_keeps_no_old_cells():
    """Without a repack: a key drops its expired cells when it gets new ones."""
    counts = RecentCounts(("1h",), Packed.empty())
    for minute in range(0, 5_000, 5):
        at = START + minute * MINUTE
        counts.add(np.array([7]), events_of([(0, 0, SHOW, at, at)]))
    chain, cell = 0, counts._head[0]
    while cell >= 0:
        chain, cell = chain + 1, counts._cells.following[cell]
    assert chain <= 13
    assert counts._used <= 14


def test_all_time_alone_keeps_no_buckets(tmp_path):
    data = dataset()
    recipes = Recipes.fit(data, ("all",), (), plans(data))
    online = OnlineStatistics.of(data, recipes)
    online.save(tmp_path)
    assert not list(tmp_path.rglob("recent_*.npy"))
    assert not [name for name in online.changes() if "recent" in name]
    OnlineStatistics.load(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    counts = RecentCounts(WINDOWS, Packed.empty())
    counts.add(np.array([7, 7]), events_of([(0, 0, SHOW, START, START)] * 2))
    counts.save(tmp_path)
    np.save(tmp_path / "recent_bounds.npy", np.array([0, 9]))
    with pytest.raises(ValueError, match=r"recent_bounds\.npy does not divide 3 cells"):
        RecentCounts.load(tmp_path, WINDOWS)
