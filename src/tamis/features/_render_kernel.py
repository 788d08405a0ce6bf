# pyright: basic
# numba compiles these functions for the types they are called with; pyright cannot follow that.
"""The kernel that turns counts into the statistics' columns; see `statistics.Recipe.names`."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from tamis.features._counting_kernels import NEVER

_DAY = 86_400_000.0
_LOG1P = np.log1p(np.arange(4096))
"""log(1 + n) of small counts: most are."""


@numba.njit(cache=True, error_model="numpy")
def _log1p(n: Any) -> Any:
    return _LOG1P[n] if n < 4096 else np.log1p(n)


@numba.njit(cache=True, error_model="numpy")
def _days(now: Any, then: Any, usual: Any) -> Any:
    return usual if then == NEVER else np.log1p(max(now - then, 0) / _DAY)


@numba.njit(cache=True, error_model="numpy")
def render(
    count: Any,
    total: Any,
    valued: Any,
    value: Any,
    first: Any,
    latest: Any,
    time: Any,
    born: Any,
    successes: Any,
    trials: Any,
    priors: Any,
    groups: Any,
    means: Any,
    plain: Any,
    ages: Any,
    out: Any,
) -> None:
    """Writes (n, S): per window counts then rates; means; number of events; ages."""
    rows, windows, behaviours = count.shape
    for row in range(rows):
        at = 0
        for w in range(windows):
            for b in range(behaviours):
                out[row, at] = _log1p(count[row, w, b])
                at += 1
            for r in range(len(priors)):
                s = n = 0
                for place in range(behaviours):  # lists end at the first -1; most hold one
                    if successes[r, place] < 0:
                        break
                    s += count[row, w, successes[r, place]]
                for place in range(behaviours):
                    if trials[r, place] < 0:
                        break
                    n += count[row, w, trials[r, place]]
                n = max(n, s)
                out[row, at] = (s + priors[r, 0]) / (n + priors[r, 0] + priors[r, 1])
                at += 1
        for g in range(len(means)):
            amount, n = 0.0, 0
            for b in range(behaviours):
                if groups[g, b]:
                    amount += value[row, b]
                    n += valued[row, b]
            out[row, at] = (amount + means[g, 1] * means[g, 0]) / (n + means[g, 1])
            at += 1
        events = 0
        for b in range(behaviours):
            events += total[row, b] if plain[b] else 0
        out[row, at] = _log1p(events)
        at += 1
        out[row, at] = _days(time[row], first[row], ages[0])
        out[row, at + 1] = _days(time[row], latest[row], ages[1])
        if len(born):
            out[row, at + 2] = _days(time[row], born[row], ages[2])
