"""Intercept correction: shifts logits so that the mean prediction equals the observed rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from tamis.train.platt import beyond_chance, root_of_squares

Array = NDArray[np.floating]
STEPS = 50
"""Maximum number of Newton steps."""
LEAST = 1e-9
"""Probabilities of means are at least so far from 0 and 1."""


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


def rate_beyond_chance(
    targets: Array, predicted: Array, groups: NDArray[np.integer] | None = None
) -> float:
    """The rate to predict on average, from what was observed and what was predicted before.

    A rate of few positives differs from that of the next rows by chance. So its log-odds move from
    those of the former predictions towards the observed ones as far as the difference is
    `beyond_chance`. With thousands of positives it is the observed rate.

    Args:
        targets: (n,) in [0, 1], n ≥ 1.
        predicted: (n,) former predictions of these rows, in [0, 1].
        groups: (n,) the query of each row, from 0, whose rows go together; None: independent rows.
    """
    y, mean = targets.astype(np.float64), float(np.mean(targets, dtype=np.float64))
    before = float(np.clip(np.mean(predicted, dtype=np.float64), LEAST, 1 - LEAST))
    if not 0 < mean < 1:
        return before
    error = root_of_squares(y - mean, groups) / len(y) / (mean * (1 - mean))
    difference = float(logit(mean) - logit(before))
    return float(expit(logit(before) + beyond_chance(difference, error)))
