"""The effort of an approximate search that reaches a target recall on unseen queries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NOT_FOUND = np.iinfo(np.int32).max
"""The needed effort of a row that no effort finds."""
STANDARD_ERRORS = 2.33
"""One-sided 99 % bound of a normal distribution, in standard errors."""


def least_effort(needed: NDArray[np.int32], target: float, max_effort: int) -> int | None:
    """The least effort whose recall on another sample of Q queries reaches `target`, at 99 %.

    The mean recall at this effort exceeds the target by `STANDARD_ERRORS` standard errors of the
    difference of two such means.

    Args:
        needed: (Q, k) the effort with which each of a query's best k rows is found.
        target: recall in (0, 1].
        max_effort: the largest effort to consider.

    Returns:
        The effort, in [1, max_effort]; None if `max_effort` does not reach the target.
    """

    def enough(effort: int) -> bool:
        recall = (needed <= effort).mean(axis=1)
        error = recall.std(ddof=1) * (2 / len(recall)) ** 0.5 if len(recall) > 1 else 0.0
        return bool(recall.mean() >= min(target + STANDARD_ERRORS * error, 1.0))

    if not enough(max_effort):
        return None
    low, high = 0, max_effort
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
