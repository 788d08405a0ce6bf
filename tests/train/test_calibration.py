"""Isotonic and Platt maps against scikit-learn; order, automatic choice, saving and refits."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from tamis.cascade import FitContext
from tamis.rank import GBDT, DeepFM
from tamis.schema import ConfigError, DenseFeat
from tamis.train import Calibration, Chosen, calibrated, fit_calibration, isotonic, platt


def outcomes(seed: int, n: int, bend=lambda z: z):
    """Labels, and log-odds of a model that predicts bend(z) where z is true."""
    random = np.random.default_rng(seed)
    z = random.normal(-2, 1.5, n)
    return (random.random(n) < expit(z)).astype(np.float32), bend(z).astype(np.float32)


def double(z):
    return 2 * z + 1


def bent(z):
    return z + 0.9 * np.sin(z)


def test_isotonic_passes_through_the_centres_of_scikit_learns_steps() -> None:
    labels, logits = outcomes(0, 3000, bent)
    found = isotonic(labels, logits)
    fitted = IsotonicRegression().fit(expit(logits), labels).predict(expit(logits))
    # Steps with both classes keep their mean; one-class steps at the ends may be pulled in.
    levels = np.unique(fitted[(fitted > 0) & (fitted < 1)])
    assert len(levels) > 10
    mine = expit(np.array(found.y))
    assert np.abs(levels[:, None] - mine).min(1).max() < 1e-6
    for x, y in zip(found.x[1:-1], found.y[1:-1], strict=True):
        its = np.isclose(fitted, expit(y), rtol=1e-5)
        assert logits[its].min() <= x <= logits[its].max()


def test_a_constant_score_is_mapped_to_the_rate() -> None:
    labels = np.array([0, 0, 0, 1, 0] * 20, np.float32)
    found = isotonic(labels, np.full(100, 3.0, np.float32))
    assert expit(found(np.array([3.0])))[0] == pytest.approx(0.2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(10, 500), st.sampled_from(["platt", "isotonic"]))
def test_maps_increase_strictly_and_are_finite(seed, n, kind) -> None:
    labels, logits = outcomes(seed, n, bent)
    found = fit_calibration(labels, logits, kind)
    z = np.linspace(-60, 60, 4001)
    assert np.isfinite(found(z)).all()
    assert (np.diff(found(z)) > 0).all()
    p = expit(found(logits.astype(np.float64)))
    assert ((p > 0) & (p < 1)).all()
    if 0 < labels.sum() < n:
        assert roc_auc_score(labels, found(logits.astype(np.float64))) == pytest.approx(
            roc_auc_score(labels, logits)
        )


def test_isotonic_separates_a_perfect_model_without_certainty() -> None:
    logits = np.linspace(-3, 3, 100).astype(np.float32)
    p = expit(isotonic((logits > 0).astype(np.float32), logits)(logits))
    assert 0 < p.min() < 0.05
    assert 0.95 < p.max() < 1


def test_one_class_or_no_label_leaves_the_scores_alone() -> None:
    z = np.arange(5, dtype=np.float32)
    for labels in (np.ones(5), np.zeros(5), np.full(5, np.nan), np.zeros(0)):
        for method in ("platt", "isotonic", "auto"):
            found = fit_calibration(labels, z[: len(labels)], method)
            np.testing.assert_array_equal(found(z), z)


def test_missing_labels_do_not_count() -> None:
    labels, logits = outcomes(3, 900, double)
    holes = labels.copy()
    holes[::3] = np.nan
    here = ~np.isnan(holes)
    for method in ("platt", "isotonic", "auto"):
        assert fit_calibration(holes, logits, method) == fit_calibration(
            labels[here], logits[here], method
        )


@pytest.mark.parametrize(
    ("bend", "n", "kind"),
    [(lambda z: z, 20_000, "none"), (double, 20_000, "platt"), (bent, 40_000, "isotonic")],
)
def test_auto_takes_the_simplest_that_is_as_good_as_the_best(bend, n, kind) -> None:
    labels, logits = outcomes(4, n, bend)
    assert fit_calibration(labels, logits).kind == kind


def test_auto_calibrates_orders_and_keeps_groups_in_one_fold() -> None:
    labels, logits = outcomes(5, 6000)
    assert fit_calibration(labels, logits, orders_only=True).kind == "platt"
    # Each row 30 times: with copies in several folds isotonic regression would seem good.
    many, repeated = np.tile(labels[:200], 30), np.tile(logits[:200], 30)
    groups = np.tile(np.arange(200), 30)
    assert fit_calibration(many, repeated, groups=groups).kind != "isotonic"


def test_each_column_has_its_own_map() -> None:
    labels, logits = outcomes(6, 500, double)
    both = np.stack([logits, logits], axis=1)
    line = platt(labels, logits)
    out = calibrated(both, [line, Calibration()])
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out[:, 1], logits)
    np.testing.assert_allclose(out[:, 0], line.slope * logits + line.y[0], rtol=1e-5, atol=1e-5)
    assert calibrated(both, ()) is both


def test_json_round_trip_is_exact() -> None:
    found = isotonic(*outcomes(7, 2000))
    again = Calibration.model_validate_json(found.model_dump_json())
    assert again == found
    assert str(found) == f"isotonic, {len(found.x)} knots"
    with pytest.raises(ValidationError, match="as many x as y"):
        Calibration(kind="isotonic", x=(0.0, 0.0), y=(0.0, 1.0))


def frame(seed: int, n: int = 4000) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    x = random.normal(size=n)
    return pl.DataFrame({"x": x, "label": (random.random(n) < expit(x - 2)).astype(np.float32)})


def test_the_refit_and_the_saved_model_keep_what_was_chosen(tmp_path) -> None:
    kind = "isotonic"
    features = [DenseFeat("x", transform="none")]
    train, valid, test = frame(0), frame(1), frame(2)
    model = DeepFM(features=features, epochs=2, hidden_units=(8,), calibrate=kind)
    model.fit(train, valid=valid)
    assert [m.kind for m in model.calibrations] == [kind]
    assert Chosen.from_dict(json.loads(json.dumps(model.chosen.to_dict()))) == model.chosen
    context = FitContext(chosen=model.chosen)
    refit = DeepFM(features=features, hidden_units=(8,), calibrate=kind)
    refit.fit(train, context=context)
    assert refit.calibrations == model.calibrations
    assert refit.config == DeepFM(hidden_units=(8,), calibrate=kind).config
    refit.save(tmp_path)
    np.testing.assert_array_equal(DeepFM.load(tmp_path).predict(test), refit.predict(test))
    with pytest.raises(ConfigError, match="needs held-out rows"):
        DeepFM(features=features, epochs=1, hidden_units=(8,), calibrate=kind).fit(train)
    two = Chosen(epochs=1, calibrations=(Calibration(), Calibration()))
    with pytest.raises(ConfigError, match="holds 2 maps for 1 tasks"):
        DeepFM(features=features).fit(train, context=FitContext(chosen=two))


@pytest.mark.parametrize("model", [DeepFM, GBDT])
def test_sampled_negatives_do_not_raise_the_predictions(model, tmp_path) -> None:
    features = [DenseFeat("x", transform="none")]
    train, test = frame(0, 60_000), frame(1, 20_000)
    deep = {"epochs": 4, "batch_size": 256, "hidden_units": (8,), "learning_rate": 0.01}
    options = deep if model is DeepFM else {"trees": 80}
    fitted = model(features=features, negatives=0.2, **options).fit(train)
    rows = test["label"].to_numpy()
    p = fitted.predict(test)
    assert p.sum() / rows.sum() == pytest.approx(1, abs=0.05)
    raw = expit(fitted.logits(fitted._space().rows(test))[:, 0] + sum(fitted.shifts))
    assert raw.sum() / rows.sum() > 2
    np.testing.assert_allclose(p, 0.2 * raw / (1 - raw + 0.2 * raw), rtol=1e-4)
    fitted.save(tmp_path)
    np.testing.assert_array_equal(model.load(tmp_path).predict(test), p)


@pytest.mark.parametrize(
    "one",
    [
        Calibration(),
        Calibration(kind="platt", y=(0.4,), slope=0.7),
        Calibration(kind="isotonic", x=(-2.0, 0.0), y=(-1.0, -0.5), slope=0.3),
    ],
)
def test_a_moved_map_gives_log_odds_that_differ_by_the_shift(one: Calibration) -> None:
    z = np.linspace(-5, 5, 50)
    before = one(z)
    np.testing.assert_allclose(one.moved(-0.3)(z), before - 0.3, atol=1e-12)
