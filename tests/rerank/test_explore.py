"""The re-rank rule `explore`: who is new, guaranteed impressions, the bandit, the budget."""

from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.cascade import Candidates, FitContext, Queries, arrange
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import History
from tamis.rerank import AtMost, Explore, Pins, Sample
from tamis.rerank._item_counts import earlier_of_same
from tamis.rerank._posterior import best_of, upper_bound
from tamis.schema import Behaviour, ConfigError, TableConfig
from tamis.simulator import LifeConfig, LivingWorld, SimulationConfig

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 100 * DAY + HOUR
CONTEXT = FitContext(items=TableConfig(published="published"))
BEHAVIOURS = (Behaviour(name="view", impression=True), Behaviour(name="click", positive=True))
VIEW, CLICK = 0, 1


def events(items, behaviour=VIEW, time=NOW - 1, position=0) -> Events:
    size = len(items)
    return Events(
        user=np.zeros(size, np.int32),
        item=np.array(items, np.int32),
        behaviour=np.full(size, behaviour, np.uint8),
        time=np.broadcast_to(np.asarray(time, np.int64), size).copy(),
        arrival=np.broadcast_to(np.asarray(time, np.int64), size).copy(),
        value=np.full(size, np.nan, np.float32),
        request=np.full(size, -1, np.int64),
        position=np.broadcast_to(np.asarray(position, np.int16), size).copy(),
    )


def together(*parts: Events) -> Events:
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in vars(parts[0])
        if name not in ("context", "weights")
    }
    return Events(**columns)


def shop(ages, log: Events | None = None, **columns) -> Dataset:
    """Items of these ages in hours at NOW."""
    published = [NOW - int(age * HOUR) for age in ages]
    frame = pl.DataFrame({"published": published, **columns})
    items = Table("items", pl.Series([f"i{k}" for k in range(len(ages))]), frame)
    users = Table("users", pl.Series(["u0"]), pl.DataFrame())
    return Dataset(users, items, events([0]) if log is None else log, BEHAVIOURS)


def lists(size: int, items: int, seed: int = 0) -> tuple[Queries, Candidates]:
    """The items in their order, best first, for `size` requests."""
    item = Ragged.of([np.arange(items, dtype=np.int32)] * size)
    value = np.tile(np.linspace(1, 0.1, items).astype(np.float32), size)
    queries = Queries(
        np.zeros(size, np.int32),
        np.full(size, NOW),
        History.empty(size),
        Ragged.empty(size),
        seed=np.arange(seed, seed + size, dtype=np.int64) * 7919,
    )
    return queries, Candidates(item.indptr, item.values, {"value": value})


def weights(rule: Explore, items: int, n: int) -> list[float]:
    """What each item is drawn by."""
    found = rule.state(*lists(1, items), n).exploring
    assert found is not None
    return found.weight.tolist()


OLD = 1000


def test_an_item_is_new_while_it_is_young_and_was_shown_little() -> None:
    """Item 2 has 3 impressions, item 3 is 25 hours old, item 4 is published in an hour."""
    data = shop([OLD, 1, 2, 25, -1, 3], events([2, 2, 2]))
    rule = Explore(impressions=3, places=(2,), guarantee=1, budget=1).fit(data, CONTEXT)
    assert np.flatnonzero(weights(rule, 6, 4)).tolist() == [1, 5]
    assert rule.inserted(lists(2, 6)[0])[1].tolist() == [1, 5]
    by_count = Explore(hours=0, impressions=3, places=(2,), guarantee=1).fit(data, CONTEXT)
    assert np.flatnonzero(weights(by_count, 6, 4)).tolist() == [0, 1, 3, 4, 5]
    rule.count_events(events([1, 1, 5]))
    assert np.flatnonzero(weights(rule, 6, 4)).tolist() == [1, 5]
    rule.count_events(events([1]))
    assert np.flatnonzero(weights(rule, 6, 4)).tolist() == [5]


