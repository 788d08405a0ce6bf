"""Functions on frames, ids and lists read them as a project does: no fault passes silently."""

import datetime as dt
import decimal
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pytest

import tamis
from tamis.data import UNKNOWN, columns_of, dataset_from_frame, id_column
from tamis.evaluate import evaluate_channel
from tamis.features import FrameSpace
from tamis.rank import LR
from tamis.recall import Again, Hot, ItemCF
from tamis.schema import (
    ConfigError,
    DataError,
    DenseFeat,
    SparseFeat,
    TamisWarning,
    TaskConfig,
    TrainingError,
    VarLenSparseFeat,
)

RNG = np.random.default_rng(0)
LOG = pl.DataFrame(
    {
        "user_id": RNG.integers(1, 21, 400),
        "item_id": RNG.integers(1, 31, 400),
        "time": np.arange(400) + 1_700_000_000,
        "stars": RNG.integers(1, 6, 400).astype(np.float64),
        "label": [0, 1] * 200,
    }
)
TEXTS = [str(k) for k in range(40)]


def changed(**columns):
    return LOG.with_columns(**columns)


IDS = pl.col("user_id", "item_id")
PANDAS = pd.DataFrame(LOG.to_dict(as_series=False))
SAME_LOGS = {
    "floats": LOG.with_columns(IDS.cast(pl.Float64)),
    "texts": LOG.with_columns(IDS.cast(pl.String)),
    "texts of floats": LOG.with_columns(IDS.cast(pl.Float64).cast(pl.String)),
    "decimals": LOG.with_columns(IDS.cast(pl.Decimal(12, 2))),
    "categories": LOG.with_columns(IDS.cast(pl.String).cast(pl.Categorical)),
    "enum": LOG.with_columns(IDS.cast(pl.String).cast(pl.Enum(TEXTS))),
    "objects": changed(
        user_id=pl.Series(
            [v if k % 2 else str(v) for k, v in enumerate(LOG["user_id"].to_list())],
            dtype=pl.Object,
        )
    ),
    "pandas": PANDAS,
    "pandas floats": PANDAS.astype({"user_id": float}),
    "pandas nullable": PANDAS.astype({"user_id": "Int64", "item_id": "string"}),
    "pandas categories": PANDAS.astype({"user_id": "category", "item_id": "category"}),
    "pandas mixed": PANDAS.assign(
        user_id=[
            [v, float(v), str(v), decimal.Decimal(v)][k % 4]
            for k, v in enumerate(PANDAS["user_id"])
        ]
    ),
    "pandas in another order of the index": PANDAS.set_index(np.arange(400)[::-1]),
}


@pytest.mark.parametrize("name", SAME_LOGS)
def test_a_log_is_the_same_in_every_type_of_its_ids(name):
    """Texts such as "1.0" and columns of several types were other ids than 1."""
    expected, data = (dataset_from_frame(f, time="time") for f in (LOG, SAME_LOGS[name]))
    assert data.users.ids.to_list() == expected.users.ids.to_list()
    assert data.items.ids.to_list() == expected.items.ids.to_list()
    np.testing.assert_array_equal(data.events.user, expected.events.user)
    np.testing.assert_array_equal(data.events.item, expected.events.item)


@pytest.fixture(scope="module")
def channel():
    return ItemCF().fit(LOG, time="time")


ONE = [
    12, 12.0, "12", "12.0", " 12 ", b"12", np.int64(12), np.float32(12), np.str_("12"),
    decimal.Decimal("12.0"), [12], ("12",), {12}, {12: 1}.keys(), np.array([12]), np.array(12),
    np.array(["12"]), pl.Series([12]), pl.Series(["12"], dtype=pl.Categorical),
    pd.Series([12.0]), pd.Index(["12"]), iter([12]), range(12, 13),
]  # fmt: skip
"""Ways in which a caller may give the user 12."""


