"""Removes items that the user has already interacted with."""

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
    """Behaviours that make an item seen. If empty: all but impressions."""
    reason: str = "seen"
    """The reason that the trace gives for a removed item."""


class SeenFilter(HistoryFilter):
    """Removes items of the query's history that have an event of a counted behaviour.

    When to use: items are consumed once: films, articles. Not for groceries and music, which
    are consumed again.
    Cost: one pass over the user's history; the items are excluded from recall in advance.
    Source: common practice.
    """

    name = "seen"
    Config = SeenConfig
    config: SeenConfig

    def _counted(self, data: Dataset) -> Bool:
        if self.config.behaviours:
            return codes_named(data, self.config.behaviours, self.name)
        return np.array([not b.impression for b in data.behaviours], dtype=np.bool_)
