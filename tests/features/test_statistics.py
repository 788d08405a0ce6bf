"""Statistics: windows, rates, means and ages by hand; fitted priors; saving of the live state."""

import numpy as np
import polars as pl
import pytest

from tamis.data import Dataset, Events, Table
from tamis.features import OfflineStatistics, OnlineStatistics, Recipes
from tamis.features._counting_kernels import NEVER
from tamis.features.rates import Rate, fit_beta, fit_mean, rates_of, value_groups
from tamis.features.windows import OfflineCounts, OnlineCounts
from tamis.schema import Behaviour, ConfigError

DAY, HOUR, MINUTE = 86_400_000, 3_600_000, 60_000
NOW = 1_000 * DAY + 10 * HOUR + 7 * MINUTE
SHOP = (
    Behaviour(name="impression", impression=True),
    Behaviour(name="click"),
    Behaviour(name="like", positive=True),
    Behaviour(name="cart", positive=True),
    Behaviour(name="purchase", positive=True),
    Behaviour(name="listen"),
)


def dataset(rows, behaviours=SHOP, users=3, items=3, published=None):
    """`rows`: user, item, behaviour's name, time, value."""
    names = [b.name for b in behaviours]
    rows = sorted(rows, key=lambda r: r[3])
    time = np.array([r[3] for r in rows], np.int64)
    events = Events(
        np.array([r[0] for r in rows], np.int32),
        np.array([r[1] for r in rows], np.int32),
        np.array([names.index(r[2]) for r in rows], np.uint8),
        time,
        time.copy(),
        np.array([r[4] if len(r) > 4 else np.nan for r in rows], np.float32),
        np.full(len(rows), -1, np.int64),
        np.zeros(len(rows), np.int16),
    )
    frame = pl.DataFrame({"published": published}) if published else pl.DataFrame()
    ids = [pl.Series("id", [str(i) for i in range(n)]) for n in (users, items)]
    tables = Table("users", ids[0], pl.DataFrame()), Table("items", ids[1], frame)
    return Dataset(*tables, events, tuple(behaviours))


def one(value, dtype=np.int32):
    return np.array([value], dtype)


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        # 10:07 lies in the bucket 10:05–10:10; twelve of them begin at 09:10.
        ("1h", 10 * HOUR + 7 * MINUTE - 57 * MINUTE, 9 * HOUR + 10 * MINUTE - 1),
        # hours 11:00 of yesterday … 10:00
        ("1d", 11 * HOUR - DAY, 11 * HOUR - DAY - 1),
        ("7d", -6 * DAY, -6 * DAY - 1),
        ("30d", -29 * DAY, -29 * DAY - 1),
    ],
)
def test_edges_of_windows(window, inside, outside):
    midnight = 1_000 * DAY
    data = dataset([(0, 0, "click", midnight + inside), (0, 0, "click", midnight + outside)])
    counts = OfflineCounts(data.events.item, data.events, 3, 6, [window, "all"])
    assert counts.read(one(0), one(NOW, np.int64)).windowed[0, :, 1].tolist() == [1, 2]


def test_unknown_window_names_the_known_ones():
    with pytest.raises(ConfigError, match="'2w' is not known; choose among 1h, 1d"):
        OfflineStatistics(dataset([]), windows=["2w"])


def test_rates_of_a_shop():
    assert [r.name for r in rates_of(SHOP)] == [
        "click/impression",
        "like/click",
        "cart/click",
        "purchase/cart",
        "listen/event",
        "positive/event",
    ]


def test_rates_of_ratings_and_of_a_single_behaviour():
    ratings = (Behaviour(name="like", positive=True, min_value=4), Behaviour(name="dislike"))
    assert [r.name for r in rates_of(ratings)] == ["like/event", "dislike/event"]
    assert rates_of((Behaviour(name="buy", positive=True),)) == []
    assert [r.name for r in rates_of((Behaviour(name="view", impression=True),
                                      Behaviour(name="play")))] == ["play/impression"]  # fmt: skip


def test_alpha_and_beta_are_recovered():
    rng = np.random.default_rng(0)
    trials = rng.integers(5, 80, 20_000)
    successes = rng.binomial(trials, rng.beta(2.0, 8.0, len(trials)))
    rate = fit_beta(Rate("r", (False, True), (True, False)), np.stack([trials, successes], 1))
    assert rate.alpha == pytest.approx(2.0, rel=0.05)
    assert rate.beta == pytest.approx(8.0, rel=0.05)


