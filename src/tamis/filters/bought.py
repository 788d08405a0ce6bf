"""Removes items that the user has bought."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tamis.filters._history import HistoryFilter
from tamis.schema import ComponentConfig


class BoughtConfig(ComponentConfig):
    """Options of the bought filter."""

    behaviours: Annotated[tuple[str, ...], Field(min_length=1)] = ("purchase",)
    """Behaviours that count as a purchase."""
    days: Annotated[float, Field(gt=0)] | None = None
    """Number of days after which a bought item may be shown again. If omitted: never."""
    reason: str = "bought"
    """The reason that the trace gives for a removed item."""


class BoughtFilter(HistoryFilter):
    """Removes items that the user has bought before the query's time.

    When to use: goods that are bought once; with `days`, goods that are bought again after a
    while.
    Cost: one pass over the user's history; the items are excluded from recall in advance.
    Source: common practice of shops.
    """

    name = "bought"
    Config = BoughtConfig
    config: BoughtConfig

    def _days(self) -> float | None:
        return self.config.days
