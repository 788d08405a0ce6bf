"""Statistics of the items' authors and categories: by hand, in a space, saved and loaded."""

import numpy as np
import polars as pl
import pytest
import torch

from tamis.data import Dataset, Events, Table
from tamis.features import FeatureSpace, Histories, OfflineStatistics, OnlineStatistics, Recipes
from tamis.features._groups import Groups
from tamis.features._pair_counts import PairCounts, pair_keys
from tamis.features.group_statistics import GroupPlan
from tamis.schema import Behaviour, ConfigError, ProjectConfig, SparseFeat, VarLenSparseFeat

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


def test_saving_keeps_the_live_groups(tmp_path):
    data = dataset()
    cut = START + 2 * DAY
    space = space_of(data, groups=["maker", "kinds"])
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


def names(space):
    return {c.name.partition(" ")[0] for c in space.layout.dense if c.moving}


def test_auto_takes_author_and_category_with_two_items_per_value():
    data = dataset()
    assert names(space_of(data)) == {"user", "item", "maker", "kinds"}
    assert names(space_of(data, groups=[])) == {"user", "item"}
    alone = dict(CONFIG["items"], author="published")  # three items with three values
    assert names(space_of(data, items=alone)) == {"user", "item", "kinds"}
    assert names(space_of(data, items={})) == {"user", "item"}
    assert names(FeatureSpace.fit(data, FEATURES, windows=["all"])) == {"user", "item"}


def test_a_feature_gives_the_separator():
    feature = VarLenSparseFeat("kinds", separator="|")
    features = [*FEATURES, feature]
    space = FeatureSpace.fit(dataset(), features, windows=["all"], groups=["kinds"])
    assert space.recipes.groups[0].groups.size == 2


def test_an_unknown_column_is_refused():
    with pytest.raises(ConfigError, match=r"groups: the items have no column 'makr'; did you mean"):
        space_of(dataset(), groups=["makr"])


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
