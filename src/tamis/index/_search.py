"""One search: base and overlay, exact or approximate, exclusions and permissions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.index._kernels import dots, keep_best, offer_columns, score_listed, sort_heaps
from tamis.index._overlay import Overlay
from tamis.runtime import Bool, Float32, Int32, scratch

PRODUCTS_PER_BLOCK = 4_000_000
"""Inner products that a full scan holds at once (16 MB)."""
SCORE_ALLOWED = 0.1
"""Share of rows allowed up to which they are all scored, exactly."""
ROWS_STEP = 16_384
NONE_GONE = np.zeros(0, np.bool_)


class Lists(Protocol):
    """What is read of a `Ragged`: list q is `values[indptr[q]:indptr[q + 1]]`."""

    @property
    def indptr(self) -> NDArray[np.int64]: ...
    @property
    def values(self) -> Int32: ...


class Approximate(Protocol):
    """Finds candidates faster than a scan: `InvertedLists`, `ShortCodes`."""

    @property
    def kind(self) -> str: ...
    @property
    def faiss(self) -> Any: ...
    @property
    def most(self) -> int:
        """The largest effort that makes sense."""
        ...

    def needed(self, queries: Float32, nearest: Int32) -> Int32:
        """(Q, k) the effort from which on each of the rows `nearest` (Q, k) is found."""
        ...

    def cost(self, effort: int) -> float:
        """Of one query, in inner products with vectors that lie side by side."""
        ...

    def candidates(
        self, queries: Float32, ask: int, effort: int, bitmap: Any
    ) -> tuple[NDArray[np.int64], Float32 | None]:
        """Rows (Q, at least ask), -1 = none, and their inner products where these are exact.

        bitmap: a bit per row, the rows that count, as far as the kind can tell; None = all.
        """
        ...


@dataclass(frozen=True, eq=False)
class Base:
    """What a version holds; never changed."""

    vectors: Float32
    """(N, d)"""
    size: int
    """Rows of it that were there."""
    near: Approximate | None = None
    """None = every search scans."""
    depths: tuple[tuple[int, int], ...] = ()
    """(list length, effort it needs), ascending."""

    def effort(self, depth: int) -> int | None:
        """What the best `depth` rows need; None where a scan is cheaper."""
        return next((effort for tuned, effort in self.depths if depth <= tuned), None)


class Search:
    """One search on one state of an index; its methods run on several threads at once."""

    def __init__(self, base: Base, overlay: Overlay, allowed: Lists | Bool | None, k: int) -> None:
        self.base, self.vectors, self.overlay, self.k = base, base.vectors, overlay, k
        mask = allowed if isinstance(allowed, np.ndarray) else None
        self.side_rows, self.side = overlay.side(mask)
        rows = max(len(self.vectors), overlay.end)
        # in steps, or every added row would leave each thread another scratch array
        self.rows = -(-rows // ROWS_STEP) * ROWS_STEP
        self.gone, self.few = overlay.gone, None
        self.share, self.hidden, self.bitmap = 1.0, overlay.buried, None
        if mask is not None:
            self._only(overlay.open(mask, len(self.vectors)))
        elif overlay.buried:
            self.bitmap = overlay.bitmap

    def _only(self, may: Bool) -> None:
        """Restricts the base to the rows where `may` (N,)."""
        count = int(may.sum())
        self.share, self.gone = count / max(len(may), 1), ~may
        self.hidden = len(may) - count
        if self.share <= SCORE_ALLOWED:
            self.few = np.flatnonzero(may)
            self.some = self.vectors[self.few]
        else:
            self.bitmap = np.packbits(may, bitorder="little")

    def best(
        self, queries: Float32, bounds: Any, excluded: Int32, item: Int32, score: Float32
    ) -> None:
        """The best of base and overlay into `item` and `score`, which are padding so far."""
        if self.few is not None:
            few = np.broadcast_to(self.few, (len(queries), len(self.few)))
            self._merge(queries, few, queries @ self.some.T, bounds, excluded, item, score)
        elif not len(self.side):
            self._base(queries, bounds, excluded, item, score)
        else:
            base = (np.full_like(item, -1), np.full_like(score, -np.inf))
            self._base(queries, bounds, excluded, *base)
            self._merge(queries, *base, bounds, excluded, item, score)

    def listed(self, queries, listed, bounds, excluded, item, score) -> None:
        """The best of each query's own list of allowed rows, all of them scored."""
        refused = scratch("refused", self.rows, np.bool_)
        score_listed(
            queries, self.vectors, self.gone, self.side_rows, self.side, listed[0], listed[1],
            bounds, excluded, refused, item, score,
        )  # fmt: skip

    def _merge(self, queries, rows, products, bounds, excluded, item, score) -> None:
        """The best of `rows` (Q, A) with `products` (Q, A) and of the added rows."""
        if len(self.side):
            added = np.broadcast_to(self.side_rows, (len(queries), len(self.side)))
            rows = np.concatenate([rows, added], axis=1)
            products = np.concatenate([products, queries @ self.side.T], axis=1)
        refused = scratch("refused", self.rows, np.bool_)
        keep_best(rows, products, bounds, excluded, NONE_GONE, refused, item, score)

    def _base(self, queries, bounds, excluded, item, score) -> None:
        near, ask = self.base.near, self.k + int((bounds[1:] - bounds[:-1]).max(initial=0))
        effort = None if near is None else self.base.effort(int(ask / self.share))
        if near is not None and effort is not None and near.kind == "pq":
            # codes cannot be told what is hidden: as many more are fetched
            effort = None if self.hidden > near.most else effort + self.hidden
        if near is None or effort is None:
            self._scan(queries, bounds, excluded, item, score)
        else:
            self._near(near, queries, ask, effort, bounds, excluded, item, score)

    def _scan(self, queries, bounds, excluded, item, score) -> None:
        """Exact: every vector, as many at a time as keep the products in the caches' reach."""
        found = np.zeros(len(queries), np.int64)
        refused = scratch("refused", self.rows, np.bool_)
        step = max(1, PRODUCTS_PER_BLOCK // max(len(queries), 1))
        for first in range(0, len(self.vectors), step):
            part = self.vectors[first : first + step]
            products = (part @ queries[0])[None] if len(queries) == 1 else queries @ part.T
            offer_columns(products, first, bounds, excluded, self.gone, refused, item, score, found)
        sort_heaps(item, score, found)

    def _near(self, near, queries, ask, effort, bounds, excluded, item, score) -> None:
        """The best of what `near` finds; a query for which that is too little gets a scan."""
        ask = min(ask, self.base.size)
        rows, products = near.candidates(queries, ask, effort, self.bitmap)
        if products is None:
            products = dots(queries, self.vectors, rows)
        refused = scratch("refused", self.rows, np.bool_)
        keep_best(rows, products, bounds, excluded, self.gone, refused, item, score)
        for q in np.flatnonzero(item[:, -1] < 0):
            one = slice(q, q + 1)
            item[one], score[one] = -1, -np.inf
            self._scan(queries[one], bounds[q : q + 2], excluded, item[one], score[one])
