"""What another policy would have earned, estimated from logged slates with known propensities.

For each logged decision i: reward r, propensity p of the logged action under the policy that
chose it, and probability q of that action under the policy in question, w = q / p.

    IPS     mean(w r)                                (Horvitz and Thompson 1952)
    SNIPS   Σ w r / Σ w                              (Swaminathan and Joachims 2015)
    DR      mean(v + w (r − m))                      (Dudík, Langford and Li 2011)

m is a model's reward of the logged action, v its mean under the policy in question. Where that
policy chooses actions that were never shown, no reweighting can tell what they earn.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
from scipy import special

from tamis.runtime import Float64, Int64
from tamis.schema import DataError

Method = Literal["ips", "snips", "dr"]
LEAST_EFFECTIVE = 100.0
"""Effective decisions below which no estimate is given."""
MOST_MISSING = 0.01
"""Share of the policy's actions that may lie outside of what was ever shown."""


@dataclass(frozen=True)
class PolicyValue:
    """The estimated mean reward per decision."""

    method: Method
    value: float
    low: float
    high: float
    effective: float
    """Effective sample size (Σw)² / Σw², in decisions."""
    missing: float
    """Estimated share of the policy's choices that the log cannot have shown: 1 − mean(w)."""


def policy_value(
    method: Method,
    reward: Float64,
    propensity: Float64,
    target: Float64,
    *,
    model: Float64 | None = None,
    model_value: Float64 | None = None,
    unit: Int64 | None = None,
    missing: float = 0.0,
    confidence: float = 0.95,
) -> PolicyValue:
    """Estimates the value of a policy from n logged decisions.

    Args:
        reward: (n,)
        propensity: (n,) of the logged action, in (0, 1].
        target: (n,) probability of the logged action under the policy in question, in [0, 1].
        model, model_value: (n,) for "dr": the model's reward of the logged action, and its mean
            over the policy's actions.
        unit: (n,) user of each decision: decisions of one user are not independent, so the
            interval is by users. If omitted: every decision is a unit.
        missing: share of the policy's probability on actions that the logging policy never took.

    Raises DataError for arrays that do not fit, propensities outside (0, 1], and missing support:
    more than 1 % of the policy's actions, or fewer than 100 effective decisions.
    """
    reward, propensity, target = (np.asarray(x, np.float64) for x in (reward, propensity, target))
    _check(reward, propensity, target)
    weight = target / propensity
    total, squares = float(weight.sum()), float((weight**2).sum())
    effective = total**2 / squares if squares > 0 else 0.0
    if missing > MOST_MISSING:
        raise DataError(
            f"{missing:.1%} of what the policy would show was never shown: no estimate is "
            "possible. Explore more, or compare by an experiment"
        )
    if effective < LEAST_EFFECTIVE:
        raise DataError(
            f"{effective:.0f} effective decisions of {len(reward):,}: the policies differ too "
            f"much; at least {LEAST_EFFECTIVE:.0f} are needed. Log more exploration traffic, "
            "or compare by an experiment"
        )
    value, influence = _influence(method, reward, weight, model, model_value)
    low, high = _interval(value, influence, unit, confidence)
    return PolicyValue(method, value, low, high, effective, missing)


def _influence(
    method: Method,
    reward: Float64,
    weight: Float64,
    model: Float64 | None,
    model_value: Float64 | None,
) -> tuple[float, Float64]:
    """The estimate, and each decision's influence on it (n,), of mean 0."""
    if method == "ips":
        each = weight * reward
        return float(each.mean()), each - each.mean()
    if method == "snips":
        value = float((weight * reward).sum() / weight.sum())
        return value, weight * (reward - value) / weight.mean()
    if model is None or model_value is None:
        raise DataError('method "dr" needs `model` and `model_value`: rewards by a model')
    each = np.asarray(model_value) + weight * (reward - np.asarray(model))
    return float(each.mean()), each - each.mean()


def _interval(
    value: float, influence: Float64, unit: Int64 | None, confidence: float
) -> tuple[float, float]:
    """By the normal distribution of the mean of users' sums."""
    n = len(influence)
    sums = influence if unit is None else _sums(influence, np.asarray(unit))
    users = len(sums)
    error = sqrt(float((sums**2).sum()) * users / max(users - 1, 1)) / n
    half = float(special.stdtrit(max(users - 1, 1), (1 + confidence) / 2)) * error
    return value - half, value + half


def _sums(values: Float64, unit: Int64) -> Float64:
    _, number = np.unique(unit, return_inverse=True)
    return np.bincount(number, weights=values).astype(np.float64)


def _check(reward: Float64, propensity: Float64, target: Float64) -> None:
    if not len(reward) == len(propensity) == len(target) or not len(reward):
        raise DataError(
            f"{len(reward)} rewards, {len(propensity)} propensities, {len(target)} probabilities: "
            "give one of each per decision, and at least one"
        )
    wrong = np.flatnonzero(~((propensity > 0) & (propensity <= 1)))
    if len(wrong):
        raise DataError(
            f"propensity of decision {wrong[0]} is {propensity[wrong[0]]}: it must be above 0 and "
            "at most 1"
        )
    wrong = np.flatnonzero(~((target >= 0) & (target <= 1)) | ~np.isfinite(reward))
    if len(wrong):
        raise DataError(
            f"decision {wrong[0]}: probability {target[wrong[0]]}, reward {reward[wrong[0]]}; "
            "probabilities are from 0 to 1, rewards finite"
        )
