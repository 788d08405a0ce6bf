"""Metrics against scikit-learn and by hand."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from tamis import evaluate
from tamis.schema import DataError
from tamis.train import auc, group_ndcg, log_loss, mean_group_ndcg


def test_auc_and_log_loss_equal_scikit_learn():
    draw = np.random.default_rng(0)
    y = (draw.random(500) < 0.3).astype(np.float32)
    p = np.round(draw.random(500), 1).clip(0.05, 0.95).astype(np.float32)
    assert auc(y, p) == pytest.approx(sk.roc_auc_score(y, p))
    assert log_loss(y, p) == pytest.approx(sk.log_loss(y, p), rel=1e-5)


def test_rows_without_label_do_not_count():
    y, p = np.array([1.0, 0.0, np.nan]), np.array([0.9, 0.1, 0.5])
    assert auc(y, p) == 1.0
    assert log_loss(y, p) == pytest.approx(-math.log(0.9))


def test_one_class_has_no_auc():
    assert math.isnan(auc(np.ones(3), np.arange(3.0)))
    assert math.isnan(log_loss(np.full(2, np.nan), np.ones(2)))


def test_evaluate_exports_the_same_functions():
    assert evaluate.auc is auc
    assert evaluate.log_loss is log_loss


@pytest.mark.parametrize("metric", [auc, log_loss])
@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1, np.nan], [0.1, np.nan, np.nan], "1 of 2 scores are NaN"),
        ([0, 3], [0.1, 0.2], r"label 3\.0 is neither 0 nor 1"),
        ([0, -1], [0.1, 0.2], r"label -1\.0 is neither 0 nor 1"),
        ([0, 1], [0.1], r"shape \(2,\) do not match scores of shape \(1,\)"),
        ([[0, 1]], [[0.1, 0.2]], "one score per label"),
    ],
)
def test_undefined_input_is_refused(metric, labels, scores, message):
    with pytest.raises(DataError, match=message):
        metric(np.array(labels), np.array(scores))


def test_log_loss_of_fractional_labels():
    expected = -(0.25 * math.log(0.5) + 0.75 * math.log(0.5))
    assert log_loss(np.array([0.25]), np.array([0.5])) == pytest.approx(expected)


def test_ndcg_by_hand():
    labels = np.array([0, 1, 0, 1, 0, 0, 1.0])
    scores = np.array([3, 2, 1, 9, 8, 5, 1.0])
    groups = np.array([7, 7, 7, 1, 1, 4, 7])
    # Group 7: a positive at place 2, and one of the two rows that share places 3 and 4; group 1: a
    # positive at place 1; group 4 has no positive.
    gained = 1 / math.log2(3) + (1 / math.log2(4) + 1 / math.log2(5)) / 2
    expected = gained / (1 + 1 / math.log2(3))
    each = group_ndcg(labels, scores, groups)
    np.testing.assert_allclose(each, [1, np.nan, expected])
    assert mean_group_ndcg(labels, scores, groups) == pytest.approx((expected + 1) / 2)
    assert mean_group_ndcg(labels, scores, groups, k=1) == pytest.approx(0.5)


def test_the_order_of_tied_rows_does_not_change_ndcg():
    labels, groups = np.array([1.0, 0, 0, 1]), np.zeros(4, np.int64)
    scores = np.array([0.5, 0.5, 0.2, 0.2])
    found = mean_group_ndcg(labels, scores, groups)
    assert mean_group_ndcg(labels[[1, 0, 3, 2]], scores, groups) == pytest.approx(found)
    assert mean_group_ndcg(np.append(labels, np.nan), np.append(scores, 9), np.zeros(5)) == found
    assert math.isnan(mean_group_ndcg(np.zeros(4), scores, groups))
