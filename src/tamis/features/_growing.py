"""Arrays of rows that grow while a version serves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SPARE = 8
"""A full array grows by one in so many of its rows."""
_LEAST = 256
"""Rows by which an array grows at least."""


class GrowingRows:
    """An array of N rows and a last one of an unknown user or item, to which rows are added.

    The array that it is made of, which may be memory-mapped, is used until the first growth; then
    it is copied, with spare rows, so that the cost per added row does not depend on N.
    """

    def __init__(self, array: NDArray[Any], *, unknown: bool = True) -> None:
        """`unknown`: False for an array without a row of the unknown; new rows are then zero."""
        self._buffer = array
        self._n = len(array) - unknown
        self._unknown = unknown

    def put(self, rows: NDArray[np.integer], values: NDArray[Any], n: int) -> NDArray[Any]:
        """The array of `n` rows, at least as many as before, of which `rows` (m,) are `values`.

        Other new rows are as the unknown one.
        """
        if n > self._n:
            self._extend(n)
        self._buffer[rows] = values
        return self._buffer[: self._n + self._unknown]

    @property
    def width(self) -> int:
        """Columns of a two-dimensional array."""
        return int(np.prod(self._buffer.shape[1:]))

    def widen(self, width: int, fill: int) -> None:
        """Makes rows at least `width` wide, filled up with `fill`."""
        more = width - self.width
        if more > 0:
            self._buffer = np.pad(self._buffer, ((0, 0), (0, more)), constant_values=fill)

    def _extend(self, n: int) -> None:
        before, last = self._n, self._n + self._unknown
        unknown = self._buffer[before].copy() if self._unknown else np.zeros((), self._buffer.dtype)
        if n + self._unknown > len(self._buffer):
            size = n + max(n // _SPARE, _LEAST)
            buffer = np.empty((size, *self._buffer.shape[1:]), self._buffer.dtype)
            buffer[:last] = self._buffer[:last]
            self._buffer = buffer
        self._buffer[before : n + self._unknown] = unknown
        self._n = n
