"""The paired bootstrap: against scipy and the normal interval; seeded; honest about nothing."""

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from tamis.evaluate import bootstrap_mean, paired_bootstrap
from tamis.schema import DataError


def test_agrees_with_scipy_and_the_normal_interval() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(800) + 0.05, rng.random(800)
    ours[3] = np.nan
    interval = paired_bootstrap(ours, theirs, seed=1)
    difference = (ours - theirs)[~np.isnan(ours)]
    assert interval.mean == pytest.approx(difference.mean())
    spread = 1.96 * difference.std(ddof=1) / np.sqrt(len(difference))
    assert interval.low == pytest.approx(difference.mean() - spread, abs=spread * 0.12)
    assert interval.high == pytest.approx(difference.mean() + spread, abs=spread * 0.12)
    theirs_way = scipy_bootstrap(
        (difference,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert interval.low == pytest.approx(theirs_way.low, abs=spread * 0.12)
    assert interval.high == pytest.approx(theirs_way.high, abs=spread * 0.12)


def test_paired_intervals_find_differences_that_separate_intervals_do_not() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.random(400)
    interval = paired_bootstrap(theirs + rng.normal(0.01, 0.01, 400), theirs)
    assert 0 < interval.low < 0.01 < interval.high < 0.012
    assert bootstrap_mean(theirs).high - bootstrap_mean(theirs).low > 0.04


def test_equal_methods_differ_by_nothing() -> None:
    values = np.random.default_rng(0).random(50)
    assert paired_bootstrap(values, values).to_dict() == {"mean": 0, "low": 0, "high": 0}


def test_the_seed_determines_the_interval() -> None:
    values = np.random.default_rng(0).random(50)
    assert bootstrap_mean(values, seed=4) == bootstrap_mean(values, seed=4)
    assert bootstrap_mean(values, seed=4) != bootstrap_mean(values, seed=5)


def test_edges() -> None:
    assert np.isnan(bootstrap_mean(np.full(3, np.nan)).mean)
    one = bootstrap_mean(np.array([0.3, np.nan]))
    assert (one.mean, one.low, one.high) == (0.3, 0.3, 0.3)
    with pytest.raises(DataError, match="same users"):
        paired_bootstrap(np.zeros(3), np.zeros(4))
