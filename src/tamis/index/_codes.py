"""Product-quantised codes: all vectors at four bits per pair of dimensions, scanned by faiss.

The rows with the best codes are scored exactly. For vectors without clusters, where a query's
nearest rows are spread over too many inverted lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.index._tuning import NOT_FOUND
from tamis.runtime import Bool, Float32, Int32, Int64
from tamis.runtime.compiled import njit

TRAINING_VECTORS = 60_000
"""Most vectors that the codebooks are trained on."""
SCAN_DISCOUNT = 20
"""Scanning a code costs 1 / 20 of an inner product: it reads 16 times fewer bytes and multiplies
nothing."""
RANDOM_ACCESS_COST = 25
"""Cost of scoring a vector at a random place in memory, in inner products of a sequential scan."""
ROWS_PER_BLOCK = 65_536


@dataclass(frozen=True, eq=False)
class ShortCodes:
    """An approximate search by codes; with an effort of `a`, the best `a` rows are rescored."""

    faiss: Any
    rows: Int64
    """(n,) row of each code; (0,) if the code at place r belongs to row r."""
    kind: str = "pq"

    @classmethod
    def fill(cls, vectors: Float32, present: Bool, held_out: Int64, seed: int) -> ShortCodes:
        """Encodes the rows of `vectors` (N, d) where `present` (N,).

        The codebooks are trained without the rows `held_out`, whose vectors tune the search.
        """
        import faiss

        rows = np.flatnonzero(present)
        training = np.setdiff1d(rows, held_out, assume_unique=True)
        even = vectors.shape[1] + vectors.shape[1] % 2
        codes = faiss.IndexPQFastScan(even, even // 2, 4, faiss.METRIC_INNER_PRODUCT)
        codes.pq.cp.seed = seed + 1234
        sample = np.random.default_rng(seed).permutation(training)[:TRAINING_VECTORS]
        codes.train(_even(vectors[np.sort(sample)]))
        for first in range(0, len(rows), ROWS_PER_BLOCK):
            codes.add(_even(vectors[rows[first : first + ROWS_PER_BLOCK]]))
        return cls(codes, rows if len(rows) < len(vectors) else rows[:0])

    @property
    def max_effort(self) -> int:
        """The effort above which a scan of all vectors is cheaper."""
        return min(self.faiss.ntotal, max(1000, self.faiss.ntotal // RANDOM_ACCESS_COST))

    def needed(self, queries: Float32, nearest: Int32) -> Int32:
        """(Q, k) the least effort with which each of the rows `nearest` (Q, k) is found."""
        found = self.candidates(queries, self.max_effort, self.max_effort, None)[0]
        place = np.zeros(int(nearest.max(initial=0)) + 1, np.int32)
        return _places(found=found, wanted=nearest, place=place, absent=NOT_FOUND)

    def cost(self, effort: int) -> float:
        """Cost of one query, in inner products of a sequential scan."""
        return self.faiss.ntotal / SCAN_DISCOUNT + RANDOM_ACCESS_COST * effort

    def candidates(
        self, queries: Float32, count: int, effort: int, bitmap: Any
    ) -> tuple[Int64, Float32 | None]:
        """(Q, at least `count`) rows, -1 = none, and no scores.

        `bitmap` is ignored: the rows may include some that it excludes.
        """
        count = min(max(count, effort), self.faiss.ntotal)
        at = self.faiss.search(_even(queries), count)[1]
        return (np.where(at >= 0, self.rows[at], -1) if len(self.rows) else at), None


def _even(x: Float32) -> Float32:
    """`x` (n, d) with a column of zeros added if d is odd: codes cover pairs of dimensions."""
    x = np.ascontiguousarray(x)
    return x if x.shape[1] % 2 == 0 else np.pad(x, ((0, 0), (0, 1)))


@njit(cache=True, nogil=True)
def _places(found, wanted, place, absent):
    """(Q, k) int32: the place, from 1, of each row in the query's list of found rows.

    Args:
        found: (Q, A) int64 rows, -1 = none.
        wanted: (Q, k) int32 rows, -1 = none.
        place: (rows,) int32 of zeros, longer than the highest wanted row; zero again afterwards.
        absent: the result for rows that are not found.
    """
    out = np.full(wanted.shape, absent, np.int32)
    for q in range(len(found)):
        for a in range(found.shape[1]):
            if 0 <= found[q, a] < len(place):
                place[found[q, a]] = a + 1
        for j in range(wanted.shape[1]):
            if wanted[q, j] >= 0 and place[wanted[q, j]]:
                out[q, j] = place[wanted[q, j]]
        for a in range(found.shape[1]):
            if 0 <= found[q, a] < len(place):
                place[found[q, a]] = 0
    return out
