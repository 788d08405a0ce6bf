"""Metrics of batches: what scikit-learn or a naive version says of all rows at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    log_loss,
    mean_absolute_error,
    ndcg_score,
    roc_auc_score,
    root_mean_squared_error,
)

from tamis.evaluate import (
    AUC,
    GAUC,
    NDCG,
    XAUC,
    Buckets,
    Errors,
    LogLoss,
    NumberMetrics,
    RateMetrics,
    Reliability,
    calibration_curve,
    ece,
    gauc,
    pcoc,
)
from tamis.schema import DataError


def log(seed: int, n: int = 400, distinct: int | None = None):
    """labels, float32 scores, users and requests in ascending order."""
    random = np.random.default_rng(seed)
    scores = random.random(n) ** 3
    if distinct:
        scores = np.round(scores * distinct) / distinct
    scores = scores.astype(np.float32)
    labels = (random.random(n) < scores).astype(float)
    requests = np.sort(random.integers(0, n // 8, n))
    return labels, scores, requests // 3, requests


def fed(metric, cuts, *columns):
    """The metric after the columns in batches that end at `cuts`."""
    for begin, end in zip([0, *cuts], [*cuts, len(columns[0])], strict=True):
        metric.add(*(column[begin:end] for column in columns))
    return metric


CUTS = st.lists(st.integers(0, 400), max_size=6).map(sorted)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), CUTS, st.sampled_from([None, 5, 40]))
def test_auc_and_log_loss_equal_scikit_learn(seed, cuts, distinct) -> None:
    labels, scores, _, _ = log(seed, distinct=distinct)
    found = fed(AUC(most=500), cuts, labels, scores)
    assert found.result() == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert found.error == 0
    loss = fed(LogLoss(), cuts, labels, scores)
    p = np.clip(scores.astype(float), 1e-7, 1 - 1e-7)
    assert loss.result() == pytest.approx(log_loss(labels, p))
    constant = log_loss(labels, np.full(len(labels), labels.mean()))
    assert loss.normalised() == pytest.approx(loss.result() / constant)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), CUTS)
def test_gauc_equals_that_of_the_complete_log(seed, cuts) -> None:
    labels, scores, users, _ = log(seed)
    found = fed(GAUC(), cuts, labels, scores, users)
    assert found.result() == pytest.approx(gauc(labels, scores, users))
    one_class = [u for u in np.unique(users) if len(set(labels[users == u])) == 1]
    assert found.skipped == len(one_class)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), CUTS, st.sampled_from([None, 4]), st.sampled_from([1, 3, 10]))
def test_ndcg_equals_the_mean_of_scikit_learn_over_requests(seed, cuts, distinct, k) -> None:
    labels, scores, _, requests = log(seed, distinct=distinct)
    expected = []
    for request in np.unique(requests):
        y, s = labels[requests == request], scores[requests == request]
        if y.sum() and len(y) > 1:
            expected.append(ndcg_score(y[None], s[None], k=k))
        elif y.sum():
            expected.append(1.0)
    found = fed(NDCG(k), cuts, labels, scores, requests)
    assert found.result() == pytest.approx(np.mean(expected))
    assert found.skipped == len(np.unique(requests)) - len(expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), CUTS, st.sampled_from([None, 6]))
def test_calibration_equals_that_of_the_complete_log(seed, cuts, distinct) -> None:
    labels, scores, _, _ = log(seed, distinct=distinct)
    found = fed(Reliability(), cuts, labels, scores)
    curve = calibration_curve(labels, scores)
    assert [(b.count, pytest.approx(b.predicted), pytest.approx(b.observed)) for b in curve] == [
        (b.count, b.predicted, b.observed) for b in found.curve()
    ]
    assert found.ece() == pytest.approx(ece(curve))
    assert found.pcoc() == pytest.approx(pcoc(labels, scores))


def test_bounded_memory_keeps_the_auc_within_the_error_that_it_states() -> None:
    labels, scores, _, _ = log(3, n=20_000)
    exact = roc_auc_score(labels, scores)
    found = fed(AUC(most=100), range(500, 20_000, 500), labels, scores)
    assert len(found.table.rows) <= 100
    assert 0 < abs(found.result() - exact) <= found.error < 0.03
    wider = fed(AUC(most=3000), range(500, 20_000, 500), labels, scores)
    assert abs(wider.result() - exact) <= wider.error < 1e-3
    assert found.table.rows.sum() == 20_000
    assert found.table.pcoc() == pytest.approx(pcoc(labels, scores))


def test_scores_below_zero_and_zeros_of_both_signs_are_in_order() -> None:
    labels, scores = np.array([0, 1, 0, 1.0]), np.array([-3.5, 0.0, -0.0, 2.0])
    found = fed(AUC(), [2], labels, scores)
    assert found.result() == roc_auc_score(labels, scores) == 0.875
    assert found.table.scores.tolist() == [-3.5, 0.0, 2.0]


def naive_xauc(labels, scores) -> float:
    won = pairs = 0.0
    for i in range(len(labels)):
        for j in range(i):
            if labels[i] != labels[j]:
                pairs += 1
                sign = (scores[i] - scores[j]) * (labels[i] - labels[j])
                won += 1.0 if sign > 0 else 0.5 if sign == 0 else 0.0
    return won / pairs


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(0, 60), max_size=3).map(sorted))
def test_xauc_counts_pairs(seed, cuts) -> None:
    random = np.random.default_rng(seed)
    labels, scores = random.integers(0, 9, 60).astype(float), random.integers(0, 20, 60)
    found = fed(XAUC(), cuts, labels, scores)
    assert found.result() == pytest.approx(naive_xauc(labels, scores))
    assert found.error == 0


def test_xauc_of_a_sample_is_within_its_stated_error() -> None:
    random = np.random.default_rng(0)
    labels = random.gamma(2.0, 10.0, 50_000)
    scores = labels + random.normal(0, 20, len(labels))
    exact = fed(XAUC(), [], labels, scores).result()
    sampled = fed(XAUC(most=4000), range(1000, 50_000, 1000), labels, scores)
    assert sampled.error == pytest.approx(0.0158, abs=1e-4)
    assert abs(sampled.result() - exact) < 2 * sampled.error


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), CUTS)
def test_errors_equal_scikit_learn(seed, cuts) -> None:
    random = np.random.default_rng(seed)
    labels, predicted = random.gamma(2, 3, 400), random.gamma(2, 3, 400)
    found = fed(Errors(), cuts, labels, predicted).result()
    assert found["mae"] == pytest.approx(mean_absolute_error(labels, predicted))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(labels, predicted))
    assert found["bias"] == pytest.approx(predicted.mean() / labels.mean())


def test_missing_labels_do_not_count() -> None:
    labels, scores, users, requests = log(5)
    holes = labels.copy()
    holes[::3] = np.nan
    here = ~np.isnan(holes)
    whole = fed(RateMetrics(), [90, 91], *(c[here] for c in (labels, scores, users, requests)))
    assert fed(RateMetrics(), [7, 300], holes, scores, users, requests).result() == pytest.approx(
        whole.result()
    )
    numbers = NumberMetrics()
    numbers.add(holes, scores)
    assert numbers.result()["rows"] == here.sum()


def test_the_metrics_of_a_rate() -> None:
    labels, scores, users, requests = log(6)
    found = fed(RateMetrics(), [100], labels, scores, users, requests).result()
    assert found["rows"] == 400
    assert found["positives"] == labels.sum()
    assert found["auc"] == pytest.approx(roc_auc_score(labels, scores))
    assert found["gauc"] == pytest.approx(gauc(labels, scores, users))
    assert found["ndcg@10"] == pytest.approx(fed(NDCG(10), [], labels, scores, requests).result())
    assert found["ne"] < 1
    shares = fed(RateMetrics(binary=False), [], labels / 2, scores, users, requests).result()
    assert "auc" not in shares
    assert shares["xauc"] == pytest.approx(found["auc"])


def test_buckets_hold_predicted_and_observed_rates_of_each_value() -> None:
    found = Buckets(3)
    found.add(np.array([1, 0, np.nan]), np.array([0.5, 0.1, 0.9]), np.array([0, 0, 2]))
    found.add(np.array([1.0]), np.array([0.25]), np.array([2]))
    first, empty, last = found.result()
    assert (first.predicted, first.observed, first.count) == (0.3, 0.5, 2)
    assert empty is None
    assert (last.predicted, last.observed, last.count) == (0.25, 1.0, 1)


def test_no_rows_give_nan() -> None:
    empty = np.zeros(0)
    metrics = RateMetrics()
    metrics.add(empty, empty, empty, empty)
    found = metrics.result()
    assert found.pop("rows") == found.pop("positives") == found.pop("auc_error") == 0
    assert found.pop("gauc_skipped") == 0
    assert np.isnan(list(found.values())).all()
    assert metrics.curve() == []
    numbers = NumberMetrics().result()
    assert numbers.pop("rows") == 0
    assert np.isnan(list(numbers.values())).all()


def test_bad_input_is_refused_with_its_value() -> None:
    with pytest.raises(DataError, match="ascending order of their group"):
        fed(GAUC(), [2], np.zeros(3), np.zeros(3), np.array([4, 5, 4]))
    with pytest.raises(DataError, match="1 of 2 scores are NaN"):
        Errors().add(np.array([0, 1]), np.array([0.1, np.nan]))
    with pytest.raises(DataError, match=r"label 2\.0 is not in \[0, 1\]"):
        Reliability().add(np.array([2.0]), np.array([0.1]))
    with pytest.raises(DataError, match=r"label 0\.5 is neither 0 nor 1"):
        AUC().add(np.array([0.5]), np.array([0.1]))
