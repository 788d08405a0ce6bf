"""Cached: items that earlier requests of the user ranked and did not show."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import Candidates, FitContext, Home, Queries, Recalled
from tamis.data import UNKNOWN, Dataset, Ragged, Table
from tamis.recall._common.channel import BaseChannel, nothing
from tamis.recall.offline import first_allowed
from tamis.runtime import Int32
from tamis.schema import ComponentConfig
from tamis.stores import Leftovers, open_leftovers

HOUR_MS = 3_600_000


class CachedConfig(ComponentConfig):
    """Options of the cached channel."""

    size: Annotated[int, Field(ge=1, le=4000)] = 200
    """Maximum number of items in a user's queue; the oldest are removed first."""
    keep: Annotated[int, Field(ge=1, le=4000)] = 50
    """Maximum number of items added per request: the best by value that were not shown."""
    max_age: Annotated[float, Field(gt=0)] = 24.0
    """Hours after which an item is removed from the queue."""
    store: str = ""
    """Address of the store: `redis://host:port/db`, or `env:NAME` for an environment variable with
    such an address. Empty: a file in the project's folder (for one machine)."""


class Cached(BaseChannel):
    """Items that the user's earlier requests ranked and did not show.

    `score = −(hours since the item was ranked)`: the best items of the latest request come first.
    After each request the best items that were ranked and not shown are added to the user's queue.
    An item is removed when it is shown, when it is older than `max_age`, or when `size` later ones
    have been added. Queues are stored by external ids, so they remain valid for later versions.
    During training and evaluation, for unknown users, and until the next version for users who were
    deleted and came again, there is no queue and nothing is returned.

    When to use: if ranking is expensive and a user sends several requests within a short time
    (feeds), so that items which ranked well get another chance.
    Cost: fit: none. Recall: a request reads one queue and writes one, under 0.1 ms each in a file,
    about 0.3 ms on a Redis server.
    Source: common practice of feed systems; no paper.
    """

    name = "cached"
    Config = CachedConfig
    config: CachedConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._queues: Leftovers | None = None
        self._home: Home | None = None

    def bind(self, home: Home) -> None:
        """Makes requests read and write the queues of the project `home` from now on."""
        self._queues = open_leftovers(self.config.store, home.folder, home.project, self.name)
        self._home = home

    def forget_stored(self, user: str, rows: Mapping[str, int]) -> None:
        """Deletes the queue of a user who was deleted."""
        if self._queues is not None:
            self._queues.forget_user(user)

    def update_items(self, items: Table, rows: Int32) -> None:
        """Does nothing: the tables of `home` are those of the service, with all that came."""

    def update_users(self, users: Table, rows: Int32) -> None:
        """Does nothing, as `update_items`."""

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        return {}

    def _recall(self, queries: Queries, k: int) -> Recalled:
        if self._queues is None or self._home is None:
            return nothing(len(queries), k)
        known = self._with_queue(self._home, queries)
        if not len(known):
            return nothing(len(queries), k)
        now = _now()
        users = [str(self._home.users.ids[row]) for row in queries.user[known].tolist()]
        waiting = self._queues.waiting(users, now - self._max_age)
        sizes = np.zeros(len(queries), np.int64)
        sizes[known] = [len(items) for items, _ in waiting]
        rows = self._home.items.rows([item for items, _ in waiting for item in items])
        entered = np.array([t for _, times in waiting for t in times], np.float64)
        # an item of the queue may be missing from this version: its row is -1, like padding
        shape = (len(queries), int(sizes.max()))
        item, score = np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)
        place = np.arange(shape[1]) < sizes[:, None]
        item[place], score[place] = rows, (entered - now) / HOUR_MS
        return first_allowed(item, score, queries, k)

    def remember(self, queries: Queries, ranked: Candidates, slate: Candidates) -> None:
        """Adds the ranked items that are not in the slate to the queues of known users."""
        if self._queues is None or self._home is None:
            return
        ids, users = self._home.items.ids, self._home.users.ids
        shown = Ragged(slate.indptr, slate.item)
        finite = np.isfinite(ranked.columns["value"])
        for q in self._with_queue(self._home, queries).tolist():
            span = slice(ranked.indptr[q], ranked.indptr[q + 1])
            items = ranked.item[span][finite[span]]
            left = items[~np.isin(items, shown[q])][: self.config.keep]
            self._queues.update(
                str(users[int(queries.user[q])]),
                shown=ids.gather(shown[q]).to_list(),
                left=ids.gather(left).to_list(),
                now=_now(),
                size=self.config.size,
                max_age=self._max_age,
            )

    @staticmethod
    def _with_queue(home: Home, queries: Queries) -> NDArray[np.intp]:
        """The queries of known users, but those who were deleted and came again: a process that
        did not know of the deletion yet may have written to the queue of that id."""
        return np.flatnonzero((queries.user != UNKNOWN) & ~home.users.is_again(queries.user))

    @property
    def _max_age(self) -> int:
        """ms"""
        return int(self.config.max_age * HOUR_MS)


def _now() -> int:
    """Wall-clock time in ms: items age also while there are no requests."""
    return time.time_ns() // 1_000_000
