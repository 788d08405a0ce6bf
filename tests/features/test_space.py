"""The project's features: sides, histories, statistics and the pair, by hand on a tiny project."""

import numpy as np
import polars as pl
import pytest
import torch

from tamis.data import Dataset, Events, Table
from tamis.features import (
    FeatureSpace,
    Histories,
    History,
    OfflineStatistics,
    OnlineStatistics,
    Vocabulary,
)
from tamis.schema import Behaviour, ConfigError, DenseFeat, Side, SparseFeat, VarLenSparseFeat

DAY = 86_400_000
START = 19_000 * DAY  # a Saturday
BEHAVIOURS = (Behaviour(name="dislike"), Behaviour(name="like", positive=True))
# user, item, behaviour, day
LOG = [(0, 0, 1, 0), (0, 1, 1, 1), (0, 2, 0, 2), (1, 1, 1, 3), (0, 3, 1, 4), (1, 3, 0, 5)]
FEATURES = [
    SparseFeat("user_id"),
    SparseFeat("gender"),
    DenseFeat("age", transform="none"),
    SparseFeat("weekday"),
    SparseFeat("item_id"),
    VarLenSparseFeat("genres", separator="|", max_len=2),
    DenseFeat("year"),
    VarLenSparseFeat("liked", history=("like",), shares="item_id", max_len=2),
    VarLenSparseFeat("liked_genres", history=("like",), shares="genres", max_len=4),
]


@pytest.fixture(scope="module")
def data():
    users = pl.DataFrame({"gender": ["F", "M", None], "age": [20.0, 40.0, None]})
    items = pl.DataFrame(
        {"genres": ["x|y", "x", "y", "z", None], "year": [1990, 2000, 1990, None, 2000]}
    )
    time = np.array([START + e[3] * DAY for e in LOG], np.int64)
    events = Events(
        np.array([e[0] for e in LOG], np.int32),
        np.array([e[1] for e in LOG], np.int32),
        np.array([e[2] for e in LOG], np.uint8),
        time,
        time,
        np.full(len(LOG), np.nan, np.float32),
        np.full(len(LOG), -1, np.int64),
        np.zeros(len(LOG), np.int16),
    )
    return Dataset(
        Table("users", pl.Series("id", ["ann", "bob", "cid"]), users),
        Table("items", pl.Series("id", list("abcde")), items),
        events,
        BEHAVIOURS,
    )


@pytest.fixture(scope="module")
def space(data):
    return FeatureSpace.fit(data, FEATURES, columns=["rank:cf", "score:cf", "prerank"])


COLUMNS = {
    "rank:cf": np.array([1, 0, 3, 2], np.int32),
    "score:cf": np.array([3.0, np.nan, 1.0, 2.0], np.float32),
}


def ids(rows, name):
    """The codes of one feature: fused rows less its table's start."""
    column = next(c for c in rows.layout.ids if c.name == name)
    found = rows.take(torch.arange(len(rows))).ids[:, column.first : column.first + column.width]
    return (found - rows.layout.table[column.table].start).tolist()


def dense(rows, name):
    column = next(c for c in rows.layout.dense if c.name == name)
    found = rows.take(torch.arange(len(rows))).dense[:, column.first : column.first + column.width]
    return found.squeeze(1).tolist() if column.width == 1 else found.tolist()


def candidate_rows(space, data, users, time, query, item, columns=None, statistics=None):
    users, time = np.array(users, np.int32), np.array(time, np.int64)
    history = Histories.of(data).at(users, time)
    pointer, item = np.array(query), np.array(item, np.int32)
    return space.rows(users, time, history, pointer, item, columns, statistics)


def test_sides_come_from_the_tables(space):
    sides = {c.name: c.side for c in (*space.layout.ids, *space.layout.dense)}
    assert sides["gender"] is sides["liked"] is sides["age"] is Side.USER
    assert sides["weekday"] is Side.CONTEXT
    assert sides["genres"] is sides["year"] is Side.ITEM
    assert sides["share:genres"] is Side.CROSS