@pytest.mark.parametrize("users", ONE, ids=[f"{type(u).__name__} {u!r}"[:40] for u in ONE])
def test_one_user_in_every_way_of_giving_him(channel, users):
    """A bare number raised a TypeError, and a bare text gave no row at all."""
    expected = channel.recommend([12], 5)
    found = channel.recommend(users, 5)
    assert found["item"].to_list() == expected["item"].to_list()
    assert len(found["user"]) == 5


def test_a_bare_text_is_one_user_and_not_its_characters():
    log = LOG.with_columns(user_id="u" + pl.col("user_id").cast(pl.String))
    channel = ItemCF().fit(log, time="time")
    found = channel.recommend("u12", 5)
    assert found["user"].to_list() == ["u12"] * 5
    assert found.equals(channel.recommend(["u12"], 5))
    assert id_column("u12").to_list() == ["u12"]


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ([[12]], r"List\(Int64\); ids must be text or numbers"),
        ([[12], 12], "an id is a text or a number, not a list"),
        ([(1, 2), "a"], "not a tuple"),
        ({12: 1}, "expected an id or a list of ids, got dict"),
        (LOG, "got DataFrame"),
        (PANDAS, "got DataFrame"),
    ],
)
def test_what_is_no_id_is_refused(channel, users, message):
    with pytest.raises(DataError, match=message):
        channel.recommend(users)


@pytest.mark.parametrize("n", [0, -1, 2.5, "2", True, None])
def test_lengths_of_lists_are_checked(channel, n):
    with pytest.raises(ConfigError, match=r"n = .*: give a whole number of at least 1"):
        channel.recommend(12, n)


def test_unknown_users_get_popular_items_and_a_warning(channel):
    counts = LOG["item_id"].value_counts(sort=True)
    best = counts.filter(pl.col("count") == counts["count"].max())["item_id"].to_list()
    with pytest.warns(TamisWarning, match=r"2 of 3 users are not in the fitted log, such as 'x'"):
        found = channel.recommend(["x", 12, None], 4)
    assert found["user"].to_list() == ["x"] * 4 + ["12"] * 4 + [None] * 4
    assert found["item"][:4].to_list() == found["item"][8:].to_list()
    assert found["item"][0] in best
    assert found["score"][0] == counts["count"].max()
    assert found["item"][4:8].to_list() == channel.recommend(12, 4)["item"].to_list()
    with pytest.warns(TamisWarning, match="1 of 1 users are not in the fitted log"):
        assert channel.recommend(float("nan"), 4)["item"].to_list() == found["item"][:4].to_list()


def test_a_channel_with_items_for_everyone_answers_unknown_users_itself():
    found = Hot(half_life=3.0).fit(LOG, time="time").recommend(["x", 12], 3)
    assert found["user"].to_list() == ["x"] * 3 + ["12"] * 3


def test_known_users_without_an_item_are_reported():
    frame = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"]})
    channel = Again().fit(frame)
    with pytest.warns(TamisWarning, match="found no item for 1 of 1 users, such as 'a'"):
        assert channel.recommend("a", exclude_seen=True).is_empty()


# ---------------------------------------------------------------- logs


@pytest.mark.parametrize("value", [float("nan"), None, "nan", "NULL", "<NA>", "", " "])
@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_missing_ids_are_no_users_and_no_items(column, value):
    """pandas writes a missing text as "nan"; that was one very active user."""
    kind = pl.String if isinstance(value, str) else pl.Float64
    ids = LOG[column].cast(kind).to_list()
    frame = LOG.with_columns(pl.Series(column, [value, *ids[1:]], dtype=kind))
    with pytest.raises(DataError, match=rf"'{column}' has 1 missing"):
        dataset_from_frame(frame, time="time")
    with pytest.raises(DataError, match=rf"'{column}' has 1 missing"):
        Hot().fit(pd.DataFrame(frame.to_dict(as_series=False)), time="time")


@pytest.mark.parametrize("value", [float("nan"), None, float("inf"), -float("inf")])
def test_values_that_are_no_numbers_are_not_positive(value):
    frame = changed(stars=pl.Series([value] * 400, dtype=pl.Float64))
    with pytest.raises(DataError, match=r"'stars' has 400 (missing values|values that are not)"):
        dataset_from_frame(frame, time="time", value="stars", min_value=4)


