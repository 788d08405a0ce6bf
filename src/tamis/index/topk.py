"""Selection of the best k: a bounded heap for compiled kernels, ties by the lower row."""

from __future__ import annotations

import numpy as np

from tamis.runtime.compiled import inner_njit, njit

GROUP = 64
"""Scores that `offer_row` compares with the worst kept score at once."""


@njit(cache=True, nogil=True, inline="always")
def _worse(score_a, item_a, score_b, item_b):
    """Whether a ranks below b: by a lower score, or by the higher row if the scores are equal."""
    return score_a < score_b or (score_a == score_b and item_a > item_b)


@inner_njit
def _sift_down(items, scores, size, at):
    """Restores the heap order of `[0, size)` after the entry `at` was replaced by a better one."""
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
    """Offers an item to a heap that keeps the best k; returns the heap's new size.

    Args:
        items: (k,) int32 rows; the first `size` are a heap with the worst at its root.
        scores: (k,) float32, their scores.
        size: number of rows in the heap.
        item, score: the row offered and its score, not NaN. Equal scores rank by the lower row.
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
    """Sorts a heap of `offer` in place, best first.

    items, scores: (k,) int32 and float32; only the first `size` entries are changed.
    """
    for end in range(size - 1, 0, -1):
        items[0], items[end] = items[end], items[0]
        scores[0], scores[end] = scores[end], scores[0]
        _sift_down(items, scores, end, 0)


@inner_njit
def offer_row(items, scores, size, row, first, refused):
    """Offers row `first + j` with score `row[j]` for every j; returns the heap's new size.

    Scores are compared in groups of `GROUP`; a group without a score above the worst kept one is
    skipped.

    Args:
        items, scores, size: the heap, as in `offer`; its rows must be below `first`.
        row: (n,) float32 scores; -inf and NaN are not offered.
        first: the row of the first score.
        refused: (N,) bool, rows that are not offered; (0,) = all are offered.
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
    """Selects the best k columns of each row of `scores`, best first; ties by lower column.

    Args:
        scores: (Q, N) float32; -inf and NaN are not selected.
        indptr, excluded: (Q + 1,) int64 and int32: row q does not select the columns
            `excluded[indptr[q]:indptr[q + 1]]`.
        refused: (N,) bool of False, used as scratch memory; False again afterwards.
        out_item, out_score: (Q, k) int32 and float32, the result; entries beyond the last selected
            column are left as they are.
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