def test_user_side_by_hand(space, data):
    users, time = np.array([0, 2, -1], np.int32), START + np.array([5, 6, 0]) * DAY
    rows = space.user_rows(users, time, Histories.of(data).at(users, time))
    # ann has four events, bob two; cid none: unseen, as is a user beyond the table.
    assert ids(rows, "user_id") == [[2], [1], [1]]
    assert ids(rows, "gender") == [[2], [0], [0]]
    assert dense(rows, "age") == [[20, 0], [30, 1], [30, 1]]
    assert ids(rows, "weekday") == [[2 + 3], [2 + 4], [2 + 5]]
    # items by events: b and d have two, a and c one.
    assert ids(rows, "liked") == [[2, 3], [0, 0], [0, 0]]
    # a: x y, b: x, d: z; x is the commonest with y, then z.
    assert ids(rows, "liked_genres") == [[2, 3, 2, 4], [0] * 4, [0] * 4]
    assert rows.layout is space.user_layout


def test_item_side_by_hand(space):
    rows = space.item_rows()
    assert ids(rows, "item_id") == [[4], [2], [5], [3], [1]]  # e has no events
    assert ids(rows, "genres") == [[2, 3], [2, 0], [3, 0], [4, 0], [0, 0]]
    assert dense(rows, "year") == [[-1, 0], [1, 0], [-1, 0], [0, 1], [1, 0]]
    some = space.item_rows(np.array([3, -1, 77], np.int32))
    assert ids(some, "item_id") == [[3], [1], [1]]
    assert space.item_layout.n_rows == space.user_layout.n_rows == space.layout.n_rows


def test_one_layout_holds_both_sides(space, data):
    rows = candidate_rows(space, data, [1, 0], [START + 9 * DAY] * 2, [0, 1], [0, 1])
    assert ids(rows, "user_id") == [[3], [2]]
    assert ids(rows, "item_id") == [[4], [2]]
    assert dense(rows, "age") == [[40, 0], [20, 0]]
    assert rows.take(torch.tensor([0])).dense.shape == (1, space.layout.dense_width)


def test_recall_columns_by_hand(data, space):
    # A prerank column is not recall's and is passed over.
    fitted = space.fit_columns({**COLUMNS, "prerank": np.zeros(4)})
    batch_arguments = [0, 0, 0, 1], [0, 1, 2, 3]
    rows = candidate_rows(fitted, data, [0, 1], [START + 9 * DAY] * 2, *batch_arguments, COLUMNS)
    assert dense(rows, "found by") == [1, 0, 1, 1]
    assert dense(rows, "found:cf") == [1, 0, 1, 1]
    np.testing.assert_allclose(dense(rows, "top:cf"), [1, 0, 10 / 12, 10 / 11], rtol=1e-6)
    logs = np.log1p([1, 4, 3, 2]) / np.log1p(4)  # not found = one after the worst
    np.testing.assert_allclose(dense(rows, "log rank:cf"), logs, rtol=1e-6)
    z = np.array([1, 0, -1, 0]) / np.std([3, 1, 2])
    np.testing.assert_allclose(dense(rows, "score:cf"), z, rtol=1e-6)
    # Within its query: the first has the scores 3 and 1, the second a single one.
    np.testing.assert_allclose(dense(rows, "score in query:cf"), [1, 0, -1, 0], atol=1e-6)


def test_missing_columns_equal_those_of_a_channel_without_results(space, data):
    fitted = space.fit_columns(COLUMNS)
    batch_arguments = [START + 9 * DAY], [0, 0, 0, 0], [0, 1, 2, 3]
    empty = {"rank:cf": np.zeros(4, np.int32), "score:cf": np.full(4, np.nan, np.float32)}
    left = candidate_rows(fitted, data, [0], *batch_arguments, {}).take(torch.arange(4))
    right = candidate_rows(fitted, data, [0], *batch_arguments, empty).take(torch.arange(4))
    assert torch.equal(left.dense, right.dense)


