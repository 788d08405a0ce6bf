"""Repeat consumption: each user's own items, and how often and when users come back to an item."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tamis.data import VISIT_HOURS, Dataset, Labels
from tamis.features._lists import History
from tamis.features._repeat_kernels import (
    DAY_MS,
    group_by_item,
    log_chances,
    log_frequencies,
)
from tamis.runtime import Bool, Float32, Float64, Int32, Int64

HOUR_MS = 3_600_000.0
GAPS_OF_ITEM, GAPS_OF_CATEGORY = 5.0, 20.0
"""Gaps that the usual gap of an item's category counts for among the item's own, and that of the
whole log among the category's."""
GAPS_OF_PAIR = 1.0
"""Gaps that the usual gap of the item counts for among the user's own on it."""
USERS_OF_ITEM, USERS_OF_CATEGORY = 10.0, 50.0
"""Users that the repeat rate of an item's category counts for among the item's own, and so on."""
LEAST_SPREAD = 0.2
LEAST_DUE = -10.0
"""Smallest log2 of the probability of being due."""


class OwnColumns(NamedTuple):
    """One row per pair of a query and an item that its user has acted on; items ascending."""

    item: Int32
    start: Int64
    """(P + 1,) pair p's events are `event[start[p]:start[p + 1]]`, in order of time."""
    last: Int64
    """Time of the last event, ms."""
    visits: Int32
    """Number of visits: groups of events less than `visit_hours` apart."""
    log_gaps: Float64
    """Sum of the natural logarithms of the gaps between visits, in days: `visits - 1` terms."""
    behaviour: Int32
    """Behaviour code of the last event."""


@dataclass(frozen=True, eq=False)
class OwnItems:
    """The items that each query's user has acted on: Q lists of P pairs in all."""

    bounds: Int64
    """(Q + 1,) query q's pairs are [bounds[q], bounds[q + 1])."""
    pairs: OwnColumns
    """(P,) each."""
    event: Int64
    """(n,) positions in the history of the counted events, pair by pair."""
    history: History

    @classmethod
    def of(
        cls, history: History, counted: Bool, n_items: int, visit_hours: float = VISIT_HOURS
    ) -> OwnItems:
        """Groups the events of the behaviours `counted` (B,) on items [0, n_items) by item."""
        most = len(history.item)
        bounds = np.zeros(len(history) + 1, np.int64)
        event = np.empty(most, np.int64)
        out = OwnColumns(
            item=np.empty(most, np.int32),
            start=np.zeros(most + 1, np.int64),
            last=np.empty(most, np.int64),
            visits=np.empty(most, np.int32),
            log_gaps=np.empty(most, np.float64),
            behaviour=np.empty(most, np.int32),
        )
        found = group_by_item(
            indptr=history.indptr,
            item=history.item,
            behaviour=history.behaviour,
            time=history.time,
            counted=counted,
            n_items=n_items,
            visit_ms=visit_hours * HOUR_MS,
            bounds=bounds,
            event=event,
            out=out,
        )
        used: dict[str, Any] = {name: column[:found] for name, column in out._asdict().items()}
        used["start"] = out.start[: found + 1]
        pairs = OwnColumns(**used)
        return cls(bounds, pairs, event[: pairs.start[-1]], history)

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.bounds) - 1

    def take(self, index: Int64) -> OwnItems:
        """The pairs `index` (p,), ascending, of the same queries."""
        bounds = np.searchsorted(index, self.bounds).astype(np.int64)
        sizes = np.diff(self.pairs.start)[index]
        start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        offset: Int64 = self.pairs.start[index] - start[:-1]
        at: Int64 = np.repeat(offset, sizes) + np.arange(int(start[-1]))
        columns = self.pairs._asdict()
        used: dict[str, Any] = {name: columns[name][index] for name in columns if name != "start"}
        return OwnItems(bounds, OwnColumns(**used, start=start), self.event[at], self.history)

    @property
    def query(self) -> Int64:
        """(P,) the query of each pair."""
        return np.repeat(np.arange(len(self)), np.diff(self.bounds))

    def log_frequencies(self, now: Int64, weight: Float64, half_life: float) -> Float64:
        """(P,) log2 of `Σ weight · 2^(-age / half_life)` over the pair's events; -inf without any.

        Args:
            now: (Q,) ms of each query.
            weight: (B,) weight of an event by its behaviour.
            half_life: days; inf: all events count the same.
        """
        out = np.empty(len(self.pairs.item), np.float64)
        log_frequencies(
            bounds=self.bounds,
            start=self.pairs.start,
            event=self.event,
            behaviour=self.history.behaviour,
            time=self.history.time,
            now=now,
            weight=weight,
            half_life=half_life * DAY_MS,
            out=out,
        )
        return out

    def elapsed(self, now: Int64) -> Float64:
        """(P,) days from the pair's last event to the query's time `now` (Q,) in ms, at least 0."""
        return np.maximum(now[self.query] - self.pairs.last, 0) / DAY_MS


