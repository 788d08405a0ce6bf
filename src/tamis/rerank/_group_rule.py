"""Base class of the rules that look at one group of each item, such as its author."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.data import Table
from tamis.rerank._categories import ItemCategories, can_follow
from tamis.rerank._rule import SlateRule
from tamis.runtime import Int32, Int64
from tamis.schema import NotFittedError


class GroupRule(SlateRule):
    """A re-rank rule that puts each item into one group: the first value of a column of the items.

    `fit` and `load` of a rule set the groups; new and changed items are taken up.
    """

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._column = ""
        """The column of the groups."""
        self._groups: ItemCategories | None = None
        """None until `fit` or `load`."""

    def _read(self, items: Table) -> ItemCategories:
        return ItemCategories.read(items, self._column).primary()

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`."""
        known = self._known()
        if can_follow(known, self.name):
            self._groups = known.replaced(rows, self._read(items.part(rows)), len(items))

    def _known(self) -> ItemCategories:
        if self._groups is None:
            raise NotFittedError(
                f"re-rank `{self.name}` is used before fit(data); call fit or load it"
            )
        return self._groups

    def _group_of(self, items: Int32) -> Int64:
        """(n,) the number of each item's group; -1 = none."""
        known = self._known()
        known.check(int(items.max(initial=-1)), f"re-rank `{self.name}`")
        own = known.of
        some = own.indptr[items] < own.indptr[items + 1]
        found = np.full(len(items), -1, np.int64)
        found[some] = own.values[own.indptr[items[some]]]
        return found
