"""Compiled kernels of the search: which of the scored rows are kept.

Arguments that several kernels share:

    queries: (Q, d) float32.
    bounds, excluded: (Q + 1,) int64 and int32; query q may not return the rows
        `excluded[bounds[q]:bounds[q + 1]]`.
    gone: (N,) bool, base rows that no query may return; (0,) = there is none.
    refused: (rows,) bool of False, used as scratch memory; False again afterwards.
    item, score: (Q, k) int32 and float32, the result, filled with -1 and -inf beforehand.
"""

from __future__ import annotations

import numpy as np

from tamis.index.topk import best_first, offer
from tamis.runtime.compiled import inner_njit, njit


@njit(cache=True, nogil=True, inline="always")
def _mark(refused, excluded, begin, end, to):
    """Sets `refused` to the bool `to` at the rows `excluded[begin:end]` that are within it."""
    for e in range(begin, end):
        if 0 <= excluded[e] < len(refused):
            refused[excluded[e]] = to


@njit(cache=True, nogil=True)
def offer_columns(products, first, bounds, excluded, gone, refused, item, score, found):
    """Offers consecutive rows to each query's heap, except excluded ones, gone ones and NaN.

    Args:
        products: (Q, C) float32, inner products with the rows `first`, …, `first + C - 1`, which
            must be higher than all rows offered before.
        found: (Q,) int64, the sizes of the heaps; updated.
        others: see the module; `item` and `score` are heaps of `offer`.
    """
    k = item.shape[1]
    some_gone = len(gone) > 0
    for q in range(products.shape[0]):
        _mark(refused, excluded, bounds[q], bounds[q + 1], True)
        n, line = found[q], products[q]
        for c in range(len(line)):
            # a later row never displaces an equal score: ties go to the lower row
            if n == k and not line[c] > score[q, 0]:
                continue
            row = first + c
            if line[c] > -np.inf and not refused[row] and not (some_gone and gone[row]):
                n = offer(item[q], score[q], n, row, line[c])
        found[q] = n
        _mark(refused, excluded, bounds[q], bounds[q + 1], False)


@njit(cache=True, nogil=True)
def sort_heaps(item, score, found):
    """Sorts each query's heap, best first; `found` (Q,) int64 holds the sizes of the heaps."""
    for q in range(len(found)):
        best_first(item[q], score[q], found[q])


@njit(cache=True, nogil=True)
def keep_best(rows, products, bounds, excluded, gone, refused, item, score):
    """Selects the best k of each query's candidates, best first, except excluded and gone ones.

    Args:
        rows: (Q, A) integers, candidates of each query without duplicates, -1 = none.
        products: (Q, A) float32, their inner products; -inf and NaN are not selected.
        others: see the module.
    """
    for q in range(len(rows)):
        _mark(refused, excluded, bounds[q], bounds[q + 1], True)
        n, k = 0, item.shape[1]
        for a in range(rows.shape[1]):
            row, product = rows[q, a], products[q, a]
            if n == k and product < score[q, 0]:
                continue
            if row < 0 or refused[row] or not product > -np.inf:
                continue
            if row < len(gone) and gone[row]:
                continue
            n = offer(item[q], score[q], n, row, product)
        best_first(item[q], score[q], n)
        _mark(refused, excluded, bounds[q], bounds[q + 1], False)


@inner_njit(fastmath=True)
def _dot(a, b):
    """The inner product of two (d,) float32 vectors."""
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@njit(cache=True, nogil=True)
def dots(queries, vectors, rows):
    """(Q, A) float32 inner products of each query with its rows; -inf for row -1.

    queries: (Q, d) float32; vectors: (N, d) float32; rows: (Q, A) integers.
    """
    out = np.full(rows.shape, -np.inf, np.float32)
    for q in range(len(rows)):
        for a in range(rows.shape[1]):
            if rows[q, a] >= 0:
                out[q, a] = _dot(queries[q], vectors[rows[q, a]])
    return out


@njit(cache=True, nogil=True)
def score_listed(
    queries,
    vectors,
    gone,
    side_rows,
    side,
    allowed_indptr,
    allowed,
    bounds,
    excluded,
    refused,
    item,
    score,
):
    """Scores each query's list of allowed rows exactly and selects the best k, best first.

    A row is looked up among the base rows that are not gone, else among the added ones.

    Args:
        vectors: (N, d) float32, vectors of the base rows.
        side_rows, side: (m,) int32 rows, ascending and without duplicates, and (m, d) float32
            vectors that were added.
        allowed_indptr, allowed: (Q + 1,) int64 and int32: query q may return the rows
            `allowed[allowed_indptr[q]:allowed_indptr[q + 1]]`, ascending; duplicates are ignored.
        others: see the module.
    """
    for q in range(len(queries)):
        _mark(refused, excluded, bounds[q], bounds[q + 1], True)
        n, before = 0, -1
        for a in range(allowed_indptr[q], allowed_indptr[q + 1]):
            row = allowed[a]
            if row <= before or row >= len(refused) or refused[row]:
                continue
            before = row
            if row < len(vectors) and not (len(gone) > 0 and gone[row]):
                n = offer(item[q], score[q], n, row, _dot(queries[q], vectors[row]))
            elif len(side_rows):
                at = np.searchsorted(side_rows, row)
                if at < len(side_rows) and side_rows[at] == row:
                    n = offer(item[q], score[q], n, row, _dot(queries[q], side[at]))
        best_first(item[q], score[q], n)
        _mark(refused, excluded, bounds[q], bounds[q + 1], False)
