"""Effects against independent computations, and the error rates of 4,000 experiments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from tamis.experiments import ArmMoments, Metric, always_valid, effect
from tamis.schema import ConfigError, DataError

NAMES = ("clicks", "shown", "clicks_before", "shown_before")
MEAN = Metric("clicks")
RATIO = Metric("clicks", "shown")
CUPED = Metric("clicks", before="clicks_before")
CUPED_RATIO = Metric("clicks", "shown", "clicks_before", "shown_before")
METRICS = [MEAN, RATIO, CUPED, CUPED_RATIO]


def users(random, n, lift=0.0):
    """(n, 4) impressions and clicks of users who differ much from one another."""
    activity = random.gamma(0.5, 2.0, n)
    rate = np.clip(0.05 + 0.05 * random.beta(1, 3, n), 0, 1)
    shown, before = (random.poisson(2 + 6 * activity) for _ in range(2))
    clicks = random.binomial(shown, np.clip(rate * (1 + lift), 0, 1))
    return np.stack([clicks, shown, random.binomial(before, rate), before], axis=1).astype(float)


@pytest.fixture(scope="module")
def arms():
    random = np.random.default_rng(1)
    return users(random, 900), users(random, 1_100, 0.2)


def test_a_mean_is_welchs_test(arms):
    a, b = (ArmMoments.of(NAMES, values) for values in arms)
    found = effect(a, b, MEAN, confidence=0.9)
    oracle = CompareMeans(DescrStatsW(arms[1][:, 0]), DescrStatsW(arms[0][:, 0]))
    low, high = oracle.tconfint_diff(alpha=0.1, usevar="unequal")
    assert found.p == pytest.approx(oracle.ttest_ind(usevar="unequal")[1], abs=1e-12)
    assert (found.low, found.high) == (
        pytest.approx(low, abs=1e-12),
        pytest.approx(high, abs=1e-12),
    )


def test_a_ratio_is_the_welch_test_of_linearised_users(arms):
    """The delta method is the mean of (a − r b) ÷ b̅ over users."""
    found = effect(*(ArmMoments.of(NAMES, values) for values in arms), RATIO)
    parts = []
    for values in arms:
        clicks, shown = values[:, 0], values[:, 1]
        parts.append((clicks - clicks.sum() / shown.sum() * shown) / shown.mean())
    error = np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts))
    assert found.error == pytest.approx(error, rel=1e-12)
    assert found.treatment == pytest.approx(arms[1][:, 0].sum() / arms[1][:, 1].sum(), rel=1e-12)


def test_cuped_is_the_mean_of_adjusted_users(arms):
    found = effect(*(ArmMoments.of(NAMES, values) for values in arms), CUPED)
    both = np.concatenate(arms)
    theta = np.cov(both[:, 0], both[:, 2])[0, 1] / both[:, 2].var(ddof=1)
    adjusted = [v[:, 0] - theta * (v[:, 2] - both[:, 2].mean()) for v in arms]
    oracle = stats.ttest_ind(adjusted[1], adjusted[0], equal_var=False)
    assert found.p == pytest.approx(oracle.pvalue, abs=1e-12)
    assert found.difference == pytest.approx(adjusted[1].mean() - adjusted[0].mean(), abs=1e-12)


def test_cuped_leaves_one_minus_the_squared_correlation(arms):
    found = effect(*(ArmMoments.of(NAMES, values) for values in arms), CUPED)
    both = np.concatenate(arms)
    correlation = np.corrcoef(both[:, 0], both[:, 2])[0, 1]
    assert found.variance_kept == pytest.approx(1 - correlation**2, rel=0.1)


def test_the_relative_difference_holds_its_interval(arms):
    found = effect(*(ArmMoments.of(NAMES, values) for values in arms), MEAN)
    assert found.relative == pytest.approx(found.treatment / found.control - 1)
    assert found.relative_low < found.relative < found.relative_high


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_moments_of_parts_add_up(seed, parts):
    values = np.random.default_rng(seed).normal(1e6, 1.0, (40, 4))
    whole = ArmMoments.of(NAMES, values)
    added = sum(
        (ArmMoments.of(NAMES, p) for p in np.array_split(values, parts)), ArmMoments.empty(NAMES)
    )
    assert added.n == 40
    np.testing.assert_allclose(added.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(added.covariance, np.cov(values.T), rtol=1e-6, atol=1e-9)


def test_equal_arms_are_rarely_found_different():
    """4,000 experiments without an effect; a test by impressions finds one in about a sixth."""
    random = np.random.default_rng(7)
    found = np.zeros((4_000, len(METRICS)))
    by_impression = np.zeros(4_000)
    for number in range(4_000):
        arms = users(random, 400), users(random, 400)
        moments = [ArmMoments.of(NAMES, values) for values in arms]
        found[number] = [effect(*moments, metric).p for metric in METRICS]
        by_impression[number] = _by_impression(*arms)
    shares = (found < 0.05).mean(axis=0)
    assert (shares >= 0.040).all(), shares
    assert (shares <= 0.060).all(), shares
    assert (by_impression < 0.05).mean() > shares.max()


def _by_impression(a, b):
    """p of the naive test that takes every impression for independent."""
    clicks, shown = (
        np.array([a[:, 0].sum(), b[:, 0].sum()]),
        np.array([a[:, 1].sum(), b[:, 1].sum()]),
    )
    rate = clicks.sum() / shown.sum()
    error = np.sqrt(rate * (1 - rate) * (1 / shown).sum())
    return 2 * stats.norm.sf(abs(np.diff(clicks / shown)[0]) / error)


def test_intervals_that_are_watched_hold_at_all_looks():
    """1,000 equal pairs of arms, looked at 30 times."""
    random, wrong, fixed = np.random.default_rng(11), 0, 0
    looks = np.unique(np.linspace(40, 1_200, 30).astype(int))
    for _ in range(1_000):
        values = [random.gamma(0.5, 2.0, 1_200)[:, None] for _ in range(2)]
        sums = [(np.cumsum(v), np.cumsum(v**2)) for v in values]
        declared = naive = False
        for n in looks:
            moments = [
                ArmMoments(
                    ("y",),
                    int(n),
                    np.array([s[n - 1] / n]),
                    np.array([[q[n - 1] - s[n - 1] ** 2 / n]]),
                )
                for s, q in sums
            ]
            now = effect(*moments, Metric("y"))
            declared |= always_valid(now, 2 * int(n), planned=2_400).significant
            naive |= now.p < 0.05
        wrong, fixed = wrong + declared, fixed + naive
    assert wrong / 1_000 <= 0.05
    assert fixed / 1_000 > 0.15  # why the t test must not be watched


def test_the_always_valid_interval_by_hand():
    """n = N* = 100 and s = 1: ρ² = (5.99146 + ln 6.99146) ÷ 100 = 0.0793612, so nρ² + 1 = 8.93612,
    and the half width is √(2 · 8.93612 ÷ 793.612 · ln(√8.93612 ÷ .05)) = √(.0225202 · 4.090785)."""
    arm = ArmMoments(("y",), 50, np.array([0.0]), np.array([[49 * 0.25]]))
    now = effect(arm, arm, Metric("y"))
    assert now.error == pytest.approx(0.1)
    assert always_valid(now, 100, planned=100).high == pytest.approx(0.303520, abs=1e-5)


def test_wrong_arguments_are_refused(arms):
    a, b = (ArmMoments.of(NAMES, values) for values in arms)
    with pytest.raises(ConfigError, match="confidence = 95"):
        effect(a, b, MEAN, confidence=95)
    with pytest.raises(DataError, match="no column 'orders'"):
        effect(a, b, Metric("orders"))
    broken = arms[0].copy()
    broken[3, 1] = np.nan
    with pytest.raises(DataError, match="row 3 of shown is nan"):
        ArmMoments.of(NAMES, broken)
    with pytest.raises(DataError, match="are not the same"):
        a + ArmMoments.empty(("x",))


def test_arms_without_users_have_no_result():
    empty = ArmMoments.empty(NAMES)
    found = effect(empty, empty, MEAN)
    assert np.isnan(found.p)
    assert (found.low, found.high) == (-np.inf, np.inf)


def test_nothing_known_from_before_changes_nothing():
    random = np.random.default_rng(0)
    names = ("a", "b", "a before", "b before")
    old, new = (
        ArmMoments.of(
            names,
            np.stack([random.poisson(3, 200), random.poisson(9, 200) + 1, zero, zero], axis=1),
        )
        for zero in (np.zeros(200), np.zeros(200))
    )
    plain = effect(old, new, Metric("a", "b"))
    cuped = effect(old, new, Metric("a", "b", "a before", "b before"))
    assert cuped.difference == plain.difference
    assert cuped.p == plain.p


def test_a_variance_of_nothing_is_zero():
    """CUPED may leave less than nothing by rounding."""
    x = np.random.default_rng(0).normal(1e6, 1, (2, 500))
    old, new = (ArmMoments.of(("y", "x"), np.stack([3.7 * row, row], axis=1)) for row in x)
    found = effect(old, new, Metric("y", before="x"))
    assert found.error >= 0.0
    assert found.error < 1e-3
