"""How much effort a recall needs on queries that have not been seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FAR = np.iinfo(np.int32).max
"""The effort at which a row is found that none finds."""
CONFIDENT = 2.33
"""Standard errors of a difference of two means that 99 of 100 new samples stay within."""


def least_effort(needed: NDArray[np.int32], target: float, most: int) -> int | None:
    """The least effort with which another sample of as many queries would reach `target` too.

    needed (Q, k): the effort at which each of a query's best k rows is found. It is the least
    whose mean recall is above the target by `CONFIDENT` standard errors of a difference of two
    such means; None where `most` is not enough either.
    """

    def enough(effort: int) -> bool:
        each = (needed <= effort).mean(axis=1)
        error = each.std(ddof=1) * (2 / len(each)) ** 0.5 if len(each) > 1 else 0.0
        return bool(each.mean() >= min(target + CONFIDENT * error, 1.0))

    if not enough(most):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
