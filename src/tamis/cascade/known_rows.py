"""Stages that do not take up new users and items: what they are asked instead."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from tamis.cascade.online import FollowsItems, FollowsUsers
from tamis.cascade.query import Queries
from tamis.data import Ragged, Table
from tamis.runtime import Bool, Int32, Int64

log = logging.getLogger("tamis.cascade")


class _KnownQueries(NamedTuple):
    """Queries, and what stages get that do not know all new rows."""

    queries: Queries
    known: dict[tuple[bool, bool], Queries]
    """By whether a stage knows new users and new items."""


@dataclass(eq=False)
class KnownRows:
    """The rows of the version, beside the rows that came while it serves.

    A stage with `update_items` (`FollowsItems`) knows new items, one with `update_users` new users;
    other stages, and those whose update failed, never get a row beyond the version's.
    """

    users: int
    """Number of users of the version."""
    items: int
    """Number of items of the version."""
    _failed: set[int] = field(default_factory=set[int])
    _latest: _KnownQueries | None = None

    def knows_items(self, stage: object) -> bool:
        """Whether the stage takes up new items."""
        # `isinstance` of a protocol takes ten times as long, and requests ask for every stage
        return hasattr(stage, "update_items") and id(stage) not in self._failed

    def knows_users(self, stage: object) -> bool:
        """Whether the stage takes up new users."""
        return hasattr(stage, "update_users") and id(stage) not in self._failed

    def update_items(self, stages: Iterable[object], items: Table, rows: Int32) -> None:
        """Calls `update_items` of every stage that has it; one that fails is logged and is treated
        from then on as one that does not have it."""
        for stage in stages:
            if isinstance(stage, FollowsItems) and self.knows_items(stage):
                self._take_up(stage, stage.update_items, items, rows)

    def update_users(self, stages: Iterable[object], users: Table, rows: Int32) -> None:
        """As `update_items`, for users."""
        for stage in stages:
            if isinstance(stage, FollowsUsers) and self.knows_users(stage):
                self._take_up(stage, stage.update_users, users, rows)

    def _take_up(
        self, stage: object, update: Callable[[Table, Int32], None], table: Table, rows: Int32
    ) -> None:
        """Gives a stage the rows (m,) of a table; one that fails gets no new ones from then on."""
        try:
            update(table, rows)
        except Exception:
            log.exception("%r could not take up new %s; it gets no new ones", stage, table.name)
            self._failed.add(id(stage))

    def for_stage(self, stage: object, queries: Queries) -> Queries:
        """The queries with the rows that the stage knows: an unknown user is -1; events on unknown
        items, and their exclusions, are left out."""
        users, items = self.knows_users(stage), self.knows_items(stage)
        if users and items:
            return queries
        latest = self._latest
        if latest is None or latest.queries is not queries:  # all stages of a request ask for them
            self._latest = latest = _KnownQueries(queries, {})
        if (users, items) not in latest.known:
            known = queries if users else self._without_new_users(queries)
            latest.known[users, items] = known if items else self._without_new_items(known)
        return latest.known[users, items]

    def _without_new_users(self, queries: Queries) -> Queries:
        """The queries with -1 for users that came since the version."""
        old = queries.user < self.users
        if old.all():
            return queries
        return replace(queries, user=np.where(old, queries.user, np.int32(-1)))

    def _without_new_items(self, queries: Queries) -> Queries:
        """The queries without events on items that came since the version, and their exclusions."""
        history, exclude = queries.history, queries.exclude
        old, allowed = history.item < self.items, exclude.values < self.items
        if old.all() and allowed.all():
            return queries
        history = replace(
            history,
            indptr=_bounds(history.indptr, old),
            item=history.item[old],
            behaviour=history.behaviour[old],
            time=history.time[old],
            value=history.value[old],
        )
        exclude = Ragged(_bounds(exclude.indptr, allowed), exclude.values[allowed])
        return replace(queries, history=history, exclude=exclude)


def _bounds(indptr: Int64, kept: Bool) -> Int64:
    """The bounds of ragged lists of which only the elements `kept` (n,) remain."""
    before = np.concatenate([[0], np.cumsum(kept)])
    return before[indptr].astype(np.int64)
