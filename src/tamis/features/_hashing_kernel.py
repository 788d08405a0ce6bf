# pyright: basic
# numba compiles these functions for the types they are called with; pyright cannot follow that.
"""The kernel that hashes ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.runtime.compiled import njit


@njit(cache=True)
def hash_codes(text: Any, ends: Any, buckets: Any, codes: Any) -> None:
    """FNV-1a of each id's UTF-8 bytes, mixed by MurmurHash3's finaliser, modulo buckets.

    In: text uint8 (bytes,), the ids end to end; ends int64 (n,), the end of each; buckets, an int.
    Out: codes int32 (n,), 2 … buckets + 1.
    """
    start = 0
    for row in range(len(ends)):
        h = np.uint64(14695981039346656037)
        for at in range(start, ends[row]):
            h = (h ^ np.uint64(text[at])) * np.uint64(1099511628211)
        start = ends[row]
        h = (h ^ (h >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        h = (h ^ (h >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
        h ^= h >> np.uint64(33)
        codes[row] = np.int32(h % np.uint64(buckets)) + 2
