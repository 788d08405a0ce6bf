"""Users: those that came, changed and were deleted since a version was made."""

from __future__ import annotations

from collections.abc import Sequence

from tamis.data import UNKNOWN
from tamis.journal import UserPatch, UserPut
from tamis.service.views.table_view import TableView

UserEntry = UserPut | UserPatch


class UsersView(TableView):
    """Rows and columns of the users. A deleted user's id gets a new, empty row when it comes
    again, so that nothing that was learnt or counted by row is found for it."""

    def apply(self, entries: Sequence[UserEntry]) -> None:
        """Applies entries in their order."""
        for entry in entries:
            row = int(self.rows_of([entry.user_id])[0])
            self.change(row, entry.columns, keep=isinstance(entry, UserPatch))

    def row(self, user: str | None) -> int:
        """The user's row; UNKNOWN (-1) for one that neither the version nor an entry knows."""
        return UNKNOWN if user is None else self.table.row(user)

    def deleted(self) -> frozenset[str]:
        """Ids of the users of the version who were deleted since, those included who came again."""
        base = self._base
        return frozenset(self.table.id_of(row) for row, _ in self._removed if row < base)
