"""One search: base and overlay, exact or approximate, with excluded and allowed rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.index._kernels import dots, keep_best, offer_columns, score_listed, sort_heaps
from tamis.index._overlay import Overlay
from tamis.runtime import Bool, Float32, Int32, scratch

PRODUCTS_PER_BLOCK = 4_000_000
"""Inner products that a full scan computes at once (16 MB)."""
SCORE_ALLOWED = 0.1
"""Share of allowed rows up to which all of them are scored exactly."""
ROWS_STEP = 16_384
"""Scratch arrays grow by this many rows."""
NONE_GONE = np.zeros(0, np.bool_)


class Lists(Protocol):
    """Lists of rows, such as a `Ragged`: list q is `values[indptr[q]:indptr[q + 1]]`."""

    @property
    def indptr(self) -> NDArray[np.int64]: ...
    @property
    def values(self) -> Int32: ...


class Approximate(Protocol):
    """An approximate search, faster than a scan: `InvertedLists` or `ShortCodes`."""

    @property
    def kind(self) -> str: ...
    @property
    def faiss(self) -> Any: ...
    @property
    def max_effort(self) -> int:
        """The largest useful effort."""
        ...

    def needed(self, queries: Float32, nearest: Int32) -> Int32:
        """(Q, k) the least effort with which each of the rows `nearest` (Q, k) is found."""
        ...

    def cost(self, effort: int) -> float:
        """Cost of one query, in inner products of a sequential scan."""
        ...

    def candidates(
        self, queries: Float32, count: int, effort: int, bitmap: Any
    ) -> tuple[NDArray[np.int64], Float32 | None]:
        """(Q, at least `count`) rows, -1 = none, and their inner products where these are exact.

        bitmap: one bit per row, set for the rows to search; None = all. A kind that cannot filter
            ignores it.
        """
        ...


@dataclass(frozen=True, eq=False)
class Base:
    """The immutable part of an index, as a version stores it."""

    vectors: Float32
    """(N, d)"""
    size: int
    """Number of rows that have a vector."""
    near: Approximate | None = None
    """None = every search is a full scan."""
    depths: tuple[tuple[int, int], ...] = ()
    """(list length, effort that it needs), ascending."""

    def effort(self, depth: int) -> int | None:
        """The effort that the best `depth` rows need; None if a full scan is cheaper."""
        return next((effort for tuned, effort in self.depths if depth <= tuned), None)


class Search:
    """One search on one state of an index; its methods may run on several threads at once."""

    def __init__(self, base: Base, overlay: Overlay, allowed: Lists | Bool | None, k: int) -> None:
        self.base, self.vectors, self.overlay, self.k = base, base.vectors, overlay, k
        mask = allowed if isinstance(allowed, np.ndarray) else None
        self.side_rows, self.side = overlay.side(mask)
        rows = max(len(self.vectors), overlay.end)
        # in steps: each thread keeps one scratch array per size
        self.rows = -(-rows // ROWS_STEP) * ROWS_STEP
        self.gone, self.few = overlay.gone, None
        self.share, self.hidden, self.bitmap = 1.0, overlay.buried, None
        if mask is not None:
            self._restrict(overlay.findable(mask, len(self.vectors)))
        elif overlay.buried:
            self.bitmap = overlay.bitmap

    def _restrict(self, mask: Bool) -> None:
        """Restricts the base to the rows where `mask` (N,) is True."""
        count = int(mask.sum())
        self.share, self.gone = count / max(len(mask), 1), ~mask
        self.hidden = len(mask) - count
        if self.share <= SCORE_ALLOWED:
            self.few = np.flatnonzero(mask)
            self.few_vectors = self.vectors[self.few]
        else:
            self.bitmap = np.packbits(mask, bitorder="little")

    def best(
        self, queries: Float32, bounds: Any, excluded: Int32, item: Int32, score: Float32
    ) -> None:
        """Writes the best rows of base and overlay to `item` and `score` (Q, k).

        These are filled with -1 and -inf beforehand; query q does not return the rows
        `excluded[bounds[q]:bounds[q + 1]]`.
        """
        if self.few is not None:
            few = np.broadcast_to(self.few, (len(queries), len(self.few)))
            self._merge(queries, few, queries @ self.few_vectors.T, bounds, excluded, item, score)
        elif not len(self.side):
            self._base(queries, bounds, excluded, item, score)
        else:
            base = (np.full_like(item, -1), np.full_like(score, -np.inf))
            self._base(queries, bounds, excluded, *base)
            self._merge(queries, *base, bounds, excluded, item, score)

    def best_allowed(self, queries, lists, bounds, excluded, item, score) -> None:
        """As `best`, among each query's own list of allowed rows, all of which are scored.

        lists: (indptr, rows) of the lists; query q is allowed `rows[indptr[q]:indptr[q + 1]]`.
        """
        indptr, allowed = lists
        refused = scratch("refused", self.rows, np.bool_)
        score_listed(
            queries=queries,
            vectors=self.vectors,
            gone=self.gone,
            side_rows=self.side_rows,
            side=self.side,
            allowed_indptr=indptr,
            allowed=allowed,
            bounds=bounds,
            excluded=excluded,
            refused=refused,
            item=item,
            score=score,
        )

    def _merge(self, queries, rows, products, bounds, excluded, item, score) -> None:
        """Selects the best of `rows` (Q, A) with inner products (Q, A) and of the added rows."""
        if len(self.side):
            added = np.broadcast_to(self.side_rows, (len(queries), len(self.side)))
            rows = np.concatenate([rows, added], axis=1)
            products = np.concatenate([products, queries @ self.side.T], axis=1)
        refused = scratch("refused", self.rows, np.bool_)
        keep_best(
            rows=rows,
            products=products,
            bounds=bounds,
            excluded=excluded,
            gone=NONE_GONE,
            refused=refused,
            item=item,
            score=score,
        )

    def _base(self, queries, bounds, excluded, item, score) -> None:
        """Writes the best rows of the base, exact or approximate, whichever is cheaper."""
        near, count = self.base.near, self.k + int((bounds[1:] - bounds[:-1]).max(initial=0))
        effort = None if near is None else self.base.effort(int(count / self.share))
        if near is not None and effort is not None and near.kind == "pq":
            # codes cannot filter hidden rows: as many more candidates are fetched
            effort = None if self.hidden > near.max_effort else effort + self.hidden
        if near is None or effort is None:
            self._scan(queries, bounds, excluded, item, score)
        else:
            self._near(near, queries, count, effort, bounds, excluded, item, score)

    def _scan(self, queries, bounds, excluded, item, score) -> None:
        """Exact search: scores every vector, in blocks whose inner products fit into the cache."""
        found = np.zeros(len(queries), np.int64)
        refused = scratch("refused", self.rows, np.bool_)
        step = max(1, PRODUCTS_PER_BLOCK // max(len(queries), 1))
        for first in range(0, len(self.vectors), step):
            part = self.vectors[first : first + step]
            products = (part @ queries[0])[None] if len(queries) == 1 else queries @ part.T
            offer_columns(
                products=products,
                first=first,
                bounds=bounds,
                excluded=excluded,
                gone=self.gone,
                refused=refused,
                item=item,
                score=score,
                found=found,
            )
        sort_heaps(item, score, found)

    def _near(self, near, queries, count, effort, bounds, excluded, item, score) -> None:
        """Approximate search; a query that finds fewer than k rows gets a full scan."""
        count = min(count, self.base.size)
        rows, products = near.candidates(queries, count, effort, self.bitmap)
        if products is None:
            products = dots(queries, self.vectors, rows)
        refused = scratch("refused", self.rows, np.bool_)
        keep_best(
            rows=rows,
            products=products,
            bounds=bounds,
            excluded=excluded,
            gone=self.gone,
            refused=refused,
            item=item,
            score=score,
        )
        for q in np.flatnonzero(item[:, -1] < 0):
            one = slice(q, q + 1)
            item[one], score[one] = -1, -np.inf
            self._scan(queries[one], bounds[q : q + 2], excluded, item[one], score[one])
