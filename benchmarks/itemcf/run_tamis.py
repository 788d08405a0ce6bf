"""tamis's ItemCF: fit, and a recommendation for every user."""

from __future__ import annotations

import numpy as np
import polars as pl
from common import NEIGHBOURS, TOP, arguments, measure, peak_mb

from tamis.cascade import at_end
from tamis.data import Dataset, Events, Table
from tamis.recall import ItemCF
from tamis.schema import Behaviour

BATCH = 4096
"""Users whose queries are in memory at once."""
imported = peak_mb()
user, item, users, items, out, repeats, options = arguments()


def log_of(user: np.ndarray, item: np.ndarray, users: int, items: int) -> Dataset:
    """Likes at one moment, as `read_pairs` makes them."""
    n = len(user)
    time = np.zeros(n, np.int64)
    return Dataset(
        Table("users", pl.Series(np.arange(users)).cast(pl.String), pl.DataFrame()),
        Table("items", pl.Series(np.arange(items)).cast(pl.String), pl.DataFrame()),
        Events(
            user=user.astype(np.int32, copy=False),
            item=item.astype(np.int32, copy=False),
            behaviour=np.zeros(n, np.uint8),
            time=time,
            arrival=time,
            value=np.full(n, np.nan, np.float32),
            request=np.full(n, -1, np.int64),
            position=np.zeros(n, np.int16),
        ),
        (Behaviour(name="like", positive=True),),
    )


def recommend(model: ItemCF) -> np.ndarray:
    everybody = np.arange(users, dtype=np.int32)
    parts = [everybody[at : at + BATCH] for at in range(0, users, BATCH)]
    return np.concatenate([model.recall(at_end(data, part), TOP).item for part in parts])


few = log_of(np.array([0, 0, 1]), np.array([0, 1, 0]), 2, 2)
warm = ItemCF(**options).fit(few)  # compiles, or opens what an earlier run has compiled
warm.recall(at_end(few, np.zeros(1, np.int32)), 1)
ready = peak_mb()
data = log_of(user, item, users, items)
options = {**options, "neighbours": NEIGHBOURS}
measure(imported, ready, lambda: ItemCF(**options).fit(data), recommend, out, repeats)
