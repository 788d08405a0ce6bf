"""Intercept correction: shifts logits so that the mean prediction equals the observed rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.floating]
STEPS = 50
"""Maximum number of Newton steps."""


def centre(targets: Array, logits: Array, weights: Array | None = None) -> float:
    """The shift b for which the weighted mean of σ(logits + b) equals that of the targets.

    Stochastic gradient descent leaves the mean prediction a few per cent off, by an amount that
    depends on the last batches. The training rows can be used to correct it, since a single number
    cannot be overfitted.

    Args:
        targets: (n,) in [0, 1]; rows with NaN are left out.
        logits: (n,) log-odds.
        weights: (n,) row weights; None = equal.

    Returns b, or 0 where all targets are 0 or all are 1.
    """
    known = ~np.isnan(targets)
    y, z = targets[known].astype(np.float64), logits[known].astype(np.float64)
    w = np.ones(len(y)) if weights is None else weights[known].astype(np.float64)
    if not 0 < w @ y < w.sum():
        return 0.0
    shift, mean = 0.0, (w @ y) / w.sum()
    for _ in range(STEPS):
        p = expit(z + shift)
        wrong = (w @ p) / w.sum() - mean
        slope = (w @ (p * (1 - p))) / w.sum()
        step = float(np.clip(wrong / max(slope, 1e-12), -2, 2))  # limited: it may overshoot
        shift -= step
        if abs(step) < 1e-9:
            break
    return shift
