"""Selection of the options of `again` by how well it ranks what users came back to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tamis.cascade import Valid, valid_of
from tamis.data import Dataset, Labels
from tamis.features import ItemRepeats, OwnItems
from tamis.recall._common.popularity import DAY_MS
from tamis.runtime import Bool, Float64
from tamis.runtime.compiled import njit
from tamis.schema import DataError
from tamis.splitting import by_time

HALF_LIFE = 30.0
"""Half-life in days, and the other settings below, if there is nothing to choose by."""
DUE = 0.5
REPEAT_RATE = 0.0
EXPONENTS = (0.0, 0.25, 0.5, 1.0, 2.0)
FACTORS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Factors tried for the weight of each behaviour."""
HALVINGS = 14
"""Half-lives tried: the length of the log, divided by 1, 2, 4 … 2^HALVINGS, and infinity."""
TRAIN_SHARE = 0.9
"""Share of the log that is not held out."""
MIN_QUERIES, MAX_QUERIES = 30, 5000
"""Fewest and most users that the options are chosen by."""
CUT = 10
"""Ranks from this one on have no gain."""
MIN_GAIN = 1.002
"""Smallest relative improvement for which a setting replaces the former one."""
ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Settings:
    """The options of the score, without "auto"."""

    half_life: float
    due: float
    repeat_rate: float
    weight: Float64
    """(B,) weight of an event by its behaviour code."""


def log_scores(
    own: OwnItems, repeats: ItemRepeats, settings: Settings, now: Any, frequency: Any = None
) -> Float64:
    """(P,) log2 of the scores of all own items of the queries at the times `now` (Q,), ms.

    `frequency` (P,): their `log_frequencies`, where they are known already.
    """
    key = frequency
    if key is None:
        key = own.log_frequencies(now, settings.weight, settings.half_life)
    if settings.due > 0:
        key = key + settings.due * repeats.lateness(own, now)[1]
    if settings.repeat_rate > 0:
        rate = np.maximum(repeats.rate[own.pairs.item].astype(np.float64), 1e-6)
        key = key + settings.repeat_rate * np.log2(rate)
    return key


@dataclass(eq=False)
class Trial:
    """Queries at an earlier time, and which of their own items the users came back to."""

    own: OwnItems
    repeats: ItemRepeats
    now: Any
    """(Q,) ms."""
    wanted: Bool
    """(P,) whether the own item is a target."""
    refused: Bool
    """(P,) whether the own item may not be recalled."""
    _last: tuple[tuple[float, ...], Float64] | None = None
    """The last frequencies, with half-life and weights: many settings differ in neither."""

    def ndcg(self, settings: Settings) -> float:
        """Mean NDCG@CUT of the lists of own items, over queries with a target among them."""
        key = (settings.half_life, *settings.weight.tolist())
        if self._last is None or self._last[0] != key:
            sums = self.own.log_frequencies(self.now, settings.weight, settings.half_life)
            self._last = key, sums
        score = log_scores(self.own, self.repeats, settings, self.now, self._last[1])
        return float(_mean_ndcg(self.own.bounds, score, self.wanted, self.refused, CUT))


def trial_of(
    data: Dataset,
    counted: Bool,
    visit_hours: float,
    categories: Labels | None,
    valid: Valid | None,
    seed: int,
) -> Trial | None:
    """Validation queries and their targets; None where fewer than MIN_QUERIES users came back.

    Those of `valid` if it is given and its users may be recalled their own items; otherwise the
    positive events of the last tenth of the log, on everything that is before it.
    """
    known = data
    if valid is None:
        try:
            holdout = by_time(data, TRAIN_SHARE, repeats=True)
        except DataError:  # all events have the same time, or none is positive
            return None
        known, valid = holdout.train, valid_of(holdout, exclude_seen=False)
    queries, targets = valid.queries, valid.targets
    own = OwnItems.of(queries.history, counted, len(data.items), visit_hours)
    owner, item = own.query, own.pairs.item
    refused = queries.exclude.contains(owner, item)
    wanted = targets.contains(owner, item) & ~refused
    some = np.flatnonzero(np.bincount(owner[wanted], minlength=len(own)))
    if len(some) < MIN_QUERIES:
        return None
    if len(some) > MAX_QUERIES:
        some = np.sort(np.random.default_rng(seed).choice(some, MAX_QUERIES, replace=False))
    repeats = ItemRepeats.fit(known, counted, visit_hours, categories)
    at = np.flatnonzero(np.isin(owner, some))
    return Trial(own.take(at), repeats, queries.time, wanted[at], refused[at])


