"""A batch of queries: users, times, histories, exclusions. A request is a batch of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tamis.data import Ragged
from tamis.runtime import Bool, Float32, Float64, Int32, Int64

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
]


@dataclass(frozen=True, eq=False)
class Context:
    """Context of Q requests: place, city and declared interests."""

    latitude: Float64
    """(Q,) degrees in [-90, 90]; NaN where the request gives no place."""
    longitude: Float64
    """(Q,) degrees in [-180, 180]; NaN where the request gives no place."""
    city: tuple[str | None, ...]
    """(Q,) the request's city, as the items' city column spells it."""
    interests: tuple[tuple[str, ...], ...]
    """(Q,) declared interests: categories or keywords of the items."""

    def take(self, index: Sequence[int]) -> Context:
        """Context of the requests at `index`."""
        rows = list(index)
        return Context(
            self.latitude[rows],
            self.longitude[rows],
            tuple(self.city[q] for q in rows),
            tuple(self.interests[q] for q in rows),
        )

    @classmethod
    def unknown(cls, n: int) -> Context:
        """Context of n requests that give none."""
        return cls(np.full(n, np.nan), np.full(n, np.nan), (None,) * n, ((),) * n)


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
    """Place, city and declared interests; None where no request gives any."""

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
            None if self.context is None else self.context.take(range(begin, end)),
        )

    def excluding(self, exclude: Ragged) -> Queries:
        """The same queries with other exclusion lists."""
        return replace(self, exclude=exclude)


@dataclass(frozen=True, eq=False)
class Recalled:
    """The lists that one channel returned."""

    item: Int32
    """(Q, k) item rows, best first, padded at the end by -1; no duplicates in a row."""
    score: Float32
    """(Q, k) not increasing along a row; -inf where padded."""
