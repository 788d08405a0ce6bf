"""Answers where the recall channels fail: popular items, or the last complete slate."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from tamis.cascade.candidates import Candidates
from tamis.cascade.query import Queries
from tamis.data import Table
from tamis.runtime import Int32

USERS = 10_000
"""Users whose last slate is kept; the one that was answered longest ago is dropped."""


class Fallbacks:
    """Lists of items that need no channel, the better ones first.

    Args:
        popular: returns the rows of the most popular items, best first.
    """

    def __init__(self, popular: Callable[[], Int32]) -> None:
        self._popular = popular
        self._by_user: OrderedDict[int, Int32] = OrderedDict()
        self._of_anyone = np.zeros(0, np.int32)

    def lists(self, queries: Queries) -> Iterator[tuple[str, Callable[[], Int32]]]:
        """(what the list is, a function that returns its item rows) for the queries."""
        yield "popular items", self._popular
        user = int(queries.user[0]) if len(queries) == 1 else -1
        if user in self._by_user:
            yield "the user's last slate", lambda: self._by_user[user]
        yield "the last slate of any user", lambda: self._of_anyone

    def update_users(self, users: Table, rows: Int32) -> None:
        """Drops the last slates of rows (m,) that were removed."""
        for row in rows[users.is_again(rows)].tolist():
            slate = self._by_user.pop(row, None)
            if slate is self._of_anyone:
                self._of_anyone = np.zeros(0, np.int32)

    def remember(self, queries: Queries, slate: Candidates) -> None:
        """Keeps a complete slate of one query."""
        if len(queries) != 1 or not len(slate):
            return
        user = int(queries.user[0])
        self._of_anyone = slate.item
        if user < 0:
            return
        self._by_user[user] = slate.item
        self._by_user.move_to_end(user)
        if len(self._by_user) > USERS:
            self._by_user.popitem(last=False)


def listed_candidates(
    queries: Queries, items: Int32, channels: Iterable[str], limit: int
) -> Candidates:
    """The first `limit` of `items` (m,), best first, that each query does not exclude.

    The columns are those of a merge; no channel has found the items.
    """
    every, query = np.tile(items, len(queries)), np.repeat(np.arange(len(queries)), len(items))
    kept = ~queries.exclude.contains(query, every)
    place = np.cumsum(kept.reshape(len(queries), -1), axis=1).ravel()
    kept &= place <= limit
    n = int(kept.sum())
    columns: dict[str, NDArray[np.generic]] = {}
    for name in channels:
        columns[f"rank:{name}"] = np.zeros(n, np.int32)
        columns[f"score:{name}"] = np.full(n, np.nan, np.float32)
    columns["recall"] = place[kept].astype(np.int32)
    counts = np.bincount(query[kept], minlength=len(queries))
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Candidates(indptr, every[kept], columns)
