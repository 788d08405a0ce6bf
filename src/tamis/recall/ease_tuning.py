"""Chooses EASE's options by what users liked next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Valid
from tamis.index import in_blocks
from tamis.recall.ease_kernels import rank_targets, weights
from tamis.recall.interactions import Float32, Int32, Int64, Interests, distinct_lists
from tamis.schema import TrainingError

L2 = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
CLOSENESS = (1.0, 0.9, 0.7, 0.5)
DECAY = (1.0, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
BEGIN_L2 = 100.0
"""Where the search begins; kept where there is nothing to choose by."""
CUT = 20
"""Ranks from here on count nothing: the measure is the mean of 1 / log2(rank + 2) before it."""
PAIRS = 10_000
"""Most pairs that are ranked for one trial."""
WORK = 20_000_000_000
"""Most multiplications for one trial's ranks."""
PAIRS_PER_BLOCK = 64


class Choice(NamedTuple):
    """One setting, and how well what came next was ranked by it."""

    l2: float
    closeness: float
    decay: float
    ndcg: float
    """Mean discounted gain of the held-out likes, one at a time; NaN = nothing to choose by."""


@dataclass(frozen=True, eq=False)
class Trial:
    """Likes to learn from, and pairs (list of likes, next like) to judge by."""

    lists: Interests
    """Every user's likes, most recent first, by row of the matrix."""
    asked: Interests
    """The lists that the pairs refer to, likewise."""
    of: Int32
    """(T,) numbers of lists of `asked`."""
    target: Int32
    """(T,) rows that came next."""
    n: int
    """Rows of the matrix."""

    def sample(self, seed: int) -> Trial:
        """Few enough pairs for one trial's work, drawn at random."""
        random = np.random.default_rng(seed)
        length = float(np.diff(self.asked.indptr)[self.of].mean()) if len(self.of) else 1.0
        most = min(PAIRS, int(WORK / max(self.n * length * len(DECAY) / 2, 1)))
        kept = np.sort(random.permutation(len(self.of))[: max(most, 100)])
        return Trial(self.lists, self.asked, self.of[kept], self.target[kept], self.n)


def held_out(lists: Interests, n: int, random: np.random.Generator | None) -> Trial:
    """Every user's most recent like is to be found from the others; nobody learns from it.

    random: where likes have no order, a random one instead.
    """
    sizes = np.diff(lists.indptr)
    has = sizes >= 2
    place = np.zeros(len(sizes), np.int64)
    if random is not None:
        place = (random.random(len(sizes)) * sizes).astype(np.int64)
    gone = np.zeros(len(lists.other), np.bool_)
    gone[(lists.indptr[:-1] + place)[has]] = True
    kept = _without(lists, gone)
    return Trial(kept, kept, np.flatnonzero(has).astype(np.int32), lists.other[gone], n)


def of_valid(lists: Interests, valid: Valid, interest: Float32, items: int, n: int) -> Trial:
    """What `valid` asks and answers; all of `lists` is learnt from."""
    history = valid.queries.history
    value = interest[history.behaviour]
    asked = distinct_lists(history.indptr, history.item, value, max(len(value), 1), items)
    targets = valid.targets
    known = targets.values < items
    of = targets.query[known].astype(np.int32)
    return Trial(lists, Interests(*asked), of, targets.values[known], n)


def among(trial: Trial, row: Int32, n: int) -> Trial:
    """The same trial of the items that have a row (>= 0) in a smaller matrix of n rows."""

    def mapped(lists: Interests) -> Interests:
        gone = row[lists.other] < 0
        kept = _without(lists, gone)
        return Interests(kept.indptr, row[kept.other], kept.value)

    asked = mapped(trial.asked)
    fine = (row[trial.target] >= 0) & (np.diff(asked.indptr)[trial.of] > 0)
    return Trial(mapped(trial.lists), asked, trial.of[fine], row[trial.target[fine]], n)


def choose(
    trial: Trial, l2: float | None, closeness: float | None, decay: float | None
) -> list[Choice]:
    """All settings tried, the best first; what is given (not None) stays as it is.

    λ by steps of about 3 from `BEGIN_L2` as long as they help; then the closeness, likewise from 1
    down. Each trial inverts one matrix and tries every decay on it.
    """
    decays = np.array(DECAY if decay is None else (decay,), np.float32)
    if not len(trial.of):
        return [Choice(l2 or BEGIN_L2, closeness or 1.0, decay or 1.0, float("nan"))]
    tried: list[Choice] = []

    @cache
    def measure(strength: float, near: float) -> float:
        try:
            found = _measured(trial, strength, near, decays)
        except TrainingError:  # singular at so small a λ: the larger ones stay in the race
            return -1.0
        tried.extend(Choice(strength, near, *each) for each in found)
        return max(gain for _, gain in found)

    near = closeness or 1.0
    if l2 is None:
        l2 = _climbed(L2, BEGIN_L2, lambda x: measure(x, near))
    elif closeness is not None:
        measure(l2, near)
    if closeness is None:
        strength = l2
        _climbed(CLOSENESS, 1.0, lambda x: measure(strength, x))
    if not tried:
        raise TrainingError(f"EASE: XᵀX + λI is singular in float32; raise l2 = {l2:g}")
    return sorted(tried, key=lambda c: -c.ndcg)


def _climbed(grid: tuple[float, ...], begin: float, measure: Callable[[float], float]) -> float:
    """The value of the grid from which no neighbour is better, begun at `begin`."""
    known: dict[int, float] = {}

    def at(place: int) -> float:
        if place not in known:
            known[place] = measure(grid[place]) if 0 <= place < len(grid) else -np.inf
        return known[place]

    place = grid.index(begin)
    while True:
        best = max((place, place + 1, place - 1), key=at)
        if best == place:
            return grid[place]
        place = best


def _measured(
    trial: Trial, l2: float, closeness: float, decays: Float32
) -> list[tuple[float, float]]:
    """(decay, gain) of each decay at one inverse."""
    weight = weights(_plain(trial.lists), trial.n, l2, closeness)
    ranks = np.empty((len(decays), len(trial.of)), np.int64)
    lists, pairs = _plain(trial.asked), (trial.of, trial.target)
    in_blocks(
        lambda begin, end: rank_targets((begin, end), lists, pairs, decays, weight, ranks),
        len(trial.of),
        PAIRS_PER_BLOCK,
    )
    gain = np.where(ranks < CUT, 1 / np.log2(ranks + 2.0), 0.0).mean(1)
    return [(round(float(d), 6), float(g)) for d, g in zip(decays, gain, strict=True)]


def _plain(lists: Interests) -> tuple[Int64, Int32, Float32]:
    return lists.indptr, lists.other, lists.value


def _without(lists: Interests, gone: NDArray[np.bool_]) -> Interests:
    """The lists less the marked entries."""
    before = np.concatenate([[0], np.cumsum(~gone)])
    return Interests(before[lists.indptr].astype(np.int64), lists.other[~gone], lists.value[~gone])
