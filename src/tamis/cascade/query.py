"""A batch of queries: users, times, histories, exclusions. A request is a batch of one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from tamis.data import Context, Ragged
from tamis.runtime import Bool, Float32, Int32, Int64

if TYPE_CHECKING:
    from tamis.features import History

__all__ = [
    "Bool",
    "Context",
    "Float32",
    "History",
    "Int32",
    "Int64",
    "Queries",
    "Ragged",
    "Recalled",
    "seed_of",
]


@dataclass(frozen=True, eq=False)
class Queries:
    """Q queries."""

    user: Int32
    """(Q,) user rows; -1 = not in the users' table."""
    time: Int64
    """(Q,) ms; only events that had arrived before it may be used."""
    history: History
    exclude: Ragged
    """Item rows that no channel may return (seen items, the request's list); sorted per query."""
    context: Context | None = None
    """Place, city, declared interests and columns; None where no request gives any."""
    seed: Int64 | None = None
    """(Q,) what random draws of a request depend on; None in replays and evaluations."""

    def __len__(self) -> int:
        return len(self.user)

    def part(self, begin: int, end: int) -> Queries:
        """The queries [begin, end), without a copy of their histories."""
        lists, (low, high) = self.exclude, self.exclude.indptr[[begin, end]]
        return Queries(
            self.user[begin:end],
            self.time[begin:end],
            self.history.part(begin, end),
            Ragged(lists.indptr[begin : end + 1] - low, lists.values[low:high]),
            None if self.context is None else self.context.take(slice(begin, end)),
            None if self.seed is None else self.seed[begin:end],
        )

    def excluding(self, exclude: Ragged) -> Queries:
        """The same queries with other exclusion lists."""
        return replace(self, exclude=exclude)


def seed_of(name: str) -> Int64:
    """(1,) a seed that depends on a text alone, such as the id of a request."""
    digest = blake2b(name.encode(), digest_size=8).digest()
    return np.frombuffer(digest, np.int64).copy()


@dataclass(frozen=True, eq=False)
class Recalled:
    """The lists that one channel returned."""

    item: Int32
    """(Q, k) item rows, best first, padded at the end by -1; no duplicates in a row."""
    score: Float32
    """(Q, k) not increasing along a row; -inf where padded."""
