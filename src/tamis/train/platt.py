"""Platt scaling: the slope and intercept that turn scores into log-odds.

What few rows say about them may be chance. `beyond_chance` takes of an estimate what its standard
error does not explain, and `line_beyond_chance` corrects log-odds that were served by that much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Array = NDArray[np.floating]


def platt_line(labels: Array, logits: Array, weights: Array | None = None) -> tuple[float, float]:
    """(slope, intercept) that minimise the cross entropy of `σ(slope · logit + intercept)`.

    As in Platt 1999, positives have the target (n₊ + 1) / (n₊ + 2) and negatives 1 / (n₋ + 2), so
    that few rows never lead to a probability of 0 or 1. The slope is kept positive, so the order of
    candidates does not change. Scores are standardised first, so their scale does not matter.

    Args:
        labels: (n,) in [0, 1]; rows with NaN are left out.
        logits: (n,) scores.
        weights: (n,) row weights; None = equal.

    Returns (1, 0) where only one class is present.
    """
    known = ~np.isnan(labels)
    y, z = labels[known].astype(np.float64), logits[known].astype(np.float64)
    w = np.ones(len(y)) if weights is None else weights[known].astype(np.float64)
    if not 0 < y.sum() < len(y) or not w.sum() > 0:
        return 1.0, 0.0
    w /= w.sum()
    positives = y.sum()
    low, high = 1 / (len(y) - positives + 2), (positives + 1) / (positives + 2)
    y = low + (high - low) * y
    centre, scale = float(z.mean()), float(z.std()) or 1.0
    z = (z - centre) / scale

    def loss(parameters: Array) -> tuple[float, Array]:
        slope, intercept = np.exp(parameters[0]), parameters[1]
        line = slope * z + intercept
        wrong = expit(line) - y
        value = float(w @ (np.logaddexp(0, line) - y * line))
        return value, np.array([w @ (wrong * z) * slope, w @ wrong])

    rate = float(w @ y)
    start = np.array([0.0, np.log(rate / (1 - rate))])
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-8, 8), (None, None)])
    slope = float(np.exp(best.x[0])) / scale
    return slope, float(best.x[1]) - slope * centre


def beyond_chance(value: float, error: float) -> float:
    """An estimate less what chance explains: value · (1 − (error ÷ value)²), and 0 where it is
    within one standard error of 0. The positive-part estimator of James and Stein (1961), of one
    mean."""
    return 0.0 if abs(value) <= error else value * (1 - (error / value) ** 2)


def line_beyond_chance(
    labels: Array, served: Array, weights: Array | None = None
) -> tuple[float, float]:
    """(slope, intercept) of `platt_line` on log-odds that were served, as far as it differs beyond
    chance from the line (1, 0), which leaves them as they are.

    Slope and level are judged apart, the level where both are independent: at the mean log-odds,
    weighted by the information p (1 − p) of each row. Standard errors are those of the logistic
    regression.

    Args: as `platt_line`, of log-odds (n,).
    """
    slope, intercept = platt_line(labels, served, weights)
    known = ~np.isnan(labels)
    z = served[known].astype(np.float64)
    w = np.ones(len(z)) if weights is None else weights[known].astype(np.float64)
    p = expit(slope * z + intercept)
    information = w * p * (1 - p)
    total = float(information.sum())
    if not total > 0:
        return slope, intercept
    middle = float(information @ z) / total
    spread = float(information @ (z - middle) ** 2)
    level = slope * middle + intercept - middle
    kept = 1 + beyond_chance(slope - 1, spread**-0.5) if spread > 0 else 1.0
    return kept, middle + beyond_chance(level, total**-0.5) - kept * middle
