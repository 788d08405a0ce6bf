"""Statistics by attributes of items and users: by hand, in a space, saved and loaded."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from tamis.data import Dataset, Events, Table
from tamis.features import FeatureSpace, Histories, OfflineStatistics, OnlineStatistics, Recipes
from tamis.features._groups import Groups
from tamis.features._pair_counts import PairCounts, pair_keys
from tamis.features.group_statistics import GroupPlan
from tamis.schema import (
    Behaviour,
    ConfigError,
    DenseFeat,
    ProjectConfig,
    SparseFeat,
    VarLenSparseFeat,
)

DAY = 86_400_000
START = 19_000 * DAY
BEHAVIOURS = (
    Behaviour(name="impression", impression=True),
    Behaviour(name="click", positive=True),
    Behaviour(name="follow"),
)
SHOW, CLICK, FOLLOW = range(3)
# user, item, behaviour, day
LOG = [
    (0, 0, SHOW, 0),
    (0, 0, CLICK, 0),
    (1, 1, SHOW, 1),
    (1, 2, SHOW, 2),
    (1, 2, CLICK, 2),
    (0, 1, FOLLOW, 3),
    (1, 1, FOLLOW, 9),
    (1, 0, FOLLOW, 9),
    (0, 3, SHOW, 9),
]
ITEMS = pl.DataFrame(
    {
        "maker": ["ann", "ann", "bob", None, "bob"],
        "kinds": ["x|y", "x", "y", None, "x|x"],
        "published": [START - 5 * DAY, None, START + 20 * DAY, START, None],
    }
)


def dataset(log=LOG, behaviours=BEHAVIOURS):
    user, item, behaviour, day = (np.array(c) for c in zip(*log, strict=True))
    time = START + day * DAY
    events = Events(
        user.astype(np.int32),
        item.astype(np.int32),
        behaviour.astype(np.uint8),
        time,
        time,
        np.full(len(log), np.nan, np.float32),
        np.full(len(log), -1, np.int64),
        np.zeros(len(log), np.int16),
    )
    users = pl.DataFrame({"gender": ["F", "M", None]})
    return Dataset(
        Table("users", pl.Series("id", ["u", "v", "w"]), users),
        Table("items", pl.Series("id", list("abcde")), ITEMS),
        events,
        behaviours,
    )


CONFIG = {
    "name": "test",
    "events": {"path": "e.csv"},
    "items": {"author": "maker", "category": "kinds", "category_separator": "|"},
    "behaviours": {b.name: b.model_dump() for b in BEHAVIOURS},
    "windows": ["7d", "all"],
    "cascade": {"channels": {"hot": {}}, "rank": {"use": "deepfm"}},
}
FEATURES = [SparseFeat("user_id"), SparseFeat("item_id")]


def config(**changes):
    return ProjectConfig.model_validate({**CONFIG, **changes})


def space_of(data, **changes):
    return FeatureSpace.fit(data, FEATURES, config=config(**changes))


def plans(data):
    kinds = data.items.frame["kinds"].str.split("|")
    makers = data.items.frame.select(pl.concat_list("maker"))["maker"]
    return [GroupPlan(Groups.of("maker", makers), True), GroupPlan(Groups.of("kinds", kinds))]


def test_groups_by_hand():
    groups = Groups.of("kinds", ITEMS["kinds"].str.split("|"))
    assert groups.size == 2
    assert len(groups) == 4  # x, x and y, y, none
    codes = [groups.code[groups.indptr[s] : groups.indptr[s + 1]].tolist() for s in groups.sets]
    assert codes == [[0, 1], [0], [1], [-1], [0], [-1]]
    assert groups.set_of(np.array([-1, 2, 77])).tolist() == [3, 2, 3]
    owner, code = groups.expand(groups.sets[:2])
    assert owner.tolist() == [0, 0, 1]
    assert code.tolist() == [0, 1, 0]


@pytest.mark.parametrize("values", [[], [None], [[]], [[None]]])
def test_groups_without_values(values):
    groups = Groups.of("kinds", pl.Series("kinds", values, dtype=pl.List(pl.String)))
    assert groups.size == 0
    assert groups.set_of(np.arange(-1, 3)).tolist() == [0] * 4


def columns(statistics, number, item, day):
    groups = statistics.recipes.groups[number]
    item = np.array(item, np.int32)
    sets = groups.groups.set_of(item)
    found = statistics.group(number, sets, np.full(len(item), START + day * DAY))
    return dict(zip(groups.names, found.T.tolist(), strict=True))


@pytest.fixture(params=["offline", "online"])
def statistics_at(request):
    """day → the statistics as of that day."""
    data = dataset()
    recipes = Recipes.fit(data, ("7d", "all"), plans(data))

    def at(day):
        if request.param == "offline":
            return OfflineStatistics(data, recipes)
        return OnlineStatistics.of(data.as_of(START + day * DAY), recipes)

    return at


def test_an_author_by_hand(statistics_at):
    found = columns(statistics_at(9), 0, [0, 1, 2, 3, -1], 9)
    logs = np.log1p([2, 2, 1, 0, 0])
    np.testing.assert_allclose(found["count:impression:all"], logs, rtol=1e-6)
    # Days 0 and 1 are not among the seven days that end with day 9; day 3 is.
    np.testing.assert_allclose(found["count:impression:7d"], [0, 0, 0, 0, 0])
    np.testing.assert_allclose(found["count:follow:7d"], np.log1p([1, 1, 0, 0, 0]), rtol=1e-6)
    rate = next(
        r for r in statistics_at(9).recipes.groups[0].recipe.rates if r.name == "click/impression"
    )
    a, b = rate.alpha, rate.beta
    expected = [(1 + a) / (2 + a + b)] * 2 + [(1 + a) / (1 + a + b)] + [a / (a + b)] * 2
    np.testing.assert_allclose(found["rate:click/impression:all"], expected, rtol=1e-6)
    # ann: a since before the log, b since its first event. bob: c by its event's time no more than
    # by its publishing time, which is later; e has no event.
    np.testing.assert_allclose(found["items"], np.log1p([2, 2, 0, 0, 0]), rtol=1e-6)
    # Equal times are not before: on day 9 only the follow of day 3 counts.
    np.testing.assert_allclose(found["fans"], np.log1p([1, 1, 0, 0, 0]), rtol=1e-6)


def test_live_columns_follow_events_and_the_time():
    data = dataset()
    recipes = Recipes.fit(data, ("1d", "7d", "all"), plans(data))
    online = OnlineStatistics.of(data.as_of(START), recipes)
    offline = OfflineStatistics(data, recipes)
    read: list[list[float]] = []
    arrival, before = data.events.arrival, START
    for day in (1, 2, 3, 3, 4, 9, 10, 12, 40):
        now = START + day * DAY
        online.add(data.events.take((arrival >= before) & (arrival < now)))
        before = now
        for item in ([0, 2], [2, 1, 0, 3]):
            for number in range(2):
                found = columns(online, number, item, day)
                assert found == columns(offline, number, item, day)
        read.append(found["count:impression:7d"])
    assert len({tuple(r) for r in read}) > 3


def test_an_author_later(statistics_at):
    found = columns(statistics_at(30), 0, [0, 2], 30)
    np.testing.assert_allclose(found["items"], np.log1p([2, 1]), rtol=1e-6)
    np.testing.assert_allclose(found["fans"], np.log1p([2, 0]), rtol=1e-6)  # u, and v once


def test_fans_without_a_follow_are_users_with_a_positive_event():
    behaviours = (*BEHAVIOURS[:2], Behaviour(name="save"))
    data = dataset(behaviours=behaviours)
    recipes = Recipes.fit(data, ("all",), plans(data))
    found = columns(OfflineStatistics(data, recipes), 0, [0, 2], 30)
    np.testing.assert_allclose(found["fans"], np.log1p([1, 1]), rtol=1e-6)


def test_several_categories_are_averaged(statistics_at):
    found = columns(statistics_at(30), 1, [0, 1, 2, 3, 4], 30)
    x, y = np.log1p(2), np.log1p(2)  # impressions on a, b and on a, c
    np.testing.assert_allclose(found["count:impression:all"], [(x + y) / 2, x, y, 0, x], rtol=1e-6)
    x, y = np.log1p(3), np.log1p(1)  # follows of a, b, b and of a
    np.testing.assert_allclose(found["count:follow:all"], [(x + y) / 2, x, y, 0, x], rtol=1e-6)
    assert "days:first" not in found


def test_columns_of_the_space(statistics_at):
    data = dataset()
    space = space_of(data, groups=["maker", "kinds"])
    moving = [c.name for c in space.layout.dense if c.moving]
    assert moving[-2:] == ["kinds rate:follow/click:all", "kinds count:events"]
    assert "maker fans" in moving
    assert [c.name for c in space.item_layout.dense if c.moving] == [
        n for n in moving if not n.startswith("user ")
    ]


def dense(rows):
    return rows.take(torch.arange(len(rows))).dense


def test_rows_hold_the_statistics_of_each_candidate():
    data = dataset()
    space = space_of(data, groups=["maker", "kinds"])
    statistics = OfflineStatistics(data, space.recipes)
    rng = np.random.default_rng(0)
    user, time = np.array([0, 1, -1], np.int32), START + np.array([4, 4, 12]) * DAY
    history = Histories.of(data).at(user, time)
    first = next(c.first for c in space.layout.dense if c.name.startswith("maker "))
    for n in (3, 400):  # fewer and more candidates than sets of values and times
        query, item = rng.integers(0, 3, n), rng.integers(-1, 6, n).astype(np.int32)
        rows = space.rows(user, time, history, query, item, {}, statistics)
        at = first
        for number, group in enumerate(space.recipes.groups):
            direct = statistics.group(number, group.groups.set_of(item), time[query])
            found = dense(rows)[:, at : at + direct.shape[1]].numpy()
            scale = space._fitted.group_scales[number]
            np.testing.assert_array_equal(found, scale(direct))
            at += direct.shape[1]
        pointers = [b.pointer is not None for b in rows.blocks]
        assert pointers == [True, True, n > 3, n > 3, n > 3, False]
    towers = space.item_rows(np.array([0, -1], np.int32), statistics, int(time[0]))
    item = np.array([0, -1], np.int32)
    rows = space.rows(user[:1], time[:1], history.part(0, 1), item * 0, item, {}, statistics)
    width = space.item_layout.dense_width
    user_width = space.user_layout.dense_width
    np.testing.assert_array_equal(dense(towers), dense(rows)[:, user_width : user_width + width])


@pytest.mark.parametrize("n", [1, 3, 400])
def test_lazy_rows_equal_the_others_to_the_last_bit(n):
    """Whatever is gathered before or after rows are selected."""
    data = dataset()
    space = space_of(data, groups=["maker", "kinds", "user:gender", "own:kinds"])
    statistics = OfflineStatistics(data, space.recipes)
    rng = np.random.default_rng(n)
    user, time = np.array([0, 1, -1], np.int32), START + np.array([4, 4, 12]) * DAY
    query, item = rng.integers(0, 3, n), rng.integers(-1, 6, n).astype(np.int32)
    columns = {"rank:hot": rng.integers(0, 9, n).astype(np.int32)}
    asked = (user, time, Histories.of(data).at(user, time), query, item, columns, statistics)
    eager = space.rows(*asked)
    index = rng.permutation(n)[: (n + 1) // 2]
    wanted = eager.select(index).take(torch.arange(len(index)))
    for names in ([], ["maker clicks:all"], [c.name for c in space.layout.dense]):
        lazy = space.rows(*asked, lazy=True).gather(names)
        assert lazy.widths == eager.widths
        assert lazy.gathered == (len(names) > 1)
        chosen = lazy.select(index)
        assert chosen.gathered == lazy.gathered
        found = chosen.take(torch.arange(len(index)))
        assert torch.equal(found.ids, wanted.ids)
        assert torch.equal(found.dense.view(torch.int32), wanted.dense.view(torch.int32))
        assert chosen.gathered


def test_saving_keeps_the_live_groups(tmp_path):
    data = dataset()
    cut = START + 2 * DAY
    space = space_of(data, groups=["maker", "kinds", "user:gender", "own:kinds"])
    online = OnlineStatistics.of(data.as_of(cut), space.recipes)
    online.save(tmp_path / "state")
    space.save(tmp_path / "space")
    again = OnlineStatistics.load(tmp_path / "state")
    loaded = FeatureSpace.load(tmp_path / "space")
    assert loaded.layout == space.layout
    fresh = data.events.take(data.events.arrival >= cut)
    for part in (slice(0, 2), slice(2, None)):
        assert again.add(fresh.take(part)) == online.add(fresh.take(part))
    again.save(tmp_path / "later")
    later = OnlineStatistics.load(tmp_path / "later")
    offline = OfflineStatistics(data, space.recipes)
    item = np.arange(-1, 5, dtype=np.int32)
    time = np.full(len(item), START + 12 * DAY)
    for number, group in enumerate(loaded.recipes.groups):
        sets = group.groups.set_of(item)
        expected = offline.group(number, sets, time)
        for other in (online, again, later):
            np.testing.assert_array_equal(other.group(number, sets, time), expected)
    user, query = np.arange(-1, 3, dtype=np.int32), np.repeat(np.arange(4), len(item))
    for number in range(len(loaded.recipes.pairs)):
        arguments = number, user, time[:4], query, np.tile(item, 4)
        for other in (online, again, later):
            np.testing.assert_array_equal(other.pair(*arguments), offline.pair(*arguments))


def names(space):
    return {c.name.partition(" ")[0] for c in space.layout.dense if c.moving}


def test_auto_takes_author_and_category_with_two_items_per_value():
    data = dataset()
    assert names(space_of(data, groups="auto")) == {"user", "item", "maker", "kinds"}
    assert names(space_of(data)) == {"user", "item"}
    # Releases before statistics by attributes refuse them when they open a version.
    assert (space_of(data, groups="auto").format, space_of(data).format) == (2, 1)
    alone = dict(CONFIG["items"], author="published")  # three items with three values
    assert names(space_of(data, items=alone, groups="auto")) == {"user", "item", "kinds"}
    assert names(space_of(data, items={}, groups="auto")) == {"user", "item"}
    assert names(FeatureSpace.fit(data, FEATURES, windows=["all"])) == {"user", "item"}


def test_a_feature_gives_the_separator():
    feature = VarLenSparseFeat("kinds", separator="|")
    features = [*FEATURES, feature]
    space = FeatureSpace.fit(dataset(), features, windows=["all"], groups=["kinds"])
    assert space.recipes.groups[0].groups.size == 2


def pair_names(space):
    found = (c.name.partition(" ")[0] for c in space.layout.dense)
    return list(dict.fromkeys(name for name in found if ":" in name and name != "found:hot"))


def test_auto_takes_attributes_of_users_with_few_values():
    data = dataset()
    assert "own:kinds" in pair_names(space_of(data, groups="auto"))
    assert "user:gender" not in pair_names(space_of(data, groups="auto"))  # no feature
    space = FeatureSpace.fit(data, [*FEATURES, SparseFeat("gender")], config=config(groups="auto"))
    assert [p.name for p in space.recipes.pairs] == ["user:gender", "own:kinds"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("makr", "the tables have no column for 'makr'. Did you mean `maker`"),
        ("user:gendr", "Did you mean `user:gender`"),
        ("own:kind", "Did you mean `own:kinds`"),
        ("user:tags", "'user:tags' has several values per user"),
        ("user:zip", "'user:zip' has 40 values, at most 32"),
    ],
)
def test_names_that_do_not_fit_are_refused(name, message):
    data = dataset()
    users = pl.DataFrame(
        {
            "gender": ["F", "M", *[None] * 38],
            "tags": [["a"]] * 40,
            "zip": [f"z{k}" for k in range(40)],
        }
    )
    many = Table("users", pl.Series("id", [f"u{k}" for k in range(40)]), users)
    with pytest.raises(ConfigError, match=message):
        space_of(replace(data, users=many), groups=[name])


def test_numbers_of_users_are_divided_into_bands():
    users = pl.DataFrame({"age": [*range(99), None], "size": [float("nan"), *[1.0, 2.0] * 49, 3.0]})
    data = replace(dataset(), users=Table("users", pl.Series("id", [*map(str, range(100))]), users))
    space = space_of(data, groups=["user:age", "user:size"])
    ages, sizes = (p.groups for p in space.recipes.pairs)
    assert ages.size == 5
    assert np.bincount(ages.expand(ages.sets[:99])[1]).tolist() == [20, 20, 19, 20, 20]
    assert ages.expand(ages.sets[99:])[1].tolist() == [-1, -1]
    assert sizes.size == 3  # few values are counted as they are
    cut = DenseFeat("age", transform="bucket", boundaries=(18.0, 50.0))
    space = FeatureSpace.fit(data, [*FEATURES, cut], windows=["all"], groups=["user:age"])
    (ages,) = (p.groups for p in space.recipes.pairs)
    assert np.bincount(ages.expand(ages.sets[:99])[1]).tolist() == [18, 32, 49]


@pytest.mark.parametrize("live", [False, True])
def test_statistics_of_pairs_by_hand(live):
    data, day = dataset(), 9
    space = space_of(data, groups=["user:gender", "own:kinds"])
    recipes, now = space.recipes, START + day * DAY
    statistics = (
        OnlineStatistics.of(data.as_of(now), recipes) if live else OfflineStatistics(data, recipes)
    )
    user, time = np.array([0, 1, 2, -1], np.int32), np.full(4, now)
    query, item = np.repeat(np.arange(4), 4), np.tile(np.array([0, 1, 3, -1], np.int32), 4)

    def columns_of_pair(number):
        found = statistics.pair(number, user, time, query, item).T.reshape(-1, 4, 4)
        return dict(zip(recipes.pairs[number].names, found, strict=True))

    gender = columns_of_pair(0)
    # u (F) saw and clicked a and followed b; v (M) saw b; the follows of day 9 do not count.
    np.testing.assert_allclose(
        gender["count:follow:all"], [[0, np.log(2), 0, 0], [0] * 4, [0] * 4, [0] * 4], rtol=1e-6
    )
    expected = np.zeros((4, 4))
    expected[0, 0] = expected[1, 1] = np.log(2)
    np.testing.assert_allclose(gender["count:impression:all"], expected, rtol=1e-6)
    rate = recipes.pairs[0].recipe.rates[0]
    assert rate.name == "click/impression"
    a, b = rate.alpha, rate.beta
    expected = np.full((4, 4), a / (a + b))
    expected[0, 0], expected[1, 1] = (1 + a) / (1 + a + b), a / (1 + a + b)
    np.testing.assert_allclose(gender["rate:click/impression:all"], expected, rtol=1e-6)
    kinds = columns_of_pair(1)
    # u: a is x and y, b is x. v: b is x, c is y. The kinds of a are averaged; d has none.
    shown = np.zeros((4, 4))
    shown[0] = [np.log(2), np.log(2), 0, 0]
    shown[1] = [np.log(2), np.log(2), 0, 0]
    np.testing.assert_allclose(kinds["count:impression:all"], shown, rtol=1e-6)
    followed = np.zeros((4, 4))
    followed[0] = [np.log(2) / 2, np.log(2), 0, 0]
    np.testing.assert_allclose(kinds["count:follow:all"], followed, rtol=1e-6)


def test_rows_hold_the_statistics_of_pairs():
    data = dataset()
    features = [*FEATURES, SparseFeat("gender")]
    space = FeatureSpace.fit(data, features, config=config(groups="auto"))
    statistics = OfflineStatistics(data, space.recipes)
    rng = np.random.default_rng(0)
    user, time = np.array([0, 1, -1], np.int32), START + np.array([4, 4, 12]) * DAY
    history = Histories.of(data).at(user, time)
    names = [c.name for c in space.layout.dense]
    at = names.index("user:gender count:impression:7d")
    for n in (3, 400):
        query, item = rng.integers(0, 3, n), rng.integers(-1, 6, n).astype(np.int32)
        rows = space.rows(user, time, history, query, item, {}, statistics)
        first = space.layout.dense[at].first
        for number, pair in enumerate(space.recipes.pairs):
            direct = statistics.pair(number, user, time, query, item)
            assert direct.shape == (n, len(pair.names))
            found = dense(rows)[:, first : first + direct.shape[1]].numpy()
            np.testing.assert_array_equal(found, space._fitted.pair_scales[number](direct))
            each = [
                statistics.pair(number, user[q : q + 1], time[q : q + 1], np.zeros(1, int), i)
                for q, i in zip(query, item[:, None], strict=True)
            ]
            np.testing.assert_array_equal(direct, np.concatenate(each))
            first += direct.shape[1]
        assert first == space.layout.dense_width


def test_pairs_by_hand(tmp_path):
    first, second = np.array([3, 3, -1, 5, 3]), np.array([1, 1, 1, 0, 2])
    keys = pair_keys(first, second)
    assert keys.tolist() == [(3 << 32) + 1, (3 << 32) + 1, -1, 5 << 32, (3 << 32) + 2]
    column = np.array([0, 1, 0, 1, 1])
    pairs = PairCounts.of(keys[:3], column[:3], 2)
    assert pairs.add(keys[[0, 3, 3, 4]], column[[0, 3, 3, 4]]).tolist() == [
        False,
        True,
        False,
        True,
    ]
    expected = [[2, 1], [0, 2], [0, 1], [0, 0]]
    asked = np.array([keys[0], keys[3], keys[4], -1])
    assert pairs.read(asked).tolist() == expected
    pairs.save(tmp_path)
    again = PairCounts.load(tmp_path, 2)
    assert again.read(asked).tolist() == expected
    assert again.add(keys[4:], column[4:]).tolist() == [False]


def test_pairs_against_a_dictionary():
    rng = np.random.default_rng(0)
    pairs, counts = PairCounts.empty(3), {}
    for _ in range(30):
        first, second = rng.integers(0, 40, 200), rng.integers(0, 40, 200)
        column = rng.integers(0, 3, 200)
        new = pairs.add(pair_keys(first, second), column)
        for k, triple in enumerate(zip(first, second, column, strict=True)):
            known = triple[:2] in {t[:2] for t in counts}
            assert new[k] == (not known)
            counts[triple] = counts.get(triple, 0) + 1
    first, second = np.divmod(np.arange(41 * 40), 40)
    found = pairs.read(pair_keys(first, second))
    expected = [
        [counts.get((a, b, c), 0) for c in range(3)] for a, b in zip(first, second, strict=True)
    ]
    assert found.tolist() == expected
