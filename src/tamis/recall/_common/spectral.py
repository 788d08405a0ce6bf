"""Items' vectors out of what stands beside what: a start for models that learn vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tamis.runtime import Float32, Int32, Int64

OVERSAMPLED, POWER_STEPS = 8, 4
"""Of the randomised decomposition: more columns than wanted, and passes over the matrix."""
MOST_PAIRS = 50_000_000
"""Neighbouring events that are counted at most, the newest ones of every user's list."""
SMOOTHED = 0.75
"""Power of an item's frequency as a neighbour (Levy et al. 2015)."""


def truncated_svd(x: Any, dim: int, seed: int) -> tuple[Float32, Float32]:
    """(values (k,) descending, right singular vectors (n, k)) of a sparse x (m, n).

    k = min(dim, m, n).

    Randomised (Halko et al. 2011): its work is that of 2 · (POWER_STEPS + 1) products with x.
    """
    width = min(dim + OVERSAMPLED, *x.shape)
    start = np.random.default_rng(seed).standard_normal((x.shape[1], width)).astype(np.float32)
    basis = np.linalg.qr(x @ start)[0]
    for _ in range(POWER_STEPS):
        basis = np.linalg.qr(x @ np.linalg.qr(x.T @ basis)[0])[0]
    _, value, right = np.linalg.svd(np.asarray(basis.T @ x), full_matrices=False)
    kept = min(dim, width)
    return value[:kept].astype(np.float32), np.ascontiguousarray(right[:kept].T, np.float32)


def co_liked_vectors(indptr: Int64, item: Int32, n_items: int, dim: int, seed: int) -> Float32:
    """(n_items, ≤ dim) float32: items that the same users like have like vectors.

    The decomposition `V √S` of the matrix users × items whose entries are
    1 / √(likes of the user · likes of the item): nobody and nothing weighs by number.

    Args:
        indptr, item: each user's distinct liked items.
    """
    ones = np.ones(len(item), np.float32)
    x = sp.csr_matrix((ones, item, indptr), shape=(len(indptr) - 1, n_items))
    many = np.maximum(np.diff(indptr), 1) ** -0.5
    popular = np.maximum(np.bincount(item, minlength=n_items), 1) ** -0.5
    x = sp.diags_array(many.astype(np.float32)) @ x @ sp.diags_array(popular.astype(np.float32))
    value, vectors = truncated_svd(sp.csr_matrix(x), dim, seed)
    return vectors * np.sqrt(value)


def neighbour_vectors(
    indptr: Int64, item: Int32, n_items: int, dim: int, window: int, seed: int
) -> Float32:
    """(n_items, dim) float32: items that stand near one another in lists have like vectors.

    The decomposition `U √S` of the positive pointwise mutual information of items at most `window`
    places apart, a pair counting 1 / distance (Levy & Goldberg 2014, the closed form of item2vec).
    Rows have length 1 in the mean (root of the mean square); an item without a neighbour is zero.

    Args:
        indptr, item: one list per user, in order of time.
        window: farthest neighbour, at least 1.
    """
    counts = _counts(indptr, item, n_items, window)
    vectors = np.zeros((n_items, dim), np.float32)
    row = np.asarray(counts.sum(axis=1), np.float64).ravel()
    smooth = row**SMOOTHED
    pairs = counts.tocoo()
    information = np.log(pairs.data * smooth.sum() / (row[pairs.row] * smooth[pairs.col]))
    more = information > 0  # than chance
    if not more.any():
        return vectors
    places = (pairs.row[more], pairs.col[more])
    x = sp.csr_matrix((information[more].astype(np.float32), places), shape=counts.shape)
    # the left vectors are the right ones of the transpose
    value, left = truncated_svd(sp.csr_matrix(x.T), dim, seed)
    vectors[:, : len(value)] = left * np.sqrt(value)
    return of_length_one(vectors)


def of_length_one(vectors: Float32) -> Float32:
    """The same directions, rows of length 1 in the mean (root of the mean square); zeros stay."""
    squares = (vectors**2).sum(axis=1)
    known = squares > 0
    if not known.any():
        return vectors
    return (vectors / np.sqrt(squares[known].mean())).astype(np.float32)


def _counts(indptr: Int64, item: Int32, n_items: int, window: int) -> sp.csr_matrix:
    """(I, I) symmetric sums of 1 / distance over neighbours in the lists."""
    first = max(0, len(item) - MOST_PAIRS // window)
    owner: NDArray[np.int64] = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))[first:]
    item = item[first:]
    counts = sp.csr_matrix((n_items, n_items), dtype=np.float64)
    for distance in range(1, window + 1):
        near = owner[:-distance] == owner[distance:]
        pair = item[:-distance][near], item[distance:][near]
        share = np.full(len(pair[0]), 1 / distance)
        counts += sp.coo_matrix((share, pair), shape=counts.shape).tocsr()
    return sp.csr_matrix(counts + counts.T)