def test_position_is_the_mean_of_training_where_it_is_unknown(space, data, tmp_path):
    place = np.array([1, 0, 4, 2], np.int16)  # 0 = unknown: logs 0, log 4, log 2
    fitted = space.fit_columns({"position": place})
    where = [START + 9 * DAY], [0, 0, 0, 0], [0, 1, 2, 3]
    logs = np.log([1, 4, 2])
    expected = (np.log([1, 1, 4, 2]) - logs.mean()) / logs.std() * [1, 0, 1, 1]
    for opened in (fitted, _saved(fitted, tmp_path)):
        rows = candidate_rows(opened, data, [0], *where, {"position": place})
        np.testing.assert_allclose(dense(rows, "log position"), expected, rtol=1e-6)
        request = candidate_rows(opened, data, [0], *where, {})
        assert dense(request, "log position") == [0, 0, 0, 0]
        assert request.layout == rows.layout
    for unknown in (np.zeros(4, np.int16), np.full(4, 3, np.int16)):  # nothing to learn from
        names = [c.name for c in space.fit_columns({"position": unknown}).layout.dense]
        assert "log position" not in names


def _saved(space, directory):
    space.save(directory)
    return FeatureSpace.load(directory)


def test_interest_by_hand(space, data):
    # At day 9 ann liked a (x y, 1990), b (x, 2000), d (z, no year).
    rows = candidate_rows(space, data, [0], [START + 9 * DAY], [0] * 5, [0, 1, 2, 3, 4])
    np.testing.assert_allclose(dense(rows, "share:genres"), [3 / 6, 2 / 3, 1 / 3, 1 / 3, 0])
    np.testing.assert_allclose(dense(rows, "recent:genres"), [3 / 6, 2 / 3, 1 / 3, 1 / 3, 0])
    # Four positives: x in three (a, b, b), y in one, z in one; base (n + 1) / 5.
    x, y, z = (2 / 3) / (4 / 5), (1 / 3) / (2 / 5), (1 / 3) / (2 / 5)
    lifts = np.log1p([(x + y) / 2, x, y, z, 1])
    np.testing.assert_allclose(dense(rows, "lift:genres"), lifts, rtol=1e-6)
    # Scaled years: 1990 → −1, 2000 → 1; the mean over a and b is 0.
    assert dense(rows, "gap:year") == [-1, 1, -1, 0, 1]
    assert dense(rows, "size of gap:year") == [1, 1, 1, 0, 1]


