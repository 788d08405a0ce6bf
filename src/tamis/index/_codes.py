"""Short codes: all vectors at four bits per pair of dimensions, scanned in registers by faiss, and
the best of them scored exactly. For vectors without clusters, where no few lists hold a query's
nearest rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from tamis.index._tuning import FAR
from tamis.runtime import Bool, Float32, Int32, Int64

POINTS = 60_000
"""Vectors that the codes are learnt from."""
CHEAPER = 20
"""A code costs 1 / 20 of an inner product: 16 times fewer bytes, and no multiplication."""
DEARER = 25
"""A vector fetched from anywhere costs 25 times one that lies beside the last."""


@dataclass(frozen=True, eq=False)
class ShortCodes:
    """Searched with an effort of a: the a rows whose codes promise most are scored exactly."""

    faiss: Any
    rows: Int64
    """(n,) row of each code; (0,) where code r is row r."""
    kind: str = "pq"

    @classmethod
    def fill(cls, vectors: Float32, present: Bool, held_out: Int64, seed: int) -> ShortCodes:
        """Codes of the rows where `present`, learnt from others than the rows `held_out`."""
        import faiss

        rows = np.flatnonzero(present)
        learn = np.setdiff1d(rows, held_out, assume_unique=True)
        even = vectors.shape[1] + vectors.shape[1] % 2
        codes = faiss.IndexPQFastScan(even, even // 2, 4, faiss.METRIC_INNER_PRODUCT)
        codes.pq.cp.seed = seed + 1234
        some = np.random.default_rng(seed).permutation(learn)[:POINTS]
        codes.train(_even(vectors[np.sort(some)]))
        step = 65_536
        for first in range(0, len(rows), step):
            codes.add(_even(vectors[rows[first : first + step]]))
        return cls(codes, rows if len(rows) < len(vectors) else rows[:0])

    @property
    def most(self) -> int:
        """Beyond it, a scan of all vectors is cheaper."""
        return min(self.faiss.ntotal, max(1000, self.faiss.ntotal // DEARER))

    def needed(self, queries: Float32, nearest: Int32) -> Int32:
        """(Q, k) the effort from which on each of the rows `nearest` (Q, k) is found."""
        found = self.candidates(queries, self.most, self.most, None)[0]
        return _places(found, nearest, np.zeros(int(nearest.max(initial=0)) + 1, np.int32), FAR)

    def cost(self, effort: int) -> float:
        """Of one query, in inner products with vectors that lie side by side."""
        return self.faiss.ntotal / CHEAPER + DEARER * effort

    def candidates(
        self, queries: Float32, ask: int, effort: int, bitmap: Any
    ) -> tuple[Int64, Float32 | None]:
        """Rows (Q, at least ask), of which those outside `bitmap` may still be some."""
        ask = min(max(ask, effort), self.faiss.ntotal)
        at = self.faiss.search(_even(queries), ask)[1]
        return (np.where(at >= 0, self.rows[at], -1) if len(self.rows) else at), None


def _even(x: Float32) -> Float32:
    """With a column of zeros where the width is odd: codes take dimensions in pairs."""
    x = np.ascontiguousarray(x)
    return x if x.shape[1] % 2 == 0 else np.pad(x, ((0, 0), (0, 1)))


@njit(cache=True, nogil=True)
def _places(found, wanted, place, far):
    """(Q, k) 1-based place of each of `wanted` in the query's `found` (Q, A); `far` if absent."""
    out = np.full(wanted.shape, far, np.int32)
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
