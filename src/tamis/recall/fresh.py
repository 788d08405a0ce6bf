"""Fresh: recently published items, newest or best first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Events, Table
from tamis.index import best_first, offer
from tamis.recall._common.channel import nothing
from tamis.recall._common.compiled_arguments import excluded
from tamis.recall._common.following import FollowingChannel
from tamis.recall._common.item_columns import UNKNOWN_TIME, role_of, times_of
from tamis.recall._common.popularity import DAY_MS
from tamis.recall._common.postings import in_sorted
from tamis.runtime import Int32, grown, in_blocks
from tamis.runtime.compiled import njit
from tamis.schema import ComponentConfig, Conditions, Needs

_QUERIES_PER_BLOCK = 256
_COLUMNS = ("item", "published", "rate")
"""Arrays of the items with a known publication time, newest first."""


class FreshConfig(ComponentConfig):
    """Options of the fresh channel."""

    only_with: ClassVar[Conditions] = {"prior": (Needs("order", ("best",)),)}

    max_age: Annotated[float, Field(gt=0)] = 30.0
    """Days since publication after which an item is no longer recalled."""
    order: Literal["newest", "best"] = "newest"
    """newest: by publication time. best: by the smoothed rate of likes, per impression if the log
    has impressions, else per day since publication."""
    prior: Annotated[float, Field(gt=0)] = 10.0
    """With order = "best": strength of the smoothing, in impressions (or days) with the average
    rate that are added to each item."""
    column: str = ""
    """The items' column of the publication time. Empty: the one that [items] declares."""


