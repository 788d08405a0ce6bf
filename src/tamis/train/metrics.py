"""Metrics by which a fit is stopped; the room `evaluate` reports many more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.floating]


def auc(labels: Array, scores: Array) -> float:
    """Area under the ROC curve, ties counted half; NaN where a class is missing.

    Rows whose label is NaN do not count. Labels above 0.5 are positive.
    """
    known = ~np.isnan(labels)
    positive, score = labels[known] > 0.5, scores[known]
    n_pos = int(positive.sum())
    n_neg = len(positive) - n_pos
    if not n_pos or not n_neg:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def log_loss(labels: Array, probabilities: Array) -> float:
    """Mean cross entropy of probabilities, kept 1e-7 away from 0 and 1; NaN without a label."""
    known = ~np.isnan(labels)
    if not known.any():
        return float("nan")
    y = labels[known].astype(np.float64)
    p = np.clip(probabilities[known].astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())


def grouped_ndcg(labels: Array, scores: Array, groups: NDArray[np.int64], k: int = 10) -> float:
    """Mean NDCG@k within groups that hold a positive label; NaN without such a group.

    Gain = the label, discount 1/log2(1 + place); ties by place in the input.
    """
    known = ~np.isnan(labels)
    labels, scores, groups = labels[known].astype(np.float64), scores[known], groups[known]
    _, group = np.unique(groups, return_inverse=True)
    n = int(group.max()) + 1 if len(group) else 0
    gained = _discounted(labels, np.lexsort((-scores, group)), group, n, k)
    ideal = _discounted(labels, np.lexsort((-labels, group)), group, n, k)
    some = ideal > 0
    return float((gained[some] / ideal[some]).mean()) if some.any() else float("nan")


def _discounted(
    labels: Array, order: NDArray[np.intp], group: NDArray[np.intp], n: int, k: int
) -> NDArray[np.float64]:
    """(n,) discounted gain of each group's first k rows in `order`."""
    ordered = group[order]
    first = np.searchsorted(ordered, np.arange(n))
    place = np.arange(len(ordered)) - first[ordered]
    gain = np.where(place < k, labels[order] / np.log2(2.0 + place), 0.0)
    return np.bincount(ordered, weights=gain, minlength=n).astype(np.float64)
