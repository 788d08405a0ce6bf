"""Ragged lists of item rows, such as the targets or the excluded items of Q queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tamis.runtime import Bool, Int32, Int64


@dataclass(frozen=True, eq=False)
class Ragged:
    """Q lists of item rows, end to end: list q is `values[indptr[q]:indptr[q + 1]]`."""

    indptr: Int64
    """(Q + 1,) bounds of the lists, from 0."""
    values: Int32
    """(n,) item rows."""

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, q: int) -> Int32:
        return self.values[self.indptr[q] : self.indptr[q + 1]]

    @classmethod
    def empty(cls, q: int) -> Ragged:
        """`q` empty lists."""
        return cls(np.zeros(q + 1, np.int64), np.zeros(0, np.int32))

    @classmethod
    def of(cls, lists: list[Int32]) -> Ragged:
        """The given lists, in their order."""
        sizes = np.array([len(x) for x in lists], dtype=np.int64)
        values = np.concatenate(lists) if lists else np.zeros(0)
        return cls(np.concatenate([[0], np.cumsum(sizes)]), values.astype(np.int32))

    @property
    def query(self) -> Int64:
        """(n,) the list number of each value."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    @classmethod
    def from_pairs(cls, query: Int64, values: Int32, queries: int) -> Ragged:
        """`queries` sorted lists without duplicates, from pairs (n,) and (n,) in any order."""
        base = int(values.max(initial=0)) + 1
        keys = np.sort(query.astype(np.int64) * base + values)
        keys = keys[np.diff(keys, prepend=-1) != 0]  # np.unique hashes, and is 50 times slower
        counts = np.bincount(keys // base, minlength=queries)
        return cls(np.concatenate([[0], np.cumsum(counts)]), (keys % base).astype(np.int32))

    @classmethod
    def union(cls, lists: Sequence[Ragged]) -> Ragged:
        """The sorted union per query; all `lists` have the same number of queries.

        A single element is returned as it is.
        """
        if len(lists) == 1:
            return lists[0]
        if len(lists[0]) == 1:  # a single request needs no grouping
            values = np.sort(np.concatenate([r.values for r in lists]))
            new = np.empty(len(values), np.bool_)
            new[:1] = True
            np.not_equal(values[1:], values[:-1], out=new[1:])
            values = values[new].astype(np.int32, copy=False)
            return cls(np.array([0, len(values)], np.int64), values)
        query = np.concatenate([r.query for r in lists])
        values = np.concatenate([r.values for r in lists])
        return cls.from_pairs(query, values, len(lists[0]))

    def replaced(self, rows: Int32 | Int64, lists: Ragged, n: int) -> Ragged:
        """n >= len(self) lists: those of `rows` (m,) are `lists`, the others stay; further ones are
        empty.

        rows: ascending and distinct, below n.
        """
        old = len(self)
        if len(rows) and rows[0] >= old and n == old + len(rows):  # the usual case: rows were added
            indptr = np.concatenate([self.indptr, self.indptr[-1] + lists.indptr[1:]])
            return Ragged(indptr, np.concatenate([self.values, lists.values]))
        sizes, start = np.zeros(n, np.int64), np.zeros(n, np.int64)
        sizes[:old], start[:old] = np.diff(self.indptr), self.indptr[:-1]
        sizes[rows], start[rows] = np.diff(lists.indptr), len(self.values) + lists.indptr[:-1]
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        at: Int64 = np.arange(int(indptr[-1])) + np.repeat(start - indptr[:-1], sizes)
        return Ragged(indptr, np.concatenate([self.values, lists.values])[at])

    def contains(self, query: Int64, values: Int32) -> Bool:
        """(n,) whether list `query[k]` holds `values[k]`; the lists must be sorted."""
        if not len(self.values):
            return np.zeros(len(values), dtype=bool)
        base = int(max(self.values.max(), values.max(initial=0))) + 1
        keys = self.query * base + self.values
        wanted = query.astype(np.int64) * base + values
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return keys[at] == wanted
