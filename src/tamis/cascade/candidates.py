"""Candidates: Q ragged lists of items as a structure of arrays, to which stages add columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tamis.runtime import Float32, Int32, Int64


@dataclass(frozen=True, eq=False)
class Candidates:
    """Q lists of candidates; query q's are `[indptr[q], indptr[q + 1])`.

    Columns by name, each (n,): `rank:CHANNEL` int32 (1 = best, 0 = not found by it),
    `score:CHANNEL` float32 (NaN where not found), then what stages add (`recall` = place in the
    merged list, `prerank`, `value` = the fused value, `rerank:NAME`). Predictions of tasks are
    kept apart, so a task may have any name.
    """

    indptr: Int64
    item: Int32
    columns: dict[str, NDArray[np.generic]] = field(default_factory=dict[str, NDArray[np.generic]])
    predictions: dict[str, Float32] = field(default_factory=dict[str, Float32])
    """The ranker's prediction of each task, (n,); empty before rank."""

    def __len__(self) -> int:
        return len(self.item)

    @cached_property
    def last_item(self) -> int:
        """The largest item row; -1 without candidates."""
        return int(self.item.max(initial=-1))

    @property
    def query(self) -> Int64:
        """(n,) query number of each candidate."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))

    def with_columns(self, **columns: NDArray[np.generic]) -> Candidates:
        """The same candidates with these columns added or replaced."""
        return replace(self, columns={**self.columns, **columns})

    def with_predictions(self, predictions: Mapping[str, Float32]) -> Candidates:
        """The same candidates with the predictions of the ranker's tasks."""
        return replace(self, predictions=dict(predictions))

    def take(self, index: NDArray[np.intp]) -> Candidates:
        """The candidates at `index` (m,), which must be in the order of the queries."""
        queries = len(self.indptr) - 1
        if queries == 1:
            indptr = np.array([0, len(index)], np.int64)
        else:
            counts = np.bincount(self.query[index], minlength=queries)
            indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Candidates(
            indptr,
            self.item[index],
            {name: column[index] for name, column in self.columns.items()},
            {name: column[index] for name, column in self.predictions.items()},
        )

    def matrix(self, k: int) -> Int32:
        """(Q, k) the first k item rows of each query, padded by -1."""
        place = np.arange(len(self)) - np.repeat(self.indptr[:-1], np.diff(self.indptr))
        first = place < k
        out = np.full((len(self.indptr) - 1, k), -1, dtype=np.int32)
        out[self.query[first], place[first]] = self.item[first]
        return out

    def best(self, column: str, keep: int) -> NDArray[np.intp]:
        """Indices of the `keep` best candidates of each query by `column`, best first.

        Ties keep their order; NaN scores rank last.
        """
        score = self.columns[column].astype(np.float64)
        if len(self.indptr) == 2:  # a single query needs no grouping
            order = np.argsort(-score)
            ordered = score[order]
            if (ordered[:-1] > ordered[1:]).all():  # neither ties nor NaN, which sorts last
                return order[:keep]
            return np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")[:keep]
        score = np.nan_to_num(score, nan=-np.inf)
        order = np.lexsort((-score, self.query))
        place = np.arange(len(order)) - np.repeat(self.indptr[:-1], np.diff(self.indptr))
        return order[place < keep]
