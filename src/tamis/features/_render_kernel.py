# pyright: basic
# numba compiles these functions for the types they are called with; pyright cannot follow that.
"""The kernel that turns counts into columns of statistics; `statistics.Recipe.names` names them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.features._counting_kernels import NEVER
from tamis.runtime.compiled import njit

_DAY = 86_400_000.0
_LOG1P = np.log1p(np.arange(4096))
"""log(1 + n) of small counts, which are most."""


@njit(cache=True, error_model="numpy")
def _log1p(n: Any) -> Any:
    """log(1 + n) of an integer n >= 0."""
    return _LOG1P[n] if n < 4096 else np.log1p(n)


@njit(cache=True, error_model="numpy")
def _days(now: Any, then: Any, usual: Any) -> Any:
    """log(1 + days from `then` to `now`), both int64 ms; `usual` where `then` is NEVER."""
    return usual if then == NEVER else np.log1p(max(now - then, 0) / _DAY)


@njit(cache=True, error_model="numpy")
def render(counts: Any, time: Any, published: Any, recipe: Any, out: Any) -> None:
    """Writes per window counts then rates; then means, the number of events and, unless
    `recipe.ages` is empty, ages.

    In: counts, a `windows.Counts` of n rows; time int64 (n,) ms; published int64 (n,) ms, NEVER
    where unknown, or (0,) where the columns have no such age; recipe, `statistics.RecipeArrays`.
    Out: out float32 (n, S).
    """
    rows, windows, behaviours = counts.windowed.shape
    for row in range(rows):
        at = 0
        for w in range(windows):
            for b in range(behaviours):
                out[row, at] = _log1p(counts.windowed[row, w, b])
                at += 1
            for r in range(len(recipe.priors)):
                s = n = 0
                for place in range(behaviours):  # lists end at the first -1; most hold one
                    if recipe.successes[r, place] < 0:
                        break
                    s += counts.windowed[row, w, recipe.successes[r, place]]
                for place in range(behaviours):
                    if recipe.trials[r, place] < 0:
                        break
                    n += counts.windowed[row, w, recipe.trials[r, place]]
                n = max(n, s)
                out[row, at] = (s + recipe.priors[r, 0]) / (
                    n + recipe.priors[r, 0] + recipe.priors[r, 1]
                )
                at += 1
        for g in range(len(recipe.means)):
            amount, n = 0.0, 0
            for b in range(behaviours):
                if recipe.groups[g, b]:
                    amount += counts.value[row, b]
                    n += counts.valued[row, b]
            out[row, at] = (amount + recipe.means[g, 1] * recipe.means[g, 0]) / (
                n + recipe.means[g, 1]
            )
            at += 1
        events = 0
        for b in range(behaviours):
            events += counts.total[row, b] if recipe.plain[b] else 0
        out[row, at] = _log1p(events)
        at += 1
        if len(recipe.ages):
            out[row, at] = _days(time[row], counts.first[row], recipe.ages[0])
            out[row, at + 1] = _days(time[row], counts.latest[row], recipe.ages[1])
        if len(published):
            out[row, at + 2] = _days(time[row], published[row], recipe.ages[2])