def test_recent_features_read_the_last_ten_positives(space):
    history = History(
        np.array([0, 30]),
        np.array([0] * 20 + [3] * 10, np.int32),
        np.ones(30, np.uint8),
        np.zeros(30, np.int64),
        np.zeros(30, np.float32),
    )
    user, time = np.zeros(1, np.int32), np.array([START])
    rows = space.rows(user, time, history, np.zeros(2, int), np.array([1, 3], np.int32))
    np.testing.assert_allclose(dense(rows, "share:genres"), [2 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(dense(rows, "recent:genres"), [0, 1])


def test_no_history_is_neutral(space, data):
    rows = candidate_rows(space, data, [-1], [START + 9 * DAY], [0], [0])
    assert dense(rows, "share:genres") == [0]
    assert dense(rows, "lift:genres") == pytest.approx([np.log(2)])
    assert dense(rows, "gap:year") == [0]


@pytest.fixture(scope="module")
def rich(data):
    """A space with statistics and columns, and a random batch of candidates."""
    space = FeatureSpace.fit(data, FEATURES, windows=["7d", "all"], columns=COLUMNS)
    rng = np.random.default_rng(0)
    user = rng.integers(-1, 3, 6).astype(np.int32)
    time = START + rng.integers(0, 9, 6) * DAY
    query = np.sort(rng.integers(0, 6, 40))
    item = rng.integers(-1, 5, 40).astype(np.int32)
    columns = {
        "rank:cf": rng.integers(0, 5, 40).astype(np.int32),
        "score:cf": np.where(rng.random(40) < 0.3, np.nan, rng.random(40)).astype(np.float32),
    }
    return space, user, time, query, item, columns


def batch(rows):
    return rows.take(torch.arange(len(rows)))


def test_one_query_equals_the_batch(rich, data):
    space, user, time, query, item, columns = rich
    statistics, known = OfflineStatistics(data, space.recipes), Histories.of(data)
    whole = batch(space.rows(user, time, known.at(user, time), query, item, columns, statistics))
    assert torch.isfinite(whole.dense).all()
    for q in range(len(user)):
        mine = query == q
        one, when = user[q : q + 1], time[q : q + 1]
        part = {name: values[mine] for name, values in columns.items()}
        zeros = np.zeros(mine.sum(), int)
        rows = space.rows(one, when, known.at(one, when), zeros, item[mine], part, statistics)
        assert torch.equal(batch(rows).ids, whole.ids[torch.from_numpy(mine)])
        assert torch.equal(batch(rows).dense, whole.dense[torch.from_numpy(mine)])


def test_order_of_candidates_does_not_matter(rich, data):
    space, user, time, query, item, columns = rich
    statistics, history = OfflineStatistics(data, space.recipes), Histories.of(data).at(user, time)
    mixed = np.random.default_rng(1).permutation(len(query))
    part = {name: values[mixed] for name, values in columns.items()}
    left = batch(space.rows(user, time, history, query, item, columns, statistics))
    right = space.rows(user, time, history, query[mixed], item[mixed], part, statistics)
    assert torch.equal(left.dense[torch.from_numpy(mixed)], batch(right).dense)


def test_statistics_of_repeated_items_are_computed_once(rich, data):
    space, _, _, query, item, columns = rich
    user, time = np.zeros(6, np.int32), np.full(6, START + 3 * DAY)
    statistics, history = OfflineStatistics(data, space.recipes), Histories.of(data).at(user, time)
    rows = space.rows(user, time, history, query, item, columns, statistics)
    assert rows.blocks[2].pointer is not None
    assert len(rows.blocks[2].dense) == len(data.items) + 1
    direct = statistics.items(item, time[query])
    first = next(c.first for c in space.layout.dense if c.name == "item count:dislike:7d")
    found = batch(rows).dense[:, first : first + direct.shape[1]].numpy()
    scale = space._fitted.item_scale
    np.testing.assert_array_equal(found, scale(direct))


def test_a_request_equals_its_training_row(rich, data):
    space, user, time, query, item, columns = rich
    cut = START + 5 * DAY
    time = np.full(len(user), cut)
    offline, known = OfflineStatistics(data, space.recipes), data.as_of(cut)
    online = OnlineStatistics.of(known, space.recipes)
    batch_arguments = query, item, columns
    left = space.rows(user, time, Histories.of(data).at(user, time), *batch_arguments, offline)
    right = space.rows(user, time, Histories.of(known).at(user, time), *batch_arguments, online)
    assert torch.equal(batch(left).dense, batch(right).dense)
    assert torch.equal(batch(left).ids, batch(right).ids)


def test_saving_and_loading_keeps_the_rows(rich, data, tmp_path):
    space, user, time, query, item, columns = rich
    space.save(tmp_path)
    again = FeatureSpace.load(tmp_path)
    assert again.layout == space.layout
    assert again.recipes.item == space.recipes.item
    statistics, history = OfflineStatistics(data, space.recipes), Histories.of(data).at(user, time)
    batch_arguments = user, time, history, query, item, columns, statistics
    assert torch.equal(
        batch(space.rows(*batch_arguments)).ids, batch(again.rows(*batch_arguments)).ids
    )
    assert torch.equal(
        batch(space.rows(*batch_arguments)).dense, batch(again.rows(*batch_arguments)).dense
    )
    assert again.coverage().equals(space.coverage())


def test_no_candidates_and_no_queries(rich, data):
    space, *_ = rich
    statistics = OfflineStatistics(data, space.recipes)
    none = np.zeros(0, np.int32)
    history = History.empty(1)
    rows = space.rows(np.zeros(1, np.int32), np.array([START]), history, none, none, {}, statistics)
    assert len(rows) == 0
    assert batch(rows).dense.shape == (0, space.layout.dense_width)
    rows = space.rows(none, np.zeros(0, np.int64), History.empty(0), none, none, {}, statistics)
    assert len(rows) == 0


def test_missing_statistics_are_refused(rich):
    space, user, time, *_ = rich
    with pytest.raises(ConfigError, match="pass `statistics`"):
        space.user_rows(user, time, History.empty(len(user)))
    with pytest.raises(ConfigError, match="give `time`"):
        space.item_rows()


def test_item_statistics_of_the_tower(rich, data):
    space, *_ = rich
    statistics = OfflineStatistics(data, space.recipes)
    rows = space.item_rows(statistics=statistics, time=START + 9 * DAY)
    assert batch(rows).dense.shape == (5, space.item_layout.dense_width)


def test_min_count_counts_events(data):
    space = FeatureSpace.fit(data, [SparseFeat("item_id", min_count=2)])
    assert ids(space.item_rows(), "item_id") == [[1], [2], [1], [3], [1]]


def test_a_category_column_without_a_feature(data):
    space = FeatureSpace.fit(data, [SparseFeat("item_id")], item_category="genres")
    assert "share:genres" in [c.name for c in space.layout.dense]
    assert [t.name for t in space.layout.tables] == ["item_id"]


def test_a_history_with_a_table_of_its_own(data):
    features = [VarLenSparseFeat("disliked", history=("dislike",), max_len=3)]
    features += [VarLenSparseFeat("kinds", history=("like",), column="genres", separator="|")]
    space = FeatureSpace.fit(data, features)
    users, time = np.array([0], np.int32), np.array([START + 9 * DAY])
    rows = space.user_rows(users, time, Histories.of(data).at(users, time))
    assert ids(rows, "disliked") == [[5, 0, 0]]
    assert ids(rows, "kinds")[0][:5] == [2, 3, 2, 4, 0]


def test_hashed_lists_and_their_history(data):
    """Of a project: the history has the codes of the items' lists, and no id is unseen."""
    hashed = VarLenSparseFeat("genres", separator="|", max_len=2, vocabulary="hash", buckets=40)
    liked = VarLenSparseFeat("liked_genres", history=("like",), shares="genres", max_len=4)
    space = FeatureSpace.fit(data, [hashed, liked])
    assert space.layout.table["genres"].size == 42
    x, y, z = Vocabulary.hashed(40).encode(pl.Series(["x", "y", "z"])).tolist()
    assert ids(space.item_rows(), "genres") == [[x, y], [x, 0], [y, 0], [z, 0], [0, 0]]
    users, time = np.array([0], np.int32), np.array([START + 5 * DAY])
    rows = space.user_rows(users, time, Histories.of(data).at(users, time))
    assert ids(rows, "liked_genres") == [[x, y, x, z]]


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (SparseFeat("yaer"), "no column 'yaer'; did you mean 'year'"),
        (SparseFeat("gender", side=Side.ITEM), "no column 'gender' on the item side"),
        (DenseFeat("hour"), "declare it as a SparseFeat"),
        (VarLenSparseFeat("h", history=("loved",)), "the behaviours are dislike, like"),
        (VarLenSparseFeat("h", history=("like",), column="brand"), "no column 'brand'"),
    ],
)
def test_features_that_contradict_the_tables_are_refused(data, feature, message):
    with pytest.raises(ConfigError, match=message):
        FeatureSpace.fit(data, [feature])
