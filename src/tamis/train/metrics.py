"""Metrics by which a fit is stopped; the room `evaluate` reports many more."""

from __future__ import annotations

import numpy as np
from numba import njit
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


def xauc(labels: Array, scores: Array) -> float:
    """Share of the pairs of rows with different labels that the scores put in the labels' order,
    ties of scores counted half; NaN where no two labels differ. With labels 0 and 1 it is the AUC.

    Rows whose label is NaN do not count. O(n log n), by counting in a binary indexed tree.
    """
    known = ~np.isnan(labels)
    labels, scores = labels[known], scores[known]
    _, place = np.unique(scores, return_inverse=True)
    order = np.argsort(labels, kind="stable")
    value = labels[order]
    first = np.searchsorted(value, value, side="left").astype(np.int64)
    right, pairs = _concordant(place[order].astype(np.int64), first)
    return right / pairs if pairs else float("nan")


@njit(cache=True)
def _concordant(place: NDArray[np.int64], first: NDArray[np.int64]) -> tuple[float, float]:
    """(pairs in order + half of the ties, pairs) of rows by rising label; `first` (n,) is the first
    row of the same label, `place` the score's rank from 0."""
    size = 1
    if len(place):
        size = place.max() + 2
    tree = np.zeros(size + 1, np.int64)
    right, pairs, put = 0.0, 0.0, 0
    for row in range(len(place)):
        while put < first[row]:
            at = place[put] + 1
            while at <= size:
                tree[at] += 1
                at += at & -at
            put += 1
        below, at = 0, place[row]
        while at > 0:
            below += tree[at]
            at -= at & -at
        upto, at = 0, place[row] + 1
        while at > 0:
            upto += tree[at]
            at -= at & -at
        right += float(below + 0.5 * (upto - below))
        pairs += put
    return right, pairs


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
