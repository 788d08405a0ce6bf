"""Held-out likes of a log, by which channels choose options, and the NDCG of recalled lists."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tamis.cascade import Recalled
from tamis.data import Dataset, Ragged
from tamis.schema import DataError
from tamis.splitting import Holdout, by_time, carve, leave_one_out

TRAIN_SHARE = 0.9
"""Share of the log, or of a user's likes, that is not held out."""
MIN_USERS = 50
"""Fewest users with held-out likes at the end of a log for a split by time."""


def held_out(data: Dataset, seed: int) -> Holdout | None:
    """Likes of a log to choose options by; None if nothing can be held out.

    The likes of known users in the last tenth of the log are held out; if they are of fewer than
    MIN_USERS users, every user's last like; if all events have the same time, a random tenth of
    every user's likes.
    """
    splits: list[Callable[[], Holdout]] = [lambda: carve(data, 1 - TRAIN_SHARE, seed=seed)]
    if bool((data.events.time != data.events.time[0]).any()):
        splits = [
            lambda: by_time(data, TRAIN_SHARE),
            lambda: leave_one_out(data, "test", refit=True),
        ]
    best: Holdout | None = None
    for make in splits:
        try:
            found = make()
        except DataError:  # this split holds nothing out; try the next one
            continue
        if best is None or len(best) < MIN_USERS:
            best = found
    return best


def mean_ndcg(found: Recalled, targets: Ragged) -> float:
    """Mean NDCG of the lists `found` (Q, k) over the queries with a target; NaN without any."""
    queries, k = found.item.shape
    number = np.diff(targets.indptr)
    if not number.any():
        return float("nan")
    owner = np.repeat(np.arange(queries, dtype=np.int64), k)
    hit = targets.contains(owner, found.item.reshape(-1)).reshape(queries, k)
    discount = 1 / np.log2(np.arange(k) + 2.0)
    best = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(number, k)]
    some = number > 0
    return float(((hit * discount).sum(axis=1)[some] / best[some]).mean())
