"""Columns of the items' and users' tables: roles, publication times, and their errors."""

from __future__ import annotations

import numpy as np
import polars as pl

from tamis.cascade import FitContext
from tamis.data import Dataset, Table, parse_times
from tamis.runtime import Int64
from tamis.schema import ConfigError, TableConfig, suggest

UNKNOWN_TIME = np.iinfo(np.int64).min
"""Publication time of an item for which none is known; earlier than every query."""
NO_TIMES = np.zeros(0, np.int64)
"""Publication times of a channel that knows none: every item is always available."""


def role_of(
    channel: str, table: TableConfig | None, role: str, column: str, how_to_fix: str = ""
) -> str:
    """Name of the column that holds a role such as "category", "author" or "published".

    Args:
        channel: the channel's name, for messages.
        table: [items] or [users] of the project; None if it is not declared.
        role: attribute of `table` that names the column.
        column: the channel's own option; if not empty, it takes precedence over `table`.
        how_to_fix: what the error message proposes; empty: a sentence about [items].

    Raises ConfigError if neither the option nor the table names a column.
    """
    name = column or (getattr(table, role) if table is not None else None)
    if not name:
        raise ConfigError(
            f"channel {channel!r} needs the column of the {role}: "
            + (how_to_fix or f'declare [items] {role} = "COLUMN", or set the channel\'s `column`')
        )
    return str(name)


def column_of(channel: str, table: Table, name: str) -> pl.Series:
    """A column of a table. Raises ConfigError, listing the columns, if the table lacks it."""
    columns = table.frame.columns
    if name not in columns:
        raise ConfigError(
            f"channel {channel!r}: column {name!r} is not in the {table.name}' table."
            f"{suggest(name, columns)} Its columns: {', '.join(columns) or 'none'}"
        )
    return table.frame[name]


def times_of(channel: str, table: Table, name: str, declared: str | None) -> Int64:
    """(rows,) int64 milliseconds of a table's time column; UNKNOWN_TIME where it is empty.

    Args:
        declared: the column with the role `published`, which the reader has already converted to
            milliseconds; every other column is parsed, whatever its unit.

    Raises ConfigError if a value is not a time.
    """
    column = column_of(channel, table, name)
    if name == declared and column.dtype == pl.Int64:
        return column.fill_null(UNKNOWN_TIME).to_numpy().astype(np.int64)
    times = parse_times(column)
    wrong = times.bad | times.other_unit
    if wrong.any():
        raise ConfigError(
            f"channel {channel!r}: column {column.name!r} holds "
            f"{column.filter(pl.Series(wrong))[0]!r}, which is not a time; name a column of times"
        )
    return np.where(times.missing, UNKNOWN_TIME, times.ms)


def publication_of(channel: str, items: Table, column: str | None) -> Int64:
    """(rows,) publication times in ms of some items; (0,) where `column` is None."""
    return NO_TIMES if column is None else times_of(channel, items, column, column)


def publication_column(context: FitContext) -> str | None:
    """The column that [items] declares for the publication time."""
    return context.items.published if context.items is not None else None


def publication_times(channel: str, data: Dataset, context: FitContext) -> Int64:
    """(items,) int64 publication time of each item in ms, UNKNOWN_TIME where it is empty.

    An array of shape (0,) if [items] declares no `published` column.
    """
    return publication_of(channel, data.items, publication_column(context))