@pytest.mark.parametrize("totals", [[], [[5, 2]], [[5, 5], [9, 9]], [[0, 0], [0, 3]]])
def test_alpha_and_beta_are_finite_and_positive_for_poor_data(totals):
    rate = fit_beta(Rate("r", (False, True), (True, False)), np.array(totals).reshape(-1, 2))
    assert rate.alpha > 0
    assert rate.beta > 0
    assert 1 - 1e-9 <= rate.alpha + rate.beta <= 10_001


def test_strength_of_a_mean_is_within_over_between():
    rng = np.random.default_rng(1)
    key = np.repeat(np.arange(4000), 10).astype(np.int32)
    value = 3 + 0.5 * rng.normal(size=4000)[key] + 1.5 * rng.normal(size=len(key))
    data = dataset([(0, 0, "click", NOW, 1.0)])
    events = data.events.take(np.zeros(len(key), np.intp))
    events = Events(**{**vars(events), "value": value.astype(np.float32)})
    group = next(g for g in value_groups(SHOP, events) if g.name == "value of click")
    fitted = fit_mean(group, key, events)
    assert fitted.mean == pytest.approx(3, abs=0.05)
    assert fitted.strength == pytest.approx(9, rel=0.15)  # 1.5² / 0.5²


def test_ratings_form_one_group_and_other_values_one_each():
    ratings = (Behaviour(name="like", min_value=4), Behaviour(name="dislike"))
    data = dataset([(0, 0, "like", NOW, 5), (0, 1, "dislike", NOW, 2)], ratings)
    assert [g.behaviours for g in value_groups(ratings, data.events)] == [(True, True)]
    data = dataset([(0, 0, "click", NOW, 5), (0, 1, "click", NOW, 2), (0, 1, "cart", NOW, 9)])
    assert [g.name for g in value_groups(SHOP, data.events)] == ["value of click"]


def test_columns_by_hand():
    rows = [(0, 0, "impression", NOW - k) for k in (1, 2, 3, 4)]
    rows += [(0, 0, "click", NOW - DAY, 2.0), (1, 0, "click", NOW - 40 * DAY, 4.0)]
    data = dataset(rows, SHOP[:2], published=[NOW - 3 * DAY, None, NOW + DAY])
    statistics = OfflineStatistics(data, windows=["all", "7d"])
    assert statistics.item_names == (
        "count:impression:7d", "count:click:7d", "rate:click/impression:7d",
        "count:impression:all", "count:click:all", "rate:click/impression:all",
        "mean:value of click", "count:events", "days:first", "days:last", "days:published",
    )  # fmt: skip
    assert "days:published" not in statistics.user_names
    item = statistics.recipes.item
    rate, mean = item.rates[0], item.means[0]
    a, b, m = rate.alpha, rate.beta, mean.strength
    expected = [
        np.log(5), np.log(2), (1 + a) / (4 + a + b),
        np.log(5), np.log(3), (2 + a) / (4 + a + b),
        (6 + 3 * m) / (2 + m), np.log(3), np.log(41), np.log1p(1 / DAY), np.log(4),
    ]  # fmt: skip
    assert mean.mean == 3
    found = statistics.items(one(0), one(NOW, np.int64))
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_trials_are_at_least_the_successes():
    data = dataset([(0, 0, "like", NOW - 1)])
    statistics = OfflineStatistics(data, windows=["all"])
    place = statistics.item_names.index("rate:like/click:all")
    like = next(r for r in statistics.recipes.item.rates if r.name == "like/click")
    found = statistics.items(one(0), one(NOW, np.int64))[0, place]
    assert found == pytest.approx((1 + like.alpha) / (1 + like.alpha + like.beta))


def test_unknown_rows_get_the_priors():
    rows = [(0, 0, "impression", NOW - 2 * DAY), (0, 0, "click", NOW - DAY, 2.0)]
    data = dataset([*rows, (1, 1, "click", NOW - DAY, 4.0)], SHOP[:2])
    statistics = OfflineStatistics(data, windows=["all"])
    rate = statistics.recipes.item.rates[0]
    expected = [
        0,
        0,
        rate.alpha / (rate.alpha + rate.beta),
        3,
        0,
        *statistics.recipes.item.ages[:2],
    ]
    for row in (-1, 99):
        found = statistics.items(one(row), one(NOW, np.int64))
        np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    # At the end of the data, item 0 is a day old and item 1 new.
    assert statistics.recipes.item.ages[0] == pytest.approx(np.log(2) / 2, rel=1e-6)


