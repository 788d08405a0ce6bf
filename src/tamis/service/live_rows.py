"""Users and items of a running service: put, patched, deleted through the journal, and read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from tamis.data import UNKNOWN, Table
from tamis.journal import (
    Cell,
    Entry,
    ItemDelete,
    ItemHide,
    ItemPatch,
    ItemPut,
    ItemShow,
    Journal,
    UserDelete,
    UserPatch,
    UserPut,
)
from tamis.schema import RequestError, Side
from tamis.service.assembly import USERS
from tamis.service.intake_rows import RowIntake, SentRow, json_cell
from tamis.service.recommender import Recommender

log = logging.getLogger("tamis.service")


@dataclass(frozen=True)
class TakenRow:
    """What became of a user or item that a client sent."""

    status: Literal["accepted", "refused"]
    id: str | None = None
    """None where it was refused."""
    sequence: int | None = None
    """Its number in the journal."""
    error: RequestError | None = None
    """Why it was refused."""


@dataclass(frozen=True)
class KnownRow:
    """A user or item as answers know it."""

    id: str
    columns: dict[str, Cell]
    """The columns that are not missing."""
    hidden: bool = False
    """Of an item: it is in no answer until it is shown again."""


@dataclass(frozen=True)
class Deleted:
    """What became of a user that was deleted."""

    id: str
    sequence: int
    """The number of the deletion in the journal."""
    answers: int
    """Number of earlier answers that were deleted."""
    versions: list[str]
    """Versions on the disk whose tables, histories and models still hold the user: delete them, or
    train without the user and let them be removed."""


class LiveRows:
    """The users or the items of an open version, and those that the journal adds.

    Args:
        recommender: the open version; `views` holds what the journal says.
        journal: where changes are written; they are durable when a method returns.
        side: users or items.
    """

    def __init__(self, recommender: Recommender, journal: Journal, side: Side) -> None:
        self._recommender = recommender
        self._journal = journal
        self._side = side
        self._table: Table = (
            recommender.parts.users if side is Side.USER else recommender.parts.items
        )
        self.intake = RowIntake(recommender.parts.config, self._table, side)

    def put(self, rows: Sequence[object]) -> list[TakenRow]:
        """Rows with all their columns: those that are left out are missing from now on.

        Each row is an object with `user_id` or `item_id` and columns, and is answered by itself.
        Raises StoreError where the journal cannot be written: then all may be sent again.
        """
        return self._write(rows, UserPut, ItemPut)

    def patch(self, rows: Sequence[object]) -> list[TakenRow]:
        """New values of some columns; rows that are not there yet, or were deleted, are made."""
        return self._write(rows, UserPatch, ItemPatch)

    def get(self, external: object) -> KnownRow | None:
        """A row, or None where neither the version nor the journal knows it."""
        known = self.intake.id_of(external)
        row, items = self._row(known), self._recommender.views.items
        if row == UNKNOWN:
            return None
        cells = {name: json_cell(value) for name, value in self._table.cells(row).items()}
        hidden = self._side is Side.ITEM and items.is_hidden(row)
        return KnownRow(self._table.id_of(row), cells, hidden)

    def delete_item(self, external: object) -> int | None:
        """From now on the item is in no answer, until it is put or patched; the number of the
        journal's entry, None where it is unknown."""
        return self._change(external, ItemDelete)

    def hide(self, external: object) -> int | None:
        """From now on the item is in no answer, until it is shown; as `delete_item`."""
        return self._change(external, ItemHide)

    def show(self, external: object) -> int | None:
        """Undoes `hide`, not a deletion; as `delete_item`."""
        return self._change(external, ItemShow)

    def _change(
        self, external: object, entry: type[ItemDelete] | type[ItemHide] | type[ItemShow]
    ) -> int | None:
        known = self.intake.id_of(external)
        if self._row(known) == UNKNOWN:
            return None
        return self._journal.append([entry(item_id=known)])[0].sequence

    def _row(self, known: str) -> int:
        """The row of an id; UNKNOWN where there is none, or the item was deleted."""
        row = self._table.row(known)
        gone = self._side is Side.ITEM and self._recommender.views.items.is_deleted(row)
        return UNKNOWN if gone else row

    def delete_user(
        self, external: object, forget: Callable[[str, int, Mapping[str, int]], None]
    ) -> Deleted:
        """Deletes a user: profile, history, impressions and answers. An unknown one, too: another
        version may know it.

        forget: gets the id, the number of the deletion, and the user's rows in the versions
            (`rows_in_versions`), and removes what else is kept of the user.
        """
        user = self.intake.id_of(external)
        sequence = self._journal.append([UserDelete(user_id=user)])[0].sequence
        rows = rows_in_versions(self._recommender.project, user)
        forget(user, sequence, rows)
        answers = self._journal.answers.forget_user(user, sequence)
        return Deleted(user, sequence, answers, list(rows))

    def _write(
        self,
        rows: Sequence[object],
        of_user: Callable[..., Entry],
        of_item: Callable[..., Entry],
    ) -> list[TakenRow]:
        read = self.intake.read(rows)
        kind = of_user if self._side is Side.USER else of_item
        field = self.intake.id_field
        good = [row for row in read if isinstance(row, SentRow)]
        entries = [kind(**{field: row.id, "columns": row.columns}) for row in good]
        appended = iter(self._journal.append(entries) if entries else [])
        return [
            TakenRow("accepted", row.id, next(appended).sequence)
            if isinstance(row, SentRow)
            else TakenRow("refused", error=row)
            for row in read
        ]


def rows_in_versions(project: Path, user: str) -> dict[str, int]:
    """{version: row of the user}, of the versions of a project whose table of users has an id.

    A version that is removed meanwhile is left out; of one whose table cannot be read, the row is
    -1, as the user may be in it.
    """
    found: dict[str, int] = {}
    for folder in sorted(project.glob("versions/[!.]*/")):
        table = folder / USERS
        try:
            ids = pl.scan_parquet(table).select(pl.first().alias("id")).with_row_index("row")
            rows = ids.filter(pl.col("id") == user).collect()["row"].to_list()
        except (OSError, pl.exceptions.PolarsError) as error:
            if table.exists():
                log.warning("%s cannot be read (%s): it may hold a deleted user", table, error)
                found[folder.name] = UNKNOWN
            continue
        if rows:
            found[folder.name] = int(rows[0])
    return found
