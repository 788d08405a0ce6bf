"""Features guessed from columns: the decision for each kind of column, and the defaults."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from tamis.data import Dataset, Events, Table
from tamis.features import (
    FeatureSpace,
    GuessOptions,
    default_features,
    guess_feature,
    list_separator,
)
from tamis.schema import Behaviour, DenseFeat, ProjectConfig, Side, SparseFeat, VarLenSparseFeat

N = 200


def project(category_separator=None):
    return ProjectConfig.model_validate(
        {
            "name": "p",
            "events": {"path": "e.csv"},
            "items": {
                "path": "i.csv",
                "id": "item_id",
                "title": "title",
                "category": "kind",
                "category_separator": category_separator,
                "author": "author",
            },
            "behaviours": {"click": {}, "buy": {"positive": True}},
            "cascade": {"channels": {"hot": {}}, "rank": {}},
        }
    )


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    items = pl.DataFrame(
        {
            "title": [f"title {k}" for k in range(N)],
            "kind": rng.choice(["a b", "b", "c"], N).tolist(),
            "author": [f"author {k}" for k in range(N)],
            "text": [f"words, {k} and more, {k}" for k in range(N)],
            "tags": rng.choice(["x|y", "y", "z|x"], N).tolist(),
            "price": rng.lognormal(3, 3, N),
            "weight": rng.normal(5, 1, N),
            "vector": rng.normal(size=(N, 4)).tolist(),
            "shelves": [[1, 2]] * N,
            "same": ["x"] * N,
            "empty": pl.Series([None] * N, dtype=pl.String),
        }
    )
    users = pl.DataFrame({"age": rng.integers(1, 8, N), "vip": rng.random(N) < 0.5})
    time = np.arange(50, dtype=np.int64)
    events = Events(
        rng.integers(0, N, 50).astype(np.int32),
        rng.integers(0, N, 50).astype(np.int32),
        np.ones(50, np.uint8),
        time,
        time,
        np.full(50, np.nan, np.float32),
        np.full(50, -1, np.int64),
        np.zeros(50, np.int16),
    )
    ids = [pl.Series("id", [f"{s}{k}" for k in range(N)]) for s in "ui"]
    behaviours = (Behaviour(name="click"), Behaviour(name="buy", positive=True))
    tables = Table("users", ids[0], users), Table("items", ids[1], items)
    return Dataset(*tables, events, behaviours)


def cycle(values: Sequence, n: int = N) -> list:
    return [values[k % len(values)] for k in range(n)]


def every(step: int, n: int = N, start: int = 0) -> list[int]:
    """`n` integers of which each occurs `step` times."""
    return [start + k // step for k in range(n)]


def sparse(**options):
    return SparseFeat("x", **options)


def dense(**options):
    return DenseFeat("x", **options)


def varlen(separator=None, max_len=2):
    return VarLenSparseFeat("x", separator=separator, max_len=max_len)


DAYS = [date(2020, 1, 1) + timedelta(k) for k in range(N)]
FRACTIONS = [k + 0.5 for k in range(N)]
TITLES = [f"The story of the {k}th thing" for k in range(N)]
ARRAYS = pl.Series([[0.0, float(k)] for k in range(N)], dtype=pl.Array(pl.Float32, 2))
# name of the column, values, expected feature in an attribute table, in a log, of a tower
COLUMNS = {
    "all null": ("a", pl.Series([None] * N, dtype=pl.String), None, None, None),
    "all NaN": ("a", [float("nan")] * N, None, None, None),
    "constant text": ("a", ["x"] * N, None, None, None),
    "constant number, with holes": ("a", cycle([3, None]), None, None, None),
    "blank or one value": ("a", cycle(["x", "", " "]), None, None, None),
    "few texts": ("colour", cycle(["red", "blue", None]), sparse(), sparse(), sparse()),
    "enumeration": ("a", pl.Series(cycle(["s", "m"]), dtype=pl.Enum(["s", "m"])), *[sparse()] * 3),
    "64 texts, each once": ("a", [f"t{k}" for k in range(64)], sparse(), sparse(), sparse()),
    "65 texts, each once": ("a", [f"t{k}" for k in range(65)], None, sparse(), None),
    "100 texts, each twice": ("a", [f"t{k}" for k in every(2)], sparse(), sparse(), sparse()),
    "free text": ("plot", TITLES, None, sparse(), None),
    "1001 texts, each twice": (
        "seller", [f"t{k}" for k in every(2, 2002)], sparse(min_count=2), sparse(), None,
    ),
    "names of two words": ("city", cycle(["New York", "Paris", "Los Angeles"]), *[sparse()] * 3),
    "names of which words repeat": (
        "a", cycle(["Action Drama", "Drama", "Action"]), varlen(" "), varlen(" "), varlen(" ", 8),
    ),
    "bars": ("a", cycle(["x|y", "y", "z|x"]), varlen("|"), varlen("|"), varlen("|", 8)),
    "semicolons": ("a", cycle(["x;y", "y", "z;x"]), varlen(";"), varlen(";"), varlen(";", 8)),
    "commas": (
        "a", cycle(["x, y", "x", "y", "y, x"]), varlen(","), varlen(","), varlen(",", 8),
    ),
    "commas of sentences": ("a", [f"Well, {k}, said {k}" for k in range(N)], None, sparse(), None),
    "a separator in one text of 40": (
        "a", cycle(["x"] * 39 + ["x|y"]), sparse(), sparse(), sparse(),
    ),
    "lists of ids": ("a", cycle([["x"], ["x", "y"], []]), varlen(), varlen(), varlen(None, 8)),
    "lists of integers, always alike": ("a", [[1, 2]] * N, varlen(), varlen(), varlen(None, 8)),
    "long lists": (
        "a", [list(range(50))] * N, varlen(None, 32), varlen(None, 32), varlen(None, 8),
    ),
    "one long list of many": (
        "a", [[1]] * 199 + [[1, 2, 3]], varlen(None, 1), varlen(None, 1), varlen(None, 8),
    ),
    "empty lists": ("a", pl.Series([[]] * N, dtype=pl.List(pl.String)), None, None, None),
    "vectors": ("a", ARRAYS, dense(width=2), dense(width=2), None),
    "ragged floats": ("a", cycle([[0.5], [0.5, 1.5]]), None, None, None),
    "structs": ("a", [{"k": k} for k in range(N)], None, None, None),
    "booleans": ("a", cycle([True, False]), sparse(), sparse(), sparse()),
    "dates": ("signup", DAYS, dense(), dense(), None),
    "few integers": ("age", cycle(range(64)), sparse(), sparse(), sparse()),
    "65 integers": ("age", cycle(range(65), 260), dense(), sparse(), dense(transform="quantile")),
    "few years": (
        "release_year", cycle(range(1990, 2020)), dense(), dense(), dense(transform="quantile"),
    ),
    "years of experience": ("years", cycle(range(20)), sparse(), sparse(), sparse()),
    "integer ids that repeat": ("brandId", every(2), *[sparse()] * 3),
    "integer ids that do not": ("warehouse_id", list(range(N)), None, sparse(), None),
    "many integer ids that repeat": (
        "brand_id", every(2, 2002), sparse(min_count=2), sparse(), sparse(min_count=2),
    ),
    "whole floats": (
        "price", cycle([1.0, 2.0]), dense(), dense(), dense(transform="quantile"),
    ),
    "fractions": ("price", FRACTIONS, dense(), dense(), dense(transform="quantile")),
    "fractions and infinity": (
        "price", [*FRACTIONS, float("inf")], dense(), dense(), dense(transform="quantile"),
    ),
    "skewed": (
        "views", [*FRACTIONS, 1e5], dense(transform="log1p"), dense(transform="log1p"),
        dense(transform="quantile"),
    ),
    "skewed below zero": (
        "delta", [*FRACTIONS, -1.0, 1e5], dense(), dense(), dense(transform="quantile"),
    ),
}  # fmt: skip
LOG = GuessOptions(log=True)
TOWER = GuessOptions(vectors=False, dates=False, transform="quantile", max_len=8, max_values=1000)


@pytest.mark.parametrize(
    ("name", "values", "attribute", "log", "tower"), COLUMNS.values(), ids=COLUMNS
)
def test_which_feature_a_column_makes(name, values, attribute, log, tower):
    column = pl.Series(name, values, strict=False)
    for options, expected in ((GuessOptions(), attribute), (LOG, log), (TOWER, tower)):
        named = expected and expected.model_copy(update={"name": name})
        assert guess_feature(column, options=options) == named, options


def test_declared_ids_and_separators_take_precedence_over_the_values():
    unique = pl.Series("a", TITLES)
    assert guess_feature(unique, side=Side.ITEM, is_id=True) == SparseFeat("a", side=Side.ITEM)
    names = pl.Series("a", cycle(["New York", "Paris"]))
    assert guess_feature(names, separator=" ") == VarLenSparseFeat("a", separator=" ", max_len=2)


def test_only_text_has_a_separator():
    assert list_separator(pl.Series(cycle(["x|y", "y"]))) == "|"
    assert list_separator(pl.Series([1, 2])) is None
    assert list_separator(pl.Series([], dtype=pl.String)) is None
    assert list_separator(pl.Series([None], dtype=pl.String)) is None


def test_default_features_of_each_column(data):
    found = {f.name: f for f in default_features(data, project())}
    assert list(found)[:2] == ["user_id", "item_id"]
    for name in ("age", "vip", "author", "kind"):
        assert isinstance(found[name], SparseFeat), name
    assert found["tags"].separator == "|"
    assert found["tags"].max_len == 2
    assert isinstance(found["shelves"], VarLenSparseFeat)
    assert found["price"].transform == "log1p"
    assert found["weight"].transform == "standard"
    assert isinstance(found["vector"], DenseFeat)
    assert found["vector"].width == 4
    assert not {"title", "text", "same", "empty"} & set(found)
    assert found["liked"].history == ("buy",)
    assert found["liked"].shares == "item_id"


def test_the_declared_separator_splits_categories(data):
    found = {f.name: f for f in default_features(data, project(" "))}
    assert isinstance(found["kind"], VarLenSparseFeat)
    assert found["kind"].separator == " "


@pytest.mark.parametrize(
    ("days", "shown", "taken"), [(3, True, True), (1, True, False), (3, False, False)]
)
def test_the_hour_is_a_feature_where_impressions_span_two_days(data, days, shown, taken):
    time = np.linspace(0, days * 86_400_000, 50, endpoint=False).astype(np.int64)
    behaviours = (Behaviour(name="show", impression=shown), data.behaviours[1])
    behaviour = (np.arange(50) % 2).astype(np.uint8)
    events = replace(data.events, time=time, arrival=time, behaviour=behaviour)
    if days == 1:  # events that are no impressions begin earlier
        time[1] -= 9 * 86_400_000
    log = replace(data, events=events, behaviours=behaviours)
    config = project(" ")
    features = default_features(log, config)
    assert ("hour" in {f.name for f in features}) == taken
    space = FeatureSpace.fit(log, features, config=config)
    assert [c.side for c in space.layout.ids if c.name == "hour"] == [Side.CONTEXT] * taken


def test_default_features_can_be_fitted(data):
    config = project(" ")
    space = FeatureSpace.fit(data, default_features(data, config), config=config)
    assert space.recipes is not None
    assert {f"share:{n}" for n in ("kind", "tags", "author", "shelves")} <= {
        c.name for c in space.layout.dense
    }
