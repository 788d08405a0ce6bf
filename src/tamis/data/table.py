"""A table of users or items: external ids and attributes; it grows and changes while it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.id_index import IdIndex, id_index
from tamis.data.ids import id_text, ids_of, one_id
from tamis.data.values import plain_frame
from tamis.runtime import Int32

_ID = "__id__"
UNKNOWN = -1
"""The row number of a user or item that is not in its table."""
_EPOCH = datetime(1970, 1, 1)
_MOST_KEPT = 50_000
"""Rows of a part that is kept for the next stage that asks for it."""
_FEW_IDS = 1_000
"""Most ids that are looked up one by one, without a pass over the table."""
_MOST_PARTS = 32
"""Pieces of a series of ids that are kept before they become one."""


class Table:
    """A table of users or items.

    External ids are text, as `tamis.data.id_text` reads them: 1, 1.0, "1" and " 1 " are one id. Row
    numbers are int32 positions in the table. An id is converted to a row once, on input, by `rows`,
    and back by `ids`.

    A running service adds rows, changes and removes them (`add`, `change`, `remove`); rows keep
    their numbers. The cost is that of the rows: `part` reads single rows, whereas `frame` is made
    anew once it is read after a change.

    Args:
        name: "users" or "items", for messages.
        ids: (N,) unique text ids, in row order.
        frame: (N, columns) attributes in row order, without the id column.
    """

    def __init__(self, name: str, ids: pl.Series, frame: pl.DataFrame) -> None:
        self.name = name
        self._ids = ids
        self._base_ids = ids
        self._base = plain_frame(frame)
        self._frame: pl.DataFrame | None = self._base
        self._added: list[str] = []
        self._newer: dict[str, int] = {}
        """Ids that were added (their rows) or removed (UNKNOWN); they come before `_index`."""
        self._changed: dict[int, Mapping[str, Any]] = {}
        """Row → all its cells, of rows that were added or changed."""
        self._removed: set[int] = set()
        self._unnamed: list[int] = []
        """Rows that were removed since `_ids` was read."""
        self._again: set[int] = set()
        self._widened: set[str] = set()
        self._last: tuple[bytes, pl.Series, pl.DataFrame] | None = None
        """The last part that was read: every stage reads the rows that are new."""

    def apart(self) -> Table:
        """The table as it was opened; changes of it do not change this one. They share an index."""
        made = Table(self.name, self._base_ids, self._base)
        made.__dict__["_index"] = self._index
        return made

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {len(self)} rows, columns={self.columns})"

    def __len__(self) -> int:
        return len(self._base_ids) + len(self._added)

    @property
    def columns(self) -> list[str]:
        """Names of the attributes."""
        return self._base.columns

    def __contains__(self, column: str) -> bool:
        return column in self.schema

    @cached_property
    def schema(self) -> pl.Schema:
        """Names and types of the attributes."""
        return self._base.schema

    @property
    def ids(self) -> pl.Series:
        """(N,) unique text ids, in row order; null where a row was removed."""
        if len(self._ids) < len(self):
            fresh = self._added[len(self._ids) - len(self._base_ids) :]
            more = pl.Series(self._ids.name, fresh, pl.String)
            self._ids = pl.concat([self._ids, more], rechunk=False)
            if self._ids.n_chunks() > _MOST_PARTS:
                self._ids = self._ids.rechunk()
        if self._unnamed:
            gone = np.zeros(len(self), np.bool_)
            gone[self._unnamed] = True
            named = pl.DataFrame({"id": self._ids, "gone": gone})
            self._ids = named.select(pl.when(~pl.col("gone")).then("id").alias(self._ids.name))[
                self._ids.name
            ]
            self._unnamed.clear()
        return self._ids

    def _ids_of(self, rows: NDArray[np.int64]) -> pl.Series:
        """(m,) the ids of rows; few of them without a pass over the table after a removal."""
        if not self._unnamed or len(rows) > _FEW_IDS:
            return self.ids.gather(rows)
        ids = [None if row in self._removed else self.id_of(row) for row in rows.tolist()]
        return pl.Series(self._ids.name, ids, pl.String)

    def id_of(self, row: int) -> str:
        """The id of one row."""
        base = len(self._base_ids)
        return str(self._base_ids[row]) if row < base else self._added[row - base]

    @property
    def frame(self) -> pl.DataFrame:
        """(N, columns) attributes in row order, without the id column."""
        stale = self._frame is None or (self.columns and self._frame.height < len(self))
        if stale or self._frame is None:
            self._frame = self._part_frame(np.arange(len(self)))
        return self._frame

    def part(self, rows: NDArray[np.integer]) -> Table:
        """The rows (m,) of the table as a table of their own."""
        wanted = rows.astype(np.int64)
        key = wanted.tobytes()
        if self._last is None or self._last[0] != key:
            self._last = key, self._ids_of(wanted), self._part_frame(wanted)
        part = Table(self.name, *self._last[1:])
        part._again.update(np.flatnonzero(self.is_again(wanted)).tolist())
        if len(wanted) > _MOST_KEPT:
            self._last = None
        return part

    def with_frame(self, frame: pl.DataFrame) -> Table:
        """The same ids with other attributes (N, columns)."""
        return Table(self.name, self.ids, frame)

    def _part_frame(self, rows: NDArray[np.int64]) -> pl.DataFrame:
        if not self.columns:
            return self._base
        grown = len(rows) and int(rows.max()) >= len(self._base_ids)
        return self._joined_part(rows) if self._changed or grown else self._base[rows]

    def _joined_part(self, rows: NDArray[np.int64]) -> pl.DataFrame:
        """The cells of rows of which some were added or changed."""
        base, changed = len(self._base_ids), self._changed
        fresh = np.fromiter((r >= base or r in changed for r in rows.tolist()), np.bool_, len(rows))
        named = [changed.get(row, {}) for row in rows[fresh].tolist()]
        cells = pl.DataFrame([typed_series(n, t, named) for n, t in self.schema.items()])
        order = np.where(fresh, np.cumsum(fresh) - 1, len(cells) + np.cumsum(~fresh) - 1)
        return pl.concat([cells, self._base[rows[~fresh]]])[order]

    def cell(self, row: int, column: str) -> Any:
        """One cell; None where it is missing."""
        if row in self._changed:
            return self._changed[row].get(column)
        return self._base[column][row] if row < len(self._base_ids) else None

    def cells_of(self, rows: Sequence[int], column: str) -> list[Any]:
        """One column's cells of some rows; None where they are missing."""
        base, changed = len(self._base_ids), self._changed
        if any(row >= base or row in changed for row in rows):
            return [self.cell(row, column) for row in rows]
        cells = self._base.get_column(column)
        return [cells[row] for row in rows]  # for a slate, `gather` takes much longer

    def cells(self, row: int) -> dict[str, Any]:
        """The cells of one row that are not missing."""
        if row in self._changed or row >= len(self._base_ids):
            return dict(self._changed.get(row, {}))
        every = self._base.row(row, named=True)
        return {name: value for name, value in every.items() if value is not None}

    @cached_property
    def _index(self) -> IdIndex:
        return id_index(self._base_ids)

    def row(self, external: object) -> int:
        """The row of an external id of any type; UNKNOWN (-1) if it is not in the table."""
        if isinstance(external, str) and (row := self._found(external)) is not None:
            return row
        text = one_id(external)
        return UNKNOWN if text is None else self._found(text, UNKNOWN)

    def _found(self, text: str, other: Any = None) -> Any:
        row = self._newer.get(text)
        return self._index.get(text, other) if row is None else row

    def rows(self, external: pl.Series | NDArray[Any] | Sequence[object] | object) -> Int32:
        """(n,) rows of external ids (n,) of any type; UNKNOWN (-1) for ids not in the table.

        A bare id counts as a sequence of one.
        """
        is_text = isinstance(external, pl.Series) and external.dtype == pl.String
        series = cast("pl.Series", external) if is_text else ids_of(external)
        rows = self._joined(series)
        if is_text and (rows == UNKNOWN).any():  # as they are written, else as ids are read
            lost = np.flatnonzero(rows == UNKNOWN)
            rows[lost] = self._joined(id_text(series.gather(lost), self.name, ()))
        return rows

    def rows_of_texts(self, ids: Sequence[str]) -> Int32:
        """(n,) rows of ids as the table writes them; UNKNOWN (-1) for others.

        For lists of some thousand ids, of which `rows` would make a join.
        """
        rows = self._index.get_all(ids)
        if self._newer:
            newer = map(self._newer.get, ids, rows.tolist())
            rows = np.fromiter(newer, np.int32, len(ids))
        return rows

    def _joined(self, ids: pl.Series) -> Int32:
        if len(ids) <= _FEW_IDS:
            return self.rows_of_texts(ids.to_list())
        left = pl.DataFrame({"id": ids}, schema={"id": pl.String})
        right = pl.DataFrame({"id": self.ids, "row": np.arange(len(self), dtype=np.int32)})
        joined = left.join(right, on="id", how="left", maintain_order="left")
        return joined["row"].fill_null(UNKNOWN).to_numpy().astype(np.int32)

    def add(self, ids: Sequence[str]) -> Int32:
        """Adds rows without attributes for ids that are not in the table; their numbers (m,)."""
        first = len(self)
        rows = np.arange(first, first + len(ids), dtype=np.int32)
        gone = [text in self._newer for text in ids] if self._newer else []
        self._again.update(row for row, was in zip(rows.tolist(), gone, strict=False) if was)
        self._newer.update(zip(ids, rows.tolist(), strict=True))
        self._last = None
        self._added += ids
        return rows

    def change(self, row: int, cells: Mapping[str, Any], *, keep: bool) -> None:
        """Gives a row new cells; with `keep`, the cells that are not named stay as they are.

        Columns that the table does not have are left out, and so are values that its types cannot
        hold.
        """
        known = {name: cell_of(v, self.schema[name]) for name, v in cells.items() if name in self}
        self._widen(known)
        before = self.cells(row) if keep else {}
        self._changed[row] = {k: v for k, v in (before | known).items() if v is not None}
        self._frame = self._last = None

    def _widen(self, cells: Mapping[str, Any]) -> None:
        """Makes columns of whole numbers columns of numbers, where a cell has a fraction."""
        self.widen([n for n, v in cells.items() if isinstance(v, float) and n not in self.widened])

    @property
    def widened(self) -> frozenset[str]:
        """Columns of whole numbers that became columns of numbers."""
        return frozenset(self._widened)

    def widen(self, columns: Sequence[str]) -> None:
        """Makes columns of whole numbers columns of numbers; others stay as they are."""
        wide = [name for name in columns if name in self and self.schema[name].is_integer()]
        if not wide:
            return
        self._base = self._base.with_columns(pl.col(wide).cast(pl.Float64))
        self._changed = {
            row: {k: float(v) if k in wide else v for k, v in cells.items()}
            for row, cells in self._changed.items()
        }
        self._widened.update(wide)
        self._frame = self._last = None
        del self.schema  # it is read anew

    def remove(self, row: int) -> None:
        """Removes the id and the attributes of a row; an id that is added again gets a new one."""
        self._newer[self.id_of(row)] = UNKNOWN
        self._removed.add(row)
        self._changed[row] = {}
        self._frame = self._last = None
        self._unnamed.append(row)

    def remove_id(self, text: str) -> None:
        """Takes note that an id without a row was removed: if it is added, it comes again."""
        self._newer.setdefault(text, UNKNOWN)

    @property
    def removed(self) -> frozenset[int]:
        """Rows that were removed."""
        return frozenset(self._removed)

    def is_again(self, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """(m,) rows of ids that were removed before: nothing that was learnt of these ids may be
        used for them."""
        if not self._again and not self._removed:
            return np.zeros(len(rows), np.bool_)
        return np.isin(rows, [*self._again, *self._removed])

    def write(self, path: Path) -> None:
        """Writes one Parquet file: the ids as column `_ID`, then the attributes."""
        pl.DataFrame([self.ids.alias(_ID), *self.frame]).write_parquet(path)

    @classmethod
    def read(cls, name: str, path: Path) -> Table:
        """Reads what `write` wrote."""
        frame = pl.read_parquet(path)
        return cls(name, frame[_ID], frame.drop(_ID))


def typed_series(name: str, dtype: pl.DataType, rows: Sequence[Mapping[str, Any]]) -> pl.Series:
    """(n,) the column `name` of n rows of cells; null where a cell is missing or does not fit."""
    values = [row.get(name) for row in rows]
    try:
        return pl.Series(name, values, dtype, strict=False)
    except _MISFITS:
        return pl.Series(name, [_fitting(value, dtype) for value in values], dtype, strict=False)


_MISFITS = (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError)


def _fitting(value: Any, dtype: pl.DataType) -> Any:
    try:
        return pl.Series([value], dtype=dtype, strict=False)[0]
    except _MISFITS:
        return None


def cell_of(value: Any, dtype: pl.DataType) -> Any:
    """A value of JSON as the cell of a column: numbers as texts, ms since 1970 UTC as times; None
    for numbers and times that the column cannot hold."""
    if isinstance(value, float) and not isfinite(value):
        return None
    if dtype == pl.String and isinstance(value, int | float):
        return one_id(value)
    counted = dtype.is_integer() or dtype.is_temporal()
    if counted and isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if dtype.is_temporal():
            return _moment(value, dtype)
        if dtype.is_integer() and _fitting(value, dtype) is None:
            return None
    if isinstance(value, list) and getattr(dtype, "inner", None) == pl.String:
        return [one_id(each) for each in cast("list[object]", value)]
    return cast("Any", value)


def _moment(milliseconds: int, dtype: pl.DataType) -> Any:
    """A date, or a date and time; None outside the years 1 to 9999."""
    try:
        moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
    return moment.date() if dtype == pl.Date else moment
