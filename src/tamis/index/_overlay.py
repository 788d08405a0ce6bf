"""What changed since an index was built: added vectors and removed rows, beside the base."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.runtime import Bool, Float32, Int32
from tamis.schema import DataError


@dataclass(frozen=True, eq=False)
class Overlay:
    """One state of the changes. Never altered: a change makes the next state, so a search that
    began on one ends on the same one."""

    rows: Int32
    """(m,) rows with a vector of their own here, ascending."""
    vectors: Float32
    """(m, d)"""
    gone: Bool
    """(N,) base rows that may not be found: absent from the start, removed, or replaced here;
    (0,) where there is none."""
    buried: int = 0
    """Of `gone`, how many the base's inverted lists still hold."""

    @classmethod
    def none(cls, dim: int, absent: Bool | None = None) -> Overlay:
        """No change; `absent` (N,) are base rows that were never there."""
        gone = np.zeros(0, np.bool_) if absent is None or not absent.any() else absent
        return cls(np.zeros(0, np.int32), np.zeros((0, dim), np.float32), gone)

    @property
    def end(self) -> int:
        """One above the highest row added."""
        return int(self.rows[-1]) + 1 if len(self.rows) else 0

    def adding(self, rows: Any, vectors: Any, base: int) -> Overlay:
        """With the vectors (m, d) or (d,) of `rows` (m,) or one row, in place of any before."""
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
        """Without `rows`; rows that are not there anyway stay so."""
        rows = _rows(rows)
        stays = ~np.isin(self.rows, rows)
        below = rows[rows < base]
        if not len(below):
            return Overlay(self.rows[stays], self.vectors[stays], self.gone, self.buried)
        gone = self.gone.copy() if len(self.gone) else np.zeros(base, np.bool_)
        buried = self.buried + int((~gone[below]).sum())
        gone[below] = True
        return Overlay(self.rows[stays], self.vectors[stays], gone, buried)

    def open(self, allowed: Bool | None, base: int) -> Bool:
        """(N,) base rows that a search may find."""
        there = ~self.gone if len(self.gone) else np.ones(base, np.bool_)
        if allowed is not None:
            most = min(len(allowed), base)
            there[:most] &= allowed[:most]
            there[most:] = False
        return there

    @cached_property
    def bitmap(self) -> NDArray[np.uint8]:
        """`~gone`, a bit a row, the lowest first."""
        return np.packbits(~self.gone, bitorder="little")

    def side(self, allowed: Bool | None) -> tuple[Int32, Float32]:
        """Added rows that a search may find, and their vectors."""
        if allowed is None:
            return self.rows, self.vectors
        known = self.rows < len(allowed)
        may = np.zeros(len(self.rows), np.bool_)
        may[known] = allowed[self.rows[known]]
        return self.rows[may], self.vectors[may]


def _rows(rows: Any) -> Int32:
    found = np.atleast_1d(np.asarray(rows))
    distinct = len(np.unique(found)) == found.size
    if found.ndim != 1 or found.dtype.kind not in "iu" or (found < 0).any() or not distinct:
        raise DataError(f"rows must be distinct whole numbers from 0 on, not {rows!r}")
    return found.astype(np.int32)
