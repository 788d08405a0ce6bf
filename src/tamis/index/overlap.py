"""Overlap of two lists of codes, such as the categories of two items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamis.runtime.compiled import njit


@njit(cache=True)
def jaccard(a: NDArray[np.int32], b: NDArray[np.int32]) -> float:
    """Jaccard similarity |a ∩ b| / |a ∪ b|, in [0, 1]; 0 if both are empty.

    a, b: (n,) and (m,) int32, ascending, without duplicates.
    """
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
