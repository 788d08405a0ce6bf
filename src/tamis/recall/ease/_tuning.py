"""Chooses EASE's options by what users liked next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Valid, valid_of
from tamis.data import Dataset
from tamis.recall._common.interactions import (
    Interests,
    distinct_lists,
    interest_of_behaviour,
    interests,
)
from tamis.recall.ease._kernels import rank_targets, weights
from tamis.runtime import Float32, Int32, Int64, in_blocks
from tamis.schema import DataError, TrainingError
from tamis.splitting import Holdout, by_time, carve, leave_one_out

L2 = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
CLOSENESS = (1.0, 0.9, 0.7, 0.5)
DECAY = (1.0, 0.98, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
BEGIN_L2 = 300.0
"""Where the search begins; kept where there is nothing to choose by."""
KNOWN = 0.9
"""Share of the log, or of a user's likes, that is not held out."""
FEW_USERS = 50
"""Users below which the last tenth of a log says too little."""
PER_USER = 10
"""Most pairs of one user that are ranked: those with hundreds shall not decide alone."""
CUT = 20
"""Ranks from here on count nothing: the measure is the mean of 1 / log2(rank + 2) before it."""
WORTH_IT = 1.005
"""A step is taken where it gains half a percent: less is noise, and the simpler setting stays."""
PAIRS = 10_000
"""Most pairs that are ranked for one trial."""
WORK = 10_000_000_000
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
        most = max(100, min(PAIRS, int(WORK / max(self.n * length * len(DECAY) / 2, 1))))
        order = np.lexsort((random.random(len(self.of)), self.of))
        place = np.arange(len(order)) - np.searchsorted(self.of[order], self.of[order])
        few = random.permutation(order[place < PER_USER])
        kept = np.sort(few[:most])
        return Trial(self.lists, self.asked, self.of[kept], self.target[kept], self.n)


def trial_of(data: Dataset, valid: Valid | None, seed: int) -> Trial | None:
    """What may be learnt from and judged by, in rows of the items' table; None = nothing is.

    Judged by `valid` where it is given. Else the future is held out as it will be met: what was
    liked in the last tenth of the log, by users known before; where that is next to nothing, every
    user's last like; where all events bear one time, a random tenth of every user's likes.
    """
    if valid is not None:
        return _asked(interests(data), valid, data)
    holdouts: list[Callable[[], Holdout]] = [lambda: carve(data, 1 - KNOWN, seed=seed)]
    if bool((data.events.time != data.events.time[0]).any()):
        holdouts = [
            lambda: by_time(data, KNOWN),
            lambda: leave_one_out(data, "test", refit=True),
        ]
    best: Holdout | None = None
    for make in holdouts:
        try:
            found = make()
        except DataError:  # nothing there to hold out: the next way may do
            continue
        if best is None or len(best) < FEW_USERS:
            best = found
    return None if best is None else _asked(interests(best.train), valid_of(best), data)


def _asked(lists: Interests, valid: Valid, data: Dataset) -> Trial:
    """What `valid` asks and answers; all of `lists` is learnt from."""
    history, items = valid.queries.history, len(data.items)
    value = interest_of_behaviour(data.behaviours)[history.behaviour]
    asked = distinct_lists(history.indptr, history.item, value, max(len(value), 1), items)
    known = valid.targets.values < items
    of = valid.targets.query[known].astype(np.int32)
    return Trial(lists, Interests(*asked), of, valid.targets.values[known], items)


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
    trial: Trial | None, l2: float | None, closeness: float | None, decay: float | None
) -> Choice:
    """The setting that ranks best what came next; what is given (not None) stays as it is.

    λ by steps of about 3 from `BEGIN_L2`, then the closeness and the decay by steps from 1, each
    as long as a step is worth `WORTH_IT`. Every trial inverts one matrix and tries all decays.

    Raises:
        TrainingError: the matrix is singular at the λ that was given.
    """
    if trial is None or not len(trial.of):
        return Choice(l2 or BEGIN_L2, closeness or 1.0, decay or 1.0, float("nan"))
    decays = DECAY if decay is None else (decay,)

    @cache
    def gains(strength: float, near: float) -> dict[float, float]:
        if l2 is not None:
            return _measured(trial, strength, near, decays)
        try:
            return _measured(trial, strength, near, decays)
        except TrainingError:  # singular at so small a λ: the larger ones stay in the race
            return dict.fromkeys(decays, 0.0)

    def best(strength: float, near: float) -> float:
        return max(gains(strength, near).values())

    near = closeness or 1.0
    strength = l2 or _climbed(L2, BEGIN_L2, lambda x: best(x, near))
    if closeness is None:
        near = _climbed(CLOSENESS, 1.0, lambda x: best(strength, x))
    found = gains(strength, near)
    fade = _worth(decays, found.__getitem__)
    return Choice(strength, near, fade, found[fade])


def _worth(values: tuple[float, ...], measure: Callable[[float], float]) -> float:
    """The first value that no other beats by `WORTH_IT`."""
    most = max(map(measure, values))
    return next(v for v in values if most <= measure(v) * WORTH_IT)


def _climbed(grid: tuple[float, ...], begin: float, measure: Callable[[float], float]) -> float:
    """The value of the grid from which no step is worth it, begun at `begin`."""
    place = grid.index(begin)
    while True:
        steps = [p for p in (place + 1, place - 1) if 0 <= p < len(grid)]
        best = max(steps, key=lambda p: measure(grid[p]))
        if measure(grid[best]) <= measure(grid[place]) * WORTH_IT:
            return grid[place]
        place = best


def _measured(
    trial: Trial, l2: float, closeness: float, decays: tuple[float, ...]
) -> dict[float, float]:
    """The gain of each decay at one inverse."""
    fades = np.array(decays, np.float32)
    weight = weights(_plain(trial.lists), trial.n, l2, closeness)
    ranks = np.empty((len(decays), len(trial.of)), np.int64)
    lists, pairs = _plain(trial.asked), (trial.of, trial.target)
    in_blocks(
        lambda begin, end: rank_targets((begin, end), lists, pairs, fades, weight, ranks),
        len(trial.of),
        PAIRS_PER_BLOCK,
    )
    gain = np.where(ranks < CUT, 1 / np.log2(ranks + 2.0), 0.0).mean(1)
    return dict(zip(decays, gain.tolist(), strict=True))


def _plain(lists: Interests) -> tuple[Int64, Int32, Float32]:
    return lists.indptr, lists.other, lists.value


def _without(lists: Interests, gone: NDArray[np.bool_]) -> Interests:
    """The lists less the marked entries."""
    before = np.concatenate([[0], np.cumsum(~gone)])
    return Interests(before[lists.indptr].astype(np.int64), lists.other[~gone], lists.value[~gone])
