"""Arrays of rows that grow while a version serves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.runtime import grown, with_unknown


class GrowingRows:
    """An array of N rows and a last one of an unknown user or item, to which rows are added.

    The array that it is made of, which may be memory-mapped, is used until the first growth; then
    it is copied, with spare rows, so that the cost per added row does not depend on N.
    """

    def __init__(self, array: NDArray[Any], *, unknown: bool = True) -> None:
        """`unknown`: False for an array without a row of the unknown; new rows are then zero."""
        self._array = array
        self._unknown = unknown

    def put(self, rows: NDArray[np.integer], values: NDArray[Any], n: int) -> NDArray[Any]:
        """The array of `n` rows, at least as many as before, of which `rows` (m,) are `values`.

        Other new rows are as the unknown one.
        """
        if n > len(self._array) - self._unknown:
            if self._unknown:
                self._array = with_unknown(self._array, rows, values, n)
                return self._array
            self._array = grown(self._array, n, 0)
        self._array[rows] = values
        return self._array

    @property
    def width(self) -> int:
        """Columns of a two-dimensional array."""
        return int(np.prod(self._array.shape[1:]))

    def widen(self, width: int, fill: int) -> None:
        """Makes rows at least `width` wide, filled up with `fill`."""
        more = width - self.width
        if more > 0:
            self._array = np.pad(self._array, ((0, 0), (0, more)), constant_values=fill)
