"""A table of users or items with the rows that came, changed and went since a version was made."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tamis.data import UNKNOWN, Table
from tamis.journal import Cell
from tamis.runtime import Int32

_FILE = "rows.json"


class _Saved(msgspec.Struct):
    """What a snapshot keeps of a table."""

    ids: list[str]
    """Ids of the rows that were added, in the order of the rows."""
    changed: list[tuple[int, dict[str, Cell]]]
    """Rows that were put or patched, and all their cells."""
    removed: list[int]
    """Rows that were removed, and"""
    removed_after: list[int]
    """the number of rows of the table when each was."""
    widened: list[str] = []
    """Columns of whole numbers that became columns of numbers."""
    gone: list[str] = []
    """Ids that were removed and had no row."""


class TableView:
    """Rows of ids, and their columns: new ids follow the version's, in the order of the journal."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._base = len(table)
        self._cells: dict[int, dict[str, Cell]] = {}
        self._removed: list[tuple[int, int]] = []
        self._gone: dict[str, None] = {}
        self._fresh: set[int] = set()

    def rows_of(self, ids: Sequence[str]) -> Int32:
        """(n,) the rows of ids (n,); ids without one get the next."""
        rows = self.table.rows_of_texts(ids)
        missing = np.flatnonzero(rows == UNKNOWN)
        if len(missing):
            new = list(dict.fromkeys(ids[k] for k in missing.tolist()))
            self._fresh.update(self.table.add(new).tolist())
            rows[missing] = self.table.rows_of_texts([ids[k] for k in missing.tolist()])
        return rows

    def change(self, row: int, columns: Mapping[str, Cell], *, keep: bool) -> None:
        """New cells of a row; with `keep`, those that are not named stay as they are."""
        self.table.change(row, columns, keep=keep)
        self._cells[row] = (self._cells.get(row, {}) if keep else {"": None}) | dict(columns)
        self._fresh.add(row)

    def remove(self, row: int) -> None:
        """The row's id and cells are gone; its id gets a new row when it comes again."""
        self.table.remove(row)
        self._cells.pop(row, None)
        self._removed.append((row, len(self.table)))
        self._fresh.add(row)

    def remove_id(self, text: str) -> None:
        """Takes note of the removal of an id without a row, such as that of a user whose events
        were exported without their user: when it comes again, nothing earlier may be used for it.
        """
        self.table.remove_id(text)
        self._gone[text] = None

    def fresh(self) -> Int32:
        """The rows that are new or changed since `fresh_taken`, ascending."""
        return np.array(sorted(self._fresh), np.int32)

    def since_version(self) -> Int32:
        """The rows that came, changed or went since the version was made, ascending."""
        rows = {*range(self._base, len(self.table)), *self._cells}
        return np.array(sorted(rows | {row for row, _ in self._removed}), np.int32)

    def fresh_taken(self) -> None:
        """The rows that `fresh` returned need no more to be done."""
        self._fresh.clear()

    def snapshot(self, folder: Path) -> None:
        """Writes what came since the version."""
        folder.mkdir(parents=True, exist_ok=True)
        ids = [self.table.id_of(row) for row in range(self._base, len(self.table))]
        rows, after = zip(*self._removed, strict=True) if self._removed else ((), ())
        changed, wide = list(self._cells.items()), sorted(self.table.widened)
        saved = _Saved(ids, changed, list(rows), list(after), wide, list(self._gone))
        (folder / _FILE).write_bytes(msgspec.json.encode(saved))

    def restore(self, folder: Path) -> None:
        """Brings a table of the same version to the state that `snapshot` wrote."""
        saved = msgspec.json.decode((folder / _FILE).read_bytes(), type=_Saved)
        self.table.widen(saved.widened)
        for text in saved.gone:
            self.remove_id(text)
        removed, ids = zip(saved.removed, saved.removed_after, strict=True), saved.ids
        for row, after in removed:
            self._add(ids, after)
            self.remove(row)
        self._add(ids, self._base + len(ids))
        for row, cells in saved.changed:
            put = "" in cells
            self.change(row, {k: v for k, v in cells.items() if k}, keep=not put)

    def _add(self, ids: Sequence[str], until: int) -> None:
        """Adds the ids of the rows up to `until`."""
        new = ids[len(self.table) - self._base : until - self._base]
        self._fresh.update(self.table.add(list(new)).tolist())

    @property
    def changed(self) -> Container[int]:
        """The rows that were put or patched since the version was made."""
        return self._cells.keys()

    def cells(self, row: int) -> dict[str, Any]:
        """The cells of a row that are not missing."""
        return self.table.cells(row)
