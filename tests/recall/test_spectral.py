"""Vectors out of neighbours, against a full decomposition written by the definition."""

import numpy as np
import scipy.sparse as sp

from tamis.recall._common.spectral import SMOOTHING, neighbour_vectors, truncated_svd


def lists(n: int, items: int, seed: int):
    draw = np.random.default_rng(seed)
    sizes = draw.integers(0, 9, n)
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return indptr, draw.integers(0, items, indptr[-1]).astype(np.int32)


def by_definition(indptr, item, n_items, window):
    """The matrix of positive pointwise mutual information, pair by pair."""
    counts = np.zeros((n_items, n_items))
    for u in range(len(indptr) - 1):
        own = item[indptr[u] : indptr[u + 1]]
        for a in range(len(own)):
            for b in range(a + 1, min(a + window, len(own) - 1) + 1):
                counts[own[a], own[b]] += 1 / (b - a)
                counts[own[b], own[a]] += 1 / (b - a)
    row = counts.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(counts * (row**SMOOTHING).sum() / np.outer(row, row**SMOOTHING))
    return np.where(counts > 0, np.maximum(information, 0), 0)


def test_neighbours_vectors_are_those_of_a_full_decomposition():
    indptr, item = lists(60, 14, 0)
    found = neighbour_vectors(indptr, item, 16, 12, 3, 0).astype(float)
    left, value, _ = np.linalg.svd(by_definition(indptr, item, 16, 3))
    expected = (left[:, :12] * value[:12]) @ left[:, :12].T
    size = np.sqrt((found[:14] ** 2).sum(1))
    np.testing.assert_allclose(np.sqrt((size**2).mean()), 1, rtol=1e-5)
    scale = np.trace(expected) / 14
    np.testing.assert_allclose(found @ found.T * scale, expected, atol=2e-3 * scale)
    assert not found[14:].any()  # no event, no neighbour


def test_few_items_little_rank_and_nothing_at_all():
    indptr, item = np.array([0, 2, 3], np.int64), np.array([0, 1, 2], np.int32)
    vectors = neighbour_vectors(indptr, item, 4, 8, 3, 0)
    assert vectors.shape == (4, 8)
    assert np.isfinite(vectors).all()
    assert vectors[:2].any(axis=1).all()
    assert not vectors[2:].any()
    empty = neighbour_vectors(np.zeros(3, np.int64), np.zeros(0, np.int32), 4, 8, 3, 0)
    assert not empty.any()


def test_decomposition_of_a_wide_and_a_tall_matrix():
    draw = np.random.default_rng(1)
    for shape in ((40, 9), (9, 40)):
        x = (draw.random(shape) < 0.3) * draw.random(shape)
        value, right = truncated_svd(sp.csr_matrix(x.astype(np.float32)), 5, 0)
        _, expected, vectors = np.linalg.svd(x, full_matrices=False)
        np.testing.assert_allclose(value, expected[:5], rtol=1e-3)
        np.testing.assert_allclose(abs((vectors[:5] * right.T).sum(1)), 1, atol=1e-2)
