"""What list channels know of an item: its worth by time-decayed likes, its birth, its labels."""

from __future__ import annotations

import numpy as np
import polars as pl
from numba import njit

from tamis.cascade import FitContext
from tamis.data import Dataset, Table, parse_times
from tamis.features import History
from tamis.recall._common.interactions import interest_of_behaviour
from tamis.runtime import Bool, Float64, Int32, Int64
from tamis.schema import ConfigError, TableConfig, suggest

DAY_MS = 86_400_000.0
ALWAYS = np.iinfo(np.int64).min
"""The birth of an item whose birth is not known."""


def role_of(channel: str, table: TableConfig | None, role: str, column: str, cure: str = "") -> str:
    """The column that plays a role: the option `column`, or what [items] or [users] declares.

    Raises ConfigError where neither names one; `cure` is what the message proposes.
    """
    name = column or (getattr(table, role) if table is not None else None)
    if not name:
        raise ConfigError(
            f"channel {channel!r} needs the column of the {role}: "
            + (cure or f'declare [items] {role} = "COLUMN", or set the channel\'s `column`')
        )
    return str(name)


def column_of(channel: str, table: Table, name: str) -> pl.Series:
    """A column of a table, or a ConfigError that lists the columns there are."""
    columns = table.frame.columns
    if name not in columns:
        raise ConfigError(
            f"channel {channel!r}: column {name!r} is not in the {table.name}' table."
            f"{suggest(name, columns)} Its columns: {', '.join(columns) or 'none'}"
        )
    return table.frame[name]


def times_of(channel: str, table: Table, name: str, declared: str | None) -> Int64:
    """(rows,) milliseconds of a table's time column of any unit, ALWAYS where there is none.

    declared: the column of the role `published`, which the reader has turned into milliseconds.
    Raises ConfigError where a value is no time.
    """
    column = column_of(channel, table, name)
    if name == declared and column.dtype == pl.Int64:
        return column.fill_null(ALWAYS).to_numpy().astype(np.int64)
    times = parse_times(column)
    wrong = times.bad | times.other_unit
    if wrong.any():
        raise ConfigError(
            f"channel {channel!r}: column {column.name!r} holds "
            f"{column.filter(pl.Series(wrong))[0]!r}, which is no time; name a column of times"
        )
    return np.where(times.missing, ALWAYS, times.ms)


def births(channel: str, data: Dataset, context: FitContext) -> Int64:
    """(items,) when each was published (ms), ALWAYS where unknown; (0,) where none is declared."""
    name = context.items.published if context.items is not None else None
    if name is None:
        return np.zeros(0, np.int64)
    return times_of(channel, data.items, name, name)


def log_worth(
    data: Dataset, half_life: float, born: Int64 | None = None, newborn: float = 0.0
) -> Float64:
    """(items,) log2 of `Σ r · 2^(-age / half_life)` over positive events; -inf where there is none.

    r is the behaviour's weight, ages are in days at the data's end. With `newborn`, birth counts
    like an event of that r, so that new items stand among those liked a few times.
    """
    item, value, age = liked(data)
    if newborn > 0 and born is not None and len(born):
        known = np.flatnonzero(born != ALWAYS)
        item = np.concatenate([item, known.astype(np.int32)])
        value = np.concatenate([value, np.full(len(known), newborn)])
        age = np.concatenate([age, (data.end - born[known]) / DAY_MS])
    return log_sums(item, value, age / half_life, len(data.items))


def liked(data: Dataset) -> tuple[Int32, Float64, Float64]:
    """(item, r, age in days) of the positive events."""
    positive = np.flatnonzero(data.positive)
    events = data.events
    value = interest_of_behaviour(data.behaviours)[events.behaviour[positive]]
    age = (data.end - events.time[positive]) / DAY_MS
    return events.item[positive], value.astype(np.float64), age


def log_newness(data: Dataset, half_life: float, born: Int64) -> Float64:
    """(items,) log2 of `2^(-age / half_life)`, the age since birth; -inf where unknown."""
    unknown = born == ALWAYS
    age = (data.end - np.where(unknown, 0, born)) / DAY_MS
    return np.where(unknown, -np.inf, -age / half_life)


def floored(key: Float64) -> Float64:
    """Items without a worth stand below all others, which have one."""
    real = np.isfinite(key)
    return np.where(real, key, (key[real].min() if real.any() else 0.0) - 1.0)


@njit(cache=True)
def log_sums(owner: Int32, weight: Float64, halvings: Float64, n: int) -> Float64:
    """(n,) log2 Σ weight · 2^-halvings per owner, exact however long ago; -inf of nothing."""
    top = np.full(n, -np.inf)
    for e in range(len(owner)):
        if weight[e] > 0 and -halvings[e] > top[owner[e]]:
            top[owner[e]] = -halvings[e]
    total = np.zeros(n)
    for e in range(len(owner)):
        if weight[e] > 0:
            total[owner[e]] += weight[e] * 2.0 ** (-halvings[e] - top[owner[e]])
    for i in range(n):
        if total[i] > 0:
            top[i] += np.log2(total[i])
    return top


def last_event(history: History, counted: Bool, n_items: int) -> Int64:
    """(Q,) place in the history's columns of each query's last event that counts; -1 = none.

    counted: by behaviour code. Events with items outside the table do not count.
    """
    known = (history.item >= 0) & (history.item < n_items)
    at = np.flatnonzero(counted[history.behaviour] & known)
    if not len(at):
        return np.full(len(history), -1, np.int64)
    place = np.searchsorted(at, history.indptr[1:]) - 1
    found = at[np.maximum(place, 0)]
    return np.where((place >= 0) & (found >= history.indptr[:-1]), found, -1).astype(np.int64)


def counted_events(history: History, counted: Bool, n_items: int) -> tuple[Int64, Int64]:
    """(query, place in the history's columns) of the events that count, as in `last_event`."""
    known = (history.item >= 0) & (history.item < n_items)
    at = np.flatnonzero(counted[history.behaviour] & known)
    return np.searchsorted(history.indptr, at, side="right") - 1, at


def behaviours_named(channel: str, data: Dataset, names: tuple[str, ...]) -> Bool:
    """(behaviours,) which codes count: those of `names`; without names, the positive ones."""
    known = [b.name for b in data.behaviours]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"channel {channel!r}: behaviour {name!r} is not declared."
                f"{suggest(name, known)} Declared: {', '.join(known)}"
            )
    return np.array([b.name in names if names else b.positive for b in data.behaviours])
