"""Users and items that come while a space serves: as if they had been in the tables at the fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from tamis.data import Dataset, Events, Table
from tamis.features import FeatureSpace, Histories, OnlineStatistics
from tamis.features._lookup import Attributes
from tamis.schema import (
    Behaviour,
    DenseFeat,
    ProjectConfig,
    SparseFeat,
    VarLenSparseFeat,
)

DAY = 86_400_000
START = 19_000 * DAY
BEHAVIOURS = (Behaviour(name="dislike"), Behaviour(name="like", positive=True))
FEATURES = [
    SparseFeat("user_id"),
    SparseFeat("gender"),
    DenseFeat("age"),
    SparseFeat("item_id"),
    SparseFeat("author"),
    VarLenSparseFeat("genres", separator="|", max_len=3),
    DenseFeat("year"),
    DenseFeat("price", transform="quantile", buckets=3),
    VarLenSparseFeat("liked", history=("like",), shares="item_id", max_len=4),
    VarLenSparseFeat("liked_genres", history=("like",), shares="genres", max_len=6),
]
GROUPS = ("author", "genres", "user:gender", "own:genres")
USERS, ITEMS = 8, 12
KNOWN = 5
"""Users and items that the short space knows."""


def config() -> ProjectConfig:
    return ProjectConfig.model_validate(
        {
            "name": "p",
            "events": {"path": "e.csv", "user": "user_id", "item": "item_id"},
            "items": {"path": "i.csv", "id": "item_id", "author": "author", "category": "tags"},
            "behaviours": {"dislike": {}, "like": {"positive": True}},
            "cascade": {"channels": {"hot": {"quota": 5}}, "rank": {"use": "lr"}},
        }
    )


@pytest.fixture(scope="module")
def data() -> Dataset:
    random = np.random.default_rng(5)
    users = pl.DataFrame({"gender": ["F", "M", None, "F"] * 2, "age": [20.0, 40.0, None, 31.5] * 2})
    genres = ["x", "x|y", "z", None, "y|x|z", "x"] * 2
    items = pl.DataFrame(
        {
            "genres": genres,
            "author": ["ann", "bob", None] * 4,
            "year": [1990, 2000, None, 2010] * 3,
            "price": [1.0, 2.5, 9.0, None] * 3,
            "tags": [["a"], ["a", "b"], None, ["c"]] * 3,
            "published": [START, None, START + 3 * DAY] * 4,
        }
    )
    n = 60
    time = np.sort(START + random.integers(0, 9 * DAY, n))
    events = Events(
        random.integers(0, USERS, n).astype(np.int32),
        random.integers(0, ITEMS, n).astype(np.int32),
        random.integers(0, 2, n).astype(np.uint8),
        time,
        time,
        np.full(n, np.nan, np.float32),
        np.full(n, -1, np.int64),
        np.zeros(n, np.int16),
    )
    return Dataset(
        Table("users", pl.Series("id", [f"u{k}" for k in range(USERS)]), users),
        Table("items", pl.Series("id", [f"i{k}" for k in range(ITEMS)]), items),
        events,
        BEHAVIOURS,
    )


def fitted(data: Dataset) -> FeatureSpace:
    return FeatureSpace.fit(
        data, FEATURES, config=config(), windows=("7d", "all"), groups=GROUPS, item_category="tags"
    )


def first(array: np.ndarray, known: int) -> np.ndarray:
    """The first rows and that of the unknown."""
    return np.concatenate([array[:known], array[-1:]])


def shortened(data: Dataset, known: int = KNOWN) -> FeatureSpace:
    """The space that was fitted on all rows, without those from `known` on."""
    space = fitted(data)
    full = space._fitted
    interest = full.interest
    short = replace(
        full,
        users=Attributes(first(full.users.ids, known), first(full.users.dense, known)),
        items=Attributes(first(full.items.ids, known), first(full.items.dense, known)),
        histories=tuple(replace(h, codes=first(h.codes, known)) for h in full.histories),
        interest=replace(
            interest,
            categories=tuple(replace(c, codes=first(c.codes, known)) for c in interest.categories),
            numbers=tuple(replace(n, values=first(n.values, known)) for n in interest.numbers),
        ),
    )
    assert full.recipes is not None
    for group in (*full.recipes.groups, *full.recipes.pairs):
        group.groups.sets = first(group.groups.sets, known)
    recipes = replace(full.recipes, published=full.recipes.published[:known])
    return FeatureSpace(replace(short, recipes=recipes))


def growing_tables(data: Dataset) -> tuple[Table, Table]:
    """The tables of the short space."""
    return data.users.part(np.arange(KNOWN)), data.items.part(np.arange(KNOWN))


def add_rows(table: Table, full: Table, first_row: int, last: int) -> np.ndarray:
    rows = table.add([full.id_of(row) for row in range(first_row, last)])
    for row in rows.tolist():
        table.change(row, full.cells(row), keep=False)
    return rows


@pytest.fixture
def grown(data: Dataset) -> tuple[FeatureSpace, OnlineStatistics, Table, Table]:
    """A space and statistics that have taken up the other rows in two steps."""
    space, (users, items) = shortened(data), growing_tables(data)
    known = data.events.take((data.events.user < KNOWN) & (data.events.item < KNOWN))
    short = Dataset(users, items, known.take(slice(0, 0)), BEHAVIOURS)
    statistics = OnlineStatistics.of(short, space.recipes)
    for begin, end in ((KNOWN, KNOWN + 1), (KNOWN + 1, ITEMS)):
        rows = add_rows(items, data.items, begin, end)
        statistics.update_items(items, rows)
        space.update_items(items, rows)
        rows = add_rows(users, data.users, begin, min(end, USERS))
        statistics.update_users(users, rows)
        space.update_users(users, rows)
    return space, statistics, users, items


def test_a_new_row_is_encoded_as_at_the_fit(
    data: Dataset, grown: tuple[FeatureSpace, OnlineStatistics, Table, Table]
) -> None:
    full, ours = fitted(data)._fitted, grown[0]._fitted
    for side in ("users", "items"):
        for kind in ("ids", "dense"):
            left, right = (getattr(getattr(f, side), kind) for f in (full, ours))
            np.testing.assert_array_equal(left, right, err_msg=f"{side} {kind}")
    for left, right in zip(full.histories, ours.histories, strict=True):
        np.testing.assert_array_equal(left.codes, right.codes)
    for left, right in zip(full.interest.categories, ours.interest.categories, strict=True):
        np.testing.assert_array_equal(left.codes, right.codes, err_msg=left.name)
    assert [c.name for c in full.interest.categories] == ["author", "genres", "tags"]
    for left, right in zip(full.interest.numbers, ours.interest.numbers, strict=True):
        np.testing.assert_array_equal(left.values, right.values)


def test_statistics_of_new_rows_count_as_if_they_had_been_there(
    data: Dataset, grown: tuple[FeatureSpace, OnlineStatistics, Table, Table]
) -> None:
    """All columns of all candidates, after the same events."""
    space, statistics, _, items = grown
    whole = fitted(data)
    expected = OnlineStatistics.of(data, whole.recipes)
    for begin in range(0, 60, 7):
        statistics.add(data.events.take(slice(begin, begin + 7)))
    assert items.frame["author"].to_list() == data.items.frame["author"].to_list()
    time = np.full(USERS + 1, data.end + DAY, np.int64)
    user = np.arange(-1, USERS, dtype=np.int32)
    query = np.repeat(np.arange(USERS + 1), ITEMS + 1)
    item = np.tile(np.arange(-1, ITEMS, dtype=np.int32), USERS + 1)
    history = Histories.of(data).at(user, time)
    rows = [
        s.rows(user, time, history, query, item, statistics=counts)
        for s, counts in ((space, statistics), (whole, expected))
    ]
    taken = [r.take(torch.arange(len(r))) for r in rows]
    assert torch.equal(taken[0].ids, taken[1].ids)
    np.testing.assert_array_equal(taken[0].dense.numpy(), taken[1].dense.numpy())


def test_a_value_that_the_fit_did_not_see_is_unseen(data: Dataset) -> None:
    space, (_, items) = shortened(data), growing_tables(data)
    row = items.add(["new"])
    items.change(int(row[0]), {"author": "zoe", "genres": "x|w"}, keep=False)
    space.update_items(items, row)
    ours = space._fitted
    codes = ours.items.ids[row[0]].tolist()
    start = {name: t.start for name, t in space.layout.table.items()}
    known = space.vocabularies["genres"].encode(pl.Series(["x"])).tolist()[0]
    assert codes[:2] == [start["item_id"] + 1, start["author"] + 1]
    assert [c - start["genres"] for c in codes[2:5]] == [known, 1, 0]
    author = next(c for c in ours.interest.categories if c.name == "author")
    assert author.codes[row[0]].tolist() == [0]


def test_an_item_with_more_values_than_any_before_makes_rows_wider(data: Dataset) -> None:
    space, (_, items) = shortened(data), growing_tables(data)
    row = items.add(["new"])
    items.change(int(row[0]), {"tags": ["a", "b", "c"]}, keep=False)
    space.update_items(items, row)
    tags = next(c for c in space._fitted.interest.categories if c.name == "tags")
    assert sorted(tags.codes[row[0]].tolist()) == [2, 3, 4]
    assert sorted(tags.codes[0].tolist()) == [0, 0, 2]


def test_a_changed_item_gets_new_values_and_a_removed_user_an_unknown_ones(data: Dataset) -> None:
    space, (users, items) = shortened(data), growing_tables(data)
    items.change(0, {"year": 2010, "author": "bob"}, keep=True)
    space.update_items(items, np.array([0], np.int32))
    np.testing.assert_array_equal(space._fitted.items.ids[0, 1], space._fitted.items.ids[1, 1])
    np.testing.assert_array_equal(space._fitted.items.dense[0], space._fitted.items.dense[3])
    users.remove(1)
    again = users.add(["u1"])
    users.change(int(again[0]), {"gender": "M"}, keep=False)
    space.update_users(users, np.array([1, *again], np.int32))
    ids, dense = space._fitted.users.ids, space._fitted.users.dense
    np.testing.assert_array_equal(ids[1], ids[-1])
    np.testing.assert_array_equal(dense[1], dense[-1])
    assert ids[again[0], 0] == ids[-1, 0]  # the id has no embedding any more
    assert ids[again[0], 1] == fitted(data)._fitted.users.ids[1, 1]
