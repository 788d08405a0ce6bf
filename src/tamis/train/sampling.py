"""Sampling of a task's negative rows, and the exact correction of its predictions.

Where a behaviour is rare, most of the training time goes into negatives. A task learns from all
positives and from a share α of its negatives; its predicted odds are then too high by the factor
1/α, which `corrected` removes (He et al. 2014, Practical Lessons from Predicting Clicks on Ads at
Facebook).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tamis.features import Rows
from tamis.runtime import Float32
from tamis.schema import ConfigError, TrainingError


def sample_negatives(rows: Rows, rates: Sequence[float], seed: int) -> Rows:
    """The rows with all positives of task t and a share `rates[t]` of its negatives.

    The label of a negative that is not kept becomes NaN, and rows without any label are dropped.
    One random number per row is used for all tasks, so that whole rows are dropped. Labels other
    than 0 are always kept. The same object is returned where every rate is 1.

    Args:
        rows: rows with labels (n, T).
        rates: (T,) shares in (0, 1].
        seed: random seed.

    Raises ConfigError for a rate outside (0, 1], TrainingError where the rows have no labels.
    """
    check_rates(rates)
    if all(rate == 1 for rate in rates):
        return rows
    if rows.labels is None or rows.labels.shape[1] != len(rates):
        shape = None if rows.labels is None else rows.labels.shape
        raise TrainingError(
            f"there are {len(rates)} rates of negatives, but the labels have shape {shape}; "
            "give one rate per task"
        )
    drawn = np.random.default_rng(seed).random(len(rows))
    out = (rows.labels == 0) & (drawn[:, None] >= np.asarray(rates))  # (n, T)
    labels = np.where(out, np.float32(np.nan), rows.labels)
    kept = np.flatnonzero(~np.isnan(labels).all(1))
    return replace(rows.select(kept), labels=labels[kept])


def corrected(logits: Float32, rates: Sequence[float]) -> Float32:
    """Log-odds (n, T) corrected for the sampling of negatives: `logit + log α` per column.

    Equal to `p = α·p̂ / ((1 − p̂) + α·p̂)` on probabilities, but without their rounding errors.
    rates: (T,) the shares α.
    """
    if all(rate == 1 for rate in rates):
        return logits
    return logits + np.log(np.asarray(rates)).astype(np.float32)


def check_rates(rates: Sequence[float]) -> None:
    """Raises ConfigError unless every rate is in (0, 1]."""
    for rate in rates:
        if not 0 < rate <= 1:
            raise ConfigError(
                f"negatives = {rate}: the share of a task's negatives to learn from must be above "
                "0 and at most 1 (= all)"
            )