def test_guaranteed_impressions_come_first_by_what_is_lacking_per_hour() -> None:
    """Of 10 in 6 hours: item 1 lacks 10 in 5 hours, 2 lacks 4 in 2, 3 none, 4 lacks 10 too late."""
    data = shop([OLD, 1, 4, 2, 20], events([0] * 9 + [2] * 6 + [3] * 10))
    rule = Explore(places=(2,), guarantee=10, within_hours=6, budget=1).fit(data, CONTEXT)
    assert weights(rule, 5, 4) == pytest.approx([0, 2, 2, 1e-9, 10], rel=1e-6)
    rule.count_events(events([1] * 10 + [2] * 4 + [4] * 10))
    rated = weights(rule, 5, 4)
    assert rated[0] == 0
    assert sum(rated) == pytest.approx(1e-9)


def test_items_that_lack_none_are_explored_where_the_others_may_not_be() -> None:
    """Item 0 lacks impressions and is at place 1 already; items 2 and 3 lack none."""
    data = shop([1, OLD, 1, 1], events([2] * 5 + [3] * 5))
    rule = Explore(places=(2,), guarantee=5, budget=1).fit(data, CONTEXT)
    placed = rule.arrange(*lists(1, 4), 4)[0].tolist()
    assert placed[0] == 0
    assert placed[1] in (2, 3)


def test_excluded_items_take_no_place_of_those_that_are_inserted() -> None:
    rule = Explore(places=(2,), guarantee=5, insert=2).fit(shop([1] * 5, events([0])), CONTEXT)
    queries = lists(2, 5)[0]
    hidden = replace(
        queries, exclude=Ragged.of([np.array([1, 2], np.int32), np.zeros(0, np.int32)])
    )
    found = rule.inserted(hidden)
    assert found[0].tolist() == [3, 4]
    assert len(found[1]) == 2


def test_the_items_that_are_inserted_lack_impressions_or_have_a_high_rate() -> None:
    clicks = together(events([0, 1, 2, 3] * 30), events([2] * 9, CLICK))
    data = shop([1] * 6, clicks)
    rule = Explore(places=(2,), guarantee=5, insert=3).fit(data, CONTEXT)
    assert rule.inserted(lists(1, 6)[0])[0].tolist() == [2, 4, 5]


def test_the_probability_of_being_best_is_that_of_thompson_sampling() -> None:
    alpha, beta = np.array([2.0, 6.0, 1.0, 3.0]), np.array([30.0, 60.0, 40.0, 50.0])
    group = np.array([0, 0, 0, 1])
    found = best_of(alpha, beta, group, 2)
    draws = np.random.default_rng(0).beta(alpha[:3], beta[:3], (200_000, 3)).argmax(1)
    assert found[:3] == pytest.approx(np.bincount(draws) / 200_000, abs=0.01)
    assert found[:3].sum() == pytest.approx(1)
    assert found[3] == 1
    sure = best_of(np.array([900.0, 1.0]), np.array([100.0, 1e5]), np.zeros(2, np.int64), 1)
    assert sure == pytest.approx([1, 0], abs=1e-9)
    assert best_of(alpha[:0], beta[:0], group[:0], 3).tolist() == []


def test_the_upper_bound_is_a_quantile_of_the_posterior() -> None:
    bound = upper_bound(np.array([1.0, 10.0]), np.array([1.0, 90.0]), np.array([4.0, 99.0]))
    assert bound[0] == pytest.approx(0.8)  # of the uniform distribution
    draws = np.random.default_rng(0).beta(10, 90, 200_000)
    assert bound[1] == pytest.approx(np.quantile(draws, 0.99), abs=2e-3)


def test_ucb_takes_the_highest_bound_and_ties_go_by_value() -> None:
    clicks = together(events([1] * 40), events([1] * 20, CLICK), events([2] * 40))
    data = shop([OLD, 1, 2, 3], clicks)
    rule = Explore(places=(1,), budget=1, guarantee=0, method="ucb").fit(data, CONTEXT)
    order, _ = rule.arrange(*lists(1, 4), 4)
    assert order[0] == 1
    same = Explore(places=(1,), budget=1, method="ucb").fit(shop([OLD, 1, 1]), CONTEXT)
    assert same.arrange(*lists(1, 3), 3)[0].tolist() == [1, 0, 2]


