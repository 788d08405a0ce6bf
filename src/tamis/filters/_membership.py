"""Compiled membership tests of candidates in a sorted list per query."""

from __future__ import annotations

import numpy as np

from tamis.cascade import Candidates
from tamis.data import Ragged
from tamis.runtime import Bool, Int32, Int64
from tamis.runtime.compiled import njit


def outside(candidates: Candidates, lists: Ragged) -> Bool:
    """(n,) True where the candidate is not in its query's list (sorted ascending)."""
    return _outside(candidates.indptr, candidates.item, lists.indptr, lists.values)


@njit(cache=True)
def _outside(indptr: Int64, item: Int32, list_indptr: Int64, values: Int32) -> Bool:
    """(n,) True where `item[i]` is not in the list of its query.

    Query q's candidates are `[indptr[q], indptr[q + 1])`, its list the ascending
    `values[list_indptr[q] : list_indptr[q + 1]]`.
    """
    keep = np.ones(len(item), np.bool_)
    for q in range(len(indptr) - 1):
        stop = list_indptr[q + 1]
        for i in range(indptr[q], indptr[q + 1]):
            low, high = list_indptr[q], stop
            while low < high:
                middle = (low + high) // 2
                if values[middle] < item[i]:
                    low = middle + 1
                else:
                    high = middle
            keep[i] = low == stop or values[low] != item[i]
    return keep


@njit(cache=True)
def sorted_sets(indptr: Int64, values: Int32, wanted: Bool) -> tuple[Int64, Int32]:
    """Each list's wanted values, ascending and without repeats, as (indptr, values)."""
    out_indptr = np.zeros(len(indptr), np.int64)
    out = np.empty(len(values), np.int32)
    size = 0
    for q in range(len(indptr) - 1):
        chosen = values[indptr[q] : indptr[q + 1]][wanted[indptr[q] : indptr[q + 1]]]
        chosen = np.sort(chosen)
        for i in range(len(chosen)):
            if i == 0 or chosen[i] != chosen[i - 1]:
                out[size] = chosen[i]
                size += 1
        out_indptr[q + 1] = size
    return out_indptr, out[:size].copy()
