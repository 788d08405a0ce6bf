"""Metrics that stop a fit. `tamis.evaluate` exports them and adds many more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamis.runtime import Float64, mean_ranks
from tamis.runtime.compiled import njit
from tamis.schema import DataError

Array = NDArray[np.generic]


def auc(labels: Array, scores: Array) -> float:
    """Area under the ROC curve, in [0, 1]: the probability that a positive scores above a negative.

    Exact; ties count half. NaN where there are no positives or no negatives.

    Args:
        labels: (n,) in [0, 1], positive above 0.5; rows with NaN are left out.
        scores: (n,) in any unit.

    Raises DataError for labels outside [0, 1], NaN scores and unequal shapes.
    """
    labels, scores = _labelled(labels, scores)
    positive = labels > 0.5
    n_pos = int(positive.sum())
    n_neg = len(positive) - n_pos
    if not n_pos or not n_neg:
        return float("nan")
    ranks = mean_ranks(scores)
    return float((ranks[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def log_loss(labels: Array, predicted: Array, epsilon: float = 1e-7) -> float:
    """Mean cross entropy of predicted probabilities, in nats, ≥ 0; NaN without a label.

    Predictions are clipped to [ε, 1 − ε], so that one row costs at most −log ε = 16.1.

    Args:
        labels: (n,) in [0, 1]; rows with NaN are left out.
        predicted: (n,) probabilities.

    Raises DataError for labels outside [0, 1], NaN predictions and unequal shapes.
    """
    labels, predicted = _labelled(labels, predicted)
    if not len(labels):
        return float("nan")
    p = np.clip(predicted, epsilon, 1 - epsilon)
    return float(-(labels * np.log(p) + (1 - labels) * np.log1p(-p)).mean())


def _labelled(labels: Array, scores: Array) -> tuple[Float64, Float64]:
    """The rows that have a label, as float64. Raises DataError as `auc` describes."""
    labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise DataError(
            f"labels of shape {labels.shape} do not match scores of shape {scores.shape}; "
            "give one score per label"
        )
    known = ~np.isnan(labels)
    labels, scores = labels[known], scores[known]
    missing = int(np.isnan(scores).sum())
    if missing:
        raise DataError(
            f"{missing} of {len(scores)} scores are NaN, so the metric is undefined; "
            "check the model that made them"
        )
    wrong = labels[(labels < 0) | (labels > 1)]
    if len(wrong):
        raise DataError(
            f"label {wrong[0]} is neither 0 nor 1 nor between them; binarise the labels first"
        )
    return labels, scores


def xauc(labels: Array, scores: Array) -> float:
    """In [0, 1]: the share of row pairs with different labels that the scores order correctly.

    Ties of scores count half; NaN where no two labels differ. With labels 0 and 1 it is the AUC.
    O(n log n), by counting in a binary indexed tree.

    Args:
        labels: (n,) numbers; rows with NaN are left out.
        scores: (n,) numbers.
    """
    known = ~np.isnan(labels)
    labels, scores = labels[known], scores[known]
    _, place = np.unique(scores, return_inverse=True)
    order = np.argsort(labels, kind="stable")
    value = labels[order]
    first = np.searchsorted(value, value, side="left").astype(np.int64)
    right, pairs = _concordant(place[order].astype(np.int64), first)
    return right / pairs if pairs else float("nan")


def mean_absolute_error(labels: Array, predicted: Array) -> float:
    """Mean of |label − prediction|, in their unit; rows without a label are left out. NaN without
    a label."""
    labels, predicted = np.asarray(labels, np.float64), np.asarray(predicted, np.float64)
    known = ~np.isnan(labels)
    return float(np.abs(labels[known] - predicted[known]).mean()) if known.any() else float("nan")


@njit(cache=True)
def _concordant(place: NDArray[np.int64], first: NDArray[np.int64]) -> tuple[float, float]:
    """(concordant pairs + half of the tied ones, all pairs) of rows with different labels.

    place: int64 (n,) dense rank of each row's score, from 0, rows in ascending order of label.
    first: int64 (n,) number of the first row with the same label.
    """
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


def group_ndcg(labels: Array, scores: Array, groups: Array, k: int = 10) -> Float64:
    """NDCG@k of each group, (G,) by ascending group; NaN where no label is above 0.

    Gain = the label, discount 1/log2(1 + place) up to place k (Järvelin & Kekäläinen 2002). Rows of
    equal score share the mean discount of their places, which is the expectation over random orders
    of them (McSherry & Najork 2008, and as scikit-learn does).

    Args:
        labels: (n,) ≥ 0, without NaN.
        scores: (n,).
        groups: (n,) the request or user of each row; any integers.
    """
    labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    group = np.unique(groups, return_inverse=True)[1]
    n = int(group.max()) + 1 if len(group) else 0
    gained = _discounted(labels, scores, group, n, k)
    ideal = _discounted(labels, labels, group, n, k)
    result = np.full(n, np.nan)
    np.divide(gained, ideal, out=result, where=ideal > 0)
    return result


def mean_group_ndcg(labels: Array, scores: Array, groups: Array, k: int = 10) -> float:
    """Mean of `group_ndcg` over the groups with a label above 0; NaN where there is none.

    Rows whose label is NaN are left out.
    """
    known = ~np.isnan(labels)
    each = group_ndcg(labels[known], scores[known], groups[known], k)
    each = each[~np.isnan(each)]
    return float(each.mean()) if len(each) else float("nan")


def _discounted(
    gains: Float64, scores: Float64, group: NDArray[np.intp], n: int, k: int
) -> Float64:
    """(n,) discounted gain of each group's rows in descending order of `scores`."""
    order = np.lexsort((-scores, group))
    group, score = group[order], scores[order]
    place = np.arange(len(order)) - np.searchsorted(group, np.arange(n))[group]
    starts = np.ones(len(order), np.bool_)
    starts[1:] = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
    first = place[starts]
    size = np.diff(np.append(np.flatnonzero(starts), len(order)))
    summed = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    mean = (summed[np.minimum(first + size, k)] - summed[np.minimum(first, k)]) / size
    gain = gains[order] * np.repeat(mean, size)
    return np.bincount(group, weights=gain, minlength=n).astype(np.float64)
