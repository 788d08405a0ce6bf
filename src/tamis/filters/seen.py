"""Not what the user has already met."""

from __future__ import annotations

import numpy as np

from tamis.data import Dataset
from tamis.filters._base import codes_named
from tamis.filters._history import HistoryFilter
from tamis.runtime import Bool
from tamis.schema import ComponentConfig


class SeenConfig(ComponentConfig):
    """Options of the seen filter."""

    behaviours: tuple[str, ...] = ()
    """Behaviours that make an item seen; empty = all but impressions."""
    reason: str = "seen"
    """What the trace says of a removed item."""


class SeenFilter(HistoryFilter):
    """Removes items with which the query's history has an event of a counted behaviour."""

    name = "seen"
    Config = SeenConfig
    config: SeenConfig

    def _counted(self, data: Dataset) -> Bool:
        if self.config.behaviours:
            return codes_named(data, self.config.behaviours, self.name)
        return np.array([not b.impression for b in data.behaviours], dtype=np.bool_)
