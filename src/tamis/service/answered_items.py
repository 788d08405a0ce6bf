"""The items of a version as they were at its answers, from the version and the journal."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from tamis.bundle import Version
from tamis.data import Table
from tamis.journal import (
    ItemDelete,
    ItemHide,
    ItemPatch,
    ItemPut,
    ItemShow,
    Journal,
    WholeJournal,
    read_entries,
)
from tamis.runtime import Int32
from tamis.service.assembly import FORMATS, ITEMS, WITHDRAWN, read_part
from tamis.service.views.items import ItemsView

PAGE = 10_000
"""Entries that are read from the journal at once."""
_CHANGES = (ItemPut, ItemPatch, ItemDelete, ItemHide, ItemShow)


class AnsweredItems:
    """Follows the journal as the service does: `advance` goes forward only.

    Args:
        version: that answered.
        journal: of its answers, which the caller closes.
        project: the folder with the exported stretches of the journal.
        own: whether it is the journal that the version was trained with; the entries of another one
            are all later than the version.

    Raises VersionError where the version is damaged.
    """

    def __init__(
        self, version: Version, journal: Journal, project: Path, *, own: bool = True
    ) -> None:
        self._journal = WholeJournal(journal, project)
        self._position = (version.manifest.journal_position or 0) if own else 0
        self._view = ItemsView(self.of_version(version))
        self._versions_own = len(self._view.table)
        if WITHDRAWN in version.manifest.files:
            withdrawn = read_part(version.path / WITHDRAWN, read_entries)
            self._view.apply([entry for entry in withdrawn if isinstance(entry, _CHANGES)])
        self._view.fresh_taken()

    @staticmethod
    def of_version(version: Version) -> Table:
        """The items as they were when a version was made."""
        version.check(FORMATS)
        return read_part(version.path / ITEMS, partial(Table.read, "items"))

    @property
    def table(self) -> Table:
        """The items; rows of new ones follow the version's, in another order than the service's."""
        return self._view.table

    def advance(self, position: int) -> None:
        """Applies the changes of items up to number `position` of the journal."""
        while self._position < position:
            page = self._journal.read(self._position, min(PAGE, position - self._position))
            page = [one for one in page if one.sequence <= position]
            if not page:  # the numbers up to it were skipped
                self._position = position
                return
            self._view.apply([one.entry for one in page if isinstance(one.entry, _CHANGES)])
            self._position = page[-1].sequence

    def rows(self, rows: Int32, new: Mapping[str, int]) -> Int32:
        """(n,) the rows here of an answer's item rows (n,).

        new: id → row of the answer's items that the version's table does not hold.
        """
        ids = {row: item_id for item_id, row in new.items()}
        out = rows.copy()
        later = np.flatnonzero(rows >= self._versions_own)
        if len(later):
            out[later] = self._view.rows_of([ids[row] for row in rows[later].tolist()])
        return out

    def changed(self) -> Int32:
        """The rows that are new or changed since the last call, ascending."""
        rows = self._view.fresh()
        self._view.fresh_taken()
        return rows
