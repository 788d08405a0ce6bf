"""Changes since an index was built: added vectors and removed rows, kept apart from the base."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.runtime import Bool, Float32, Int32, Int64
from tamis.schema import DataError


@dataclass(frozen=True, eq=False)
class Overlay:
    """One immutable state of the changes.

    A change makes a new state, so that a search reads the same state from its start to its end.
    """

    rows: Int32
    """(m,) rows whose vector is in this overlay, ascending."""
    vectors: Float32
    """(m, d)"""
    gone: Bool
    """(N,) base rows that may not be found: absent from the start, removed, or replaced by the
    overlay; (0,) if there is none."""
    buried: int = 0
    """Number of the rows `gone` that the approximate index of the base still holds."""

    @classmethod
    def none(cls, dim: int, absent: Bool | None = None) -> Overlay:
        """No changes to a base of width `dim`; `absent` (N,) marks base rows without a vector."""
        gone = np.zeros(0, np.bool_) if absent is None or not absent.any() else absent
        return cls(np.zeros(0, np.int32), np.zeros((0, dim), np.float32), gone)

    @property
    def end(self) -> int:
        """One above the highest added row; 0 without added rows."""
        return int(self.rows[-1]) + 1 if len(self.rows) else 0

    def place(self, rows: Int32 | Int64) -> Int64:
        """(m,) places of rows (m,) among the added ones; -1 for others."""
        if not len(self.rows):
            return np.full(len(rows), -1, np.int64)
        at = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where(self.rows[at] == rows, at, -1)

    def adding(self, rows: Any, vectors: Any, base: int) -> Overlay:
        """The state with these vectors added or replaced.

        Args:
            rows: (m,) distinct rows, or one row.
            vectors: (m, d), or (d,) for one row.
            base: number of rows of the base.

        Raises:
            DataError: the rows or the vectors have a wrong shape or value.
        """
        rows = _rows(rows)
        vectors = np.asarray(vectors, np.float32)
        vectors = vectors.reshape(len(rows), -1) if vectors.ndim == 1 else vectors
        wanted = (len(rows), self.vectors.shape[1])
        if vectors.shape != wanted or not np.isfinite(vectors).all():
            raise DataError(
                f"{len(rows)} added rows need finite vectors of shape {wanted}, "
                f"not {vectors.shape}" + (" with NaN or infinity" * (vectors.shape == wanted))
            )
        left = self.removing(rows, base)
        all_rows = np.concatenate([left.rows, rows])
        order = np.argsort(all_rows, kind="stable")
        merged = np.concatenate([left.vectors, vectors])[order]
        return Overlay(all_rows[order], merged, left.gone, left.buried)

    def removing(self, rows: Any, base: int) -> Overlay:
        """The state without `rows` (m,); rows that are not in the index are ignored.

        base: number of rows of the base. Raises DataError for impossible rows.
        """
        rows = _rows(rows)
        stays = ~np.isin(self.rows, rows)
        below = rows[rows < base]
        if not len(below):
            return Overlay(self.rows[stays], self.vectors[stays], self.gone, self.buried)
        gone = self.gone.copy() if len(self.gone) else np.zeros(base, np.bool_)
        buried = self.buried + int((~gone[below]).sum())
        gone[below] = True
        return Overlay(self.rows[stays], self.vectors[stays], gone, buried)

    def findable(self, allowed: Bool | None, base: int) -> Bool:
        """(N,) base rows that a search may find, N = `base`; `allowed` (M,) or None for all."""
        mask = ~self.gone if len(self.gone) else np.ones(base, np.bool_)
        if allowed is not None:
            known = min(len(allowed), base)
            mask[:known] &= allowed[:known]
            mask[known:] = False
        return mask

    @cached_property
    def bitmap(self) -> NDArray[np.uint8]:
        """`~gone` as one bit per row, the lowest bit first."""
        return np.packbits(~self.gone, bitorder="little")

    def side(self, allowed: Bool | None) -> tuple[Int32, Float32]:
        """The added rows (m,) that a search may find, and their vectors (m, d)."""
        if allowed is None:
            return self.rows, self.vectors
        known = self.rows < len(allowed)
        kept = np.zeros(len(self.rows), np.bool_)
        kept[known] = allowed[self.rows[known]]
        return self.rows[kept], self.vectors[kept]


def _rows(rows: Any) -> Int32:
    """(m,) `rows` as an array; DataError unless they are distinct integers >= 0."""
    found = np.atleast_1d(np.asarray(rows))
    distinct = len(np.unique(found)) == found.size
    if found.ndim != 1 or found.dtype.kind not in "iu" or (found < 0).any() or not distinct:
        raise DataError(f"rows must be distinct integers of at least 0, not {rows!r}")
    return found.astype(np.int32)