@pytest.mark.parametrize("bound", [float("nan"), "4", [4]])
def test_bounds_are_numbers(bound):
    """Every value was positive with min_value = NaN."""
    with pytest.raises(DataError, match=r"min_value = .*: give a number"):
        dataset_from_frame(LOG, time="time", value="stars", min_value=bound)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"user": None}, "user = None: name the frame's column"),
        ({"time": ["time"]}, r"time = \['time'\]: give the name of a column"),
        ({"user": "item_id"}, "'item_id' is given as user and item"),
        ({"user": "userid"}, "no column 'userid'.*Did you mean `user_id`"),
    ],
)
def test_names_of_columns_are_checked(names, message):
    with pytest.raises(DataError, match=message):
        dataset_from_frame(LOG, **names)
    with pytest.raises(DataError, match=message):
        Hot().fit(LOG, **names)


def test_floats_that_lost_digits_of_ids_are_reported():
    frame = pl.DataFrame({"user_id": [2.0**53 + 2, 1.0], "item_id": [1, 2]})
    with pytest.warns(TamisWarning, match=r"'user_id': 1 ids are floats beyond 2\^53"):
        dataset_from_frame(frame)


FRAMES = {
    "a list of dicts": (LOG.to_dicts(), "got list; make one of rows or columns by polars"),
    "a dict": (LOG.to_dict(as_series=False), "got dict; make one"),
    "an array": (LOG.to_numpy(), "got ndarray"),
    "a lazy frame": (LOG.lazy(), r"got LazyFrame; call \.collect\(\)"),
    "a path": ("log.csv", "got str"),
    "None": (None, "got NoneType"),
    "pandas with the user as index": (
        PANDAS.set_index("user_id"),
        r"'user_id' is the index of the frame, not a column: call frame.reset_index\(\)",
    ),
    "pandas with a column twice": (
        pd.concat([PANDAS, PANDAS[["user_id"]]], axis=1),
        "the frame has 2 columns 'user_id'; keep one",
    ),
    "objects": (
        changed(user_id=pl.Series([uuid] * 400, dtype=pl.Object)),
        "holds (Object|Python objects).*; ids must be text or numbers",
    ),
}


@pytest.mark.parametrize("name", FRAMES)
def test_what_is_no_frame_of_rows_is_refused_by_every_function(name):
    frame, message = FRAMES[name]
    features = [SparseFeat("user_id"), DenseFeat("stars")]
    model = LR(features=features, epochs=1).fit(LOG)
    calls = {
        "dataset": lambda: dataset_from_frame(frame, time="time"),
        "channel": lambda: Hot().fit(frame, time="time"),
        "space": lambda: FrameSpace.fit(frame, features),
        "rows": lambda: FrameSpace.fit(LOG, features).rows(frame),
        "predict": lambda: model.predict(frame),
        "fit": lambda: LR(features=features).fit(frame),
        "valid": lambda: LR(features=features).fit(LOG, frame),
        "evaluate": lambda: model.evaluate(frame),
        "side by side": lambda: tamis.evaluate({"m": model}, test=frame, user="user_id"),
    }
    if frame is None:
        del calls["valid"], calls["side by side"]  # None means that there is none
    for call in calls.values():
        with pytest.raises(DataError, match=message):
            call()


