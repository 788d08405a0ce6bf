"""Before the start: how many users an experiment needs, and what it can find.

For two arms of n₁ and n₂ = r·n₁ users and a metric with standard deviation σ per user, a two-sided
test at level α finds a difference d with power

    1 − β = Φ(d/se − z) + Φ(−d/se − z),   se = σ √(1/n₁ + 1/n₂),   z = Φ⁻¹(1 − α/2).

The t distribution of the test differs from Φ by less than the estimate of σ does.
"""

from __future__ import annotations

from math import ceil, isfinite, sqrt
from typing import cast

from scipy import optimize, special

from tamis.schema import ConfigError


def power(
    difference: float, deviation: float, control: int, treatment: int, *, alpha: float = 0.05
) -> float:
    """The chance to find `difference` with so many users per arm."""
    _check(deviation, alpha)
    if min(control, treatment) < 2:
        raise ConfigError(f"{control} and {treatment} users: each arm needs at least 2")
    error = deviation * sqrt(1 / control + 1 / treatment)
    if error == 0:
        return 1.0 if difference else alpha
    z, shift = float(special.ndtri(1 - alpha / 2)), difference / error
    return float(special.ndtr(shift - z) + special.ndtr(-shift - z))


def sample_size(
    difference: float,
    deviation: float,
    *,
    share: float = 0.5,
    alpha: float = 0.05,
    wanted: float = 0.8,
) -> int:
    """Users of both arms together that find `difference` with the wanted power.

    Args:
        deviation: of the metric per user (linearised for a ratio, after CUPED where it is used).
        share: of the users in the treatment, between 0 and 1.
        wanted: power, above `alpha` and below 1.

    Raises ConfigError for a difference of 0 and for numbers out of range.
    """
    _check(deviation, alpha)
    if not 0 < share < 1:
        raise ConfigError(f"share = {share}: give the treatment's share of users, such as 0.5")
    if not alpha < wanted < 1:
        raise ConfigError(f"power = {wanted}: give a number between {alpha} and 1, such as 0.8")
    if difference == 0 or not isfinite(difference):
        raise ConfigError(f"difference = {difference}: give the smallest difference that matters")
    needed = (_shift(alpha, wanted) * deviation / abs(difference)) ** 2 * (
        1 / share + 1 / (1 - share)
    )
    return max(ceil(needed), ceil(2 / min(share, 1 - share)))


def detectable(
    users: int, deviation: float, *, share: float = 0.5, alpha: float = 0.05, wanted: float = 0.8
) -> float:
    """The smallest difference that so many users of both arms find with the wanted power.

    Raises ConfigError as `sample_size`, and for an arm with fewer than two users.
    """
    _check(deviation, alpha)
    if min(share, 1 - share) * users < 2:
        raise ConfigError(f"{users} users: each arm needs at least 2")
    return _shift(alpha, wanted) * deviation * sqrt((1 / share + 1 / (1 - share)) / users)


def _shift(alpha: float, wanted: float) -> float:
    """The difference in standard errors that is found with the wanted power."""
    z = -float(special.ndtri(alpha / 2))  # 1 − alpha / 2 would be 1 for the smallest alpha

    def missing(shift: float) -> float:
        return float(special.ndtr(shift - z) + special.ndtr(-shift - z)) - wanted

    if missing(0.0) >= 0:  # a power that rounding does not tell from alpha
        return 0.0
    return float(cast("float", optimize.brentq(missing, 0, 50, xtol=1e-12)))


def _check(deviation: float, alpha: float) -> None:
    if not deviation >= 0 or not isfinite(deviation):
        raise ConfigError(f"deviation = {deviation}: give a number of at least 0")
    if not 0 < alpha < 1:
        raise ConfigError(f"alpha = {alpha}: give a number between 0 and 1, such as 0.05")