@pytest.mark.parametrize("drawn", [False, True])
def test_propensities_sum_to_one_and_match_frequencies(drawn) -> None:
    """Two places explore; no two of a category in a row; a pin: each slate's probability is the
    product of its propensities, and all slates' probabilities sum to 1."""
    size = 3_000
    data = shop([OLD, OLD, OLD, 1, 2, 3], category=list("ababab"))
    rules = {
        "explore": Explore(places=(2, 4), budget=0.2, guarantee=3).fit(data, CONTEXT),
        "few": AtMost(limit=1, window=2).fit(data),
        "pins": Pins(items=["i2"], places=[1]).fit(data),
    }
    if drawn:
        rules = {"sample": Sample(temperature=0.5).fit(data), **rules}
    slates = arrange(rules, *lists(size, 6), 5)
    item = slates.candidates.item.reshape(size, 5)
    propensity = slates.candidates.columns["propensity"].reshape(size, 5)
    assert not any(slates.broken(q) for q in range(size))
    odds = {tuple(row): p.prod() for row, p in zip(item.tolist(), propensity, strict=True)}
    assert sum(odds.values()) == pytest.approx(1, abs=1e-6)
    for slate, count in Counter(map(tuple, item.tolist())).items():
        sigma = np.sqrt(odds[slate] * (1 - odds[slate]) / size)
        assert abs(count / size - odds[slate]) < 4.5 * sigma + 1e-9
    assert all(len(set(row)) == 5 for row in item.tolist())
    assert (item[:, 0] == 2).all()
    assert (item[:, :-1] % 2 != item[:, 1:] % 2).all()


def test_the_expected_share_is_the_budget() -> None:
    size = 4_000
    rule = Explore(places=(3, 9, 10, 50), budget=0.1).fit(shop([OLD] * 12 + [1] * 20), CONTEXT)
    slates = arrange({"explore": rule}, *lists(size, 32), 10).candidates
    explored = slates.columns["rerank:explore"].reshape(size, 10)
    share = 1 / 3  # of each of the three places in a slate of ten: 0.1 · 10 / 3
    for place in (3, 9, 10):
        assert abs(explored[:, place - 1].mean() - share) < 4.5 * np.sqrt(share / size)
    assert explored.sum() == explored[:, [2, 8, 9]].sum()
    short = rule.state(*lists(1, 32), 2).exploring
    assert short is not None
    assert not short.chance.any()


def test_the_same_request_explores_the_same() -> None:
    rule = Explore(places=(1, 2), budget=0.5).fit(shop([OLD] * 5 + [1] * 20), CONTEXT)
    queries, given_lists = lists(40, 25)
    first = rule.arrange(queries, given_lists, 10)[0]
    assert first.tolist() == rule.arrange(queries, given_lists, 10)[0].tolist()
    other = replace(queries, seed=queries.seed + 1)
    assert first.tolist() != rule.arrange(other, given_lists, 10)[0].tolist()


def test_a_day_over_its_budget_explores_no_more() -> None:
    """Of 106 impressions more than 5.3 + 4 · √5.3 = 14.5 were explored."""
    rule = Explore(places=(9, 10)).fit(shop([OLD] * 12 + [1] * 5), CONTEXT)
    rule.count_events(events([0] * 85, position=1))
    rule.count_events(events([13] * 13, position=9))
    assert rule.state(*lists(1, 17), 10).exploring.chance.any()
    rule.count_events(events([13] * 5, position=3))  # not at a place that explores
    assert rule.state(*lists(1, 17), 10).exploring.chance.any()
    rule.count_events(events([13, 13]))  # at unknown places
    assert not rule.state(*lists(1, 17), 10).exploring.chance.any()
    queries, candidates = lists(1, 17)
    tomorrow = replace(queries, time=queries.time + DAY)
    assert rule.state(tomorrow, candidates, 10).exploring.chance.any()
    rule.count_events(events([0], time=NOW + DAY))
    assert rule.state(tomorrow, candidates, 10).exploring.chance.any()
    assert rule.state(queries, candidates, 10).exploring.chance.any()  # of a day that is over


