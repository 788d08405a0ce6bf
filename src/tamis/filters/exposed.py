"""Removes items that the user was shown recently, clicked or not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Ragged, Table
from tamis.filters._base import codes_named
from tamis.runtime import Bool, Int32
from tamis.schema import Component, ComponentConfig, ConfigError, NotFittedError
from tamis.stores import BloomMonths, BloomShape, month_of


class ExposedConfig(ComponentConfig):
    """Options of the exposed filter."""

    months: Annotated[int, Field(ge=1, le=64)] = 2
    """Calendar months (UTC) for which an item counts as shown, including the query's month."""
    target: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """False-positive rate: the chance that an item that was not shown is removed, over all months
    together."""
    per_month: Annotated[int, Field(ge=1)] | None = None
    """Items shown to a user in a month up to which the target holds; memory grows with it. If
    omitted: the largest number that the log shows for any user."""
    behaviours: tuple[str, ...] = ()
    """Behaviours that count as shown. If empty: all impressions."""
    reason: str = "exposed"
    """The reason that the trace gives for a removed item."""


class ExposedFilter(Component):
    """Removes items that were shown to the user in the last months, by Bloom filters.

    A shown item is always removed; of the others, a share below `target` is removed as well. The
    state is that of the log that `fit` read; unknown users have been shown nothing. A running
    service also removes what was shown since, as reported by events of impressions.

    When to use: feeds, where an item that was shown and ignored should not be shown again soon.
    Cost: about ten bits per user, month and shown item; a few hash lookups per candidate.
    Source: Bloom 1970, Space/time trade-offs in hash coding with allowable errors.
    """

    name = "exposed"
    Config = ExposedConfig
    config: ExposedConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.reason = self.config.reason
        self.shown: BloomMonths | None = None
        """The Bloom filters; None before `fit`."""

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Reads the impressions of the last months of the log."""
        del context
        events = data.events
        at = np.flatnonzero(self._counted(data)[events.behaviour])
        month = month_of(events.time[at])
        last = int(month_of(np.array([data.end]))[0])
        recent = (month > last - self.config.months) & (events.item[at] >= 0)
        at, month = at[recent], month[recent]
        user, item = events.user[at].astype(np.int64), events.item[at].astype(np.int64)
        most = self.config.per_month or _most(user, item, month, last, self.config.months)
        shape = BloomShape.of(most, self.config.months, self.config.target)
        self.shown = BloomMonths.create(shape, len(data.users))
        self.shown.add(user, item, month)
        return self

    def _counted(self, data: Dataset) -> Bool:
        if self.config.behaviours:
            return codes_named(data, self.config.behaviours, "exposed")
        counted = np.array([b.impression for b in data.behaviours], dtype=np.bool_)
        if not counted.any():
            raise ConfigError(
                "filter `exposed`: no behaviour is an impression; set `impression = true` in its "
                "[behaviours.*], or name `behaviours` by which an item counts as shown"
            )
        return counted

    def excluded(self, queries: Queries) -> Ragged | None:
        """None: a Bloom filter can test an item, but cannot list its items."""
        del queries
        return None

    def update_items(self, items: Table, rows: Int32) -> None:
        """Does nothing: nobody was shown new items in the log."""

    def update_users(self, users: Table, rows: Int32) -> None:
        """Does nothing: new users were shown nothing in the log."""

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) True where the candidate was not shown in the months before the query's time."""
        month = month_of(queries.time)
        return ~self._fitted().check(queries.user, candidates.indptr, candidates.item, month)

    def _fitted(self) -> BloomMonths:
        if self.shown is None:
            raise NotFittedError(
                "filter `exposed` is used before fit(data): call fit or load it first"
            )
        return self.shown

    def save(self, directory: Path) -> None:
        """Writes the Bloom filters: `exposure.npy` and `exposure.json`."""
        self._fitted().save(directory)

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped."""
        loaded = cls(config)
        loaded.shown = BloomMonths.open(directory)
        return loaded


def _most(user: Any, item: Any, month: Any, last: int, months: int) -> int:
    """Largest number of distinct items shown to one user in one month; at least 16."""
    width = int(item.max(initial=0)) + 1
    different = np.unique((user * months + (last - month)) * width + item)
    return int(np.unique(different // width, return_counts=True)[1].max(initial=16))
