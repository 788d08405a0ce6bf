"""Keeps only items whose boolean column is true."""

from __future__ import annotations

import numpy as np
import polars as pl

from tamis.data import Table, read_numbers
from tamis.filters._base import ItemMaskFilter, column_of
from tamis.runtime import Bool
from tamis.schema import ComponentConfig, ConfigError


class AvailableConfig(ComponentConfig):
    """Options of the available filter."""

    column: str = "available"
    """Boolean column of the items' table; 0/1 and the texts true/false, yes/no are accepted."""
    reason: str = "not available"
    """The reason that the trace gives for a removed item."""


class AvailableFilter(ItemMaskFilter):
    """Keeps items whose `column` is true; a missing value counts as false.

    When to use: the items' table has a column that says whether an item may be shown.
    Cost: one lookup per candidate.
    Source: common practice.
    """

    name = "available"
    Config = AvailableConfig
    config: AvailableConfig

    def _allowed(self, items: Table) -> Bool:
        column = column_of(items, self.config.column, self.name)
        if column.dtype != pl.Boolean:
            column = _as_boolean(column)
        return column.fill_null(False).to_numpy().astype(np.bool_)


def _as_boolean(column: pl.Series) -> pl.Series:
    """Booleans from 0/1 or text. Raises ConfigError naming the first other value."""
    read = read_numbers(column)
    other = (read.values != 0) & (read.values != 1)
    wrong = column.filter(pl.Series(read.bad) | other.fill_null(False))
    if len(wrong):
        raise ConfigError(
            f"filter `available`: column {column.name!r} holds {wrong[0]!r}, which is neither true "
            f"nor false; give a boolean column, or use the filter `attribute` with an operator"
        )
    return read.values == 1
