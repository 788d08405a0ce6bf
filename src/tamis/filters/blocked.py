"""Removes items of authors or categories that the user has blocked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Labels, Table, spread
from tamis.filters._base import BaseFilter, codes_named, column_of
from tamis.runtime import Bool, Int32
from tamis.schema import ComponentConfig, ConfigError


class BlockedConfig(ComponentConfig):
    """Options of the blocked filter."""

    by: Literal["author", "category"] = "author"
    """What an event blocks: the item's author, or its category."""
    behaviours: Annotated[tuple[str, ...], Field(min_length=1)] = ("block",)
    """Behaviours that block: "block", or "dislike" together with `after`."""
    after: Annotated[int, Field(ge=1)] = 1
    """Number of such events on items of one author or category before it is blocked."""
    column: str = ""
    """The items' column. If empty: the author or category column that [items] declares."""
    separator: str = ""
    """Splits a text column of several values. If empty: as [items] declares for its category."""
    reason: str = ""
    """The reason that the trace gives. If empty: "blocked author" or "blocked category"."""


class BlockedFilter(BaseFilter):
    """Removes items that share an author (or a category) with items the user has blocked.

    An event on an item with several authors blocks each of them; an item is removed when any of
    its authors is blocked.

    When to use: users can block authors or categories, or dislike them repeatedly.
    Cost: grows with the blocking events of the user's history and the candidates' authors.
    Source: common practice of feeds.
    """

    name = "blocked"
    Config = BlockedConfig
    config: BlockedConfig

    def __init__(self, config: BlockedConfig | None = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.reason = self.config.reason or f"blocked {self.config.by}"

    def _read(self, data: Dataset, context: FitContext) -> dict[str, NDArray[Any]]:
        by, items = self.config.by, context.items
        column = self.config.column or (getattr(items, by) if items is not None else None)
        if not column:
            raise ConfigError(
                f"filter `blocked` needs the column of the {by}: declare [items] {by} = "
                f'"COLUMN", or set the filter\'s `column`'
            )
        split = self.config.separator
        if not split and items is not None and column == items.category:
            split = items.category_separator or ""
        self._facts = {"column": column, "separator": split}
        return {
            "counted": codes_named(data, self.config.behaviours, self.name),
            **self._labels(data.items).arrays(),
        }

    def _labels(self, items: Table) -> Labels:
        """The authors or categories of items."""
        column_of(items, self._facts["column"], self.name)
        return Labels.of_items(items, self._facts["column"], self._facts["separator"] or None)

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`."""
        if self._can_follow("names"):
            labels = Labels.within(self.arrays)
            new, _ = labels.replaced(rows, self._labels(items.part(rows)), len(items))
            self._arrays = self.arrays | new.arrays()

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) True where no author (or category) of the candidate is blocked."""
        arrays, history = self.arrays, queries.history
        indptr, label = arrays["indptr"], arrays["label"]
        self._check_items(candidates, len(indptr) - 1)
        known = (history.item >= 0) & (history.item < len(indptr) - 1)
        at = np.flatnonzero(arrays["counted"][history.behaviour] & known)
        keep = np.ones(len(candidates), np.bool_)
        if not len(at):
            return keep
        width = int(label.max(initial=0)) + 1
        query = np.searchsorted(history.indptr, at, side="right") - 1
        owner, blocked = spread(indptr, label, history.item[at])
        pairs, times = np.unique(query[owner] * width + blocked, return_counts=True)
        place, mine = spread(indptr, label, candidates.item)
        refused = np.isin(candidates.query[place] * width + mine, pairs[times >= self.config.after])
        keep[place[refused]] = False
        return keep
