"""Beta posteriors of rates: how likely each of several rates is the highest, and upper bounds."""

from __future__ import annotations

import numpy as np
from scipy.special import betainc, betaincinv, expit

from tamis.runtime import Float64, Int64

_GRID = np.r_[0.0, expit(np.linspace(-12.0, 9.0, 253)), 1.0]
"""Rates between which a posterior is taken as uniform; on the logit scale, 0.08 apart."""
_WIDTH = 6.0
"""Standard deviations around the means beyond which nothing is computed."""


def best_of(alpha: Float64, beta: Float64, group: Int64, groups: int) -> Float64:
    """(n,) the probability that a rate is the highest of its group; they sum to 1 in each group.

    Args:
        alpha, beta: (n,) parameters of the Beta posteriors.
        group: (n,) 0 … groups − 1.

    The distribution functions are computed at fixed rates, once for each pair of parameters.
    """
    if not len(alpha):
        return np.zeros(0)
    pairs, own = np.unique(np.stack([alpha, beta]), axis=1, return_inverse=True)
    own = own.reshape(-1)
    at = _GRID[_needed(pairs)]
    below = betainc(pairs[0][:, None], pairs[1][:, None], at)  # (pairs, G)
    mass = np.diff(below, axis=1)
    log = np.log(np.maximum((below[:, 1:] + below[:, :-1]) / 2, 1e-300))
    total = np.zeros((groups, log.shape[1]))
    np.add.at(total, group, log[own])
    chance = (mass[own] * np.exp(total[group] - log[own])).sum(axis=1)
    whole = np.bincount(group, weights=chance, minlength=groups)
    size = np.bincount(group, minlength=groups)
    sound = whole[group] > 0
    return np.where(sound, chance / np.where(sound, whole[group], 1.0), 1.0 / size[group])


def _needed(pairs: Float64) -> slice:
    """The part of the grid within some deviations of the means."""
    alpha, beta = pairs
    size = alpha + beta
    mean = alpha / size
    sd = np.sqrt(mean * (1 - mean) / (size + 1))
    low = np.searchsorted(_GRID, (mean - _WIDTH * sd).min()) - 1
    high = np.searchsorted(_GRID, (mean + _WIDTH * sd).max()) + 1
    return slice(max(int(low), 0), min(int(high), len(_GRID) - 1) + 1)


def upper_bound(alpha: Float64, beta: Float64, trials: Float64) -> Float64:
    """(n,) the quantile 1 − 1 / (1 + trials) of the posteriors (Bayes-UCB; Kaufmann et al. 2012).

    trials: (n,) impressions so far of all rates that are compared.
    """
    return betaincinv(alpha, beta, 1.0 - 1.0 / (1.0 + np.maximum(trials, 1.0)))
