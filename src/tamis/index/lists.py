"""Inverted lists: filled by faiss, and how many of them a recall needs, read off exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

SQ8_ABOVE_BYTES = 2 * 2**30
"""Size of the float32 vectors above which lists hold 8-bit codes (found items are rescored)."""
POINTS_PER_LIST = 40
CONFIDENT = 2.33
"""Standard errors of a difference of two means that 99 of 100 new samples stay within."""
ROWS_PER_BLOCK = 65_536


@dataclass(frozen=True, eq=False)
class InvertedLists:
    """A filled faiss index and the list of every vector it holds."""

    faiss: Any
    kind: str
    """ivf-flat or ivf-sq8."""
    cell: Int32
    """(N,) list of each row; -1 where it was not added."""


def fill(vectors: Float32, present: Bool, held_out: Int64, seed: int) -> InvertedLists:
    """About 4 √N lists over the rows where `present`, their centres learnt from others than the
    rows `held_out`: queries that recall is measured by must be unseen."""
    import faiss

    d, rows = vectors.shape[1], np.flatnonzero(present)
    learn = np.setdiff1d(rows, held_out, assume_unique=True)
    lists = max(1, min(int(4 * len(rows) ** 0.5), len(learn) // POINTS_PER_LIST))
    quantizer = faiss.IndexFlatIP(d)
    if len(rows) * d * 4 > SQ8_ABOVE_BYTES:
        kind = "ivf-sq8"
        ivf = faiss.IndexIVFScalarQuantizer(
            quantizer, d, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
    else:
        kind = "ivf-flat"
        ivf = faiss.IndexIVFFlat(quantizer, d, lists, faiss.METRIC_INNER_PRODUCT)
    ivf.cp.seed, ivf.cp.niter = seed + 1234, 8
    ivf.cp.max_points_per_centroid = POINTS_PER_LIST
    random = np.random.default_rng(seed)
    ivf.train(vectors[np.sort(random.permutation(learn)[: POINTS_PER_LIST * lists])])
    cell = np.full(len(vectors), -1, np.int32)
    for first in range(0, len(rows), ROWS_PER_BLOCK):
        block = rows[first : first + ROWS_PER_BLOCK].astype(np.int64)
        x = np.ascontiguousarray(vectors[block])
        at = quantizer.search(x, 1)[1].ravel()
        ivf.add_core(len(block), *map(faiss.swig_ptr, (x, block, at)))
        cell[block] = at
    return InvertedLists(ivf, kind, cell)


def needed(lists: InvertedLists, queries: Float32, nearest: Int32) -> Int32:
    """(Q, k) which probe finds each of the `nearest` rows (Q, k), from 1; huge where padded (-1).

    Searching p lists finds exactly the rows whose number is at most p.
    """
    count = lists.faiss.nlist
    order = lists.faiss.quantizer.search(np.ascontiguousarray(queries), count)[1]
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(count)[None], axis=1)
    found = np.take_along_axis(place, lists.cell[nearest].astype(np.int64), axis=1) + 1
    return np.where(nearest >= 0, found, np.iinfo(np.int32).max).astype(np.int32)


def fewest_probes(probe: Int32, k: int, target: float, most: int) -> int:
    """The fewest probes with which another sample of as many queries would reach `target` too.

    probe: from `needed`, its first k columns count. That is the fewest whose mean recall exceeds
    the target by `CONFIDENT` standard errors of a difference of two such means; `most` at most.
    """
    real = probe[:, :k] < np.iinfo(np.int32).max
    count = np.maximum(real.sum(axis=1), 1)

    def enough(p: int) -> bool:
        each = (probe[:, :k] <= p).sum(axis=1) / count
        error = each.std(ddof=1) * (2 / len(each)) ** 0.5 if len(each) > 1 else 0.0
        return bool(each.mean() >= min(target + CONFIDENT * error, 1.0))

    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
