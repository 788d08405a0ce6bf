"""The best k of many: a bounded heap for compiled kernels, and work split over threads."""

from __future__ import annotations

import numpy as np
from numba import njit

GROUP = 64


@njit(cache=True, nogil=True, inline="always")
def _worse(score_a, item_a, score_b, item_b):
    """Is a behind b? Lower scores are; among equals, the higher row."""
    return score_a < score_b or (score_a == score_b and item_a > item_b)


@njit(cache=True, nogil=True)
def _sift_down(items, scores, size, at):
    while True:
        child = 2 * at + 1
        if child >= size:
            return
        if child + 1 < size and _worse(
            scores[child + 1], items[child + 1], scores[child], items[child]
        ):
            child += 1
        if not _worse(scores[child], items[child], scores[at], items[at]):
            return
        items[at], items[child] = items[child], items[at]
        scores[at], scores[child] = scores[child], scores[at]
        at = child


@njit(cache=True, nogil=True)
def offer(items, scores, size, item, score):
    """Offers (item, score) to a heap whose root is its worst; returns the new size.

    `items` and `scores` are (k,) arrays: the k best offered so far are kept, ties by lower row.
    """
    k = len(items)
    if size < k:
        at = size
        while at > 0:
            parent = (at - 1) // 2
            if not _worse(score, item, scores[parent], items[parent]):
                break
            items[at], scores[at] = items[parent], scores[parent]
            at = parent
        items[at], scores[at] = item, score
        return size + 1
    if k and _worse(scores[0], items[0], score, item):
        items[0], scores[0] = item, score
        _sift_down(items, scores, size, 0)
    return size


@njit(cache=True, nogil=True)
def best_first(items, scores, size):
    """Turns the heap `[0, size)` into a list, best first, in place."""
    for end in range(size - 1, 0, -1):
        items[0], items[end] = items[end], items[0]
        scores[0], scores[end] = scores[end], scores[0]
        _sift_down(items, scores, end, 0)


@njit(cache=True, nogil=True)
def offer_row(items, scores, size, row, first, refused):
    """Offers `first + j` with score `row[j]` for every j; returns the heap's new size.

    Left out are `refused[first + j]` (an empty `refused` refuses none), -inf and NaN. Scores are
    looked at in groups: one in which none beats the worst kept is passed over.
    """
    k = len(items)
    worst = scores[0] if k and size == k else np.float32(-np.inf)
    for start in range(0, len(row), GROUP):
        group = row[start : start + GROUP]
        better = 0
        for x in group:
            better += x > worst
        if better == 0:
            continue
        for j in range(len(group)):
            at = first + start + j
            # a later row never displaces an equal score: ties go to the lower row
            if group[j] > worst and not (len(refused) and refused[at]):
                size = offer(items, scores, size, at, group[j])
                if size == k:
                    worst = scores[0]
    return size


@njit(cache=True, nogil=True)
def select(scores, indptr, excluded, refused, out_item, out_score):
    """Each row's best columns of `scores` (Q, N), best first, into `out_*` (Q, k).

    Row q leaves out columns `excluded[indptr[q]:indptr[q + 1]]` and scores of -inf or NaN.
    `refused` is (N,) of False and is False again afterwards. Ties by lower column.
    """
    n = scores.shape[1]
    for q in range(scores.shape[0]):
        for e in range(indptr[q], indptr[q + 1]):
            if 0 <= excluded[e] < n:
                refused[excluded[e]] = True
        found = offer_row(out_item[q], out_score[q], 0, scores[q], 0, refused)
        best_first(out_item[q], out_score[q], found)
        for e in range(indptr[q], indptr[q + 1]):
            if 0 <= excluded[e] < n:
                refused[excluded[e]] = False