@given(st.lists(st.integers(0, 5), max_size=40))
def test_earlier_entries_of_the_same_item(items) -> None:
    found = earlier_of_same(np.array(items, np.int32))
    assert found.tolist() == [items[:k].count(item) for k, item in enumerate(items)]


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(0, 50)), max_size=30),
    st.integers(1, 7),
)
def test_counts_are_those_of_the_log_whatever_the_pages(tmp_path_factory, rows, page) -> None:
    """Events counted in pages, saved, appended and restored: the state of one page of all."""
    items = [item for item, _, _ in rows]
    later = events(items, time=[NOW + hour * HOUR for _, _, hour in rows], position=9)
    later = replace(later, behaviour=np.array([b for _, b, _ in rows], np.uint8))
    data = shop([OLD, 1, 1, 1, 1])
    whole = Explore(impressions=3).fit(data, CONTEXT)
    folder = tmp_path_factory.mktemp("rule")
    whole.save(folder)
    paged, restored = (Explore.load(folder, whole.config) for _ in range(2))
    whole.count_events(later)
    for start in range(0, len(later), page):
        paged.count_events(later.take(slice(start, start + page)))
    restored.restore(paged.appended())
    for rule in (paged, restored):
        for name, values in whole.appended().items():
            assert rule.appended()[name].tolist() == values.tolist()
    rows_of_all = np.arange(6, dtype=np.int32)
    shown = Counter(item for item, behaviour, _ in rows if behaviour == VIEW)
    assert whole._known().shown(rows_of_all).tolist() == [shown[k] + (k == 0) for k in range(6)]


def test_what_cannot_work_is_refused() -> None:
    data = shop([1, 2])
    unseen = replace(data, behaviours=(Behaviour(name="view"), BEHAVIOURS[1]))
    with pytest.raises(ConfigError, match="no behaviour is an impression"):
        Explore().fit(unseen, CONTEXT)
    with pytest.raises(ConfigError, match=r"'clik' is not declared.*Did you mean `click`"):
        Explore(behaviour="clik").fit(data, CONTEXT)
    nobody = replace(data, behaviours=(BEHAVIOURS[0], Behaviour(name="click")))
    with pytest.raises(ConfigError, match="no behaviour is positive"):
        Explore().fit(nobody, CONTEXT)
    with pytest.raises(ConfigError, match="name each place once"):
        Explore(places=(2, 2))


def test_a_guarantee_beyond_the_budget_is_reported(caplog) -> None:
    Explore(guarantee=30).fit(shop([1] * 4, events([0] * 100)), CONTEXT)
    assert "the 4 items of the last day need 120 guaranteed impressions" in caplog.text


def test_a_day_of_a_living_world_keeps_its_budget() -> None:
    """700 requests of a day: the share of explored places is the budget within four standard
    deviations, never beyond its bound, and every new item gets its guaranteed impressions."""
    config = SimulationConfig(users=60, items=80, days=2, seed=3)
    world = LivingWorld(config, LifeConfig(births=0.1, deaths=0, signups=0, departures=0, drift=0))
    day = world.time // DAY * DAY + DAY
    born = world.live(day)
    table = pl.concat([world._item_table[: world.items]])
    items = Table("items", table["item_id"], table.select("published"))
    users = Table("users", pl.Series([f"u{u}" for u in range(60)]), pl.DataFrame())
    data = Dataset(users, items, events([0], time=day - DAY), BEHAVIOURS)
    rule = Explore(budget=0.06, guarantee=15, within_hours=12).fit(data, CONTEXT)
    new = world.item_rows(born.items["item_id"].to_list())
    assert len(new) >= 8
    draw, explored, shown = np.random.default_rng(1), 0, 0
    for k, user in enumerate(world.visitors(700).tolist()):
        time = day + k * (DAY // 700) + 1
        queries, _ = lists(1, 1, seed=k)
        queries = replace(queries, time=np.array([time]))
        recalled = draw.choice(80, 30, replace=False).astype(np.int32)
        item = np.concatenate([recalled, rule.inserted(queries)[0]])
        value = np.sort(draw.random(len(item)))[::-1].astype(np.float32)
        candidates = Candidates(np.array([0, len(item)]), item, {"value": value})
        order, note = rule.arrange(queries, candidates, 10)
        slate = item[order[:10]]
        explored, shown = explored + int(note[order[:10]].sum()), shown + 10
        assert explored <= 0.06 * shown + 4 * np.sqrt(0.06 * shown) + 2
        place = np.arange(1, 11)
        _, outcomes = world.show(np.full(10, user), slate.astype(np.int64), place, time)
        rule.count_events(events(slate, time=time, position=place))
        rule.count_events(events(slate[outcomes.click], CLICK, time=time))
    expected = 0.06 * shown
    assert abs(explored - expected) < 4 * np.sqrt(expected)
    assert rule._known().shown(new.astype(np.int32)).min() >= 15
