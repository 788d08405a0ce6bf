"""Which of two interleaved rankings users prefer: the share of credited events, by user.

Each event on an item of an interleaved slate counts for the arm that placed the item (Radlinski,
Kurup and Joachims 2008). Equal rankings get half of them. The unit is the user: the share is a
ratio of sums over users, with the interval of the delta method.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from scipy import special

from tamis.experiments.effects import Metric, estimate
from tamis.experiments.moments import ArmMoments
from tamis.runtime import Float64
from tamis.schema import ConfigError, DataError

LEAST_UNITS = 30
"""Users with a credited event below which no interval is given."""


@dataclass(frozen=True)
class Preference:
    """The share of credited events that the treatment got."""

    share: float
    """Above .5: users prefer the treatment. NaN without events."""
    low: float
    high: float
    p: float
    """Two-sided p-value of no preference; NaN for fewer than `LEAST_UNITS` users."""
    units: int
    """Users with a credited event."""
    control: float
    """Events credited to the control."""
    treatment: float
    """Events credited to the treatment."""

    @property
    def text(self) -> str:
        """In words."""
        if self.p != self.p:
            return (
                f"{self.units} users with an event on an interleaved slate: at least {LEAST_UNITS} "
                "are needed"
            )
        found = f"{self.share:.1%} of the events ({self.low:.1%} to {self.high:.1%})"
        if self.low > 0.5:
            return f"the treatment is preferred: {found}"
        if self.high < 0.5:
            return f"the control is preferred: the treatment has {found}"
        return f"no preference found: the treatment has {found}, which includes half"


def preference(credits: Float64, confidence: float = 0.95) -> Preference:
    """The preference of users.

    Args:
        credits: (U, 2) events of each user that are credited to the control and to the treatment.
        confidence: of the interval.

    Raises DataError for another shape or negative numbers, ConfigError for a confidence outside
    (0, 1).
    """
    credits = np.asarray(credits, np.float64)
    if credits.ndim != 2 or credits.shape[1] != 2 or not (credits >= 0).all():
        raise DataError(f"credits of shape {credits.shape}: give (users, 2) counts of at least 0")
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence = {confidence}: give a number between 0 and 1, such as 0.95")
    some = credits[credits.sum(axis=1) > 0]
    control, treatment = some.sum(axis=0).tolist() if len(some) else (0.0, 0.0)
    if len(some) < LEAST_UNITS:
        share = treatment / (control + treatment) if control + treatment else nan
        return Preference(share, nan, nan, nan, len(some), control, treatment)
    moments = ArmMoments.of(("treatment", "both"), np.stack([some[:, 1], some.sum(axis=1)], axis=1))
    found = estimate(moments, Metric("treatment", "both"), moments)
    half = float(special.stdtrit(len(some) - 1, (1 + confidence) / 2)) * sqrt(found.variance)
    low, high = max(found.value - half, 0.0), min(found.value + half, 1.0)
    away = abs(found.value - 0.5)
    if found.variance > 0:
        p = 2 * float(special.stdtr(len(some) - 1, -away / sqrt(found.variance)))
    else:
        p = 1.0 if away == 0 else 0.0
    return Preference(found.value, low, high, p, len(some), control, treatment)
