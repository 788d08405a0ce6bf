"""Users: those that came, changed and were deleted since a version was made."""

from __future__ import annotations

from collections.abc import Sequence

from tamis.data import UNKNOWN
from tamis.journal import UserDelete, UserPatch, UserPut
from tamis.service.views.table_view import TableView

UserEntry = UserPut | UserPatch | UserDelete


class UsersView(TableView):
    """Rows and columns of the users. A deleted user's id gets a new, empty row when it comes
    again, so that nothing that was learnt or counted by row is found for it."""

    def apply(self, entries: Sequence[UserEntry]) -> list[int]:
        """Applies entries in their order; the rows of the users that were deleted."""
        deleted: list[int] = []
        for entry in entries:
            if isinstance(entry, UserDelete):
                row = self.table.row(entry.user_id)
                if row != UNKNOWN:
                    self.remove(row)
                    deleted.append(row)
                continue
            row = int(self.rows_of([entry.user_id])[0])
            self.change(row, entry.columns, keep=isinstance(entry, UserPatch))
        return deleted

    def row(self, user: str | None) -> int:
        """The user's row; UNKNOWN (-1) for one that neither the version nor an entry knows."""
        return UNKNOWN if user is None else self.table.row(user)

    def deleted(self) -> frozenset[str]:
        """Ids of the users of the version who were deleted since, those included who came again."""
        base = self._base
        return frozenset(self.table.id_of(row) for row, _ in self._removed if row < base)
