"""Events of a query's history that count for a channel: which behaviours, the last one, all."""

from __future__ import annotations

import numpy as np

from tamis.data import Dataset
from tamis.features import History
from tamis.recall._common.interactions import Combine, once_per_behaviour
from tamis.runtime import Bool, Float32, Int64
from tamis.schema import ConfigError, suggest


def behaviour_mask(channel: str, data: Dataset, names: tuple[str, ...]) -> Bool:
    """(behaviours,) True for the behaviour codes in `names`; the positive ones if it is empty.

    Raises ConfigError if a name is not declared.
    """
    known = [b.name for b in data.behaviours]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"channel {channel!r}: behaviour {name!r} is not declared."
                f"{suggest(name, known)} Declared: {', '.join(known)}"
            )
    return np.array([b.name in names if names else b.positive for b in data.behaviours])


def interest_values(history: History, interest: Float32, combine: Combine) -> Float32:
    """(n,) interest value of each event, which compiled code adds or takes the largest of.

    For a sum, all but the last event of each behaviour of a query with an item have the value 0.

    Args:
        interest: (behaviours,) interest value by behaviour code, negative if it does not count.
    """
    value = interest[history.behaviour]
    if combine == "max" or not len(value):
        return value
    query = np.repeat(np.arange(len(history)), np.diff(history.indptr))
    return once_per_behaviour(query, history.item, history.behaviour, value)


def last_event(history: History, counted: Bool, n_items: int) -> Int64:
    """(Q,) index into the history's columns of each query's last event that counts; -1 if none.

    Args:
        counted: (behaviours,) True for the behaviour codes that count.
        n_items: items of the table; events with an item outside it do not count.
    """
    known = (history.item >= 0) & (history.item < n_items)
    at = np.flatnonzero(counted[history.behaviour] & known)
    if not len(at):
        return np.full(len(history), -1, np.int64)
    place = np.searchsorted(at, history.indptr[1:]) - 1
    found = at[np.maximum(place, 0)]
    return np.where((place >= 0) & (found >= history.indptr[:-1]), found, -1).astype(np.int64)


def counted_events(history: History, counted: Bool, n_items: int) -> tuple[Int64, Int64]:
    """(query, index into the history's columns) of every event that counts, see `last_event`."""
    known = (history.item >= 0) & (history.item < n_items)
    at = np.flatnonzero(counted[history.behaviour] & known)
    return np.searchsorted(history.indptr, at, side="right") - 1, at
