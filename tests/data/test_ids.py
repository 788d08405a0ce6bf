"""External ids: one id in every way of writing it, in tables, frames and at a request."""

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tamis.data import UNKNOWN, Table, dataset_from_frame, id_text, one_id
from tamis.schema import DataError

TABLE = Table("items", pl.Series("id", ["1", "07", "x y", "1.10", "2024-01-05"]), pl.DataFrame())

WAYS = [
    (1, "1"), (1.0, "1"), ("1", "1"), ("1.0", "1"), (" 1 ", "1"), ("1.00", "1"),
    (np.int64(1), "1"), (np.float32(1), "1"), (np.str_("1"), "1"), (b"1", "1"),
    (decimal.Decimal("1.00"), "1"), ("07", "07"), (" x y", "x y"), ("1.10", "1.10"),
    (dt.date(2024, 1, 5), "2024-01-05"), (dt.datetime(2024, 1, 5), "2024-01-05"),
    (np.datetime64("2024-01-05T00:00", "ns"), "2024-01-05"),
    (pd.Timestamp("2024-01-05"), "2024-01-05"),
]  # fmt: skip
"""Values and the id that they are."""


@pytest.mark.parametrize(("value", "text"), WAYS, ids=[repr(v) for v, _ in WAYS])
def test_one_id_in_every_way_of_writing_it(value: object, text: str) -> None:
    assert one_id(value) == text
    assert TABLE.row(value) == TABLE.ids.to_list().index(text)
    assert TABLE.rows([value]).tolist() == [TABLE.row(text)]
    assert TABLE.rows(value).tolist() == [TABLE.row(text)]


@pytest.mark.parametrize("value", [None, float("nan"), "", "  ", pd.NA, pd.NaT])
def test_a_missing_value_is_no_id(value: object) -> None:
    assert one_id(value) is None
    assert TABLE.row(value) == UNKNOWN


@pytest.mark.parametrize("value", ["7", "01", "1e0", "x", "xy", True, 1.5, -1, 2**70, 1e300])
def test_other_values_are_unknown(value: object) -> None:
    assert TABLE.row(value) == UNKNOWN
    assert TABLE.rows([value, 1]).tolist() == [UNKNOWN, 0]


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.5, None, 1e20, -0.0, 2.0**60, 1e-7],
        [1, None, -3],
        [decimal.Decimal("1.50"), decimal.Decimal("20.00"), None],
        [dt.datetime(2024, 1, 5, 1, 2, 3, 400_000), None],
        [dt.date(2024, 1, 5)],
        [True, False],
        ["1.0", " 1", "1.10", "01.0", "-5.00", "", "a", None, "1e5", "１"],
    ],
)
def test_a_column_is_read_as_each_of_its_values(values: list[object]) -> None:
    column = pl.Series("id", values)
    assert id_text(column, "t", ()).to_list() == [one_id(value) for value in values]


def test_texts_are_bytes_of_utf8() -> None:
    assert id_text(pl.Series([b"a", None]), "t").to_list() == ["a", None]
    with pytest.raises(DataError, match="bytes that are not UTF-8"):
        id_text(pl.Series("id", [b"\xff"]), "t")
    with pytest.raises(DataError, match=r"t: column `id` holds List\(Int64\); ids must be"):
        id_text(pl.Series("id", [[1]]), "t")


def test_short_lists_of_written_ids_are_looked_up_as_they_are() -> None:
    table = Table("items", pl.Series(["10", "ä b", "1.0"]), pl.DataFrame())
    found = table.rows_of_texts(["ä b", "x", "10", "10", "1"])
    assert found.dtype == np.int32
    assert found.tolist() == [1, UNKNOWN, 0, 0, UNKNOWN]
    assert table.rows_of_texts([]).tolist() == []


def test_a_written_form_of_an_older_table_is_found() -> None:
    old = Table("users", pl.Series("id", ["1.0", "2"]), pl.DataFrame())
    assert old.rows(pl.Series(["1.0", "2.0"])).tolist() == [0, 1]
    assert (old.row("1.0"), old.row("2.0")) == (0, 1)


@pytest.mark.parametrize(
    "ids",
    [
        pd.Series([1, 2, 1]),
        pd.Series([1.0, 2.0, 1.0]),
        pd.Series(["1", "2", "1"]),
        pd.Series(["1", "2", "1"], dtype="category"),
        pd.Series([1, 2, 1], dtype="category"),
        pd.Series([1, 2, 1], dtype="Int64"),
        pd.Series([1, "2", 1.0], dtype=object),
        pd.Series(["1", "2.0", " 1 "], dtype="string"),
    ],
    ids=lambda s: f"{s.dtype}",
)
def test_frames_hold_the_same_ids_whatever_their_type(ids: pd.Series) -> None:
    data = dataset_from_frame(pd.DataFrame({"user_id": ids, "item_id": ids}))
    assert data.users.ids.to_list() == ["1", "2"]
    assert data.events.item.tolist() == [0, 1, 0]
    assert data.items.rows([1, 2.0, "2"]).tolist() == [0, 1, 1]


def test_missing_values_of_frames_are_refused() -> None:
    whole = pl.DataFrame({"user_id": [1.0, 2.0], "item_id": ["a", "b"], "v": [1.0, 2.0]})
    for name, value in (("user_id", [1.0, float("nan")]), ("v", [1.0, float("nan")])):
        frame = whole.with_columns(pl.Series(name, value))
        with pytest.raises(DataError, match=f"column '{name}' has 1 missing values"):
            dataset_from_frame(frame, value="v", min_value=2)
    with pytest.raises(DataError, match="'item_id' has 1 missing ids, such as ' ' in row 1"):
        dataset_from_frame(whole.with_columns(item_id=pl.Series(["a", " "])))


def test_times_of_frames_that_may_be_read_wrongly_warn() -> None:
    frame = pl.DataFrame({"user_id": [1], "item_id": [2], "t": ["01/02/2024"]})
    with pytest.warns(UserWarning, match="read with the month first, though no value tells"):
        dataset_from_frame(frame, time="t")
    with pytest.raises(DataError, match="look like the days of a spreadsheet"):
        dataset_from_frame(frame.with_columns(t=pl.Series([45296])), time="t")
    with pytest.raises(DataError, match="1 values that are not times"):
        dataset_from_frame(frame.with_columns(t=pl.Series(["NULL"])), time="t")
