"""What journals of every kind share: appends by group commit, positions, checks of trimming."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from tamis.journal.entries import Entry
from tamis.journal.group_commit import GroupCommit, Line
from tamis.journal.protocol import Appended
from tamis.schema import StoreError


class NumberedLog(ABC):
    """A journal whose lines are written by `_write`, on one thread.

    Args:
        name: name of the thread.
    """

    def __init__(self, name: str) -> None:
        self._commits = GroupCommit(self._write, name)

    def append(self, entries: Sequence[Entry]) -> list[Appended]:
        return self._commits.append(entries)

    @property
    def head(self) -> int:
        return self._state("head")

    @property
    def start(self) -> int:
        return self._state("start")

    def trim(self, upto: int) -> int:
        head, start = self.head, self.start
        if upto > head:
            raise StoreError(f"cannot trim up to entry {upto}: the last one is {head}")
        return self._delete(start, upto) if upto > start else 0

    def close(self) -> None:
        self._commits.close()
        self._close()

    @abstractmethod
    def _write(self, lines: Sequence[Line]) -> list[Appended]:
        """Writes lines durably, without those whose key is known or came before in `lines`."""

    @abstractmethod
    def _state(self, name: str) -> int:
        """`head`, `start` or `forgotten`, the number up to which keys were forgotten."""

    @abstractmethod
    def _delete(self, start: int, upto: int) -> int:
        """Deletes the entries above `start` up to and including `upto`; returns how many."""

    @abstractmethod
    def _close(self) -> None:
        """Frees files and connections."""
