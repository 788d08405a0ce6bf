"""Protocols of stores: recalled lists, vectors, and queues of items ranked but not shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol

import polars as pl

from tamis.runtime import Float32, Int32


class RowIds(Protocol):
    """The external ids of a version's users or items, by row; `tamis.data.Table` is one."""

    @property
    def ids(self) -> pl.Series:
        """(N,) unique text ids, in row order."""
        ...

    def __len__(self) -> int: ...

    def rows_of_texts(self, ids: Sequence[str]) -> Int32:
        """(n,) rows of ids (n,); -1 for unknown ones."""
        ...


class EntityKind(StrEnum):
    """Whether vectors are of users or of items."""

    USERS = "users"
    ITEMS = "items"


class RecallLists(Protocol):
    """The best items of each user per channel, computed in advance, by version."""

    def lists(self, version: str, channel: str, users: Int32) -> tuple[Int32, Float32]:
        """(Q, w) item rows, best first, and their scores; padded by -1 and -inf.

        users: (Q,) user rows of that version; -1 and users without a list give padding. w is at
        most the k that was written.

        Raises:
            StoreError: the store cannot be reached, or has no lists of the channel and version.
        """
        ...


class Vectors(Protocol):
    """User and item vectors per channel, by version."""

    def vectors(self, version: str, channel: str, side: EntityKind, rows: Int32) -> Float32:
        """(Q, d) vectors of the rows (Q,); zero for rows without one and for -1.

        Raises:
            StoreError: as `RecallLists.lists`.
        """
        ...


class RecallDraft(Protocol):
    """Results of a batch recall that are being written, block by block in any order."""

    def lists(self, channel: str, first: int, item: Int32, score: Float32) -> None:
        """Writes lists of the user rows [first, first + n).

        item, score: (n, k) int32 and float32, padded by -1 and -inf.
        """
        ...

    def vectors(self, channel: str, side: EntityKind, first: int, vectors: Float32) -> None:
        """Writes vectors (n, d) of the rows [first, first + n)."""
        ...


class RecallStore(RecallLists, Vectors, Protocol):
    """A store that batch recall writes and requests read.

    It is opened with the users and items of one version, whose rows its methods take and return. A
    store that other services read (Redis) holds external ids.
    """

    @property
    def address(self) -> str:
        """The address without a password, for messages."""
        ...

    def write(self, version: str) -> AbstractContextManager[RecallDraft]:
        """A draft of all lists and vectors of `version`.

        At the end of the block it replaces earlier ones atomically; on any error it is discarded
        and the earlier ones stay. Rows that were not written have no list and a zero vector.
        """
        ...

    def holds(self, version: str) -> Mapping[str, int]:
        """Channel → length k of its lists; empty if nothing is written for `version`."""
        ...

    def versions(self) -> Sequence[str]:
        """Versions with lists, sorted by name, which is the order of time."""
        ...

    def drop(self, version: str) -> None:
        """Deletes all of `version`; does nothing if there is nothing."""
        ...

    def forget_user(self, user: str, rows: Mapping[str, int]) -> None:
        """Deletes a user's lists and vectors in all versions.

        Args:
            user: external id.
            rows: {version: the user's row in it}, for stores that are read by rows.
        """
        ...


class Leftovers(Protocol):
    """One queue per user of items that were ranked but not shown.

    Users and items are external ids, as the queues outlive a version and its row numbers.
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
        """Updates a queue after an answer at `now` (ms): removes `shown`, adds `left` (best first).

        Items that are in the queue already keep their position and age. The worst of `left` is
        added first. Items older than `max_age` (ms) are removed, then the oldest ones until `size`
        remain.
        """
        ...

    def waiting(
        self, users: Sequence[str], since: int
    ) -> Sequence[tuple[Sequence[str], Sequence[int]]]:
        """Per user, the items added at or after `since` (ms) and the times of adding.

        The newest items are first; those of one answer have the best first.
        """
        ...

    def forget_user(self, user: str) -> None:
        """Deletes a user's queue."""
        ...
