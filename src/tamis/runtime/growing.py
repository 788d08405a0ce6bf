"""Arrays with a row per user or item, which grow while a version serves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SPARE = 8
"""An array that is full grows by one in so many of its rows."""
_LEAST = 256
"""Rows by which an array grows at least."""


class _Buffer(np.ndarray):
    """Rows in use and spare ones; `grown` gives plain views of its first rows."""


def grown(array: NDArray[Any], n: int, fill: Any) -> NDArray[Any]:
    """(n, …) the rows of an array that is no longer than that, and `fill` in the further ones.

    The first call copies the array, which may be memory-mapped, into a buffer with spare rows. A
    call for what it returned uses these: it then changes the rows of the given array, which must
    not be used any more, and its cost is that of the new rows.
    """
    buffer = _buffer_of(array)
    if buffer is None or len(buffer) < n:
        size = n + max(n // _SPARE, _LEAST)
        fresh = np.empty((size, *array.shape[1:]), array.dtype).view(_Buffer)
        fresh[: len(array)] = array
        buffer = fresh
    buffer[len(array) : n] = fill
    return buffer[:n].view(np.ndarray)


def with_unknown(
    array: NDArray[Any], rows: NDArray[np.integer], values: NDArray[Any], n: int
) -> NDArray[Any]:
    """(n + 1, …) as `grown`, of an array whose last row is of an unknown user or item.

    `rows` (m,) are `values` (m, …) from now on; other new rows are as the unknown one.
    """
    last = np.array(array[-1])
    out = grown(array, n + 1, last)
    out[len(array) - 1 :] = last
    out[rows] = values
    return out


def _buffer_of(array: NDArray[Any]) -> _Buffer | None:
    """The buffer whose first rows an array is; None where it is another array."""
    base = array.base
    if not isinstance(base, _Buffer) or base.shape[1:] != array.shape[1:]:
        return None
    return base if base.ctypes.data == array.ctypes.data else None
