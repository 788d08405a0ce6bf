"""In how many rows each declared feature has a value, and in how many one that training lacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from tamis.features._place import DISTANCE
from tamis.features.rows import Block, Rows
from tamis.features.vocabulary import UNSEEN
from tamis.runtime import Bool, Float64
from tamis.schema import Feature


class Shares(TypedDict):
    """Shares of rows, in [0, 1]."""

    present: float
    """Rows in which the feature has a value."""
    unseen: float
    """Rows in which it has values, none of which occurred in the training data."""


class RowCoverage:
    """Counts rows by feature; rows are added batch by batch.

    Args:
        features: the declared features of the rows' space; statistics always have values.
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        self._names = {f.name for f in features} | {DISTANCE}
        self._counts: dict[str, Float64] = {}
        self.rows = 0
        """Number of rows that were added."""

    def add(self, rows: Rows) -> None:
        """Counts the rows."""
        self.rows += len(rows)
        first_id = first_dense = 0
        for block in rows.blocks:
            last_id, last_dense = first_id + block.ids.shape[1], first_dense + block.dense.shape[1]
            for c in rows.layout.ids:
                if first_id <= c.first < last_id and c.name in self._names:
                    start = rows.layout.table[c.table].start
                    codes = block.ids[:, c.first - first_id : c.first - first_id + c.width]
                    given = (codes != start).any(axis=1)
                    self._count(c.name, block, given, given & (codes <= start + UNSEEN).all(axis=1))
            for c in rows.layout.dense:
                if first_dense <= c.first < last_dense and c.name in self._names:
                    missing = block.dense[:, c.first - first_dense + c.width - 1] > 0
                    self._count(c.name, block, ~missing, np.zeros(len(missing), np.bool_))
            first_id, first_dense = last_id, last_dense

    def _count(self, name: str, block: Block, present: Bool, unseen: Bool) -> None:
        """Adds the rows that point to entities (N,) of the block."""
        each = np.stack([present, unseen], axis=1).astype(np.float64)
        if block.pointer is not None:
            each *= np.bincount(block.pointer, minlength=len(present))[:, None]
        self._counts[name] = self._counts.get(name, np.zeros(2)) + each.sum(axis=0)

    def result(self) -> Mapping[str, Shares]:
        """The shares of each feature; {} without rows."""
        if not self.rows:
            return {}
        return {
            name: Shares(present=float(present) / self.rows, unseen=float(unseen) / self.rows)
            for name, (present, unseen) in self._counts.items()
        }

    @classmethod
    def of(cls, features: Sequence[Feature], rows: Rows) -> Mapping[str, Shares]:
        """The shares of `rows`."""
        counted = cls(features)
        counted.add(rows)
        return counted.result()
