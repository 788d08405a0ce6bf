"""The nouns of online state: recalled lists, vectors, what was ranked and never shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol

from tamis.runtime import Float32, Int32


class EntityKind(StrEnum):
    """Users or items: whose rows a stored array holds."""

    USERS = "users"
    ITEMS = "items"


class RecallLists(Protocol):
    """Every user's best items per channel, computed beforehand, by version."""

    def lists(self, version: str, channel: str, users: Int32) -> tuple[Int32, Float32]:
        """(Q, w) item rows, best first, and their scores; padded by -1 and -inf.

        users: (Q,) user rows of that version; -1, and whoever has no list, gets padding.
        w is at most the k it was written with. Raises StoreError where the store does not answer
        or holds no lists of that channel under that version.
        """
        ...


class Vectors(Protocol):
    """User and item vectors per channel, by version."""

    def vectors(self, version: str, channel: str, side: EntityKind, rows: Int32) -> Float32:
        """(Q, d) the vectors of those rows; zero where there is none, as for -1.

        Raises StoreError as `RecallLists.lists`.
        """
        ...


class RecallDraft(Protocol):
    """The results of a batch recall while they are being written; blocks come in any order."""

    def lists(self, channel: str, first: int, item: Int32, score: Float32) -> None:
        """(n, k) lists, padded by -1 and -inf, of user rows [first, first + n)."""
        ...

    def vectors(self, channel: str, side: EntityKind, first: int, vectors: Float32) -> None:
        """(n, d) vectors of rows [first, first + n)."""
        ...


class RecallStore(RecallLists, Vectors, Protocol):
    """Where batch recall writes and answers read."""

    @property
    def address(self) -> str:
        """Where it is, fit to show: without a password."""
        ...

    def write(self, version: str, *, users: int, items: int) -> AbstractContextManager[RecallDraft]:
        """A draft of everything under `version`, for tables of so many rows.

        On leaving it replaces what was there at once; on any error it is thrown away and what was
        there stays. Rows that were not written have no list and a zero vector.
        """
        ...

    def holds(self, version: str) -> Mapping[str, int]:
        """Channel → length k of its lists; empty where nothing is written under `version`."""
        ...

    def versions(self) -> Sequence[str]:
        """Versions that something is written under, in alphabetical (= time's) order."""
        ...

    def drop(self, version: str) -> None:
        """Deletes everything under `version`; one that is not there is fine."""
        ...


class Leftovers(Protocol):
    """Per user a queue of items that were ranked and not shown: first in, first out.

    Users and items go by external ids: the queues outlive a version and its row numbers.
    """

    def update(
        self,
        user: str,
        *,
        shown: Sequence[str],
        left: Sequence[str],
        now: int,
        size: int,
        max_age: int,
    ) -> None:
        """After an answer at `now` (ms): takes `shown` out, puts `left` (best first) in.

        An item that waits already keeps its place and its age. The worst of `left` enters first.
        Whoever is older than `max_age` (ms) leaves, then the oldest until `size` are left.
        """
        ...

    def waiting(
        self, users: Sequence[str], since: int
    ) -> Sequence[tuple[Sequence[str], Sequence[int]]]:
        """Per user the items that came in at or after `since` (ms) and when; the newest first,
        the best first among those of one answer."""
        ...
