"""Ranking metrics: by hand, against naive versions, against scikit-learn."""

from itertools import combinations
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from tamis.data import Ragged
from tamis.evaluate import metrics
from tamis.schema import StageError


def ragged(*lists: list[int]) -> Ragged:
    return Ragged.of([np.array(x, np.int32) for x in lists])


SLATES = np.array([[5, 3, 1, 2], [0, 1, -1, -1], [4, 5, 6, 7], [1, 2, 3, 4]], np.int32)
POSITIVES = ragged([3, 2, 9], [7], [], [1])


def test_by_hand() -> None:
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    found = 1 / log2(3) + 1 / log2(5)
    for function, expected in [
        (metrics.ndcg, [found / ideal, 0, np.nan, 1]),
        (metrics.hit, [1, 0, np.nan, 1]),
        (metrics.recall, [2 / 3, 0, np.nan, 1]),
        (metrics.precision, [2 / 4, 0, np.nan, 1 / 4]),
        (metrics.mrr, [1 / 2, 0, np.nan, 1]),
        (metrics.average_precision, [(1 / 2 + 2 / 4) / 3, 0, np.nan, 1]),
    ]:
        np.testing.assert_allclose(function(SLATES, POSITIVES, 4), expected, err_msg=str(function))
    assert metrics.mean(metrics.hit(SLATES, POSITIVES, 4)) == pytest.approx(2 / 3)


def test_k_cuts_the_slate_and_the_ideal() -> None:
    assert metrics.ndcg(SLATES, POSITIVES, 1)[0] == 0
    assert metrics.ndcg(SLATES, POSITIVES, 2)[0] == pytest.approx((1 / log2(3)) / (1 + 1 / log2(3)))
    # A slate shorter than k is judged against the ideal of k.
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    assert metrics.ndcg(SLATES[:1, :2], ragged([3, 2, 9]), 10)[0] == pytest.approx(
        (1 / log2(3)) / ideal
    )


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.permutations(range(12)).map(lambda p: p[:6]),
            st.sets(st.integers(0, 14), min_size=1),
            st.integers(0, 6),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 8),
)
def test_equal_the_naive_versions(rows, k) -> None:
    slates = np.array([s[:n] + [-1] * (6 - n) for s, _, n in rows], np.int32)
    positives = ragged(*(sorted(p) for _, p, _ in rows))
    for q, (slate, wanted, n) in enumerate(rows):
        shown = slate[:n][:k]
        gains = [float(item in wanted) for item in shown]
        ideal = sum(1 / log2(i + 2) for i in range(min(k, len(wanted))))
        dcg = sum(g / log2(i + 2) for i, g in enumerate(gains))
        precisions = [sum(gains[: i + 1]) / (i + 1) for i, g in enumerate(gains) if g]
        first = next((1 / (i + 1) for i, g in enumerate(gains) if g), 0.0)
        expected = {
            metrics.ndcg: dcg / ideal,
            metrics.hit: float(sum(gains) > 0),
            metrics.recall: sum(gains) / len(wanted),
            metrics.precision: sum(gains) / k,
            metrics.mrr: first,
            metrics.average_precision: sum(precisions) / min(k, len(wanted)),
        }
        for function, value in expected.items():
            assert function(slates, positives, k)[q] == pytest.approx(value), function


def test_equal_scikit_learn() -> None:
    """The whole catalogue ranked: NDCG@10 and average precision of the field's library."""
    rng = np.random.default_rng(1)
    relevant = rng.random((50, 40)) < 0.15
    relevant[:, 0] = True
    scores = rng.random((50, 40))
    slates = np.argsort(-scores, 1).astype(np.int32)
    positives = Ragged.of([np.flatnonzero(r).astype(np.int32) for r in relevant])
    assert metrics.mean(metrics.ndcg(slates, positives, 10)) == pytest.approx(
        ndcg_score(relevant, scores, k=10)
    )
    expected = [average_precision_score(r, s) for r, s in zip(relevant, scores, strict=True)]
    np.testing.assert_allclose(metrics.average_precision(slates, positives, 40), expected)


def test_duplicates_and_misfits_are_refused() -> None:
    with pytest.raises(StageError, match="slate of query 1 holds item row 4 twice"):
        metrics.hits(np.array([[1, 2], [4, 4]], np.int32), ragged([1], [4]))
    with pytest.raises(StageError, match="2 slates are measured against positives of 1"):
        metrics.hits(np.array([[1], [4]], np.int32), ragged([1]))


def test_queries_without_positives_are_nan_without_a_warning() -> None:
    none = np.zeros((0, 10), np.int32)
    assert np.isnan(metrics.mean(metrics.ndcg(none, Ragged.empty(0), 10)))
    empty = np.full((2, 3), -1, np.int32)
    assert np.isnan(metrics.mean(metrics.recall(empty, Ragged.empty(2), 3)))
    assert metrics.coverage(empty, 5, 3) == 0
    assert np.isnan(metrics.popularity(empty, np.arange(5), 3)).all()


def test_coverage_and_gini() -> None:
    slates = np.array([[0, 1], [0, -1], [0, 2]], np.int32)
    assert metrics.coverage(slates, 6, 2) == pytest.approx(3 / 6)
    assert metrics.coverage(slates, 6, 1) == pytest.approx(1 / 6)
    # Counts 3, 1, 1, 0, 0, 0: the mean absolute difference over twice the mean, by its definition.
    counts = np.array([3, 1, 1, 0, 0, 0])
    expected = np.abs(counts[:, None] - counts).sum() / (2 * 36 * counts.mean())
    assert metrics.gini(slates, 6, 2) == pytest.approx(expected)
    assert metrics.gini(np.array([[0, 1, 2]], np.int32), 3, 3) == pytest.approx(0)


def test_popularity_percentile() -> None:
    counts = np.array([10, 0, 5, 5])
    # Percentiles: 10 → 3.5/4, 0 → .5/4, 5 → 2/4.
    slates = np.array([[0, 1], [2, -1], [-1, -1]], np.int32)
    np.testing.assert_allclose(metrics.popularity(slates, counts, 2), [0.5, 0.5, np.nan])
    everything = np.arange(4, dtype=np.int32)[None]
    assert metrics.popularity(everything, counts, 4)[0] == pytest.approx(0.5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 4)), min_size=4, max_size=4))
def test_diversity_equals_the_naive_version(sets) -> None:
    # Codes in any order within an item.
    categories = ragged(*(sorted(s, reverse=True) for s in sets))
    pairs = [len(a & b) / len(a | b) if a | b else 0 for a, b in combinations(sets[:3], 2)]
    slates = np.array([[0, 1, 2, 3], [3, -1, -1, -1]], np.int32)
    result = metrics.diversity(slates, categories, 3)
    assert result[0] == pytest.approx(1 - np.mean(pairs))
    assert np.isnan(result[1])
