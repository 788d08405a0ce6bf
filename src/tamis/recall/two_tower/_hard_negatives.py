"""Hard negatives of a two-tower model: items that later stages rejected and that were not shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.cascade import FitContext
from tamis.data import Dataset
from tamis.runtime import Int64
from tamis.schema import ConfigError, DataError, TrainingError
from tamis.train import HardNegatives

WHY_REFUSED = (
    "A shown item was recalled and passed every stage, so it is among the best matches for the "
    "user, whether it was clicked or not. Training recall against shown items lowers the scores of "
    "good matches. Train the ranker on them, or use them as weak positives (weak_positives = 0.1)"
)
REPLAYS = "replays"
"""Value of `hard_negatives` for the candidates that were rejected in the replays of a training."""
LOG = "log"
"""Value of `hard_negatives` for the candidates that were rejected in the answers of the service."""
FEW = 20
"""Users with fewer rejections in the answers of the service get those of replays, too."""
PER_USER = 100
"""Most rejections of a user that are taken from the answers of the service, the newest."""
_SHOWN = ("impression", "impressions", "shown", "exposed", "exposure")


def hard_negatives(
    given: str | None, data: Dataset, context: FitContext | None = None
) -> HardNegatives | None:
    """The hard negatives that the option `hard_negatives` names; None if it is not set.

    Rows with unknown users or items, rows that are not before the end of the log, and items that
    the user likes are left out; of the candidates that were rejected in replays or in answers also
    those of which the log has any event of the user, for he has met them.

    Args:
        given: "log", "replays", a Parquet file of (user_id, item_id[, time]) rows, or the name of a
            behaviour.
        context: holds the rejections of answers and of replays, and the folder of relative paths;
            None: none of them.

    Raises:
        ConfigError: `given` names impressions or a positive behaviour, is neither a behaviour nor a
            file, or there were neither replays nor answers.
        DataError: the file lacks a column.
        TrainingError: a pair is an impression of the log.
    """
    if given is None:
        return None
    context = context or FitContext()
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
    if given == LOG and behaviour is None:
        return _of_answers(context, data)
    if given == REPLAYS and behaviour is None:
        user, item = _not_met(*_rejected(given, context, data), data)
        return _counted(HardNegatives.of(user, item, len(data.users), len(data.items)), given)
    if behaviour is not None:
        rows = data.events.behaviour == data.code(behaviour.name)
        user, item = data.events.user[rows], data.events.item[rows]
    else:
        user, item = _of_file(given, data, context.folder)
    user, item = user.astype(np.int64), item.astype(np.int64)
    _refuse_shown(given, user, item, data)
    kept = ~np.isin(_keys(user, item, data), _pairs_where(data, data.positive))
    hard = HardNegatives.of(user[kept], item[kept], len(data.users), len(data.items))
    return _counted(hard, given)


def _counted(hard: HardNegatives, source: str) -> HardNegatives:
    return replace(hard, sources={source: len(hard.item)})


def _of_answers(context: FitContext, data: Dataset) -> HardNegatives:
    """The candidates that were rejected in answers before the log's end, by users with few of them
    also those of replays.

    A rejection needs not precede the positives that it is trained against: it says what the stages
    do not choose for the user, not what the user did.
    """
    if context.rejected_live is None:
        user = item = np.zeros(0, np.int64)
    else:
        shown = pl.col("shown").fill_null(data.end) < data.end
        frame = context.rejected_live.filter(~shown).sort("time", descending=True)
        user, item = _not_met(*_rows_of(frame, data), data)
        newest = _first_of_each(user, PER_USER)
        user, item = user[newest], item[newest]
    logged = np.bincount(user, minlength=len(data.users))
    if context.rejected is not None or context.rejected_live is None:
        users, items = _not_met(*_rejected(LOG, context, data), data)
        few = logged[users] < FEW
        user, item = np.concatenate([user, users[few]]), np.concatenate([item, items[few]])
    hard = HardNegatives.of(user, item, len(data.users), len(data.items))
    found = int(logged.sum())
    return replace(hard, sources={LOG: found, REPLAYS: len(hard.item) - found})


def _first_of_each(user: Int64, most: int) -> NDArray[np.intp]:
    """Indices of the first `most` rows of each user (n,)."""
    order = np.argsort(user, kind="stable")
    place = np.arange(len(user)) - np.searchsorted(user[order], user[order])
    return order[place < most]


def _not_met(
    users: NDArray[np.int32], items: NDArray[np.int32], data: Dataset
) -> tuple[Int64, Int64]:
    """The pairs (n,) of which the log has no event."""
    user, item = users.astype(np.int64), items.astype(np.int64)
    met = _pairs_where(data, np.ones(len(data.events), np.bool_))
    kept = ~np.isin(_keys(user, item, data), met)
    return user[kept], item[kept]


def _rejected(
    given: str, context: FitContext, data: Dataset
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(user row, item row) of the candidates that were rejected in replays before the log's end."""
    if context.rejected is None:
        what = "answers of a service and no replays" if given == LOG else "replays"
        raise ConfigError(
            f"hard_negatives = {given!r}: there are no {what} to take rejected candidates from. "
            "`tamis train` makes them and keeps them in rejected.parquet of the project; in "
            "Python, name a Parquet file with the columns user_id, item_id and, optionally, time"
        )
    return _rows_of(context.rejected, data)


def _of_file(
    given: str, data: Dataset, folder: Path | None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(user row, item row) of the file's rows with known ids before the end of the log."""
    path = Path(given) if folder is None else folder / given
    if not path.is_file():
        names = ", ".join(b.name for b in data.behaviours if not b.positive and not b.impression)
        raise ConfigError(
            f"hard_negatives = {given!r} is neither {LOG!r} nor {REPLAYS!r} nor a file ({path}) "
            f"nor a suitable behaviour of the log ({names or 'none is declared'}). Give {LOG!r} or "
            f"{REPLAYS!r}, or a Parquet file of the candidates that pre-rank or rank rejected, "
            f"with the columns user_id, item_id and, optionally, time"
        )
    frame = pl.read_parquet(path)
    missing = [name for name in ("user_id", "item_id") if name not in frame.columns]
    if missing:
        raise DataError(
            f"{given} has no column {', '.join(missing)}, only {', '.join(frame.columns)}; hard "
            f"negatives need the columns user_id, item_id and, optionally, time"
        )
    return _rows_of(frame, data)


def _rows_of(frame: pl.DataFrame, data: Dataset) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(user row, item row) of a frame's rows with known ids before the end of the log."""
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
