"""Hard negatives of a two-tower model: items that later stages rejected and that were not shown."""

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
    "A shown item was recalled and passed every stage, so it is among the best matches for the "
    "user, whether it was clicked or not. Training recall against shown items lowers the scores of "
    "good matches. Train the ranker on them, or use them as weak positives (weak_positives = 0.1)"
)
_SHOWN = ("impression", "impressions", "shown", "exposed", "exposure")


def hard_negatives(given: str | None, data: Dataset) -> HardNegatives | None:
    """The hard negatives that the option `hard_negatives` names; None if it is not set.

    Rows with unknown users or items, rows that are not before the end of the log, and items that
    the user likes are left out.

    Args:
        given: a Parquet file of (user_id, item_id[, time]) rows, or the name of a behaviour.

    Raises:
        ConfigError: `given` names impressions or a positive behaviour, or is neither a behaviour
            nor a file.
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
            f"hard_negatives = {given!r}: this behaviour is positive, so its items are targets of "
            f"recall; name a behaviour that means a rejection, or a file of rejected rows"
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
    """(user row, item row) of the file's rows with known ids before the end of the log."""
    path = Path(given)
    if not path.is_file():
        names = ", ".join(b.name for b in data.behaviours if not b.positive and not b.impression)
        raise ConfigError(
            f"hard_negatives = {given!r} is neither a file nor a suitable behaviour of the log "
            f"({names or 'none is declared'}). Give a Parquet file of the candidates that pre-rank "
            f"or rank rejected, with the columns user_id, item_id and, optionally, time"
        )
    frame = pl.read_parquet(path)
    missing = [name for name in ("user_id", "item_id") if name not in frame.columns]
    if missing:
        raise DataError(
            f"{given} has no column {', '.join(missing)}, only {', '.join(frame.columns)}; hard "
            f"negatives need the columns user_id, item_id and, optionally, time"
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
    """Raises TrainingError if a pair (n,) is an impression of the log that was not liked."""
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
    """(n,) one number per user-item pair."""
    return user.astype(np.int64) * max(len(data.items), 1) + item


def _pairs_where(data: Dataset, where: NDArray[np.bool_]) -> Int64:
    """Keys of the log's events selected by `where` (events,)."""
    return _keys(data.events.user[where], data.events.item[where], data)
