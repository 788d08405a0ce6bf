"""The mean vector of what someone liked last: the simplest user there is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tamis.cascade import Queries
from tamis.recall._common.interactions import distinct
from tamis.runtime import Float32, scratch


def mean_of_likes(
    queries: Queries, interest: Float32, last: int, vectors: Float32, *, unit: bool = True
) -> Float32:
    """(Q, d) mean of the vectors (I, d) of each query's `last` most recent distinct liked items.

    interest: value of an event by its behaviour's code, negative where it is no like. unit: scaled
    to length 1. Zero where nothing is liked. A query's vector does not depend on the others'.
    """
    history = queries.history
    out = np.zeros((len(queries), vectors.shape[1]), np.float32)
    slot = scratch("slot", len(vectors), np.int32)
    _means(history.indptr, history.item, interest[history.behaviour], last, vectors, slot, out)
    return to_unit(out) if unit else out


def to_unit(x: Float32) -> Float32:
    """Rows scaled to length 1; zero rows stay zero."""
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))
    return (x / np.maximum(length, 1e-12)).astype(np.float32)


def nearest_like(queries: Queries, interest: Float32, vectors: Float32, target: Any) -> int | None:
    """The one query's liked item whose vector points most towards `target` (d,); None if none
    does."""
    past = queries.history.item[interest[queries.history.behaviour] >= 0]
    past = np.unique(past[(past >= 0) & (past < len(vectors))])
    if not len(past):
        return None
    pull = vectors[past] @ target
    return int(past[pull.argmax()]) if pull.max() > 0 else None


@njit(cache=True, nogil=True)
def _means(indptr, item, value, last, vectors, slot, out):
    liked, interest = np.empty(last, np.int32), np.empty(last, np.float32)
    for q in range(len(indptr) - 1):
        n = distinct(item, value, indptr[q], indptr[q + 1], last, slot, liked, interest)
        for s in range(n):
            for d in range(out.shape[1]):
                out[q, d] += vectors[liked[s], d] / np.float32(n)
