"""Base of filters that remove items of the query's own history."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Ragged, Table
from tamis.filters._base import BaseFilter, codes_named
from tamis.runtime import Bool, Int32

DAY_MS = 86_400_000


class HistoryFilter(BaseFilter):
    """Removes items that have a counted event in the history.

    A subclass may override `_counted`, the behaviours that count, and `_days`, their age limit.
    """

    def _counted(self, data: Dataset) -> Bool:
        """(behaviours,) True where events of the behaviour count."""
        return codes_named(data, self.config.behaviours, self.name)

    def _days(self) -> float | None:
        """Age in days up to which events count; None: without limit."""
        return None

    def _read(self, data: Dataset, context: FitContext) -> dict[str, NDArray[Any]]:
        del context
        return {"counted": self._counted(data)}

    def excluded(self, queries: Queries) -> Ragged:
        """Item rows that are removed for each query, ascending, without repeats."""
        history = queries.history
        # An item row of -1 is an event on an item outside the table, which cannot be a candidate.
        wanted = self.arrays["counted"][history.behaviour] & (history.item >= 0)
        days = self._days()
        if days is not None:
            now = np.repeat(queries.time, np.diff(history.indptr))
            wanted &= now - history.time <= days * DAY_MS
        from tamis.filters._membership import sorted_sets  # heavy: numba

        return Ragged(*sorted_sets(history.indptr, history.item, wanted))

    def update_items(self, items: Table, rows: Int32) -> None:
        """Does nothing: the filter reads histories alone."""

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) True where the candidate has no counted event."""
        from tamis.filters._membership import outside  # heavy: numba

        return outside(candidates, self.excluded(queries))
