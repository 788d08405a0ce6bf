"""Who asks, when, with which past: a batch of queries; a request is a batch of one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tamis.features import History, Ragged

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

__all__ = ["Bool", "Float32", "History", "Int32", "Int64", "Queries", "Ragged", "Recalled"]


@dataclass(frozen=True, eq=False)
class Queries:
    """Q questions."""

    user: Int32
    """(Q,) user rows; -1 = not in the users' table."""
    time: Int64
    """(Q,) ms; nothing that arrived at or after it may be used."""
    history: History
    exclude: Ragged
    """Item rows that no channel may return (seen, the request's own list); sorted per query."""

    def __len__(self) -> int:
        return len(self.user)

    def excluding(self, exclude: Ragged) -> Queries:
        """The same queries with another list of rows that may not be returned."""
        return replace(self, exclude=exclude)


@dataclass(frozen=True, eq=False)
class Recalled:
    """What one channel found."""

    item: Int32
    """(Q, k) item rows, best first, padded at the end by -1; no duplicates in a row."""
    score: Float32
    """(Q, k) not increasing along a row; -inf where padded."""
