"""Fresh: what has just been published."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset
from tamis.index import best_first, offer
from tamis.recall._common.channel import BaseChannel, nothing
from tamis.recall._common.popularity import ALWAYS, DAY_MS, role_of, times_of
from tamis.recall._common.postings import listed
from tamis.runtime import in_blocks
from tamis.schema import ComponentConfig

_QUERIES_PER_BLOCK = 256


class FreshConfig(ComponentConfig):
    """Options of the fresh channel."""

    max_age: Annotated[float, Field(gt=0)] = 30.0
    """Days since publishing at which an item stops being fresh."""
    order: Literal["newest", "best"] = "newest"
    """best = by the smoothed rate of likes: per impression where the log has impressions, else per
    day of life."""
    prior: Annotated[float, Field(gt=0)] = 10.0
    """With order = "best": impressions (or days) of average success that every item is given."""
    column: str = ""
    """The items' column of the time of publishing; "" = the one that [items] declares."""


class Fresh(BaseChannel):
    """Items published less than `max_age` days before the query's time, newest or best first.

    Newest: `score = 1 / (1 + age in days)`. Best: `score = (likes + prior · mean) / (trials +
    prior)`, trials = impressions, or days of life at the fit (at least 1) in a log without them,
    mean = likes / trials of all items. Items published at or after the query's time are never
    returned, although the table may hold them already; items of unknown birth are not fresh.

    When to use: news, video, second-hand: wherever the catalogue turns over faster than models are
    trained, so that new items get the first impressions that the other channels need.
    Cost: fit one sort of the items; recall walks k items (newest) or all fresh ones (best); memory
    16 bytes an item.
    Source: recency recall; smoothed rates as in Wang et al. 2011, Click-Through Rate Estimation for
    Rare Events in Online Advertising.
    """

    name = "fresh"
    Config = FreshConfig
    config: FreshConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        name = role_of(self.name, context.items, "published", self.config.column)
        declared = context.items.published if context.items else None
        born = times_of(self.name, data.items, name, declared)
        known = np.flatnonzero(born != ALWAYS)
        order = known[np.lexsort((known, -born[known]))]
        self._arrays = {
            "item": order.astype(np.int32),
            "born": born[order],
            "rate": self._rate(data, born)[order],
        }
        return {}

    def _rate(self, data: Dataset, born: NDArray[np.int64]) -> NDArray[np.float32]:
        """(items,) the smoothed rate of likes."""
        n, events = len(data.items), data.events
        likes = np.bincount(events.item[data.positive], minlength=n)
        shown = ~data.seen
        if shown.any():
            trials = np.bincount(events.item[shown], minlength=n).astype(np.float64)
        else:
            known = born != ALWAYS
            age = np.where(known, data.end - np.where(known, born, 0), 0) / DAY_MS
            trials = np.maximum(age, 1.0)
        mean = likes.sum() / max(trials.sum(), 1.0)
        prior = self.config.prior
        return ((likes + prior * mean) / (trials + prior)).astype(np.float32)

    def _recall(self, queries: Queries, k: int) -> Recalled:
        found = nothing(len(queries), k)
        arrays = self._arrays
        search = _newest if self.config.order == "newest" else _best

        def block(begin: int, end: int) -> None:
            search(
                (begin, end),
                (arrays["item"], arrays["born"], arrays["rate"]),
                queries.time,
                self.config.max_age * DAY_MS,
                (queries.exclude.indptr, queries.exclude.values),
                found.item,
                found.score,
            )

        in_blocks(block, len(queries), _QUERIES_PER_BLOCK)
        return found


@njit(cache=True, nogil=True)
def _begin(born, time):
    """The first place of the falling `born` that is before `time`."""
    low, high = 0, len(born)
    while low < high:
        middle = (low + high) // 2
        if born[middle] >= time:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _newest(span, items, time, max_age, exclude, out_item, out_score):
    item, born, _ = items
    for q in range(span[0], span[1]):
        found = 0
        for at in range(_begin(born, time[q]), len(item)):
            age = time[q] - born[at]
            if age >= max_age or found == out_item.shape[1]:
                break
            if not listed(exclude[1], exclude[0][q], exclude[0][q + 1], item[at]):
                out_item[q, found] = item[at]
                out_score[q, found] = 1 / (1 + age / DAY_MS)
                found += 1


@njit(cache=True, nogil=True)
def _best(span, items, time, max_age, exclude, out_item, out_score):
    item, born, rate = items
    for q in range(span[0], span[1]):
        found = 0
        for at in range(_begin(born, time[q]), len(item)):
            if time[q] - born[at] >= max_age:
                break
            if found == out_item.shape[1] and rate[at] < out_score[q, 0]:
                continue  # behind the worst of the best so far
            if not listed(exclude[1], exclude[0][q], exclude[0][q + 1], item[at]):
                found = offer(out_item[q], out_score[q], found, item[at], rate[at])
        best_first(out_item[q], out_score[q], found)
