"""Time-decayed popularity of items, as base-2 logarithms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tamis.data import Dataset
from tamis.recall._common.interactions import declared_interest, places_of_likes
from tamis.recall._common.item_columns import UNKNOWN_TIME
from tamis.runtime import Float64, Int32, Int64
from tamis.runtime.compiled import njit

DAY_MS = 86_400_000.0


class LikedEvents(NamedTuple):
    """The likes of a log: events of positive behaviours, and of others that declare a weight."""

    user: Int32
    """(n,) user rows."""
    item: Int32
    """(n,) item rows."""
    value: Float64
    """(n,) interest value r of the event's behaviour."""
    age: Float64
    """(n,) days before the end of the log."""


def liked_events(data: Dataset) -> LikedEvents:
    """The likes of a log, in its order."""
    at, events = places_of_likes(data), data.events
    value = declared_interest(data.behaviours)[events.behaviour[at]]
    age = (data.end - events.time[at]) / DAY_MS
    return LikedEvents(events.user[at], events.item[at], value.astype(np.float64), age)


def log_popularity(
    data: Dataset,
    half_life: float,
    published: Int64 | None = None,
    new_item_weight: float = 0.0,
) -> Float64:
    """(items,) log2 of `Σ r · 2^(-age / half_life)` over the likes; -inf without any.

    r is the interest value of the behaviour; ages are in days before the end of the log.

    Args:
        half_life: days after which an event counts half.
        published: (items,) publication times in ms, or (0,), see `publication_times`.
        new_item_weight: if positive, being published counts as one event of this weight, so that
            new items rank among those with a few likes.
    """
    _, item, value, age = liked_events(data)
    likes = log_decayed_sums(item, value, age / half_life, len(data.items))
    if published is None:
        return likes
    return with_publication(likes, published, data.end, half_life, new_item_weight)


def with_publication(
    likes: Float64, published: Int64, end: int, half_life: float, new_item_weight: float
) -> Float64:
    """(items,) log2 of the decayed likes and of the publication, as one event, of each item.

    Args:
        likes: (items,) log2 of the decayed likes, -inf without any.
        published: (items,) ms, UNKNOWN_TIME where it is unknown, or (0,) for none.
        end: of the log, ms.
        half_life: days. new_item_weight: weight of the publication; 0: it does not count.
    """
    if new_item_weight <= 0 or not len(published):
        return likes
    unknown = published == UNKNOWN_TIME
    age = (end - np.where(unknown, 0, published)) / DAY_MS
    event = np.where(unknown, -np.inf, np.log2(new_item_weight) - age / half_life)
    return np.logaddexp2(likes, event)


def missing_last(key: Float64) -> Float64:
    """(n,) the same keys, with -inf and NaN replaced by a finite value below all others."""
    real = np.isfinite(key)
    return np.where(real, key, (key[real].min() if real.any() else 0.0) - 1.0)


@njit(cache=True)
def log_decayed_sums(owner: Int32, weight: Float64, halvings: Float64, n: int) -> Float64:
    """(n,) float64 log2 of `Σ weight · 2^-halvings` per owner; -inf for an owner without weight.

    Computed relative to each owner's largest term, so that very old events do not underflow.

    Args:
        owner: (m,) int32 in [0, n).
        weight: (m,) float64; entries <= 0 are ignored.
        halvings: (m,) float64 age in half-lives.
    """
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
