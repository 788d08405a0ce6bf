"""Is an experiment sound? Checked before any effect is read.

A broken assignment makes every difference meaningless, and shows in the number of users per arm
(sample ratio mismatch, SRM), in differences before the first exposure, and in users that were seen
in several arms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma, log

import numpy as np
from scipy import stats

from tamis.experiments.effects import Metric, effect
from tamis.experiments.moments import ArmMoments
from tamis.schema import ConfigError

SRM_LEVEL = 0.001
"""An alarm at .05 would stop one sound experiment in twenty."""
SEVERAL_ARMS = 0.001
"""Share of users in several arms above which results are refused; identities that merge and clocks
that differ make a few."""


@dataclass(frozen=True)
class Check:
    """One check of an experiment's health."""

    name: str
    sound: bool
    text: str
    """What was found, with numbers."""
    p: float | None = None


def sample_ratio(counts: Sequence[int], shares: Sequence[float]) -> Check:
    """Whether the users per arm fit the declared shares: Pearson's χ², alarm below .001.

    Raises ConfigError where shares are not positive, or not one per arm.
    """
    expected = _expected(counts, shares)
    total = int(np.sum(counts))
    if total == 0:
        return Check("sample ratio", True, "no users yet", 1.0)
    p = float(stats.chisquare(counts, expected).pvalue)
    found = " : ".join(f"{c / total:.2%}" for c in counts)
    wanted = " : ".join(f"{e / total:.2%}" for e in expected)
    sound = p >= SRM_LEVEL
    text = f"users {found}, declared {wanted} (χ² test, p = {p:.2g})"
    return Check("sample ratio", sound, text, p)


def sample_ratio_watched(
    counts: Sequence[int], shares: Sequence[float], concentration: float = 10_000.0
) -> Check:
    """The same, valid however often it is looked at (Lindon and Malek 2022).

    The Bayes factor of a Dirichlet prior around the declared shares against these shares is a
    martingale of the counts, so 1 ÷ its value is a p-value at any time.
    """
    expected = _expected(counts, shares)
    total = float(np.sum(counts))
    prior = concentration * expected / max(float(expected.sum()), 1.0)
    if total == 0:
        return Check("sample ratio, watched", True, "no users yet", 1.0)
    log_factor = lgamma(concentration) - lgamma(concentration + total)
    for count, a in zip(counts, prior, strict=True):
        log_factor += lgamma(a + count) - lgamma(a) - count * log(a / concentration)
    p = float(min(1.0, np.exp(min(-log_factor, 0.0))))
    text = f"{int(total):,} users, p = {p:.2g} at any time"
    return Check("sample ratio, watched", p >= SRM_LEVEL, text, p)


def before_exposure(control: ArmMoments, treatment: ArmMoments, metric: Metric) -> Check:
    """Whether the arms differed before anything was shown to them, alarm below .001.

    metric: its numerator and denominator are columns from before the experiment.
    """
    found = effect(control, treatment, metric)
    sound = not found.p < SRM_LEVEL
    text = f"{found.control:.4g} against {found.treatment:.4g} before exposure (p = {found.p:.2g})"
    return Check("before exposure", sound, text, found.p)


def several_arms(users: int, several: int) -> Check:
    """Whether users were seen in more than one arm; they are left out of every arm."""
    share = several / users if users else 0.0
    text = f"{several:,} of {users:,} users were seen in several arms"
    return Check("several arms", share <= SEVERAL_ARMS, text)


def _expected(counts: Sequence[int], shares: Sequence[float]) -> np.ndarray:
    share = np.asarray(shares, np.float64)
    if len(share) != len(counts) or len(share) < 2 or not (share > 0).all():
        raise ConfigError(
            f"{len(counts)} arms and shares {list(shares)}: give one positive share per arm, and "
            "at least two arms"
        )
    return share / share.sum() * float(np.sum(counts))
