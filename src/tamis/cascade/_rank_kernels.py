# pyright: basic
"""Compiled kernel of ranks within requests."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.runtime.compiled import njit


@njit(cache=True, nogil=True)
def rank_lists(score: Any, indptr: Any, out: Any) -> None:
    """Writes the rank of each score within its list, 1 = highest; ties share their mean rank.

    NaN and -inf tie in the last places. They are not sorted: of a channel's scores, most are NaN.

    Args:
        score: (n,) float64.
        indptr: (Q + 1,) int64 bounds of the lists.
        out: (n,) float64, written.
    """
    key, where = np.empty(len(score), np.float64), np.empty(len(score), np.int64)
    for q in range(len(indptr) - 1):
        begin, size = indptr[q], indptr[q + 1] - indptr[q]
        known = 0
        for i in range(begin, begin + size):
            if score[i] > -np.inf:
                key[known], where[known] = -score[i], i
                known += 1
        if known < size:
            out[begin : begin + size] = (known + 1 + size) / 2
        order = np.argsort(key[:known])
        first = 0
        while first < known:
            end = first + 1
            while end < known and key[order[end]] == key[order[first]]:
                end += 1
            for place in range(first, end):
                out[where[order[place]]] = (first + 1 + end) / 2
            first = end
