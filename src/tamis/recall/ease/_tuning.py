"""Selection of EASE's options by how well held-out likes are ranked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Valid, valid_of
from tamis.data import Dataset
from tamis.recall._common.held_out import held_out
from tamis.recall._common.interactions import (
    Interests,
    declared_interest,
    distinct_lists,
    interests,
)
from tamis.recall.ease._kernels import TargetPairs, rank_targets, weights
from tamis.runtime import Int32, in_blocks
from tamis.schema import TrainingError
from tamis.train import torch_threads

L2 = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
CLOSENESS = (1.0, 0.9, 0.7, 0.5)
DECAY = (1.0, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
START_L2 = 300.0
"""Initial λ of the search; also used if there are no held-out likes."""
PER_USER = 10
"""Most held-out likes per user, so that very active users do not dominate."""
CUT = 20
"""Ranks from this one on have no gain; the measure is the mean of 1 / log2(rank + 2)."""
MIN_GAIN = 1.005
"""Smallest relative improvement for a step of the search; smaller ones are noise."""
MAX_PAIRS = 10_000
"""Most held-out likes ranked per setting."""
MAX_WORK = 10_000_000_000
"""Most multiplications per setting."""
PAIRS_PER_BLOCK = 64


class TunedOptions(NamedTuple):
    """The chosen options and their validation metric."""

    l2: float
    closeness: float
    decay: float
    ndcg: float
    """Mean NDCG@CUT of the held-out likes, one at a time; NaN if nothing was held out."""


@dataclass(frozen=True, eq=False)
class ValidationSet:
    """Likes to fit on, and held-out likes (history, target) to measure settings with."""

    lists: Interests
    """Every user's likes to fit on, most recent first, by row of the matrix."""
    histories: Interests
    """The histories of the held-out likes, most recent first, by row of the matrix."""
    history: Int32
    """(T,) number of each held-out like's history."""
    target: Int32
    """(T,) row of each held-out like."""
    n: int
    """Rows of the matrix."""

    def sample(self, seed: int) -> ValidationSet:
        """The trial with a random sample of held-out likes within MAX_PAIRS and MAX_WORK."""
        random = np.random.default_rng(seed)
        of = self.history
        length = float(np.diff(self.histories.indptr)[of].mean()) if len(of) else 1.0
        most = max(100, min(MAX_PAIRS, int(MAX_WORK / max(self.n * length * len(DECAY) / 2, 1))))
        order = np.lexsort((random.random(len(of)), of))
        place = np.arange(len(order)) - np.searchsorted(of[order], of[order])
        few = random.permutation(order[place < PER_USER])
        kept = np.sort(few[:most])
        return ValidationSet(self.lists, self.histories, of[kept], self.target[kept], self.n)


def trial_of(data: Dataset, valid: Valid | None, seed: int) -> ValidationSet | None:
    """Likes to fit on and held-out likes, in rows of the items' table; None if nothing can be held
    out.

    `valid` is used if given, otherwise likes of the log, see `held_out`.
    """
    if valid is not None:
        return _trial(interests(data), valid, data)
    found = held_out(data, seed)
    return None if found is None else _trial(interests(found.train), valid_of(found), data)


def _trial(lists: Interests, valid: Valid, data: Dataset) -> ValidationSet:
    """The trial that fits on `lists` and measures with the queries and targets of `valid`."""
    history, items = valid.queries.history, len(data.items)
    value = declared_interest(data.behaviours)[history.behaviour]
    past = distinct_lists(history.indptr, history.item, value, max(len(value), 1), items)
    known = valid.targets.values < items
    of = valid.targets.query[known].astype(np.int32)
    return ValidationSet(lists, Interests(*past), of, valid.targets.values[known], items)


def restricted(trial: ValidationSet, row: Int32, n: int) -> ValidationSet:
    """The trial without the items that have no row in a smaller matrix.

    Args:
        row: (items,) new row of each item, -1 if it has none.
        n: rows of the smaller matrix.
    """

    def mapped(lists: Interests) -> Interests:
        """The lists by the new rows, without items that have none."""
        gone = row[lists.other] < 0
        kept = _without(lists, gone)
        return Interests(kept.indptr, row[kept.other], kept.value)

    histories = mapped(trial.histories)
    kept = (row[trial.target] >= 0) & (np.diff(histories.indptr)[trial.history] > 0)
    return ValidationSet(
        lists=mapped(trial.lists),
        histories=histories,
        history=trial.history[kept],
        target=row[trial.target[kept]],
        n=n,
    )


