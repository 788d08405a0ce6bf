"""Platt calibration: recovers a known line, keeps the order, equals scikit-learn's."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from tamis.cascade import FitContext
from tamis.features import FrameSpace
from tamis.rank import DeepFM
from tamis.schema import DenseFeat
from tamis.train.calibration import calibrated, platt
from tamis.train.platt import beyond_chance, line_beyond_chance, platt_line


def test_it_finds_the_line_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=200_000)
    y = rng.random(len(z)) < 1 / (1 + np.exp(-(0.5 * z - 2)))
    assert platt_line(y.astype(np.float32), z) == pytest.approx((0.5, -2.0), abs=0.03)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_it_equals_logistic_regression_on_platts_targets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=500) * 3
    y = (rng.random(500) < 1 / (1 + np.exp(-(0.7 * z + 0.4)))).astype(np.float32)
    target = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2), 1 / ((y == 0).sum() + 2))
    other = LogisticRegression(C=1e12, tol=1e-8).fit(
        np.tile(z, 2)[:, None], np.repeat([1, 0], 500), np.concatenate([target, 1 - target])
    )
    slope, intercept = platt_line(y, z)
    assert slope == pytest.approx(other.coef_[0, 0], rel=1e-2)
    assert intercept == pytest.approx(other.intercept_[0], abs=1e-2)


def test_the_order_is_kept_even_for_reversed_scores() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(400, 1)).astype(np.float32)
    line = platt((z[:, 0] < 0).astype(np.float32), z[:, 0])
    p = expit(calibrated(z, (line,)))
    assert line.slope > 0
    assert (np.diff(p[np.argsort(z[:, 0]), 0]) >= 0).all()


def test_one_class_only_leaves_the_scores_alone() -> None:
    assert platt_line(np.ones(5), np.arange(5.0)) == (1.0, 0.0)
    assert platt(np.full(5, np.nan), np.arange(5.0)).kind == "none"


def test_missing_labels_are_left_out() -> None:
    rng = np.random.default_rng(2)
    z = rng.normal(size=300)
    y = (rng.random(300) < 0.3).astype(np.float32)
    holes = np.concatenate([y, np.full(50, np.nan, np.float32)])
    filled = platt_line(holes, np.concatenate([z, np.full(50, 9.0)]))
    assert filled == pytest.approx(platt_line(y, z))


def test_a_listwise_fit_is_calibrated_on_its_validation_rows(tmp_path) -> None:
    rng = np.random.default_rng(3)
    n = 6000
    x = rng.normal(size=n)
    data = pl.DataFrame({"x": x, "y": (rng.random(n) < 1 / (1 + np.exp(3 - x))).astype(np.float32)})
    features = [DenseFeat("x", transform="none")]
    space = FrameSpace.fit(data, features)
    rows = space.rows(data, labels=["y"])
    assert rows.labels is not None
    rows = rows.labelled(rows.labels, np.arange(n, dtype=np.int64) // 20)
    first, second = (rows.select(np.arange(k, k + n // 2)) for k in (0, n // 2))
    model = DeepFM(loss="listwise", epochs=3, hidden_units=(8,)).fit(first, second, ["y"])
    assert model.score_rows(second)["y"].mean() == pytest.approx(
        data["y"][n // 2 :].mean(), abs=0.01
    )
    context = FitContext(chosen=model.chosen)
    again = DeepFM(loss="listwise", hidden_units=(8,)).fit(first, None, ["y"], context)
    assert len(again.history) == model.chosen.epochs
    assert again.score_rows(second)["y"].mean() == pytest.approx(data["y"].mean(), abs=0.03)
    model.save(tmp_path)
    loaded = DeepFM.load(tmp_path)
    np.testing.assert_array_equal(loaded.score_rows(second)["y"], model.score_rows(second)["y"])


def test_an_estimate_within_its_error_is_chance() -> None:
    assert beyond_chance(0.1, 0.1) == 0
    assert beyond_chance(-0.2, 0.1) == pytest.approx(-0.15)  # by hand: 1 − 1/4
    assert beyond_chance(0.0, 0.0) == 0


def test_served_log_odds_are_corrected_as_far_as_statsmodels_finds_beyond_chance() -> None:
    draw = np.random.default_rng(3)
    z = draw.normal(-1, 1, 3000)
    y = (draw.random(3000) < expit(0.6 * z - 0.3)).astype(np.float64)
    fit = sm.Logit(y, sm.add_constant(z)).fit(disp=0)
    p = fit.predict()
    middle = (p * (1 - p)) @ z / (p * (1 - p)).sum()
    apart = sm.Logit(y, sm.add_constant(z - middle)).fit(disp=0)  # level and slope independent
    assert abs(apart.cov_params()[0, 1]) < 1e-9
    slope, intercept = line_beyond_chance(y, z)
    wanted = 1 + beyond_chance(apart.params[1] - 1, apart.bse[1])
    assert slope == pytest.approx(wanted, rel=2e-3)  # Platt's targets differ a little
    level = beyond_chance(apart.params[0] - middle, apart.bse[0])
    assert slope * middle + intercept == pytest.approx(middle + level, rel=2e-3)


def test_few_rows_leave_what_was_served() -> None:
    draw = np.random.default_rng(4)
    z = draw.normal(0, 1, 40)
    y = (draw.random(40) < expit(z)).astype(np.float64)
    assert line_beyond_chance(y, z) == pytest.approx((1.0, 0.0))


def test_weights_of_any_scale_say_the_same() -> None:
    draw = np.random.default_rng(5)
    z = draw.normal(-1, 1, 2000)
    y, w = (draw.random(2000) < expit(0.7 * z)).astype(np.float64), draw.random(2000)
    plain = line_beyond_chance(y, z, w)
    assert plain[0] < 0.9
    for scale in (0.01, 100.0):
        assert line_beyond_chance(y, z, scale * w) == pytest.approx(plain, rel=1e-6)


def test_rows_that_go_together_say_less() -> None:
    draw = np.random.default_rng(6)
    z = draw.normal(-1, 1, 300)
    y = (draw.random(300) < expit(0.6 * z)).astype(np.float64)
    alone = line_beyond_chance(y, z)
    assert alone[0] < 1
    copies, query = np.repeat(np.arange(300), 20), np.repeat(np.arange(300), 20)
    grouped = line_beyond_chance(y[copies], z[copies], groups=query)
    assert grouped == pytest.approx(alone, abs=0.02)  # Platt's targets differ a little
    assert line_beyond_chance(y[copies], z[copies])[0] < alone[0]


def test_one_class_leaves_what_was_served() -> None:
    assert line_beyond_chance(np.ones(5), np.arange(5.0)) == (1.0, 0.0)