def test_recipes_fitted_earlier_are_kept():
    early = dataset([(0, 0, "click", NOW - DAY, 2.0), (0, 1, "click", NOW - DAY, 3.0)])
    late = dataset([(0, 0, "click", NOW - DAY, 9.0)])
    recipes = Recipes.fit(early, ["7d"])
    assert OfflineStatistics(late, recipes).recipes is recipes
    assert OnlineStatistics.of(late, recipes).item_names == recipes.item.names


def test_loaded_statistics_count_further_events(tmp_path):
    data = dataset([(0, 0, "click", NOW - DAY, 2.0), (2, 1, "like", NOW - HOUR)])
    online = OnlineStatistics.of(data, windows=["1h", "1d", "all"])
    online.save(tmp_path)
    again = OnlineStatistics.load(tmp_path)
    news = dataset([(0, 1, "cart", NOW), (0, 0, "click", NOW + 5, 7.0)]).events
    assert again.add(news) == online.add(news) == 2
    keys, time = np.arange(-1, 3, dtype=np.int32), np.full(4, NOW + MINUTE)
    np.testing.assert_array_equal(again.items(keys, time), online.items(keys, time))
    np.testing.assert_array_equal(again.users(keys, time), online.users(keys, time))
    again.save(tmp_path / "later")
    assert OnlineStatistics.load(tmp_path / "later").add(news) == 0
    unchanged = OnlineStatistics.load(tmp_path).items(keys, time)
    assert not np.array_equal(unchanged, online.items(keys, time))


def test_no_rows_and_no_events():
    statistics = OfflineStatistics(dataset([]), windows=["7d", "all"])
    assert statistics.users(np.zeros(0, np.int32), np.zeros(0, np.int64)).shape[0] == 0
    assert np.isfinite(statistics.items(one(0), one(NOW, np.int64))).all()
    empty = OnlineCounts.empty(0, 2, ["7d"])
    assert empty.read(one(0), one(NOW, np.int64)).first[0] == NEVER


@pytest.mark.parametrize("published", [None, [NOW - 9 * DAY, None, NOW]])
def test_columns_equal_those_of_the_counts(published):
    rows = [(u, i, "click", NOW - DAY * (u + i), 1.0 + i) for u in range(3) for i in range(3)]
    data = dataset(rows, published=published)
    recipe, events = Recipes.fit(data, ["7d", "all"]).item, data.events
    born = Recipes.fit(data, ["7d", "all"]).published
    offline = OfflineCounts(events.item, events, 3, 6, ["7d", "all"])
    online = OnlineCounts.empty(3, 6, ["7d", "all"])
    online.add(events.item, events)
    key = np.array([2, 0, -1, 1, 3, 0], np.int32)
    time = NOW + np.array([9, 1, 4, 2, 1, 30]) * DAY
    each = None if born is None else np.append(born, [NEVER, NEVER])[key]  # of 3 and of -1
    expected = recipe.columns(offline.read(key, time), time, each)
    for counts in (offline, online):
        out = np.empty((len(key), len(recipe.names)), np.float32)
        times = np.zeros(0, np.int64) if born is None else born
        counts.columns(recipe.arrays, key, time, times, out)
        np.testing.assert_array_equal(out, expected)


def test_reading_again_later_and_earlier_gives_what_a_first_reading_gives():
    rows = [(0, 0, "click", NOW - k * HOUR) for k in range(0, 900, 7)]
    data = dataset([*rows, (0, 1, "like", NOW - 3 * DAY)])
    offline = OfflineCounts(data.events.item, data.events, 3, 6, ["1h", "1d", "7d", "30d"])
    online = OnlineCounts.empty(3, 6, ["1h", "1d", "7d", "30d"])
    online.add(data.events.item, data.events)
    keys = np.arange(3, dtype=np.int32)
    for days in (1, 2, 1, 40, 5):
        time = np.full(3, NOW + days * DAY)
        np.testing.assert_array_equal(
            online.read(keys, time).windowed, offline.read(keys, time).windowed
        )
        np.testing.assert_array_equal(
            online.read(keys, time).windowed, offline.read(keys, time).windowed
        )
