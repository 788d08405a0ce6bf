"""Removes items that the user has hidden or disliked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tamis.filters._history import HistoryFilter
from tamis.schema import ComponentConfig


class HiddenConfig(ComponentConfig):
    """Options of the hidden filter."""

    behaviours: Annotated[tuple[str, ...], Field(min_length=1)] = ("dislike",)
    """Behaviours by which a user hides an item: dislike, hide, report."""
    days: Annotated[float, Field(gt=0)] | None = None
    """Number of days for which an item stays hidden. If omitted: without end."""
    reason: str = "hidden"
    """The reason that the trace gives for a removed item."""


class HiddenFilter(HistoryFilter):
    """Removes items that the user has disliked or hidden.

    When to use: users can hide, dislike or report items.
    Cost: one pass over the user's history; the items are excluded from recall in advance.
    Source: common practice of feeds.
    """

    name = "hidden"
    Config = HiddenConfig
    config: HiddenConfig

    def _days(self) -> float | None:
        return self.config.days
