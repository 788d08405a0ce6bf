"""A table while it grows: rows keep their numbers, cells change, ids come and go."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.data import Table

FRAME = pl.DataFrame(
    {
        "text": ["A", None, "C"],
        "whole": [1, 2, None],
        "list": [["x"], None, ["x", "y"]],
        "day": [date(2020, 1, 1), None, None],
    }
)


def table() -> Table:
    return Table("items", pl.Series("id", ["a", "b", "c"]), FRAME)


def test_added_rows_follow_and_have_no_cells() -> None:
    items = table()
    assert items.add(["d", "e"]).tolist() == [3, 4]
    assert (len(items), items.ids.to_list()) == (5, ["a", "b", "c", "d", "e"])
    assert (items.row("d"), items.row(" e "), items.row("f")) == (3, 4, -1)
    assert items.rows(["e", "a", "f", None]).tolist() == [4, 0, -1, -1]
    assert items.frame.row(3) == (None, None, None, None)
    assert items.cells(4) == {}


def test_cells_change_as_the_column_holds_them() -> None:
    items = table()
    row = int(items.add(["d"])[0])
    cells: dict[str, Any] = {"text": 7.0, "whole": 3.0, "list": ["z", 1], "nosuch": 1}
    items.change(row, cells | {"day": 1_600_000_000_000}, keep=False)
    assert items.frame.row(row) == ("7", 3, ["z", "1"], date(2020, 9, 13))
    items.change(row, {"text": None}, keep=True)
    items.change(0, {"text": "B"}, keep=True)
    assert items.frame["text"].to_list() == ["B", None, "C", None]
    assert items.cell(0, "whole") == 1
    items.change(0, {"text": "B"}, keep=False)
    assert items.cells(0) == {"text": "B"}


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (pl.Datetime("ms"), 9_000_000_000_000_000),
        (pl.Datetime("ms"), -9e15),
        (pl.Date, 10**30),
        (pl.Int64, 2**70),
        (pl.Int8, 1e3),
        (pl.Float64, float("nan")),
    ],
)
def test_a_number_that_the_column_cannot_hold_is_missing(dtype: Any, value: float) -> None:
    table = Table("items", pl.Series(["x"]), pl.DataFrame({"c": pl.Series([None], dtype=dtype)}))
    table.change(0, {"c": value}, keep=False)
    assert table.cells(0) == {}
    assert table.frame["c"].to_list() == [None]


def test_a_fraction_makes_a_column_of_whole_numbers_one_of_numbers() -> None:
    items = table()
    items.change(1, {"whole": 2.5}, keep=True)
    assert items.frame["whole"].to_list() == [1.0, 2.5, None]
    items.change(1, {"whole": "text", "list": 3}, keep=True)  # of a journal, not of a client
    assert items.frame.row(1) == (None, None, None, None)


def test_a_removed_id_comes_back_in_a_new_row() -> None:
    items = table()
    items.remove(1)
    assert (items.row("b"), items.ids.to_list()) == (-1, ["a", None, "c"])
    assert items.rows(pl.Series(["b", "c"])).tolist() == [-1, 2]
    assert items.add(["b"]).tolist() == [3]
    assert (items.row("b"), items.id_of(3)) == (3, "b")
    assert items.is_again(np.arange(4)).tolist() == [False, True, False, True]


def test_parts_of_few_rows_after_removals_hold_the_ids_of_the_table() -> None:
    items = table()
    items.add(["d"])
    for row in (1, 3):
        items.remove(row)
        few = items.part(np.array([3, 0, 1]))
        assert few.ids.to_list() == [None if row == 3 else "d", "a", None]
        assert items._unnamed, "without a pass over the table"
    assert items.ids.to_list() == ["a", None, "c", None]
    assert not items._unnamed


def test_a_part_is_a_table_of_its_own() -> None:
    items = table()
    items.add(["d"])
    part = items.part(np.array([3, 1]))
    assert (part.ids.to_list(), part.row("b")) == (["d", "b"], 1)
    part.add(["z"])
    part.change(0, {"text": "changed"}, keep=True)
    again = items.part(np.array([3, 1]))
    assert (again.ids.to_list(), again.frame["text"].to_list()) == (["d", "b"], [None, None])
    items.change(1, {"text": "new"}, keep=True)
    assert items.part(np.array([3, 1])).frame["text"].to_list() == [None, "new"]


def test_a_table_without_columns_grows() -> None:
    users = Table("users", pl.Series("id", [], pl.String), pl.DataFrame())
    users.add(["u"])
    users.change(0, {"age": 3}, keep=False)
    assert (len(users), users.frame.shape, users.cells(0)) == (1, (0, 0), {})


@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, 5),
            st.dictionaries(
                st.sampled_from(["text", "whole"]), st.sampled_from([None, 1, 2, 3]), max_size=2
            ),
            st.booleans(),
        ),
        max_size=8,
    ),
    read=st.booleans(),
)
def test_any_changes_equal_a_table_of_the_last_cells(
    changes: list[tuple[int, dict[str, int | None], bool]], read: bool
) -> None:
    items = table()
    items.add(["d", "e", "f"])
    cells: list[dict[str, Any]] = [*FRAME.to_dicts(), {}, {}, {}]
    for row, new, keep in changes:
        items.change(row, new, keep=keep)
        texts = {n: None if v is None else str(v) if n == "text" else v for n, v in new.items()}
        cells[row] = (cells[row] if keep else {}) | texts
        if read:
            assert items.frame.height == 6
    expected = pl.DataFrame(
        [{name: row.get(name) for name in FRAME.columns} for row in cells], schema=FRAME.schema
    )
    assert items.frame.equals(expected)
    assert items.part(np.array([5, 0, 3])).frame.equals(expected[[5, 0, 3]])
    for rows in ([2, 0, 2], [5, 0, 3], []):
        for name in FRAME.columns:
            found = [
                v.to_list() if isinstance(v, pl.Series) else v for v in items.cells_of(rows, name)
            ]
            assert found == expected[name].gather(rows).to_list()


@pytest.mark.parametrize("n", [10, 5_000])
def test_few_and_many_ids_are_looked_up_alike(n: int) -> None:
    items = Table("items", pl.Series("id", [str(k) for k in range(n)]), pl.DataFrame())
    items.remove(3)
    items.add(["3", "x"])
    asked = [*range(n), "x", None, "1.0", " 2 ", "nosuch"]
    expected = [*range(3), n, *range(4, n), n + 1, -1, 1, 2, -1]
    assert items.rows(asked).tolist() == expected
