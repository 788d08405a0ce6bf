"""Fewer negatives of a task to learn from, and the correction that makes up for them exactly.

Where a behaviour is rare, most rows say "no" and cost as much as the few that say "yes". A task
learns from every positive and from a share α of its negatives; its predictions are then too high by
a known factor in the odds, which `corrected` takes out (He et al. 2014, Practical Lessons from
Predicting Clicks on Ads at Facebook).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tamis.features import Rows
from tamis.runtime import Float32
from tamis.schema import ConfigError, TrainingError


def sample_negatives(rows: Rows, rates: Sequence[float], seed: int) -> Rows:
    """The rows of which each task keeps all positives and a share `rates[t]` of its negatives.

    A negative that is not kept becomes a missing label (NaN); rows without any label left fall
    away. A row draws once for all its tasks, so that rows fall away together. Labels that are
    neither 0 nor NaN are always kept; the same rows are returned where every rate is 1.

    Raises ConfigError for a rate outside (0, 1], TrainingError where rows have no labels.
    """
    check_rates(rates)
    if all(rate == 1 for rate in rates):
        return rows
    if rows.labels is None or rows.labels.shape[1] != len(rates):
        shape = None if rows.labels is None else rows.labels.shape
        raise TrainingError(f"{len(rates)} rates of negatives for labels of shape {shape}")
    drawn = np.random.default_rng(seed).random(len(rows))
    out = (rows.labels == 0) & (drawn[:, None] >= np.asarray(rates))  # (n, T)
    labels = np.where(out, np.float32(np.nan), rows.labels)
    kept = np.flatnonzero(~np.isnan(labels).all(1))
    return replace(rows.select(kept), labels=labels[kept])


def corrected(logits: Float32, rates: Sequence[float]) -> Float32:
    """Log-odds (n, T) as if no negative had been left out: `logit + log α` per task.

    The same as `p = α·p̂ / ((1 − p̂) + α·p̂)` on probabilities, without their rounding.
    """
    if all(rate == 1 for rate in rates):
        return logits
    return logits + np.log(np.asarray(rates)).astype(np.float32)


def check_rates(rates: Sequence[float]) -> None:
    """Raises ConfigError unless every rate is in (0, 1]."""
    for rate in rates:
        if not 0 < rate <= 1:
            raise ConfigError(
                f"negatives = {rate}: it is the share of a task's negatives to learn from, "
                "above 0 and at most 1 (= all)"
            )
