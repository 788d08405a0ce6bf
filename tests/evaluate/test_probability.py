"""AUC, GAUC, log loss and calibration against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from tamis.evaluate import calibration_curve, ece, gauc, group_auc, pcoc
from tamis.schema import DataError
from tamis.train import auc, log_loss

ROWS = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.integers(0, 3)), max_size=30
)


def columns(rows):
    """labels, scores, groups."""
    return (
        np.array([r[0] for r in rows], float),
        np.array([r[1] for r in rows], float),
        np.array([r[2] for r in rows], int),
    )


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_auc_with_ties(rows) -> None:
    labels, scores, _ = columns(rows)
    if len(set(labels)) < 2:
        assert np.isnan(auc(labels, scores))
    else:
        assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_gauc_is_the_weighted_mean_of_the_groups(rows) -> None:
    labels, scores, groups = columns(rows)
    expected, weights = [], []
    for g in np.unique(groups):
        its = groups == g
        if len(set(labels[its])) == 2:
            expected.append(roc_auc_score(labels[its], scores[its]))
            weights.append(its.sum())
    if not expected:
        assert np.isnan(gauc(labels, scores, groups))
    else:
        assert gauc(labels, scores, groups) == pytest.approx(np.average(expected, weights=weights))


def test_group_auc_names_groups_in_order() -> None:
    per_group, rows = group_auc(
        np.array([1, 0, 1, 0, 1]), np.array([0.9, 0.1, 0.3, 0.3, 0.5]), np.array([7, 7, 9, 9, 8])
    )
    np.testing.assert_allclose(per_group, [1.0, np.nan, 0.5])
    assert rows.tolist() == [2, 1, 2]


def test_log_loss() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.random(500)
    labels = (rng.random(500) < predicted).astype(int)
    assert log_loss(labels, predicted) == pytest.approx(sklearn_log_loss(labels, predicted))
    assert log_loss(np.array([1]), np.array([0.0])) == pytest.approx(-np.log(1e-7))
    assert np.isnan(log_loss(np.zeros(0), np.zeros(0)))


def test_calibration_by_hand() -> None:
    predicted = np.array([0.1, 0.1, 0.3, 0.9])
    labels = np.array([0, 1, 0, 1])
    curve = calibration_curve(labels, predicted, bins=2, strategy="uniform")
    assert [(b.observed, b.count) for b in curve] == [(pytest.approx(1 / 3), 3), (1.0, 1)]
    assert [b.predicted for b in curve] == pytest.approx([0.5 / 3, 0.9])
    assert ece(curve) == pytest.approx((3 * (1 / 3 - 0.5 / 3) + 0.1) / 4)
    assert pcoc(labels, predicted) == pytest.approx(1.4 / 2)
    assert calibration_curve(np.zeros(0), np.zeros(0)) == []
    assert np.isnan(ece([]))
    assert np.isnan(pcoc(np.zeros(2), np.ones(2)))


def test_quantile_bins_hold_about_equally_many_rows_and_every_row() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.random(1000) ** 4
    labels = (rng.random(1000) < predicted).astype(int)
    curve = calibration_curve(labels, predicted, bins=10)
    assert [b.count for b in curve] == [100] * 10
    means = [b.predicted for b in curve]
    assert means == sorted(means)
    assert sum(b.observed * b.count for b in curve) == pytest.approx(labels.sum())
    assert ece(curve) < 0.06
    assert ece(calibration_curve(labels, np.full(1000, 0.9))) > 0.5


def test_rows_of_equal_prediction_stay_together() -> None:
    curve = calibration_curve(np.array([0, 1, 1, 1]), np.array([0.5, 0.5, 0.5, 0.7]), bins=4)
    assert [(b.predicted, b.count) for b in curve] == [(0.5, 3), (0.7, 1)]


def test_bad_input_is_refused_with_its_value() -> None:
    with pytest.raises(DataError, match="1 of 2 scores are NaN"):
        auc(np.array([0, 1]), np.array([0.1, np.nan]))
    with pytest.raises(DataError, match=r"label 3\.0 is neither 0 nor 1"):
        log_loss(np.array([0, 3]), np.array([0.1, 0.2]))
    with pytest.raises(DataError, match="one score per label"):
        auc(np.array([0, 1]), np.array([0.1]))
