"""Items: those that came, changed, were hidden and deleted since a version was made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tamis.data import Table
from tamis.journal import ItemDelete, ItemHide, ItemPatch, ItemPut, ItemShow
from tamis.runtime import Int32
from tamis.service.views._arrays import read_arrays, write_arrays
from tamis.service.views.table_view import TableView

ItemEntry = ItemPut | ItemPatch | ItemDelete | ItemHide | ItemShow
_FILE = "excluded.npz"


class ItemsView(TableView):
    """Rows and columns of the items, and the items that no answer may hold."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._hidden: set[int] = set()
        self._deleted: set[int] = set()
        self._never: Int32 | None = None

    def apply(self, entries: Sequence[ItemEntry]) -> None:
        """Applies entries in their order."""
        for entry in entries:
            row = int(self.rows_of([entry.item_id])[0])
            if isinstance(entry, ItemPut | ItemPatch):
                keep = isinstance(entry, ItemPatch) and row not in self._deleted
                self.change(row, entry.columns, keep=keep)
                self._deleted.discard(row)
            elif isinstance(entry, ItemDelete):
                self._deleted.add(row)
            elif isinstance(entry, ItemHide):
                self._hidden.add(row)
            else:
                self._hidden.discard(row)
        self._never = None

    def never(self) -> Int32:
        """The rows of items that are hidden or deleted, ascending."""
        if self._never is None:
            self._never = np.array(sorted(self._hidden | self._deleted), np.int32)
        return self._never

    def new_ids(self, rows: Int32) -> dict[int, str]:
        """The rows among `rows` (n,) that came since the version was made → their ids."""
        return {row: self.table.id_of(row) for row in rows[rows >= self._base].tolist()}

    def is_new(self, row: int) -> bool:
        """Whether an item row came since the version was made."""
        return row >= self._base

    def is_hidden(self, row: int) -> bool:
        return row in self._hidden

    def is_deleted(self, row: int) -> bool:
        return row in self._deleted

    def snapshot(self, folder: Path) -> None:
        super().snapshot(folder)
        hidden, deleted = (np.array(sorted(s), np.int32) for s in (self._hidden, self._deleted))
        write_arrays(folder / _FILE, {"hidden": hidden, "deleted": deleted})

    def restore(self, folder: Path) -> None:
        super().restore(folder)
        saved = read_arrays(folder / _FILE)
        self._hidden, self._deleted = (set(saved[n].tolist()) for n in ("hidden", "deleted"))
        self._never = None
