"""Metrics of predicted probabilities: AUC, GAUC, log loss and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tamis.runtime import Float64
from tamis.schema import DataError
from tamis.train import auc, group_ndcg, log_loss

__all__ = [
    "CalibrationBin",
    "auc",
    "calibration_curve",
    "checked",
    "ece",
    "gauc",
    "group_auc",
    "group_ndcg",
    "log_loss",
    "pcoc",
]

Array = NDArray[np.generic]


def gauc(labels: Array, scores: Array, groups: Array) -> float:
    """In [0, 1]: the mean of each group's AUC, weighted by its rows (Zhu et al. 2017).

    groups (n,) is the user or request of each row. Groups with one class only have no AUC and are
    left out; NaN if no group is left.
    """
    per_group, weights = group_auc(labels, scores, groups)
    valid = ~np.isnan(per_group)
    if not valid.any():
        return float("nan")
    return float(np.average(per_group[valid], weights=weights[valid]))


def group_auc(labels: Array, scores: Array, groups: Array) -> tuple[Float64, Float64]:
    """Each group's AUC (NaN where it has one class only) and its number of rows, by group."""
    labels, scores = checked(labels, scores)
    groups = np.unique(groups, return_inverse=True)[1]
    n_groups = int(groups.max()) + 1 if len(groups) else 0
    order = np.lexsort((scores, groups))
    group, score, label = groups[order], scores[order], labels[order]
    # A block is a run of equal scores within a group: its rows tie.
    starts = np.ones(len(order), np.bool_)
    starts[1:] = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
    block = np.cumsum(starts) - 1
    positives = np.bincount(block, weights=label)
    negatives = np.bincount(block, weights=1 - label)
    of_group = group[starts]
    total_negatives = np.bincount(of_group, weights=negatives, minlength=n_groups)
    before = np.concatenate([[0.0], np.cumsum(total_negatives)])[:-1]
    below = np.cumsum(negatives) - negatives - before[of_group]
    won = np.bincount(of_group, weights=positives * (below + negatives / 2), minlength=n_groups)
    pairs = np.bincount(of_group, weights=positives, minlength=n_groups) * total_negatives
    result = np.full(n_groups, np.nan)
    np.divide(won, pairs, out=result, where=pairs > 0)
    return result, np.bincount(groups, minlength=n_groups).astype(np.float64)


@dataclass(frozen=True)
class CalibrationBin:
    """Rows with similar predictions: mean prediction and observed rate."""

    predicted: float
    observed: float
    count: int


def calibration_curve(
    labels: Array,
    predicted: Array,
    bins: int = 10,
    strategy: Literal["quantile", "uniform"] = "quantile",
) -> list[CalibrationBin]:
    """The reliability curve: at most `bins` bins, in ascending order, empty ones left out.

    `quantile` puts about as many rows into each bin (rows of equal prediction stay together),
    `uniform` cuts [0, 1] evenly.
    """
    labels, predicted = checked(labels, predicted)
    if not len(labels):
        return []
    if strategy == "quantile":
        edges = np.quantile(predicted, np.linspace(0, 1, bins + 1)[1:-1])
    else:
        edges = np.linspace(0, 1, bins + 1)[1:-1]
    number = np.searchsorted(edges, predicted, side="left")
    counts = np.bincount(number, minlength=bins)
    p = np.bincount(number, weights=predicted, minlength=bins)
    y = np.bincount(number, weights=labels, minlength=bins)
    return [
        CalibrationBin(float(p[b] / counts[b]), float(y[b] / counts[b]), int(counts[b]))
        for b in np.flatnonzero(counts)
    ]


def ece(curve: list[CalibrationBin]) -> float:
    """In [0, 1]: the expected calibration error, Σ count · |predicted − observed| ÷ Σ count."""
    rows = sum(b.count for b in curve)
    if not rows:
        return float("nan")
    return sum(b.count * abs(b.predicted - b.observed) for b in curve) / rows


def pcoc(labels: Array, predicted: Array) -> float:
    """Predicted ÷ observed positives; 1: calibrated on average, above 1: predictions too high."""
    labels, predicted = checked(labels, predicted)
    return float(predicted.sum() / labels.sum()) if labels.sum() else float("nan")


def checked(labels: Array, scores: Array) -> tuple[Float64, Float64]:
    """Both as float64. Raises DataError for labels other than 0 and 1, NaN scores, wrong shapes."""
    labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise DataError(
            f"labels of shape {labels.shape} are measured against scores of shape {scores.shape}; "
            f"give one score per label"
        )
    if np.isnan(scores).any():
        raise DataError(
            f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN; "
            f"find the model that computed them"
        )
    wrong = labels[(labels != 0) & (labels != 1)]
    if len(wrong):
        raise DataError(f"label {wrong[0]} is neither 0 nor 1; binarise labels first")
    return labels, scores
