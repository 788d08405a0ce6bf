"""The histories of Q queries, laid end to end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamis.data import Ragged
from tamis.runtime import Bool, Float32, Int32, Int64

__all__ = ["Bool", "Float32", "History", "Int32", "Int64", "Ragged"]


@dataclass(frozen=True, eq=False)
class History:
    """Events of each query's user that had arrived before the query's time, oldest first.

    A CSR over Q queries: query q's events are `[indptr[q], indptr[q + 1])` of each column.
    """

    indptr: Int64
    item: Int32
    behaviour: NDArray[np.uint8]
    time: Int64
    """ms."""
    value: Float32
    """NaN where an event has none."""

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def part(self, begin: int, end: int) -> History:
        """The histories [begin, end), without a copy of their events."""
        first, last = self.indptr[[begin, end]]
        return History(
            indptr=self.indptr[begin : end + 1] - first,
            item=self.item[first:last],
            behaviour=self.behaviour[first:last],
            time=self.time[first:last],
            value=self.value[first:last],
        )

    @classmethod
    def empty(cls, q: int) -> History:
        """Q histories without events."""
        return cls(
            indptr=np.zeros(q + 1, np.int64),
            item=np.zeros(0, np.int32),
            behaviour=np.zeros(0, np.uint8),
            time=np.zeros(0, np.int64),
            value=np.zeros(0, np.float32),
        )
