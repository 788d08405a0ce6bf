"""Platt calibration: a straight line in logit space that turns scores into probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[np.floating]


def platt(labels: Array, logits: Array) -> tuple[float, float]:
    """(slope > 0, intercept) that minimise the cross entropy of `σ(slope · logit + intercept)`.

    Labels are 0, 1 or NaN (does not count). The slope is kept positive, so the order of candidates
    never changes; (1, 0) where a class is missing and there is nothing to fit. Platt 1999.
    """
    known = ~np.isnan(labels)
    y, z = labels[known].astype(np.float64), logits[known].astype(np.float64)
    if not 0 < y.sum() < len(y):
        return 1.0, 0.0

    def loss(parameters: Array) -> tuple[float, Array]:
        slope, intercept = np.exp(parameters[0]), parameters[1]
        line = slope * z + intercept
        p = 0.5 * (1 + np.tanh(line / 2))  # σ without overflow
        wrong = p - y
        value = float((np.logaddexp(0, line) - y * line).mean())
        return value, np.array([(wrong * z).mean() * slope, wrong.mean()])

    best = minimize(loss, np.zeros(2), jac=True, method="BFGS")
    return float(np.exp(best.x[0])), float(best.x[1])


def calibrated(
    logits: NDArray[np.float32], lines: tuple[tuple[float, float], ...]
) -> NDArray[np.float32]:
    """(n, T) probabilities of logits (n, T), through each task's line; () = σ alone."""
    if lines:
        slope, intercept = np.array(lines, dtype=np.float32).T
        logits = logits * slope + intercept
    return (0.5 * (1 + np.tanh(logits / 2))).astype(np.float32)