@pytest.mark.parametrize(
    "make", [tamis.leave_one_out, tamis.by_time, lambda d: tamis.splitting.given(d, d)]
)
def test_splits_take_data_sets(make):
    with pytest.raises(DataError, match=r"expected a Dataset, got DataFrame; make one of a frame"):
        make(LOG)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: tamis.by_time(d, "0.8"), "share = '0.8': it must be in"),
        (lambda d: tamis.by_time(d, float("nan")), "share = nan: it must be in"),
        (lambda d: tamis.by_time(d, first=0), "first = 0: give a whole number"),
        (lambda d: tamis.leave_one_out(d, "x"), "stage = 'x': give 'valid' or 'test'"),
        (lambda d: tamis.evaluate(Hot(), tamis.leave_one_out(d)), "models is a Hot: give {name"),
        (lambda d: tamis.evaluate({"h": Hot}, tamis.leave_one_out(d)), r"class Hot: give Hot\(\)"),
        (lambda d: tamis.evaluate({"h": Hot()}, d), "split is a Dataset: give a split"),
        (
            lambda d: tamis.evaluate({"h": Hot()}, tamis.by_time(d), k="10"),
            "k = '10': give a whole",
        ),
        (lambda d: tamis.evaluate({"h": Hot()}, tamis.by_time(d), k=2.5), "k = 2.5: give a whole"),
    ],
)
def test_arguments_of_evaluations_are_checked(call, message):
    with pytest.raises(ConfigError, match=message):
        call(dataset_from_frame(LOG, time="time"))


def test_a_list_length_may_be_of_any_integer_type():
    split = tamis.leave_one_out(dataset_from_frame(LOG, time="time"))
    table = tamis.evaluate({"hot": Hot()}, split, k=np.int64(5))
    direct = evaluate_channel(Hot().fit(split.train), split, (5,))
    assert table["hot"]["ndcg@5"] == pytest.approx(direct.metrics["ndcg@5"])


# ---------------------------------------------------------------- labelled frames

