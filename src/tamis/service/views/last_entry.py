"""Notices a journal that lost its end, or was replaced, although it grew again meanwhile."""

from __future__ import annotations

from time import monotonic

import msgspec

from tamis.journal import Journal, Numbered, encoded, hash_of, key_of
from tamis.schema import StoreError

INTERVAL = 1.0
"""Seconds between two comparisons while a service reads: each reads one entry."""


class Mark(msgspec.Struct, frozen=True):
    """The number of an entry, and a hash of it: of the id of an event, whose user may be removed
    from the export later, and of all fields of other entries."""

    sequence: int
    hash: int

    @classmethod
    def of(cls, numbered: Numbered) -> Mark:
        key = key_of(numbered.entry) or encoded(numbered.entry).decode()
        return cls(numbered.sequence, hash_of(key))


class LastEntry:
    """The last entry that was applied, which the journal must hold under the same number."""

    def __init__(self) -> None:
        self.mark: Mark | None = None
        """None: not known yet."""
        self._problem: StoreError | None = None
        self._next = 0.0

    def note(self, numbered: Numbered) -> None:
        """An entry of the journal was applied."""
        self.mark = Mark.of(numbered)

    def check(self, journal: Journal, position: int) -> None:
        """Compares the journal with the mark, at most once in `INTERVAL`.

        Args:
            position: number of the last entry that was applied.

        Raises StoreError, from then on in each call, where the journal holds another entry, or ends
        before it.
        """
        if monotonic() < self._next:
            if self._problem is not None:
                raise self._problem
            return
        self._problem = self._compared(journal, position)
        self._next = monotonic() + INTERVAL
        if self._problem is not None:
            raise self._problem

    def _compared(self, journal: Journal, position: int) -> StoreError | None:
        sequence = position if self.mark is None else self.mark.sequence
        if sequence <= journal.start:  # trimmed, or nothing was applied
            return None
        found = journal.read(sequence - 1, 1)
        if not found or found[0].sequence != sequence:
            return None  # a skipped number
        mark = Mark.of(found[0])
        if self.mark is None:
            self.mark = mark
        return None if mark == self.mark else _lost(sequence)


def _lost(sequence: int) -> StoreError:
    return StoreError(
        f"the journal does not hold entry {sequence} as this service has applied it: it lost its "
        "end or was replaced. Restore it, or train a new version and start the service again"
    )
