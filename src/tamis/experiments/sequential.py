"""Intervals that stay valid however often results are looked at.

A fixed-horizon test that is looked at every day finds "significant" differences between equal arms
in about a third of all experiments. An asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha,
Kennedy and Ramdas 2021) holds at all times at once, and may be stopped at any of them:

    half width = s · √( 2(nρ² + 1) / (nρ)² · ln( √(nρ² + 1) / α ) )
    ρ          = √( (−2 ln α + ln(1 − 2 ln α)) / N* )

with s the standard deviation of one unit's contribution and N* the number of units at which the
interval is to be narrowest; N* is fixed before the start.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, log, sqrt

from tamis.experiments.effects import Effect
from tamis.schema import ConfigError


@dataclass(frozen=True)
class AlwaysValid:
    """An interval of the difference that holds at every look."""

    low: float
    high: float
    significant: bool
    """Whether it excludes 0."""


def always_valid(
    effect: Effect, units: int, planned: int, *, confidence: float = 0.95
) -> AlwaysValid:
    """The always-valid interval of a difference.

    Args:
        effect: the difference and its standard error now.
        units: n, the units of both arms so far.
        planned: N*, the units of both arms planned before the start.
        confidence: of all looks together.

    Raises ConfigError for a planned number below 1 or a confidence outside (0, 1).
    """
    if planned < 1 or not 0 < confidence < 1:
        raise ConfigError(
            f"planned = {planned}, confidence = {confidence}: give at least 1 unit, and a number "
            "between 0 and 1"
        )
    half = half_width(effect.error, units, planned, 1 - confidence)
    low, high = effect.difference - half, effect.difference + half
    return AlwaysValid(low, high, low > 0 or high < 0)


def half_width(error: float, units: int, planned: int, alpha: float) -> float:
    """Half the width of the interval; infinite below two units.

    error: standard error of the estimate from `units` units, s = error · √units.
    """
    if units < 2 or not isfinite(error):
        return inf
    rho2 = (-2 * log(alpha) + log(1 - 2 * log(alpha))) / planned
    grown = units * rho2 + 1
    spread = error * sqrt(units)
    return spread * sqrt(2 * grown / (units**2 * rho2) * log(sqrt(grown) / alpha))