N = 60
ROWS = pl.DataFrame(
    {
        "user_id": [str(k % 5) for k in range(N)],
        "item_id": [k % 7 for k in range(N)],
        "clicked": [[1, 2]] * N,
        "x": np.linspace(0, 1, N),
        "label": [k % 2 for k in range(N)],
    }
)
FEATURES = [
    SparseFeat("user_id"),
    SparseFeat("item_id"),
    VarLenSparseFeat("clicked", shares="item_id", max_len=2),
    DenseFeat("x"),
]
FLOATS = pl.List(pl.Float64)
SAME_ROWS = {
    "numbers": {"user_id": ROWS["user_id"].cast(pl.Float64)},
    "texts of floats": {"item_id": ROWS["item_id"].cast(pl.Float64).cast(pl.String)},
    "blanks": {"user_id": " " + ROWS["user_id"] + " "},
    "decimals": {"item_id": ROWS["item_id"].cast(pl.Decimal(6, 2))},
    "categories": {"user_id": ROWS["user_id"].cast(pl.Categorical)},
    "objects": {"item_id": pl.Series(ROWS["item_id"].to_list(), dtype=pl.Object)},
    "lists of floats": {"clicked": ROWS["clicked"].cast(FLOATS)},
    "lists of texts of floats": {"clicked": ROWS["clicked"].cast(FLOATS).cast(pl.List(pl.String))},
    "lists with NaN": {"clicked": pl.Series([[float("nan"), 1.0, None, 2.0]] * N)},
    "lists with blanks": {"clicked": pl.Series([["", " 1", " ", "2.0"]] * N)},
    "arrays": {"clicked": ROWS["clicked"].cast(pl.Array(pl.Int64, 2))},
    "objects of lists": {
        "clicked": pl.Series([(1, "2"), {1, 2}, np.array([1, 2])] * (N // 3), dtype=pl.Object)
    },
    "objects of numbers": {"x": pl.Series(ROWS["x"].to_list(), dtype=pl.Object)},
}


@pytest.mark.parametrize("name", SAME_ROWS)
@pytest.mark.parametrize("kind", [pl.DataFrame, pd.DataFrame])
def test_rows_are_the_same_in_every_type_of_their_ids(name, kind):
    """Texts "1.0", NaN within lists and columns of objects were other ids, or raised."""
    frame = ROWS.with_columns(**SAME_ROWS[name])
    if kind is pd.DataFrame:
        frame = pd.DataFrame(frame.to_dict(as_series=False))
    fitted = FrameSpace.fit(ROWS, FEATURES)
    expected = fitted.rows(ROWS).blocks[0]
    for space in (fitted, FrameSpace.fit(frame, FEATURES)):
        found = space.rows(frame).blocks[0]
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_allclose(found.dense, expected.dense, atol=1e-6)


def test_a_bare_id_among_lists_is_a_list_of_one():
    objects = pl.Series([[1, 2], 1, "1", None] * (N // 4), dtype=pl.Object)
    lists = pl.Series([[1, 2], [1], [1], None] * (N // 4))
    space = FrameSpace.fit(ROWS, FEATURES)
    left, right = (space.rows(ROWS.with_columns(clicked=c)) for c in (objects, lists))
    np.testing.assert_array_equal(left.blocks[0].ids, right.blocks[0].ids)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("clicked", pl.Series(["12"] * N), "is String, not lists; give the VarLenSparseFeat a sep"),
        ("clicked", pl.Series([12] * N), "is Int64, not lists"),
        ("user_id", pl.Series([["1"]] * N), "holds lists, but one id per row is wanted"),
        ("user_id", pl.Series([uuid] * N, dtype=pl.Object), "'user_id' holds Python objects"),
        ("x", pl.Series([dt.timedelta(1)] * N), "'x' holds Duration.*total_seconds"),
        ("x", pl.Series([dt.time(1)] * N), "'x' holds Time, not numbers"),
        ("x", pl.Series([uuid] * N, dtype=pl.Object), "'x' holds Object, not numbers"),
        ("x", pl.Series(["a"] * N), "should hold numbers but has 'a' in row 0"),
    ],
)
def test_columns_of_other_types_are_refused(column, values, message):
    frame = ROWS.with_columns(values.alias(column))
    space = FrameSpace.fit(ROWS, FEATURES)
    for call in (lambda: space.rows(frame), lambda: FrameSpace.fit(frame, FEATURES)):
        with pytest.raises(DataError, match=message):
            call()


def test_dates_with_time_zones_are_moments():
    moment = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    utc = pl.Series("x", [moment + dt.timedelta(days=k) for k in range(N)])
    there = utc.dt.convert_time_zone("Asia/Shanghai")
    found = [
        FrameSpace.fit(ROWS.with_columns(x), [DenseFeat("x")]).rows(ROWS.with_columns(x))
        for x in (utc, there)
    ]
    np.testing.assert_array_equal(found[0].blocks[0].dense, found[1].blocks[0].dense)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pl.Series([object()] * N, dtype=pl.Object), "label column 'label' is Object"),
        (pl.Series([dt.timedelta(1)] * N), "label column 'label' is Duration"),
        (pl.Series([" x"] * N), "holds ' x' in row 0; labels are numbers"),
    ],
)
def test_labels_are_numbers(labels, message):
    with pytest.raises(DataError, match=message):
        LR(features=FEATURES).fit(ROWS.with_columns(label=labels))


def test_labels_of_objects_are_read_and_missing_ones_are_no_label():
    labels = [float("nan"), None, decimal.Decimal(1), 0, True, 0.0] * (N // 6)
    objects = ROWS.with_columns(label=pl.Series(labels, dtype=pl.Object))
    for frame in (objects, pd.DataFrame(objects.to_dict(as_series=False))):
        model = LR(features=FEATURES, epochs=1).fit(frame)
        np.testing.assert_array_equal(
            model.labelled(frame).labels[:6, 0], [np.nan, np.nan, 1, 0, 1, 0]
        )


@pytest.mark.parametrize("text", ["NULL", "NA", "\\N", " – ", " ", "NaN"])
@pytest.mark.parametrize("kind", [pl.DataFrame, pd.DataFrame])
def test_texts_for_a_missing_value_are_missing(text, kind):
    """As numbers they raised, as ids they were an id of their own."""
    third = pl.Series([k % 3 == 0 for k in range(N)])

    def written(gap):
        columns = ("user_id", "x", "label", "weight")
        frame = ROWS.with_columns(weight=pl.lit(2.0)).with_columns(
            pl.when(third).then(pl.lit(gap)).otherwise(pl.col(c).cast(pl.String)).alias(c)
            for c in columns
        )
        return frame if kind is pl.DataFrame else pd.DataFrame(frame.to_dict(as_series=False))

    expected, found = (
        LR(features=FEATURES, epochs=1).fit(frame).labelled(frame)
        for frame in (written(None), written(text))
    )
    np.testing.assert_array_equal(found.blocks[0].ids, expected.blocks[0].ids)
    np.testing.assert_array_equal(found.blocks[0].dense, expected.blocks[0].dense)
    np.testing.assert_array_equal(found.labels, expected.labels)
    with pytest.raises(TrainingError, match="20 of 60 sample weights are negative, infinite or mi"):
        LR(features=FEATURES).fit(written(text), weight="weight")


def test_durations_are_numbers():
    task = TaskConfig(name="label", kind="completion", duration="length")
    frame = ROWS.with_columns(length=pl.Series(["a"] * N))
    with pytest.raises(DataError, match="duration column 'length' holds 'a' in row 0; durations"):
        LR(features=FEATURES).fit(frame, tasks=[task])
    with pytest.raises(DataError, match="no duration column 'length'"):
        LR(features=FEATURES).fit(ROWS, tasks=[task])


def test_a_bare_task_is_one_task_and_not_its_characters():
    model = LR(features=FEATURES, epochs=1).fit(ROWS, tasks="label")
    assert model.tasks == ("label",)
    assert LR(features=FEATURES, epochs=1).fit(ROWS, tasks=TaskConfig(name="label")).tasks == (
        "label",
    )
    for wrong in (3, [3]):
        with pytest.raises(ConfigError, match=r"give names of label columns|give the name of a"):
            LR(features=FEATURES).fit(ROWS, tasks=wrong)


def test_features_are_declared():
    assert LR(features=SparseFeat("user_id"), epochs=1).fit(ROWS).features[0].name == "user_id"
    for wrong in ("user_id", ["user_id"], 3):
        with pytest.raises(ConfigError, match=r"give declared features, such as \[SparseFeat"):
            LR(features=wrong)
        with pytest.raises(ConfigError, match=r"give declared features"):
            FrameSpace.fit(ROWS, wrong)


def test_users_of_an_evaluation_are_read_as_ids():
    """3 and "3" were two users, and all rows without a user were one."""
    model = LR(features=FEATURES, epochs=1).fit(ROWS)
    expected = tamis.evaluate({"m": model}, test=ROWS, user="user_id")
    mixed = pd.DataFrame(ROWS.to_dict(as_series=False))
    mixed["user_id"] = [
        [v, float(v), int(v)][k % 3] for k, v in enumerate(ROWS["user_id"].to_list())
    ]
    found = tamis.evaluate({"m": model}, test=mixed, user="user_id")
    assert found["m"]["gauc"] == pytest.approx(expected["m"]["gauc"])
    assert "5 users (user_id)" in repr(found)
    lost = ROWS.with_columns(
        who=pl.Series([None if k < 10 else v for k, v in enumerate(ROWS["user_id"])])
    )
    found = tamis.evaluate({"m": model}, test=lost, user="who")
    without = tamis.evaluate({"m": model}, test=ROWS[10:], user="user_id")
    assert found["m"]["gauc"] == pytest.approx(without["m"]["gauc"])
    assert "5 users (who, 10 rows without one)" in repr(found)


def test_a_frame_of_objects_that_is_not_read_stays_as_it_is():
    frame = ROWS.with_columns(other=pl.Series([uuid] * N, dtype=pl.Object))
    assert len(FrameSpace.fit(frame, FEATURES).rows(frame)) == N
    assert columns_of(frame, ["x"])["other"].dtype == pl.Object


def test_tables_know_no_nested_ids():
    table = dataset_from_frame(LOG).users
    assert table.row("nobody") == UNKNOWN
    for wrong in ([1], (1,), {1: 2}, np.array([1])):
        with pytest.raises(DataError, match="an id is a text or a number, not a"):
            table.row(wrong)
