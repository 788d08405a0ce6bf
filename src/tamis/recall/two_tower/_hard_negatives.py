"""Hard negatives of a two-tower model: what later stages rejected; never what was shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import Dataset
from tamis.runtime import Int64
from tamis.schema import ConfigError, DataError, TrainingError
from tamis.train import HardNegatives

WHY_REFUSED = (
    "An item that was shown was found by recall and passed by every stage: it is one of the best "
    "matches there are, and whoever did not click it may have clicked another. Recall must tell "
    "what might please from everything else; a model that learns to push shown items away unlearns "
    "just that. Train the ranker on them, or let them be weak positives (weak_positives = 0.1)"
)
_SHOWN = ("impression", "impressions", "shown", "exposed", "exposure")


def hard_negatives(given: str | None, data: Dataset) -> HardNegatives | None:
    """The rejected pairs of `given`: a Parquet file of (user_id, item_id[, time]) rows, or the name
    of a behaviour of the log; None where there are none.

    Rows of users or items that the tables do not hold, rows not before the data's end, and items
    that the user likes are left out.

    Raises:
        ConfigError: `given` means impressions, or is neither a behaviour nor a file.
        DataError: the file lacks a column.
        TrainingError: a pair is an impression of the log.
    """
    if given is None:
        return None
    behaviour = next((b for b in data.behaviours if given in (b.name, f"behaviour:{b.name}")), None)
    if given.lower() in _SHOWN or (behaviour is not None and behaviour.impression):
        raise ConfigError(
            f"hard_negatives = {given!r}: items that were shown but not clicked are refused as "
            f"negatives of recall. {WHY_REFUSED}."
        )
    if behaviour is not None and behaviour.positive:
        raise ConfigError(
            f"hard_negatives = {given!r}: that behaviour is positive, so its items are what recall "
            f"looks for; name one that means a rejection, or a file of rejected rows"
        )
    if behaviour is not None:
        rows = data.events.behaviour == data.code(behaviour.name)
        user, item = data.events.user[rows], data.events.item[rows]
    else:
        user, item = _of_file(given, data)
    user, item = user.astype(np.int64), item.astype(np.int64)
    _refuse_shown(given, user, item, data)
    kept = ~np.isin(_keys(user, item, data), _pairs_where(data, data.positive))
    return HardNegatives.of(user[kept], item[kept], len(data.users), len(data.items))


def _of_file(given: str, data: Dataset) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    path = Path(given)
    if not path.is_file():
        names = ", ".join(b.name for b in data.behaviours if not b.positive and not b.impression)
        raise ConfigError(
            f"hard_negatives = {given!r} is neither a file nor a behaviour of the log that could "
            f"be one ({names or 'none is declared'}). Give a Parquet file of user_id, item_id and "
            f"time columns: the candidates that pre-rank or rank rejected"
        )
    frame = pl.read_parquet(path)
    missing = [name for name in ("user_id", "item_id") if name not in frame.columns]
    if missing:
        raise DataError(
            f"{given} has no column {', '.join(missing)}, only {', '.join(frame.columns)}; hard "
            f"negatives are rows of user_id, item_id and, if known, time"
        )
    if "time" in frame.columns:
        time = frame["time"]
        if time.dtype.is_temporal():
            time = time.cast(pl.Datetime("ms"))
        frame = frame.filter(time.cast(pl.Int64) < data.end)
    user, item = data.users.rows(frame["user_id"]), data.items.rows(frame["item_id"])
    known = (user >= 0) & (item >= 0)
    return user[known], item[known]


def _refuse_shown(given: str, user: Int64, item: Int64, data: Dataset) -> None:
    shown = np.array([b.impression for b in data.behaviours], np.bool_)[data.events.behaviour]
    if not shown.any():
        return
    keys = _keys(user, item, data)
    liked = np.isin(keys, _pairs_where(data, data.positive))
    bad = np.flatnonzero(np.isin(keys, _pairs_where(data, shown)) & ~liked)
    if len(bad):
        first = bad[0]
        raise TrainingError(
            f"hard_negatives = {given!r}: {len(bad)} of {len(keys)} rows are items that were shown "
            f"to the user and not liked, first user {data.users.ids[int(user[first])]!r} and item "
            f"{data.items.ids[int(item[first])]!r}. {WHY_REFUSED}. Keep only candidates that never "
            f"reached a slate"
        )


def _keys(user: NDArray[np.integer], item: NDArray[np.integer], data: Dataset) -> Int64:
    return user.astype(np.int64) * max(len(data.items), 1) + item


def _pairs_where(data: Dataset, where: NDArray[np.bool_]) -> Int64:
    return _keys(data.events.user[where], data.events.item[where], data)
