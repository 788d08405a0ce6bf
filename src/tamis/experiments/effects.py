"""The effect of an arm on a metric: differences of means and of ratios, with and without CUPED.

A metric is a function g of the means of a user's columns, so its variance is that of the linear
function with g's gradient (delta method):

    mean    g = y̅                              ratio    g = a̅ / b̅
    CUPED   g − θ (g_x − G_x),   θ = cov(g, g_x) / var(g_x)  over all arms

where g_x is the same metric before the experiment and G_x its value over all arms (Deng, Xu,
Kohavi and Walker 2013). The unit is always the user: rows of one user are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, isfinite, log, nan, sqrt

import numpy as np
from scipy import special

from tamis.experiments.moments import ArmMoments
from tamis.runtime import Float64
from tamis.schema import ConfigError


@dataclass(frozen=True)
class Metric:
    """A mean per user, or a ratio of two sums, optionally with the same before the experiment."""

    numerator: str
    """The column that is summed."""
    denominator: str | None = None
    """None: the mean per user. Else the ratio of the sums, such as clicks ÷ impressions."""
    before: str | None = None
    """The numerator's column before the experiment (CUPED); None = no covariate."""
    before_denominator: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `ArmMoments` that it reads."""
        read = (self.numerator, self.denominator, self.before, self.before_denominator)
        return tuple(name for name in read if name is not None)


@dataclass(frozen=True)
class MetricEstimate:
    """A metric of one arm."""

    value: float
    variance: float
    """Of `value`, not of the users."""
    units: int


@dataclass(frozen=True)
class Effect:
    """Treatment against control."""

    control: float
    treatment: float
    difference: float
    """treatment − control"""
    low: float
    high: float
    """Confidence interval of `difference`."""
    relative: float
    """treatment ÷ control − 1; NaN unless both are positive."""
    relative_low: float
    relative_high: float
    p: float
    """Two-sided p-value of no difference."""
    error: float
    """Standard error of `difference`."""
    variance_kept: float = 1.0
    """Variance of the difference ÷ that without the covariate; 1 without one."""


def effect(
    control: ArmMoments,
    treatment: ArmMoments,
    metric: Metric,
    *,
    confidence: float = 0.95,
    pooled: ArmMoments | None = None,
) -> Effect:
    """The difference of a metric between two arms, by Welch's t distribution.

    Args:
        confidence: of the intervals, between 0 and 1.
        pooled: over which θ and G_x are computed; if omitted, both arms together.

    Raises ConfigError for a confidence outside (0, 1), and DataError for an unknown column.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence = {confidence}: give a number between 0 and 1, such as 0.95")
    pooled = control + treatment if pooled is None else pooled
    a, b = (estimate(arm, metric, pooled) for arm in (control, treatment))
    error = sqrt(a.variance + b.variance)
    difference = b.value - a.value
    low, high, p = _welch(difference, a, b, confidence)
    ratio = _log_ratio(a, b, confidence)
    kept = 1.0
    if metric.before is not None:
        plain = Metric(metric.numerator, metric.denominator)
        without = sum(estimate(arm, plain, pooled).variance for arm in (control, treatment))
        kept = error**2 / without if without > 0 else 1.0
    return Effect(a.value, b.value, difference, low, high, *ratio, p, error, kept)


def estimate(arm: ArmMoments, metric: Metric, pooled: ArmMoments) -> MetricEstimate:
    """A metric of one arm; `pooled` holds all arms, for the covariate."""
    value, gradient = _at_means(arm, metric.numerator, metric.denominator)
    if metric.before is not None:
        total, slope_before = _at_means(pooled, metric.before, metric.before_denominator)
        _, slope = _at_means(pooled, metric.numerator, metric.denominator)
        spread = slope_before @ pooled.covariance @ slope_before
        own, own_slope = _at_means(arm, metric.before, metric.before_denominator)
        if spread > 0 and isfinite(own):  # else nothing, or nobody, is known from before
            theta = float(slope @ pooled.covariance @ slope_before / spread)
            value, gradient = value - theta * (own - total), gradient - theta * own_slope
    if arm.n < 2:
        return MetricEstimate(value, nan, arm.n)
    variance = float(gradient @ arm.covariance @ gradient) / arm.n
    # where nothing is left of a variance, rounding may leave less than nothing
    return MetricEstimate(value, 0.0 if variance < 0 else variance, arm.n)


def _at_means(arm: ArmMoments, numerator: str, denominator: str | None) -> tuple[float, Float64]:
    """The mean or ratio, and its gradient (K,) by the means of the columns."""
    gradient = np.zeros(len(arm.names))
    top = arm.column(numerator)
    if denominator is None:
        gradient[top] = 1.0
        return float(arm.mean[top]), gradient
    bottom = arm.column(denominator)
    below = float(arm.mean[bottom])
    if below == 0:
        return nan, np.full(len(arm.names), nan)
    value = float(arm.mean[top]) / below
    gradient[top] += 1 / below
    gradient[bottom] -= value / below
    return value, gradient


def _welch(
    difference: float, a: MetricEstimate, b: MetricEstimate, confidence: float
) -> tuple[float, float, float]:
    """Interval of the difference and its p-value."""
    variance = a.variance + b.variance
    if not isfinite(variance):
        return -inf, inf, nan
    if variance == 0:
        return difference, difference, 1.0 if difference == 0 else 0.0
    degrees = _degrees(a.variance, a.units, b.variance, b.units)
    half = _quantile(degrees, confidence) * sqrt(variance)
    p = 2 * float(special.stdtr(degrees, -abs(difference) / sqrt(variance)))
    return difference - half, difference + half, p


def _degrees(var_a: float, n_a: int, var_b: float, n_b: int) -> float:
    """Welch–Satterthwaite degrees of freedom of a sum of two variances of means."""
    return (var_a + var_b) ** 2 / (var_a**2 / (n_a - 1) + var_b**2 / (n_b - 1))


def _quantile(degrees: float, confidence: float) -> float:
    """The two-sided quantile of the t distribution."""
    return float(special.stdtrit(degrees, (1 + confidence) / 2))


def _log_ratio(
    a: MetricEstimate, b: MetricEstimate, confidence: float
) -> tuple[float, float, float]:
    """The relative difference and its interval, by the logarithm of the ratio (delta method)."""
    if not (a.value > 0 and b.value > 0):
        return nan, nan, nan
    ratio = b.value / a.value
    var_a, var_b = a.variance / a.value**2, b.variance / b.value**2
    if not isfinite(var_a + var_b) or var_a + var_b == 0:
        return ratio - 1, (nan if not isfinite(var_a + var_b) else ratio - 1), ratio - 1
    degrees = _degrees(var_a, a.units, var_b, b.units)
    half = _quantile(degrees, confidence) * sqrt(var_a + var_b)
    middle = log(ratio)
    return ratio - 1, exp(middle - half) - 1, exp(middle + half) - 1
