"""Nothing that is out of stock."""

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
    """Items' column of the pieces left; a boolean column counts as 1 and 0."""
    least: Annotated[float, Field(gt=0)] = 1
    """Pieces that must be left."""
    missing: Literal["keep", "remove"] = "keep"
    """Items of unknown stock: a film has none."""
    reason: str = "out of stock"
    """What the trace says of a removed item."""


class OutOfStockFilter(ItemMaskFilter):
    """Removes items of which fewer than `least` are left, as the items' table had it at the fit."""

    name = "out_of_stock"
    Config = OutOfStockConfig
    config: OutOfStockConfig

    def _allowed(self, items: Table) -> Bool:
        stock = numbers_of(items, self.config.column, self.name)
        return np.where(np.isnan(stock), self.config.missing == "keep", stock >= self.config.least)
