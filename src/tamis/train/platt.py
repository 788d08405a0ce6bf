"""Platt's line: slope and intercept in log-odds that turn scores into probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Array = NDArray[np.floating]


def platt_line(labels: Array, logits: Array) -> tuple[float, float]:
    """(slope > 0, intercept) that minimise the cross entropy of `σ(slope · logit + intercept)`.

    Labels are in [0, 1] or NaN (does not count); as in Platt 1999 a yes counts as
    (n₊ + 1) ÷ (n₊ + 2) and a no as 1 ÷ (n₋ + 2), so that a few rows never make certain. The slope
    is kept positive, so the order of candidates never changes; (1, 0) where a class is missing and
    there is nothing to fit. Scores are brought to mean 0 and deviation 1 first: their scale does
    not matter.
    """
    known = ~np.isnan(labels)
    y, z = labels[known].astype(np.float64), logits[known].astype(np.float64)
    if not 0 < y.sum() < len(y):
        return 1.0, 0.0
    positives = y.sum()
    low, high = 1 / (len(y) - positives + 2), (positives + 1) / (positives + 2)
    y = low + (high - low) * y
    centre, scale = float(z.mean()), float(z.std()) or 1.0
    z = (z - centre) / scale

    def loss(parameters: Array) -> tuple[float, Array]:
        slope, intercept = np.exp(parameters[0]), parameters[1]
        line = slope * z + intercept
        wrong = expit(line) - y
        value = float((np.logaddexp(0, line) - y * line).mean())
        return value, np.array([(wrong * z).mean() * slope, wrong.mean()])

    rate = y.mean()
    start = np.array([0.0, np.log(rate / (1 - rate))])
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-8, 8), (None, None)])
    slope = float(np.exp(best.x[0])) / scale
    return slope, float(best.x[1]) - slope * centre
