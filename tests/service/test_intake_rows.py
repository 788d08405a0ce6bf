"""Users and items that clients send are checked by the columns of their tables."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from tamis.data import Table
from tamis.schema import RequestError, Side, parse_config
from tamis.service.intake_rows import RowIntake, SentRow, json_cell

DECLARED: dict[str, Any] = {
    "name": "p",
    "events": {"path": "e.csv"},
    "items": {"path": "i.csv", "published": "out", "latitude": "lat", "longitude": "lon"},
    "behaviours": {"like": {"positive": True}},
    "features": [{"name": "vector", "kind": "dense", "width": 2}],
    "cascade": {"channels": {"hot": {}}, "rank": {"use": "lr"}},
}
ITEMS = Table(
    "items",
    pl.Series("id", ["a", "b"]),
    pl.DataFrame(
        {
            "title": ["A", None],
            "price": [1, 2],
            "in_stock": [True, False],
            "genres": [["x"], ["x", "y"]],
            "vector": [[1.0, 2.0], [0.5, 1.5]],
            "free": [[1.0], [1.0, 2.0]],
            "same": [[1.0, 2.0, 3.0], None],
            "out": [1_600_000_000_000, None],
            "day": [date(2020, 1, 1), None],
            "lat": [1.0, 2.0],
            "lon": [1.0, 2.0],
        }
    ),
)


@pytest.fixture(scope="module")
def intake() -> RowIntake:
    return RowIntake(parse_config(DECLARED), ITEMS, Side.ITEM)


GOOD: dict[str, Any] = {
    "title": "A film",
    "price": 9.5,
    "in_stock": True,
    "genres": ["x", 3],
    "vector": [0.1, 2],
    "free": [1, 2, 3, 4],
    "same": [1, 2, 3],
    "out": 1_700_000_000_000,
    "day": 1_700_000_000_000,
    "lat": -90,
    "lon": 180.0,
}


def test_a_row_of_the_right_types_is_taken(intake: RowIntake) -> None:
    (row,) = intake.read([{"item_id": 7, **GOOD, "title": None}])
    assert row == SentRow("7", GOOD | {"title": None})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("title", ["a"], r"title = \['a'\]: give a text"),
        ("title", True, "title = True: give a text"),
        ("title", "x" * 20_001, "title has 20,001 characters: give at most 20,000"),
        ("title", "\ud800", "half of a surrogate pair"),
        ("price", "9", "price = '9': give a finite number"),
        ("price", True, "price = True: give a finite number"),
        ("price", float("inf"), "price = inf: give a finite number"),
        ("in_stock", 1, "in_stock = 1: give true or false"),
        ("genres", "x", "genres = 'x': give a list of texts"),
        ("genres", [["x"]], r"genres = \['x'\]: give a list of texts"),
        ("vector", [1.0], "vector has 1 numbers: give 2, as the other rows have"),
        ("same", [1.0], "same has 1 numbers: give 3, as the other rows have"),
        ("free", ["1"], "free = '1': give a finite number"),
        ("out", 1_700_000_000, r"years 2000 to 2100.*; it looks like seconds: send 1700000000000"),
        ("day", "2020-01-01", "give ms since 1970 UTC, as a whole number"),
        ("lat", 90.5, "lat = 90.5: give degrees between -90 and 90"),
        ("lon", -181, "lon = -181: give degrees between -180 and 180"),
        ("titel", "A", "titel: the table of items has no such column. Did you mean `title`"),
    ],
)
def test_a_wrong_value_is_refused(
    intake: RowIntake, field: str, value: object, message: str
) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        intake.columns({field: value})
    assert caught.value.field == field


def test_one_wrong_row_does_not_hold_up_the_others(intake: RowIntake) -> None:
    found = intake.read([{"item_id": "a"}, {"title": "no id"}, "text", {"item_id": "b", "x": 1}])
    assert found[0] == SentRow("a", {})
    errors = [one for one in found if isinstance(one, RequestError)]
    assert [error.field for error in errors] == ["item_id", "", "x"]


def test_without_a_table_of_users_any_column_is_refused() -> None:
    users = Table("users", pl.Series("id", ["u"]), pl.DataFrame())
    intake = RowIntake(parse_config(DECLARED), users, Side.USER)
    assert intake.read([{"user_id": "u"}]) == [SentRow("u", {})]
    with pytest.raises(RequestError, match=r"age: this version has no columns of users; declare"):
        intake.columns({"age": 3})


def test_the_vectors_of_texts_are_computed_not_sent() -> None:
    declared = DECLARED | {"items": {"path": "i.csv", "text": {"columns": ["title"]}}}
    config = parse_config(declared)
    assert config.items.text is not None
    name = config.items.text.name
    items = ITEMS.with_frame(ITEMS.frame.with_columns(pl.Series(name, [[1.0], [1.0]])))
    with pytest.raises(RequestError, match="is computed from the texts of"):
        RowIntake(config, items, Side.ITEM).columns({name: [1.0]})


def test_cells_are_answered_as_they_are_sent() -> None:
    assert json_cell(date(2023, 11, 14)) == 1_699_920_000_000
    assert json_cell(datetime(2023, 11, 14, 22, 13, 20)) == 1_700_000_000_000
    assert json_cell(pl.Series([1.0, 2.0])) == [1.0, 2.0]
