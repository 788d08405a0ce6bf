"""Base class of channels that read the tables, and take up what comes while they serve."""

from __future__ import annotations

import logging
from typing import Any

from numpy.typing import NDArray

from tamis.data import Table
from tamis.recall._common.channel import BaseChannel
from tamis.runtime import Int32

log = logging.getLogger("tamis.recall")


class FollowingChannel(BaseChannel):
    """A channel that keeps what it has read of the items and the users, and takes up changes.

    A subclass returns the fact "reading" in `_fit`: how it reads the tables, as JSON values. By it,
    `_of_items` and `_of_users` read new and changed rows as `_fit` read the tables. A channel that
    knows items only by what it has learnt of them does not derive from this class: a service never
    asks it about new rows.
    """

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`."""
        self._replace(self._of_items(items, rows), items=len(items))

    def update_users(self, users: Table, rows: Int32) -> None:
        """Takes up new and changed users, see `FollowsUsers`."""
        self._replace(self._of_users(users, rows))

    def _of_items(self, items: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        """The arrays that change with the items `rows` of a table; None: the channel keeps nothing
        that it reads of the items."""
        return None

    def _of_users(self, users: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        """The arrays that change with the users `rows` of a table; None: as for `_of_items`."""
        return None

    def _replace(self, arrays: dict[str, NDArray[Any]] | None, **facts: Any) -> None:
        if arrays is None or self._facts is None:
            return
        for array in arrays.values():
            array.flags.writeable = False  # as after load: one type for the compiled kernels
        self._arrays = self._arrays | arrays
        self._facts = self._facts | facts

    @property
    def _reading(self) -> dict[str, Any] | None:
        """The fact "reading": how the tables' columns are read; None, with a message in the log, in
        a version of an earlier release, which does not hold it."""
        found = (self._facts or {}).get("reading")
        if found is None:
            log.warning(
                "channel `%s` cannot take up new users and items: its version was written by an "
                "earlier release. Train again",
                self.name,
            )
        return found
