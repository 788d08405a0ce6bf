"""Removes items that are out of stock."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tamis.data import Table
from tamis.filters._base import ItemMaskFilter, numbers_of
from tamis.runtime import Bool
from tamis.schema import ComponentConfig


class OutOfStockConfig(ComponentConfig):
    """Options of the out-of-stock filter."""

    column: str = "stock"
    """Items' column of the stock in pieces; a boolean column counts as 1 and 0."""
    least: Annotated[float, Field(gt=0)] = 1
    """Minimum stock in pieces."""
    missing: Literal["keep", "remove"] = "keep"
    """What happens to items of unknown stock; digital goods have none."""
    reason: str = "out of stock"
    """The reason that the trace gives for a removed item."""


class OutOfStockFilter(ItemMaskFilter):
    """Removes items with fewer than `least` pieces in the items' table that `fit` read.

    When to use: shops whose items' table has a stock column.
    Cost: one lookup per candidate.
    Source: common practice of shops.
    """

    name = "out_of_stock"
    Config = OutOfStockConfig
    config: OutOfStockConfig

    def _allowed(self, items: Table) -> Bool:
        stock = numbers_of(items, self.config.column, self.name)
        return np.where(np.isnan(stock), self.config.missing == "keep", stock >= self.config.least)