class Fresh(FollowingChannel):
    """Items published less than `max_age` days before the query's time, newest or best first.

    Newest: `score = 1 / (1 + age in days)`. Best: `score = (likes + prior · mean) / (trials +
    prior)`; trials are the item's impressions, or, in a log without impressions, the days from
    publication to the end of the log (at least 1); mean = likes / trials over all items. Items
    published at or after the query's time are never returned, even if the table already holds
    them; neither are items without a publication time.

    While a version serves, likes and impressions count as they come; `mean`, and the days of a log
    without impressions, stay those of the version.

    When to use: news, video, second-hand goods: if the catalogue changes faster than models are
    trained, so that new items get the first impressions that other channels learn from.
    Cost: fit: one sort of the items. Recall: reads about k items (newest) or all items younger than
    `max_age` (best). Memory: 16 bytes per item.
    Source: recency recall; smoothed rates as in Wang et al. 2011, Click-Through Rate Estimation for
    Rare Events in Online Advertising.
    """

    name = "fresh"
    Config = FreshConfig
    config: FreshConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._touched = np.zeros(0, np.int32)
        """Items of which likes or impressions came since the version, ascending."""

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        reading = {
            "column": role_of(self.name, context.items, "published", self.config.column),
            "declared": context.items.published if context.items else None,
        }
        published = self._times(data.items, reading)
        self._touched = np.zeros(0, np.int32)
        counts = self._counts(data) if self.config.order == "best" else {}
        mean = 0.0
        if counts:
            likes, trials = counts["likes"], _trials(counts["shown"], published, data.end)
            mean = float(likes.sum() / max(trials.sum(), 1.0))
        facts = {
            "reading": reading,
            "mean": mean,
            "end": data.end,
            "positive": [b.positive for b in data.behaviours],
            "impression": [b.impression for b in data.behaviours],
        }
        known = np.flatnonzero(published != UNKNOWN_TIME)
        order = known[np.lexsort((known, -published[known]))]
        self._arrays = {
            "item": order.astype(np.int32),
            "published": published[order],
            "rate": self._rate(counts, published, facts)[order],
            **counts,
        }
        return facts

    def _times(self, items: Table, reading: dict[str, Any]) -> NDArray[np.int64]:
        """(items,) publication times in ms."""
        return times_of(self.name, items, reading["column"], reading["declared"])

    def _counts(self, data: Dataset) -> dict[str, NDArray[Any]]:
        """Likes (items,), and impressions (items,), or (0,) of a log without any."""
        n, events, shown = len(data.items), data.events, ~data.seen
        impressions = np.zeros(0, np.int64)
        if shown.any():
            impressions = np.bincount(events.item[shown], minlength=n)
        return {"likes": np.bincount(events.item[data.positive], minlength=n), "shown": impressions}

    def _rate(
        self, counts: dict[str, NDArray[Any]], published: NDArray[np.int64], facts: dict[str, Any]
    ) -> NDArray[np.float32]:
        """(items,) smoothed rate of likes; published: (items,) ms. 0 with order = "newest"."""
        if not counts:
            return np.zeros(len(published), np.float32)
        trials = _trials(counts["shown"], published, facts["end"])
        prior = self.config.prior
        return ((counts["likes"] + prior * facts["mean"]) / (trials + prior)).astype(np.float32)

    def _of_items(self, items: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        reading, arrays = self._reading, self._arrays
        if reading is None:
            return None
        times = self._times(items.part(rows), reading)
        counts = {name: arrays[name] for name in ("likes", "shown") if name in arrays}
        counts = {k: grown(v, len(items), 0) if len(v) else v for k, v in counts.items()}
        part = {k: v[rows] if len(v) else v for k, v in counts.items()}
        rate = self._rate(part, times, self._facts or {})
        known, before = times != UNKNOWN_TIME, {name: arrays[name] for name in _COLUMNS}
        new = {"item": rows[known], "published": times[known], "rate": rate[known]}
        return _with_items(before, rows, new) | counts

    def count_events(self, events: Events) -> None:
        """With order = "best": counts likes and impressions as they come, see `CountsEvents`."""
        facts = self._facts or {}
        if "likes" not in self._arrays or "positive" not in facts:  # "newest", or an older version
            return
        kinds = {"likes": "positive", "shown": "impression"}
        counted = {n: np.array(facts[kind])[events.behaviour] for n, kind in kinds.items()}
        rows, at = np.unique(events.item, return_inverse=True)
        more = {n: np.bincount(at, some, len(rows)).astype(np.int64) for n, some in counted.items()}
        some = (more["likes"] > 0) | (more["shown"] > 0)
        self._set(rows[some], {n: self._counted(n, rows[some]) + more[n][some] for n in more})

    def _counted(self, name: str, rows: Int32) -> NDArray[np.int64]:
        """(r,) likes or impressions of item rows; 0 of new ones."""
        counts = self._arrays[name]
        out = np.zeros(len(rows), np.int64)
        known = rows < len(counts)
        out[known] = counts[rows[known]]
        return out

    def _set(self, rows: Int32, counts: Mapping[str, NDArray[np.int64]]) -> None:
        """Likes and impressions (r,) of item rows, and the rates that follow from them."""
        if not len(rows):
            return
        arrays, items = self._arrays, max(len(self._arrays["likes"]), int(rows.max()) + 1)
        changed: dict[str, NDArray[Any]] = {}
        for name, values in counts.items():
            if len(arrays[name]):  # a log without impressions counts days in their place
                changed[name] = grown(arrays[name], items, 0)
                changed[name][rows] = values
        at = np.flatnonzero(np.isin(arrays["item"], rows))
        own = arrays["item"][at]
        part = {n: (arrays | changed)[n] for n in counts}
        part = {n: held[own] if len(held) else held for n, held in part.items()}
        changed["rate"] = grown(arrays["rate"], len(arrays["rate"]), 0)
        changed["rate"][at] = self._rate(part, arrays["published"][at], self._facts or {})
        self._touched = np.union1d(self._touched, rows)
        self._replace(changed)

    def appended(self) -> dict[str, NDArray[Any]]:
        """Likes and impressions of the items that had any since the version."""
        rows = self._touched
        return {"item": rows} | {n: self._counted(n, rows) for n in ("likes", "shown") if len(rows)}

    def restore(self, appended: Mapping[str, NDArray[Any]]) -> None:
        """Takes the counts that `appended` returned."""
        if len(appended["item"]):
            self._set(appended["item"], {n: appended[n] for n in ("likes", "shown")})

    def _recall(self, queries: Queries, k: int) -> Recalled:
        found = nothing(len(queries), k)
        arrays = self._arrays
        search = _newest if self.config.order == "newest" else _best

        def block(begin: int, end: int) -> None:
            search(
                begin=begin,
                end=end,
                items=_Items(arrays["item"], arrays["published"], arrays["rate"]),
                time=queries.time,
                max_age=self.config.max_age * DAY_MS,
                exclude=excluded(queries.exclude),
                out_item=found.item,
                out_score=found.score,
            )

        in_blocks(block, len(queries), _QUERIES_PER_BLOCK)
        return found


def _with_items(
    before: dict[str, NDArray[Any]], rows: Int32, new: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The items, newest first and equal times by row, without `rows` and with the columns `new`."""
    order = np.lexsort((new["item"], -new["published"]))
    new = {name: column[order] for name, column in new.items()}
    if len(rows) and rows[0] > before["item"].max(initial=-1):  # all are new
        at = np.searchsorted(-before["published"], -new["published"], side="right")
        return {name: np.insert(column, at, new[name]) for name, column in before.items()}
    kept = ~np.isin(before["item"], rows)
    both = {name: np.concatenate([before[name][kept], new[name]]) for name in before}
    order = np.lexsort((both["item"], -both["published"]))
    return {name: column[order] for name, column in both.items()}


def _trials(
    shown: NDArray[np.int64], published: NDArray[np.int64], end: int
) -> NDArray[np.float64]:
    """(items,) impressions, or, where `shown` is (0,), days from publication to `end` (ms)."""
    if len(shown):
        return shown.astype(np.float64)
    known = published != UNKNOWN_TIME
    age = np.where(known, end - np.where(known, published, 0), 0) / DAY_MS
    return np.maximum(age, 1.0)


class _Items(NamedTuple):
    """Items with a known publication time, newest first."""

    item: NDArray[np.int32]
    published: NDArray[np.int64]
    rate: NDArray[np.float32]


@njit(cache=True, nogil=True)
def _begin(published, time):
    """The first index of the descending int64 `published` whose time is before `time` (ms)."""
    low, high = 0, len(published)
    while low < high:
        middle = (low + high) // 2
        if published[middle] >= time:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _newest(begin, end, items, time, max_age, exclude, out_item, out_score):
    """Queries [begin, end): the newest items younger than `max_age` ms.

    items: _Items (n,). time: (Q,) int64 ms. exclude: Excluded. out_item, out_score: (Q, k) int32
    and float32, filled with -1 and -inf.
    """
    item, published = items.item, items.published
    for q in range(begin, end):
        found = 0
        for at in range(_begin(published, time[q]), len(item)):
            age = time[q] - published[at]
            if age >= max_age or found == out_item.shape[1]:
                break
            if not in_sorted(exclude.item, exclude.indptr[q], exclude.indptr[q + 1], item[at]):
                out_item[q, found] = item[at]
                out_score[q, found] = 1 / (1 + age / DAY_MS)
                found += 1


@njit(cache=True, nogil=True)
def _best(begin, end, items, time, max_age, exclude, out_item, out_score):
    """Queries [begin, end): the items of the highest rate younger than `max_age` ms.

    Arguments as in `_newest`.
    """
    item, published, rate = items.item, items.published, items.rate
    for q in range(begin, end):
        found = 0
        for at in range(_begin(published, time[q]), len(item)):
            if time[q] - published[at] >= max_age:
                break
            if found == out_item.shape[1] and rate[at] < out_score[q, 0]:
                continue  # worse than the k best found so far
            if not in_sorted(exclude.item, exclude.indptr[q], exclude.indptr[q + 1], item[at]):
                found = offer(out_item[q], out_score[q], found, item[at], rate[at])
        best_first(out_item[q], out_score[q], found)
