"""Not what the user has bought."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tamis.filters._history import HistoryFilter
from tamis.schema import ComponentConfig


class BoughtConfig(ComponentConfig):
    """Options of the bought filter."""

    behaviours: Annotated[tuple[str, ...], Field(min_length=1)] = ("purchase",)
    """Behaviours by which an item is had."""
    days: Annotated[float, Field(gt=0)] | None = None
    """For how long: what is used up may be shown again after so many days; None = for ever."""
    reason: str = "bought"
    """What the trace says of a removed item."""


class BoughtFilter(HistoryFilter):
    """Removes items that the user has bought before the query's time, lately or ever."""

    name = "bought"
    Config = BoughtConfig
    config: BoughtConfig
