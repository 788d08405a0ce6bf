"""Power, health and corrections against statsmodels, scipy and simulation."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

from tamis.experiments import (
    ArmMoments,
    Metric,
    before_exposure,
    benjamini_hochberg,
    detectable,
    effect,
    holm,
    power,
    sample_ratio,
    sample_ratio_watched,
    sample_size,
    several_arms,
)
from tamis.schema import ConfigError, DataError


@pytest.mark.parametrize("share", [0.5, 0.1, 0.8])
def test_sample_size_is_that_of_statsmodels(share):
    found = sample_size(0.3, 2.0, share=share)
    oracle = NormalIndPower().solve_power(
        0.15, power=0.8, alpha=0.05, ratio=share / (1 - share), nobs1=None
    )
    assert found == pytest.approx(oracle / (1 - share), abs=1.0)


def test_power_and_detectable_difference_agree_with_the_sample_size():
    n = sample_size(0.3, 2.0)
    assert power(0.3, 2.0, n // 2, n - n // 2) == pytest.approx(0.8, abs=1e-3)
    assert detectable(n, 2.0) == pytest.approx(0.3, abs=1e-3)
    oracle = NormalIndPower().power(0.15, 250, 0.05, ratio=1.5)
    assert power(0.3, 2.0, 250, 375) == pytest.approx(oracle, abs=1e-12)


def test_the_planned_size_finds_the_planned_effect():
    """2,000 experiments of the planned size: 80 % are found, and 95 % of the intervals hold."""
    random = np.random.default_rng(3)
    n = sample_size(0.3, 2.0)
    half, found, covered = n // 2, 0, 0
    for _ in range(2_000):
        arms = [random.gamma(1.0, 2.0, half), random.gamma(1.0, 2.0, half) + 0.3]
        now = effect(*(ArmMoments.of(("y",), arm[:, None]) for arm in arms), Metric("y"))
        found += now.p < 0.05
        covered += now.low <= 0.3 <= now.high
    assert found / 2_000 == pytest.approx(0.8, abs=0.03)
    assert covered / 2_000 == pytest.approx(0.95, abs=0.01)


def test_corrections_are_those_of_statsmodels():
    p = np.random.default_rng(5).uniform(size=30) ** 2
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-12)
    np.testing.assert_allclose(
        benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1], atol=1e-12
    )
    with pytest.raises(DataError, match=r"number 1 is 1\.5"):
        holm([0.1, 1.5])


def test_a_mismatch_of_two_hundredths_is_always_found():
    random = np.random.default_rng(9)
    counts = random.binomial(200_000, 0.51, 500)
    assert not any(sample_ratio((c, 200_000 - c), (1, 1)).sound for c in counts)
    counts = random.binomial(200_000, 0.505, 500)
    assert np.mean([not sample_ratio((c, 200_000 - c), (1, 1)).sound for c in counts]) >= 0.85
    counts = random.binomial(200_000, 0.5, 2_000)
    assert np.mean([not sample_ratio((c, 200_000 - c), (1, 1)).sound for c in counts]) <= 0.004


def test_the_watched_check_alarms_rarely_at_any_look_and_finds_a_mismatch():
    random = np.random.default_rng(13)
    looks = np.arange(500, 20_001, 500)
    alarms = 0
    for _ in range(300):
        first = np.cumsum(random.random(20_000) < 0.5)[looks - 1]
        alarms += any(
            sample_ratio_watched((c, n - c), (1, 1)).p < 0.05
            for c, n in zip(first, looks, strict=True)
        )
    assert alarms / 300 <= 0.05
    assert not sample_ratio_watched((102_000, 98_000), (1, 1)).sound


def test_differences_before_exposure_and_users_in_several_arms_are_found():
    random = np.random.default_rng(17)
    control, other = (ArmMoments.of(("y",), random.normal(m, 1, (2_000, 1))) for m in (0, 0.2))
    assert not before_exposure(control, other, Metric("y")).sound
    same = ArmMoments.of(("y",), random.normal(0, 1, (2_000, 1)))
    assert before_exposure(control, same, Metric("y")).sound
    assert several_arms(10_000, 10).sound
    assert not several_arms(10_000, 11).sound


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: sample_size(0.0, 1.0), "smallest difference that matters"),
        (lambda: sample_size(0.1, 1.0, share=1.0), "share = 1.0"),
        (lambda: sample_size(0.1, -1.0), "deviation = -1.0"),
        (lambda: sample_size(0.1, 1.0, wanted=0.01), "power = 0.01"),
        (lambda: detectable(3, 1.0), "at least 2"),
        (lambda: sample_ratio((1, 2), (1.0,)), "one positive share per arm"),
    ],
)
def test_wrong_plans_are_refused(call, match):
    with pytest.raises(ConfigError, match=match):
        call()
