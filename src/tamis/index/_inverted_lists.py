"""Inverted lists: filled by faiss; how many of them a recall needs is read off exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.index._tuning import FAR
from tamis.runtime import Bool, Float32, Int32, Int64

SQ8_ABOVE_BYTES = 2 * 2**30
"""Size of the float32 vectors above which lists hold 8-bit codes (found items are rescored)."""
POINTS_PER_LIST = 40
DEARER = 2
"""A vector in a list costs twice one of a scan, which takes many queries at once."""
ROWS_PER_BLOCK = 65_536


@dataclass(frozen=True, eq=False)
class InvertedLists:
    """Searched with an effort of p: the p lists whose centres are nearest to the query."""

    faiss: Any
    kind: str
    """ivf-flat or ivf-sq8."""
    cell: Int32
    """(N,) list of each row, -1 where it was not added; (0,) once tuned and saved."""
    plain: dict[int, Any] = field(default_factory=dict[int, Any])
    """Effort → faiss's parameters of a search among all rows, which take as long to make as it."""

    @classmethod
    def fill(cls, vectors: Float32, present: Bool, held_out: Int64, seed: int) -> InvertedLists:
        """About 4 √N lists over the rows where `present`, their centres learnt from others than
        the rows `held_out`: queries that recall is measured by must be unseen."""
        import faiss

        d, rows = vectors.shape[1], np.flatnonzero(present)
        learn = np.setdiff1d(rows, held_out, assume_unique=True)
        lists = max(1, min(int(4 * len(rows) ** 0.5), len(learn) // POINTS_PER_LIST))
        centres, inner = faiss.IndexFlatIP(d), faiss.METRIC_INNER_PRODUCT
        if len(rows) * d * 4 > SQ8_ABOVE_BYTES:
            kind, bits = "ivf-sq8", faiss.ScalarQuantizer.QT_8bit
            ivf = faiss.IndexIVFScalarQuantizer(centres, d, lists, bits, inner)
        else:
            kind = "ivf-flat"
            ivf = faiss.IndexIVFFlat(centres, d, lists, inner)
        ivf.cp.seed, ivf.cp.niter = seed + 1234, 8
        ivf.cp.max_points_per_centroid = POINTS_PER_LIST
        some = np.random.default_rng(seed).permutation(learn)[: POINTS_PER_LIST * lists]
        ivf.train(vectors[np.sort(some)])
        cell = np.full(len(vectors), -1, np.int32)
        for first in range(0, len(rows), ROWS_PER_BLOCK):
            block = rows[first : first + ROWS_PER_BLOCK].astype(np.int64)
            x = np.ascontiguousarray(vectors[block])
            at = centres.search(x, 1)[1].ravel()
            ivf.add_core(len(block), *map(faiss.swig_ptr, (x, block, at)))
            cell[block] = at
        return cls(ivf, kind, cell)

    @property
    def most(self) -> int:
        """All lists."""
        return self.faiss.nlist

    def needed(self, queries: Float32, nearest: Int32) -> Int32:
        """(Q, k) the effort from which on each of the rows `nearest` (Q, k) is found."""
        order = self.faiss.quantizer.search(np.ascontiguousarray(queries), self.most)[1]
        place = np.empty_like(order)
        np.put_along_axis(place, order, np.arange(self.most)[None], axis=1)
        found = np.take_along_axis(place, self.cell[nearest].astype(np.int64), axis=1) + 1
        return np.where(nearest >= 0, found, FAR).astype(np.int32)

    def cost(self, effort: int) -> float:
        """Of one query, in inner products with vectors that lie side by side."""
        return self.most + DEARER * effort / self.most * self.faiss.ntotal

    def candidates(
        self, queries: Float32, ask: int, effort: int, bitmap: Any
    ) -> tuple[NDArray[np.int64], Float32 | None]:
        """Rows (Q, ask), -1 = none, and their inner products where these are exact.

        bitmap: a bit per row, the rows that count; None = all.
        """
        how = self.plain.get(effort) if bitmap is None else None
        if how is None:
            import faiss

            made: Any = faiss  # its stubs know nothing of these constructors
            sel = None if bitmap is None else made.IDSelectorBitmap(bitmap)
            how = made.SearchParametersIVF(nprobe=effort, sel=sel)
            if bitmap is None:
                self.plain[effort] = how
        if self.kind == "ivf-sq8":
            return self.faiss.search(queries, ask + ask // 4, params=how)[1], None
        products, rows = self.faiss.search(queries, ask, params=how)
        return rows, products
