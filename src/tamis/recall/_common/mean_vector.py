"""A user as the mean vector of the items that he liked last."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.cascade import Queries
from tamis.recall._common.interactions import distinct
from tamis.runtime import Float32, scratch
from tamis.runtime.compiled import njit


def mean_liked_vector(
    queries: Queries, interest: Float32, last: int, vectors: Float32, *, unit: bool = True
) -> Float32:
    """(Q, d) mean of the vectors of each query's `last` most recent distinct liked items.

    Args:
        interest: (behaviours,) interest value by behaviour code, negative if not positive.
        last: most items per query, at least 1.
        vectors: (I, d) float32 vectors of the items.
        unit: whether to scale the means to length 1.

    Zero for a query without a liked item. The result for a query does not depend on the others.
    """
    history = queries.history
    out = np.zeros((len(queries), vectors.shape[1]), np.float32)
    slot = scratch("slot", len(vectors), np.int32)
    _means(history.indptr, history.item, interest[history.behaviour], last, vectors, slot, out)
    return to_unit(out) if unit else out


def to_unit(x: Float32) -> Float32:
    """The rows of x (n, d) scaled to length 1; zero rows stay zero."""
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))
    return (x / np.maximum(length, 1e-12)).astype(np.float32)


def nearest_liked_item(
    queries: Queries, interest: Float32, vectors: Float32, target: Any
) -> int | None:
    """The liked item of a single query whose vector has the largest inner product with `target`.

    Args:
        interest: (behaviours,) as in `mean_liked_vector`.
        vectors: (I, d) vectors of the items. target: (d,).

    None if no inner product is positive.
    """
    past = queries.history.item[interest[queries.history.behaviour] >= 0]
    past = np.unique(past[(past >= 0) & (past < len(vectors))])
    if not len(past):
        return None
    product = vectors[past] @ target
    return int(past[product.argmax()]) if product.max() > 0 else None


@njit(cache=True, nogil=True)
def _means(indptr, item, value, last, vectors, slot, out):
    """Adds to each row of `out` the mean vector of its `last` most recent distinct items.

    Args:
        indptr, item, value: CSR of the queries' events, int64 (Q + 1,), int32 and float32 (n,);
            negative values do not count.
        vectors: (I, d) float32. slot: (I,) int32 scratch, zero before and after.
        out: (Q, d) float32.
    """
    liked, interest = np.empty(last, np.int32), np.empty(last, np.float32)
    for q in range(len(indptr) - 1):
        n = distinct(item, value, indptr[q], indptr[q + 1], last, slot, liked, interest)
        for s in range(n):
            for d in range(out.shape[1]):
                out[q, d] += vectors[liked[s], d] / np.float32(n)
