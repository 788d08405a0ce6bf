"""How alike two items are by what they share: a kernel over lists of codes."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def jaccard(a: NDArray[np.int32], b: NDArray[np.int32]) -> float:
    """Shared ÷ all of two ascending lists without repeats; 0 where both are empty."""
    i, j, shared = 0, 0, 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            shared, i, j = shared + 1, i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    union = len(a) + len(b) - shared
    return shared / union if union > 0 else 0.0
