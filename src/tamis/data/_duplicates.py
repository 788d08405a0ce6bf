"""Events that repeat an earlier one."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.dataset import Events

_ODD = np.uint64(0x9E3779B97F4A7C15)
"""Golden-ratio multiplier of a multiplicative hash (Knuth)."""


def repeated_events(events: Events, by_request: bool) -> NDArray[np.bool_]:
    """(n,) rows equal to an earlier one in user, item, behaviour and time (and request).

    Only rows with equal 64-bit hashes are compared in full.
    """
    columns = {
        "pair": events.user.astype(np.int64) << 32 | events.item,
        "behaviour": events.behaviour.astype(np.int64),
        "time": events.time,
    }
    if by_request:
        columns["request"] = events.request
    hashed = np.zeros(len(events), dtype=np.uint64)
    for column in columns.values():
        hashed = (hashed ^ column.view(np.uint64)) * _ODD
        hashed ^= hashed >> np.uint64(29)
    duplicate = np.zeros(len(events), dtype=np.bool_)
    series = pl.Series(hashed)
    if series.n_unique() < len(series):
        candidates = np.flatnonzero(series.is_duplicated().to_numpy())
        frame = pl.DataFrame({name: column[candidates] for name, column in columns.items()})
        later = frame.select(~pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
        duplicate[candidates[later]] = True
    return duplicate
