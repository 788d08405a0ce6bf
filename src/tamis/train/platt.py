"""Platt scaling: the slope and intercept that turn scores into log-odds.

What few rows say about them may be chance. `beyond_chance` takes of an estimate what its standard
error does not explain, and `line_beyond_chance` corrects log-odds that were served by that much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from tamis.runtime import Float64

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
    within one standard error of 0: the non-negative garrote (Breiman 1995) of one estimate.

    Where nothing has changed, its mean squared error is a third of that of the estimate itself;
    that of a change of 2 to 3 standard errors is half as large again, and of larger ones the same.
    """
    return 0.0 if abs(value) <= error else value * (1 - (error / value) ** 2)


def line_beyond_chance(
    labels: Array,
    served: Array,
    weights: Array | None = None,
    groups: NDArray[np.integer] | None = None,
) -> tuple[float, float]:
    """(slope, intercept) of `platt_line` on log-odds that were served, as far as it differs beyond
    chance from the line (1, 0), which leaves them as they are.

    Slope and level are judged apart, the level at the mean log-odds, weighted by the information
    p (1 − p) of each row, where both are independent. Standard errors are those of the logistic
    regression, robust to weights and to rows of a group that go together (sandwich estimator).

    Args: as `platt_line`, of log-odds (n,); `groups` (n,) the query of each row, from 0; None: rows
    are independent.
    """
    slope, intercept = platt_line(labels, served, weights)
    known = ~np.isnan(labels)
    y, z = labels[known].astype(np.float64), served[known].astype(np.float64)
    w = np.ones(len(z)) if weights is None else weights[known].astype(np.float64)
    p = expit(slope * z + intercept)
    information = w * p * (1 - p)
    total = float(information.sum())
    if not total > 0:
        return 1.0, 0.0
    middle = float(information @ z) / total
    spread = float(information @ (z - middle) ** 2)
    wrong = w * (y - p)
    own = None if groups is None else groups[known]
    level = slope * middle + intercept - middle
    kept = 1.0
    if spread > 0:
        kept += beyond_chance(slope - 1, root_of_squares(wrong * (z - middle), own) / spread)
    moved = beyond_chance(level, root_of_squares(wrong, own) / total)
    return kept, middle + moved - kept * middle


def root_of_squares(values: Float64, groups: NDArray[np.integer] | None) -> float:
    """√Σ (sum of a group)²: the standard error of the sum of values whose mean is 0."""
    sums = values if groups is None else np.bincount(groups, weights=values)
    return float(np.sqrt(sums @ sums))
