"""Metrics against scikit-learn and by hand."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from tamis.train import auc, grouped_ndcg, log_loss


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


def test_ndcg_by_hand():
    labels = np.array([0, 1, 0, 1, 0, 0, 1.0])
    scores = np.array([3, 2, 1, 9, 8, 5, 1.0])
    groups = np.array([7, 7, 7, 1, 1, 4, 7])
    # group 7: order 0,1,(1st of the tie) 2, 6 → positives at places 2 and 4; group 1: place 1
    first = (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    assert grouped_ndcg(labels, scores, groups) == pytest.approx((first + 1) / 2)
    assert grouped_ndcg(labels, scores, groups, k=1) == pytest.approx(0.5)