def choose(
    trial: Trial | None, given: Settings, free: frozenset[str], span_days: float
) -> tuple[Settings, float]:
    """The best settings by coordinate search, and their NDCG (NaN without a trial).

    Args:
        trial: None: the defaults are taken for what is free.
        given: the settings to begin with.
        free: names of the fields that may be changed; the others stay as given.
        span_days: length of the log.
    """
    if trial is None:
        return given, float("nan")
    best, reached = given, trial.ndcg(given)
    for _ in range(ROUNDS):
        before = best
        for coordinate in _coordinates(free, given.weight, span_days):
            for candidate in coordinate(best):
                measure = trial.ndcg(candidate)
                if measure > reached * MIN_GAIN:
                    best, reached = candidate, measure
        if best is before:
            break
    return best, reached


Coordinate = Callable[[Settings], Iterator[Settings]]


def _coordinates(free: frozenset[str], weight: Float64, span_days: float) -> Iterator[Coordinate]:
    """The free fields, each as a function from settings to the neighbours that are tried.

    weight: (B,) the weights whose multiples are tried.
    """
    grids = {
        "half_life": (np.inf, *(span_days / 2.0**k for k in range(HALVINGS + 1))),
        "due": EXPONENTS,
        "repeat_rate": EXPONENTS,
    }
    for name, grid in grids.items():
        if name in free:
            yield lambda now, name=name, grid=grid: (replace(now, **{name: x}) for x in grid)
    if "weights" in free:
        several = np.flatnonzero(weight > 0)
        for code in several if len(several) > 1 else ():
            yield lambda now, code=code: _reweighted(now, int(code), float(weight[code]))


def _reweighted(now: Settings, code: int, base: float) -> Iterator[Settings]:
    """Settings with the weight of one behaviour changed to multiples of `base`."""
    for factor in FACTORS:
        weight = now.weight.copy()
        weight[code] = base * factor
        if weight.any():
            yield replace(now, weight=weight)


def span_of(data: Dataset) -> float:
    """Days from the first event to the last, at least one millisecond."""
    time = data.events.time
    return max(float(time.max() - time.min()), 1.0) / DAY_MS if len(time) else 1.0


@njit(cache=True, nogil=True)
def _mean_ndcg(bounds, key, wanted, refused, cut):
    """Mean over queries with a wanted pair of DCG ÷ ideal DCG, ties by the lower pair.

    bounds int64 (Q + 1,); key float64, wanted and refused bool (P,).
    """
    total, queries = 0.0, 0
    for q in range(len(bounds) - 1):
        low, high = bounds[q], bounds[q + 1]
        gain, ideal, targets = 0.0, 0.0, 0
        for p in range(low, high):
            if not wanted[p]:
                continue
            if targets < cut:
                ideal += 1.0 / np.log2(targets + 2.0)
            targets += 1
            rank = 0
            for o in range(low, high):
                if not refused[o] and (key[o] > key[p] or (key[o] == key[p] and o < p)):
                    rank += 1
                    if rank >= cut:
                        break
            if rank < cut and key[p] > -np.inf:
                gain += 1.0 / np.log2(rank + 2.0)
        if targets:
            total += gain / ideal
            queries += 1
    return total / queries if queries else 0.0
