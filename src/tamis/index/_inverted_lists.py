"""Inverted lists (IVF), built by faiss, and the exact number of lists that a recall needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.index._tuning import NOT_FOUND
from tamis.runtime import Bool, Float32, Int32, Int64

SQ8_ABOVE_BYTES = 2 * 2**30
"""Size of the float32 vectors above which lists hold 8-bit codes (found rows are then rescored)."""
TRAINING_VECTORS_PER_LIST = 40
LIST_COST = 2
"""Cost of a vector in a list, in inner products of a sequential scan, which serves many queries at
once."""
ROWS_PER_BLOCK = 65_536


@dataclass(frozen=True, eq=False)
class InvertedLists:
    """An approximate search in lists; with an effort of `p`, the p lists nearest to the query."""

    faiss: Any
    kind: str
    """ivf-flat or ivf-sq8."""
    cell: Int32
    """(N,) list of each row, -1 for rows that were not added; (0,) in an index that was loaded."""
    parameters: dict[int, Any] = field(default_factory=dict[int, Any])
    """Effort → faiss parameters of a search among all rows, which take as long to make as one."""

    @classmethod
    def fill(cls, vectors: Float32, present: Bool, held_out: Int64, seed: int) -> InvertedLists:
        """Builds about 4 √N lists over the rows of `vectors` (N, d) where `present` (N,).

        The centres are trained without the rows `held_out`: the vectors that tune the search must
        be unseen.
        """
        import faiss

        d, rows = vectors.shape[1], np.flatnonzero(present)
        training = np.setdiff1d(rows, held_out, assume_unique=True)
        lists = max(1, min(int(4 * len(rows) ** 0.5), len(training) // TRAINING_VECTORS_PER_LIST))
        centres, inner = faiss.IndexFlatIP(d), faiss.METRIC_INNER_PRODUCT
        if len(rows) * d * 4 > SQ8_ABOVE_BYTES:
            kind, bits = "ivf-sq8", faiss.ScalarQuantizer.QT_8bit
            ivf = faiss.IndexIVFScalarQuantizer(centres, d, lists, bits, inner)
        else:
            kind = "ivf-flat"
            ivf = faiss.IndexIVFFlat(centres, d, lists, inner)
        ivf.cp.seed, ivf.cp.niter = seed + 1234, 8
        ivf.cp.max_points_per_centroid = TRAINING_VECTORS_PER_LIST
        sample = np.random.default_rng(seed).permutation(training)[
            : TRAINING_VECTORS_PER_LIST * lists
        ]
        ivf.train(vectors[np.sort(sample)])
        cell = np.full(len(vectors), -1, np.int32)
        for first in range(0, len(rows), ROWS_PER_BLOCK):
            block = rows[first : first + ROWS_PER_BLOCK].astype(np.int64)
            x = np.ascontiguousarray(vectors[block])
            nearest = centres.search(x, 1)[1].ravel()
            ivf.add_core(len(block), *map(faiss.swig_ptr, (x, block, nearest)))
            cell[block] = nearest
        return cls(ivf, kind, cell)

    @property
    def max_effort(self) -> int:
        """The number of lists."""
        return self.faiss.nlist

    def needed(self, queries: Float32, nearest: Int32) -> Int32:
        """(Q, k) the least effort with which each of the rows `nearest` (Q, k) is found."""
        order = self.faiss.quantizer.search(np.ascontiguousarray(queries), self.max_effort)[1]
        place = np.empty_like(order)
        np.put_along_axis(place, order, np.arange(self.max_effort)[None], axis=1)
        found = np.take_along_axis(place, self.cell[nearest].astype(np.int64), axis=1) + 1
        return np.where(nearest >= 0, found, NOT_FOUND).astype(np.int32)

    def cost(self, effort: int) -> float:
        """Cost of one query, in inner products of a sequential scan."""
        return self.max_effort + LIST_COST * effort / self.max_effort * self.faiss.ntotal

    def candidates(
        self, queries: Float32, count: int, effort: int, bitmap: Any
    ) -> tuple[NDArray[np.int64], Float32 | None]:
        """(Q, at least `count`) rows, -1 = none, and their inner products where these are exact.

        bitmap: one bit per row, set for the rows to search; None = all.
        """
        found = self.parameters.get(effort) if bitmap is None else None
        if found is None:
            import faiss

            untyped: Any = faiss  # the stubs of faiss lack these constructors
            sel = None if bitmap is None else untyped.IDSelectorBitmap(bitmap)
            found = untyped.SearchParametersIVF(nprobe=effort, sel=sel)
            if bitmap is None:
                self.parameters[effort] = found
        if self.kind == "ivf-sq8":
            return self.faiss.search(queries, count + count // 4, params=found)[1], None
        products, rows = self.faiss.search(queries, count, params=found)
        return rows, products
