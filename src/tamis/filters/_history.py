"""Filters that remove the items with which the query's own history has a certain event."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Ragged
from tamis.filters._base import BaseFilter, codes_named
from tamis.filters._membership import outside, sorted_sets
from tamis.runtime import Bool

DAY_MS = 86_400_000


class HistoryFilter(BaseFilter):
    """Removes items of the history's counted events; a subclass may say which count by default."""

    def _counted(self, data: Dataset) -> Bool:
        """(behaviours,) whose events count."""
        return codes_named(data, self.config.behaviours, self.name)

    def _read(self, data: Dataset, context: FitContext) -> dict[str, NDArray[Any]]:
        del context
        return {"counted": self._counted(data)}

    def excluded(self, queries: Queries) -> Ragged:
        """Each query's refused item rows, ascending, without repeats."""
        history = queries.history
        # An item row of -1 is an event with an item outside the table: no candidate can be it.
        wanted = self.arrays["counted"][history.behaviour] & (history.item >= 0)
        days = getattr(self.config, "days", None)
        if days is not None:
            asked = np.repeat(queries.time, np.diff(history.indptr))
            wanted &= asked - history.time <= days * DAY_MS
        return Ragged(*sorted_sets(history.indptr, history.item, wanted))

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) which candidates are in no counted event."""
        return outside(candidates, self.excluded(queries))
