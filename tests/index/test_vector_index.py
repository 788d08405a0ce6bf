"""The vector index against a plain sort of all inner products."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.data import Ragged
from tamis.index import VectorIndex, best_first, offer
from tamis.schema import ConfigError, DataError, VersionError


def clustered(n, d=16, seed=0, clusters=20):
    random = np.random.default_rng(seed)
    centres = random.standard_normal((clusters, d))
    x = centres[random.integers(0, clusters, n)] + 0.5 * random.standard_normal((n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def by_sorting(vectors, query, k, refused=()):
    products = vectors @ query
    products[list(refused)] = -np.inf
    order = np.lexsort((np.arange(len(vectors)), -products))[:k]
    return order[: len(vectors) - len(set(refused))]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.integers(1, 40), st.integers(0, 99), st.data())
def test_exact_search_equals_a_sort(n, k, seed, data):
    random = np.random.default_rng(seed)
    vectors = random.integers(-2, 3, (n, 3)).astype(np.float32)  # integers: ties are exact
    queries = random.integers(-2, 3, (3, 3)).astype(np.float32)
    refused = [data.draw(st.sets(st.integers(0, max(n - 1, 0)))) if n else set() for _ in range(3)]
    lists = Ragged.of([np.array(sorted(r), np.int32) for r in refused])
    item, score = VectorIndex.build(vectors).search(queries, k, lists)
    for q in range(3):
        expected = by_sorting(vectors, queries[q], k, refused[q])
        assert item[q, : len(expected)].tolist() == expected.tolist()
        assert (item[q, len(expected) :] == -1).all()
        assert score[q, : len(expected)].tolist() == (vectors[expected] @ queries[q]).tolist()


@pytest.fixture(scope="module")
def lists_of_vectors():
    vectors, queries = clustered(6000), clustered(1400, seed=1)
    index = VectorIndex.build(
        vectors, k=50, queries=queries[:1000], exact_below=1000, target_recall=0.95
    )
    return vectors, queries[1000:], index


def test_the_number_of_probes_is_tuned_to_the_target(lists_of_vectors):
    vectors, queries, index = lists_of_vectors
    assert index.report.kind == "ivf-flat"
    assert index.report.recall >= 0.95
    assert 0 < index.report.probes < index.report.lists
    found = index.search(queries, 50)[0]
    exact = [by_sorting(vectors, q, 50) for q in queries]
    recall = np.mean([np.isin(e, f).mean() for e, f in zip(exact, found, strict=True)])
    assert recall >= 0.95  # on unseen queries
    fewer = VectorIndex.build(vectors, k=50, queries=queries, exact_below=1000, target_recall=0.5)
    assert fewer.report.probes < index.report.probes


def test_vectors_without_clusters_are_searched_by_codes():
    vectors = np.random.default_rng(0).standard_normal((20_000, 32)).astype(np.float32)
    index = VectorIndex.build(vectors, k=20, exact_below=100)
    assert index.report.kind == "pq"
    assert 20 < index.report.rescored < 20_000 // 25
    queries = np.random.default_rng(1).standard_normal((300, 32)).astype(np.float32)
    item, score = index.search(queries, 20)
    exact = [by_sorting(vectors, q, 20) for q in queries]
    assert np.mean([np.isin(e, i).mean() for e, i in zip(exact, item, strict=True)]) >= 0.98
    np.testing.assert_allclose(score, np.einsum("qd,qkd->qk", queries, vectors[item]), rtol=1e-4)
    best = item[:, 0].copy()
    index.remove(np.unique(best))
    assert not np.isin(index.search(queries, 20)[0], best).any()
    index.add(20_009, 100 * queries[0])
    assert index.search(queries, 20)[0][0, 0] == 20_009


def test_the_search_stays_exact_where_neither_lists_nor_codes_are_cheaper():
    vectors = np.random.default_rng(0).standard_normal((1500, 48)).astype(np.float32)
    index = VectorIndex.build(vectors, k=50, exact_below=100, target_recall=0.99)
    assert (index.report.kind, index.report.recall) == ("exact", 1.0)
    item, _ = index.search(vectors[:5] * 3, 1)
    assert item[:, 0].tolist() == [by_sorting(vectors, v, 1)[0] for v in vectors[:5]]


def test_the_next_rows_take_the_places_of_excluded_ones(lists_of_vectors):
    _, queries, index = lists_of_vectors
    whole, score = index.search(queries[:5], 40)
    refused = Ragged.of([np.sort(row[: 10 * q]) for q, row in enumerate(whole)])
    item, left = index.search(queries[:5], 10, refused)
    for q in range(5):
        if q < 4:
            assert item[q].tolist() == whole[q, 10 * q : 10 * q + 10].tolist()
            np.testing.assert_allclose(left[q], score[q, 10 * q : 10 * q + 10], rtol=1e-5)
        assert not set(item[q]) & set(refused[q])


def test_eight_bit_lists_are_rescored(lists_of_vectors, monkeypatch):
    vectors, queries, _ = lists_of_vectors
    monkeypatch.setattr("tamis.index._inverted_lists.SQ8_ABOVE_BYTES", 1000)
    index = VectorIndex.build(vectors, k=20, queries=queries, exact_below=1000)
    assert index.report.kind == "ivf-sq8"
    item, score = index.search(queries[:9], 20)
    expected = np.einsum("qd,qkd->qk", queries[:9], vectors[item])
    np.testing.assert_allclose(score, expected, rtol=1e-5)


def test_a_saved_index_returns_the_same_rows(lists_of_vectors, tmp_path):
    vectors, queries, index = lists_of_vectors
    soft = np.random.default_rng(0).standard_normal((12_000, 24)).astype(np.float32)
    codes = VectorIndex.build(soft, k=5, exact_below=100, present=np.arange(12_000) > 5)
    assert codes.report.kind == "pq"
    exact = VectorIndex.build(vectors[:90])
    cases = (("lists", index, queries), ("codes", codes, soft[:99]), ("exact", exact, queries))
    for name, one, queries in cases:
        one.save(tmp_path / name)
        again = VectorIndex.load(tmp_path / name)
        assert again.report == one.report
        for a, b in zip(one.search(queries, 7), again.search(queries, 7), strict=True):
            np.testing.assert_array_equal(a, b)


def test_impossible_vectors_targets_and_files_are_errors(tmp_path):
    with pytest.raises(DataError, match=r"not \(2, 2\) with NaN"):
        VectorIndex.build(np.array([[1, np.nan], [0, 1]], np.float32))
    with pytest.raises(DataError, match=r"not \(3,\)"):
        VectorIndex.build(np.zeros(3, np.float32))
    with pytest.raises(ConfigError, match="target_recall = 98"):
        VectorIndex.build(np.zeros((3, 2), np.float32), target_recall=98)
    with pytest.raises(VersionError, match=r"index\.json is missing"):
        VectorIndex.load(tmp_path)
    VectorIndex.build(np.zeros((3, 2), np.float32)).save(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"kind": "exact"}))
    with pytest.raises(VersionError, match="Roll back"):
        VectorIndex.load(tmp_path)


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(0, 8))
def test_the_heap_keeps_the_best_scores_with_ties_by_the_lower_row(scores, k):
    items, values = np.full(k, -1, np.int32), np.zeros(k, np.float32)
    size = 0
    for i, s in enumerate(scores):
        size = offer(items, values, size, i, np.float32(s))
    best_first(items, values, size)
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
    assert items[:size].tolist() == expected
