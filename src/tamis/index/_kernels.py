"""Compiled parts of the search: which of the scored rows are kept."""

from __future__ import annotations

import numpy as np
from numba import njit

from tamis.index.topk import best_first, offer


@njit(cache=True, nogil=True, inline="always")
def _mark(refused, excluded, begin, end, to):
    """Sets `refused` at the rows `excluded[begin:end]` that it has."""
    for e in range(begin, end):
        if 0 <= excluded[e] < len(refused):
            refused[excluded[e]] = to


@njit(cache=True, nogil=True)
def offer_columns(products, first, bounds, excluded, gone, refused, item, score, found):
    """Offers rows `first`, `first + 1`, … with scores `products` (Q, C) to each query's heap.

    Left out are a query's `excluded[bounds[q]:bounds[q + 1]]`, rows where `gone` (N,) is True
    (empty: none is), and NaN. `refused` (N,) is False before and after. `found` (Q,) is the
    heaps' fill.
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
    """Turns each query's heap into a list, best first."""
    for q in range(len(found)):
        best_first(item[q], score[q], found[q])


@njit(cache=True, nogil=True)
def keep_best(rows, products, bounds, excluded, gone, refused, item, score):
    """Each query's best of `rows` (Q, A), without repeats, -1 = none, by `products` (Q, A), best
    first. Left out are the excluded and the gone, as in `offer_columns`."""
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


@njit(cache=True, nogil=True, fastmath=True)
def _dot(a, b):
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@njit(cache=True, nogil=True)
def dots(queries, vectors, rows):
    """(Q, A) inner products of each query with the vectors of its `rows` (Q, A); -inf for -1."""
    out = np.full(rows.shape, -np.inf, np.float32)
    for q in range(len(rows)):
        for a in range(rows.shape[1]):
            if rows[q, a] >= 0:
                out[q, a] = _dot(queries[q], vectors[rows[q, a]])
    return out


@njit(cache=True, nogil=True)
def score_listed(
    queries, vectors, gone, side_rows, side, listed, allowed, bounds, excluded, refused, item, score
):
    """Each query's best of the rows `allowed[listed[q]:listed[q + 1]]` (ascending), exactly.

    A row is looked up among the live base rows, else in `side_rows` (ascending, repeats never).
    """
    for q in range(len(queries)):
        _mark(refused, excluded, bounds[q], bounds[q + 1], True)
        n, before = 0, -1
        for a in range(listed[q], listed[q + 1]):
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
