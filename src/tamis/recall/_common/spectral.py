"""Item vectors by singular value decomposition, to initialise models that learn vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tamis.runtime import Float32, Int32, Int64

OVERSAMPLES, POWER_ITERATIONS = 8, 4
"""Of the randomised decomposition: additional columns, and passes over the matrix."""
MAX_PAIRS = 50_000_000
"""Most neighbouring events counted: those of the last lists, if there are more."""
SMOOTHING = 0.75
"""Exponent of an item's frequency as a neighbour (Levy et al. 2015)."""


def truncated_svd(x: Any, dim: int, seed: int) -> tuple[Float32, Float32]:
    """Largest singular values (k,), descending, and right singular vectors (n, k) of x (m, n).

    k = min(dim, m, n); both float32. The randomised algorithm of Halko et al. (2011), which costs
    2 · (POWER_ITERATIONS + 1) products of x with a matrix of dim + OVERSAMPLES columns.

    Args:
        x: scipy sparse matrix, float32.
        seed: seed of the random start; the same seed gives the same vectors, with their signs.
    """
    from sklearn.utils.extmath import randomized_svd  # imported here: it takes a second

    _, value, right = randomized_svd(
        x,
        n_components=dim,
        n_oversamples=OVERSAMPLES,
        n_iter=POWER_ITERATIONS,  # pyright: ignore[reportArgumentType]  # inferred from "auto"
        power_iteration_normalizer="QR",
        random_state=seed,
    )
    return value.astype(np.float32), np.ascontiguousarray(right.T, np.float32)


def co_liked_vectors(indptr: Int64, item: Int32, n_items: int, dim: int, seed: int) -> Float32:
    """(n_items, ≤ dim) float32 item vectors, similar for items that the same users like.

    `V √S` of the truncated decomposition `U S Vᵀ` of the users × items matrix with entries
    1 / √(likes of the user · likes of the item), so that neither active users nor popular items
    dominate. Fewer than dim columns if there are fewer users or items.

    Args:
        indptr, item: CSR of each user's distinct liked items.
        seed: seed of the decomposition.
    """
    ones = np.ones(len(item), np.float32)
    x = sp.csr_matrix((ones, item, indptr), shape=(len(indptr) - 1, n_items))
    by_user = np.maximum(np.diff(indptr), 1) ** -0.5
    by_item = np.maximum(np.bincount(item, minlength=n_items), 1) ** -0.5
    x = sp.diags_array(by_user.astype(np.float32)) @ x @ sp.diags_array(by_item.astype(np.float32))
    value, vectors = truncated_svd(sp.csr_matrix(x), dim, seed)
    return vectors * np.sqrt(value)


def neighbour_vectors(
    indptr: Int64, item: Int32, n_items: int, dim: int, window: int, seed: int
) -> Float32:
    """(n_items, dim) float32 item vectors, similar for items with similar neighbours in the lists.

    `U √S` of the truncated decomposition `U S Vᵀ` of the positive pointwise mutual information of
    items at most `window` places apart, where a pair counts 1 / distance (Levy & Goldberg 2014, the
    closed form of item2vec). The root mean square of the non-zero rows' lengths is 1; an item
    without a neighbour is zero.

    Args:
        indptr, item: CSR of one list per user, in order of time.
        window: largest distance of two neighbours, at least 1.
        seed: seed of the decomposition.
    """
    counts = _counts(indptr, item, n_items, window)
    vectors = np.zeros((n_items, dim), np.float32)
    row = np.asarray(counts.sum(axis=1), np.float64).ravel()
    smooth = row**SMOOTHING
    pairs = counts.tocoo()
    information = np.log(pairs.data * smooth.sum() / (row[pairs.row] * smooth[pairs.col]))
    positive = information > 0
    if not positive.any():
        return vectors
    places = (pairs.row[positive], pairs.col[positive])
    x = sp.csr_matrix((information[positive].astype(np.float32), places), shape=counts.shape)
    # the left singular vectors of x are the right ones of its transpose
    value, left = truncated_svd(sp.csr_matrix(x.T), dim, seed)
    vectors[:, : len(value)] = left * np.sqrt(value)
    return scaled_to_unit_rms(vectors)


def scaled_to_unit_rms(vectors: Float32) -> Float32:
    """(n, d) vectors divided by one number, so that the root mean square of the non-zero rows'
    lengths is 1."""
    squares = (vectors**2).sum(axis=1)
    known = squares > 0
    if not known.any():
        return vectors
    return (vectors / np.sqrt(squares[known].mean())).astype(np.float32)


def _counts(indptr: Int64, item: Int32, n_items: int, window: int) -> sp.csr_matrix:
    """(I, I) symmetric sums of 1 / distance over pairs of neighbours in the lists."""
    first = max(0, len(item) - MAX_PAIRS // window)
    owner: NDArray[np.int64] = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))[first:]
    item = item[first:]
    counts = sp.csr_matrix((n_items, n_items), dtype=np.float64)
    for distance in range(1, window + 1):
        near = owner[:-distance] == owner[distance:]
        pair = item[:-distance][near], item[distance:][near]
        share = np.full(len(pair[0]), 1 / distance)
        counts += sp.coo_matrix((share, pair), shape=counts.shape).tocsr()
    return sp.csr_matrix(counts + counts.T)