@dataclass(frozen=True, eq=False)
class ItemRepeats:
    """When and how often users come back to each item, measured on a log.

    Gaps between visits are taken as log-normal around a usual gap, which is the geometric mean of
    the item's gaps, shrunk towards that of its category and of the whole log. The repeat rate is
    the share of an item's users who came back to it, shrunk likewise (Bhagat et al. 2018, Buy It
    Again: Modeling Repeat Purchase Recommendations).
    """

    log_gap: Float32
    """(items,) natural logarithm of the usual gap in days; NaN if nobody came back to any item."""
    rate: Float32
    """(items,) repeat rate in [0, 1]."""
    spread: float
    """Standard deviation of the logarithms of gaps around the item's usual one."""
    new_gap: float = float("nan")
    """`log_gap` of an item without events and category."""
    new_rate: float = 0.0
    """`rate` of such an item."""
    priors: Float32 = field(default_factory=lambda: np.zeros((2, 0), np.float32))
    """(2, C + 2) `log_gap` and `rate` of an item that nobody has acted on, by its category; the
    last two are of an item without a category, and of one of a new category."""

    @classmethod
    def fit(
        cls,
        data: Dataset,
        counted: Bool,
        visit_hours: float = VISIT_HOURS,
        categories: Labels | None = None,
    ) -> ItemRepeats:
        """Measures on all events of the behaviours `counted` (B,).

        An item of several `categories` belongs to the first of them.
        """
        n = len(data.items)
        own = OwnItems.of(_histories(data), counted, n, visit_hours)
        pairs = own.pairs
        gaps = (pairs.visits - 1).astype(np.float64)
        labels = 0 if categories is None else len(categories.names)
        code = np.full(n, -1) if categories is None else categories.single().astype(np.int64)
        code = np.where(code < 0, labels, code)
        came_back, ones = (pairs.visits > 1).astype(np.float64), np.ones(len(gaps))
        # one more item, on which nobody has acted, of each category, without one, and of a new one
        every = np.concatenate([code, np.arange(labels + 2)])
        of_gap = _shrunk(pairs.item, every, pairs.log_gaps, gaps, GAPS_OF_ITEM, GAPS_OF_CATEGORY)
        rate = _shrunk(pairs.item, every, came_back, ones, USERS_OF_ITEM, USERS_OF_CATEGORY)
        rate = np.nan_to_num(rate).astype(np.float32)
        log_gap = of_gap.astype(np.float32)
        return cls(
            log_gap[:n],
            rate[:n],
            _spread(own, of_gap, visit_hours),
            float(of_gap[n + labels]),
            float(rate[n + labels]),
            np.stack([log_gap[n:], rate[n:]]),
        )

    def pair_log_gaps(self, own: OwnItems) -> Float64:
        """(P,) ln of the usual gap in days of a user and an item: the user's own, shrunk to it."""
        pairs = own.pairs
        prior = self.log_gap[pairs.item].astype(np.float64)
        return (pairs.log_gaps + GAPS_OF_PAIR * prior) / (pairs.visits - 1 + GAPS_OF_PAIR)

    def lateness(self, own: OwnItems, now: Int64) -> tuple[Float64, Float64]:
        """((P,) ln(elapsed / usual gap) / spread, (P,) log2 of its distribution function).

        The second is the probability that the user would have come back by `now` (Q,) in ms: near
        0 just after a visit, 1/2 at the usual gap, 1 long after it; at least 2^LEAST_DUE. NaN, and
        a probability of 1, where no gap is known.
        """
        with np.errstate(divide="ignore"):
            late = (np.log(own.elapsed(now)) - self.pair_log_gaps(own)) / self.spread
        out = np.empty(len(late), np.float64)
        log_chances(late=late, least=LEAST_DUE, out=out)
        return late, out


def _histories(data: Dataset) -> History:
    """All events of every user, in the order of the log."""
    events = data.events
    order = np.flatnonzero((events.user >= 0) & (events.item >= 0))
    order = order[np.argsort(events.user[order], kind="stable")]
    counts = np.bincount(events.user[order], minlength=len(data.users))
    return History(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        events.item[order],
        events.behaviour[order],
        events.time[order],
        events.value[order],
    )


def _shrunk(
    item: Int32, code: Int64, total: Float64, count: Float64, of_item: float, of_category: float
) -> Float64:
    """(items,) means `Σ total / Σ count` per item, shrunk towards its category's and the log's.

    Args:
        item, total, count: (P,) pairs. code: (items,) the item's category.
        of_item, of_category: counts that the mean of the level above stands for.

    NaN if there is no count at all.
    """
    n, every = len(code), float(count.sum())
    mean = float(total.sum()) / every if every else np.nan
    sums = np.bincount(item, total, n), np.bincount(item, count, n)
    upper = [np.bincount(code, values) for values in sums] if n else sums
    category = (upper[0] + of_category * mean) / (upper[1] + of_category)
    return (sums[0] + of_item * category[code]) / (sums[1] + of_item)


def _spread(own: OwnItems, log_gap: Float64, visit_hours: float) -> float:
    """Standard deviation of ln(gap / the item's usual gap) over all gaps; at least LEAST_SPREAD."""
    time, bounds = own.history.time[own.event], own.pairs.start
    owner = np.repeat(np.arange(len(own.pairs.item)), np.diff(bounds))
    gap = np.diff(time)
    apart = (owner[1:] == owner[:-1]) & (gap >= visit_hours * HOUR_MS)
    if not apart.any():
        return 1.0
    off = np.log(gap[apart] / DAY_MS) - log_gap[own.pairs.item[owner[1:][apart]]]
    return max(float(np.sqrt((off * off).mean())), LEAST_SPREAD)