def choose(
    trial: ValidationSet | None, l2: float | None, closeness: float | None, decay: float | None
) -> TunedOptions:
    """The setting with the highest measure; options other than None are kept as given.

    Searches the grid L2 from START_L2, then CLOSENESS from 1, moving to a neighbouring value while
    it improves the measure by MIN_GAIN. Every setting inverts one matrix and measures all decays,
    of which the first in DECAY is taken that no other improves on by MIN_GAIN. Matrices are
    inverted on one thread, so that rounding, which depends on the number of threads, decides
    nothing.

    Raises:
        TrainingError: the matrix is singular at the given λ.
    """
    if trial is None or not len(trial.target):
        return TunedOptions(l2 or START_L2, closeness or 1.0, decay or 1.0, float("nan"))
    decays = DECAY if decay is None else (decay,)

    @cache
    def gains(strength: float, near: float) -> dict[float, float]:
        """The measure of each decay at one λ and closeness."""
        if l2 is not None:
            return _measured(trial, strength, near, decays)
        try:
            return _measured(trial, strength, near, decays)
        except TrainingError:  # singular at this λ: larger ones are still tried
            return dict.fromkeys(decays, 0.0)

    def best(strength: float, near: float) -> float:
        """The measure of the best decay."""
        return max(gains(strength, near).values())

    near = closeness or 1.0
    strength = l2 or _hill_climb(L2, START_L2, lambda x: best(x, near))
    if closeness is None:
        near = _hill_climb(CLOSENESS, 1.0, lambda x: best(strength, x))
    found = gains(strength, near)
    fade = _first_good(decays, found.__getitem__)
    return TunedOptions(strength, near, fade, found[fade])


def _first_good(values: tuple[float, ...], measure: Callable[[float], float]) -> float:
    """The first value that no other improves on by MIN_GAIN."""
    most = max(map(measure, values))
    return next(v for v in values if most <= measure(v) * MIN_GAIN)


def _hill_climb(grid: tuple[float, ...], begin: float, measure: Callable[[float], float]) -> float:
    """From `begin`, moves to a neighbour in the grid while one improves the measure by MIN_GAIN; of
    two that do, to the larger one, unless the other is better by MIN_GAIN."""
    place = grid.index(begin)
    while True:
        near = [grid[p] for p in (place + 1, place - 1) if 0 <= p < len(grid)]
        better = [x for x in near if measure(x) > measure(grid[place]) * MIN_GAIN]
        if not better:
            return grid[place]
        place = grid.index(_first_good(tuple(better), measure))


def _measured(
    trial: ValidationSet, l2: float, closeness: float, decays: tuple[float, ...]
) -> dict[float, float]:
    """NDCG@CUT of each decay, with one inverse."""
    fades = np.array(decays, np.float32)
    with torch_threads(1):
        weight = weights(trial.lists.compiled(), trial.n, l2, closeness)
    ranks = np.empty((len(decays), len(trial.target)), np.int64)

    def block(begin: int, end: int) -> None:
        rank_targets(
            begin=begin,
            end=end,
            lists=trial.histories.compiled(),
            pairs=TargetPairs(history=trial.history, target=trial.target),
            decays=fades,
            weight=weight,
            out=ranks,
        )

    in_blocks(block, len(trial.target), PAIRS_PER_BLOCK)
    gain = np.where(ranks < CUT, 1 / np.log2(ranks + 2.0), 0.0).mean(1)
    return dict(zip(decays, gain.tolist(), strict=True))


def _without(lists: Interests, gone: NDArray[np.bool_]) -> Interests:
    """The lists without the marked entries (n,)."""
    before = np.concatenate([[0], np.cumsum(~gone)])
    return Interests(before[lists.indptr].astype(np.int64), lists.other[~gone], lists.value[~gone])
