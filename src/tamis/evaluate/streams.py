"""Streaming metrics of predictions, in bounded memory: `add` batches, then read `result`.

Each result equals that of all rows at once, whatever the batches: sums are accumulated, not
averages of averages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from tamis.evaluate.probability import CalibrationBin, checked, ece, group_auc
from tamis.evaluate.score_table import MOST, ScoreTable
from tamis.runtime import Float64
from tamis.schema import DataError
from tamis.train import group_ndcg, xauc

Array = NDArray[np.generic]
EPSILON = 1e-7
"""Predictions are clipped to [EPSILON, 1 − EPSILON] in a log loss, as in `log_loss`."""
NAN = float("nan")


class AUC:
    """Area under the ROC curve, ties counted half; exact up to `most` distinct float32 scores.

    Beyond that it differs by at most `error` (3e-6 with two million rows of a click rate).
    """

    def __init__(self, most: int = MOST) -> None:
        self.table = ScoreTable(most)

    def add(self, labels: Array, scores: Array) -> None:
        """labels (n,) are 0, 1, or NaN (do not count)."""
        self.table.add(*checked(*known(labels, scores)))

    @property
    def error(self) -> float:
        """Bound of the difference from the exact AUC; 0 = exact."""
        return self.table.auc_error()

    def result(self) -> float:
        """In [0, 1]; NaN where a class is missing."""
        return self.table.auc()


class LogLoss:
    """Mean cross entropy in nats, and normalised by that of the mean label (NE, He et al. 2014)."""

    def __init__(self) -> None:
        self._rows = self._loss = self._labels = 0.0

    def add(self, labels: Array, predicted: Array) -> None:
        """labels (n,) in [0, 1] or NaN (do not count), predicted (n,) probabilities."""
        y, p = shares(*known(labels, predicted))
        p = np.clip(p, EPSILON, 1 - EPSILON)
        self._rows += len(y)
        self._loss -= float((y * np.log(p) + (1 - y) * np.log1p(-p)).sum())
        self._labels += float(y.sum())

    def result(self) -> float:
        """≥ 0; NaN without rows."""
        return self._loss / self._rows if self._rows else NAN

    def normalised(self) -> float:
        """≥ 0; below 1: better than predicting the mean label. NaN without both classes."""
        rate = self._labels / self._rows if self._rows else 0.0
        if not 0 < rate < 1:
            return NAN
        return float(self.result() / -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate)))


class Reliability:
    """Calibration: predicted against observed rates, overall and by bins of predictions."""

    def __init__(self, most: int = MOST) -> None:
        self.table = ScoreTable(most)

    def add(self, labels: Array, predicted: Array) -> None:
        """labels (n,) in [0, 1] or NaN (do not count), predicted (n,) probabilities."""
        self.table.add(*shares(*known(labels, predicted)))

    def ece(self, bins: int = 10) -> float:
        """In [0, 1]: expected calibration error over bins of about equally many rows."""
        return ece(self.curve(bins))

    def pcoc(self) -> float:
        """Predicted ÷ observed positives; 1: calibrated on average. NaN without a positive."""
        return self.table.pcoc()

    def curve(self, bins: int = 10) -> list[CalibrationBin]:
        """The reliability curve."""
        return self.table.curve(bins)


class _ByGroup(ABC):
    """Metrics within groups of any length; rows must be in ascending order of their group."""

    def __init__(self) -> None:
        self._open = (np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
        self._sums = np.zeros(3)

    def add(self, labels: Array, scores: Array, groups: Array) -> None:
        """labels (n,), NaN is ignored; scores (n,); groups (n,) integers that ascend within and
        between batches. Raises DataError if they do not.
        """
        here = ~np.isnan(np.asarray(labels, np.float64))
        batch = tuple(np.asarray(a)[here] for a in (labels, scores, groups))
        labels, scores, groups = (
            np.concatenate(pair) for pair in zip(self._open, batch, strict=True)
        )
        if (np.diff(groups.astype(np.int64)) < 0).any():
            raise DataError(
                "metrics within groups need rows in ascending order of their group, also from "
                "batch to batch; sort the rows by group"
            )
        closed = int(np.searchsorted(groups, groups[-1])) if len(groups) else 0
        self._sums = self._sums + self._measure(labels[:closed], scores[:closed], groups[:closed])
        self._open = (labels[closed:], scores[closed:], groups[closed:])

    @abstractmethod
    def _measure(self, labels: Array, scores: Array, groups: Array) -> Float64:
        """(3,) sums over complete groups: value × weight, weights, number of skipped groups."""

    def _total(self) -> Float64:
        return self._sums + self._measure(*self._open)

    def result(self) -> float:
        """The weighted mean over the groups that have a value; NaN where none has."""
        value, weight, _ = self._total()
        return float(value / weight) if weight else NAN

    @property
    def skipped(self) -> int:
        """Groups without a value."""
        return int(self._total()[2])


class GAUC(_ByGroup):
    """Mean of each user's AUC, weighted by the user's rows (Zhu et al. 2017).

    Users of one class only have no AUC: they are left out and counted in `skipped`.
    """

    def _measure(self, labels: Array, scores: Array, groups: Array) -> Float64:
        value, rows = group_auc(labels, scores, groups)
        some = ~np.isnan(value)
        return np.array([(value * rows)[some].sum(), rows[some].sum(), (~some).sum()])


class NDCG(_ByGroup):
    """Mean NDCG@k within groups (requests) that hold a positive label; see `group_ndcg`."""

    def __init__(self, k: int = 10) -> None:
        super().__init__()
        self.k = k

    def _measure(self, labels: Array, scores: Array, groups: Array) -> Float64:
        value = group_ndcg(labels, scores, groups, self.k)
        some = ~np.isnan(value)
        return np.array([value[some].sum(), some.sum(), (~some).sum()])


class Errors:
    """Errors of numbers: `mae`, `rmse`, and `bias` = mean predicted ÷ mean observed."""

    def __init__(self) -> None:
        self._sums = np.zeros(5)

    def add(self, labels: Array, predicted: Array) -> None:
        """labels (n,) numbers or NaN (do not count), predicted (n,) in their unit."""
        y, p = known(labels, predicted)
        wrong = p - y
        self._sums += [len(y), np.abs(wrong).sum(), np.square(wrong).sum(), y.sum(), p.sum()]

    def result(self) -> dict[str, float]:
        """NaN without rows."""
        rows, absolute, square, observed, predicted = self._sums.tolist()
        if not rows:
            return dict.fromkeys(("mae", "rmse", "bias"), NAN)
        bias = predicted / observed if observed else NAN
        return {"mae": absolute / rows, "rmse": float(np.sqrt(square / rows)), "bias": bias}


class XAUC:
    """The share of pairs with different labels that the scores order correctly; ties count half.

    Exact up to `most` rows. Of more rows a uniform sample of `most` is used, whose XAUC has a
    standard error of at most 1 ÷ √most (Zhan et al. 2022; a U-statistic of values in [0, 1]).
    """

    def __init__(self, most: int = 1_000_000, seed: int = 0) -> None:
        self.most = most
        self._random = np.random.default_rng(seed)
        self._kept = np.zeros((3, 0))  # draw, label, score
        self.rows = 0

    def add(self, labels: Array, scores: Array) -> None:
        """labels (n,) numbers or NaN (do not count)."""
        y, s = known(labels, scores)
        self.rows += len(y)
        batch = np.stack([self._random.random(len(y)), y, s])
        self._kept = np.concatenate([self._kept, batch], axis=1)
        if self._kept.shape[1] > self.most:  # the smallest draws are a uniform sample
            least = np.argpartition(self._kept[0], self.most)[: self.most]
            self._kept = self._kept[:, np.sort(least)]

    @property
    def error(self) -> float:
        """Upper bound of the standard error of the sampling; 0: exact."""
        return 0.0 if self.rows <= self.most else self.most**-0.5

    def result(self) -> float:
        """In [0, 1]; NaN where all labels are equal."""
        return float(xauc(self._kept[1], self._kept[2]))


class Buckets:
    """Rows, predictions and outcomes of the values of one feature: PCOC per bucket."""

    def __init__(self, buckets: int) -> None:
        self._sums = np.zeros((3, buckets))

    def add(self, labels: Array, predicted: Array, bucket: Array) -> None:
        """labels (n,) in [0, 1] or NaN (do not count), bucket (n,) in [0, buckets)."""
        here = ~np.isnan(np.asarray(labels, np.float64))
        n = self._sums.shape[1]
        at = np.asarray(bucket)[here]
        self._sums[0] += np.bincount(at, minlength=n)
        for line, values in zip((1, 2), (predicted, labels), strict=True):
            self._sums[line] += np.bincount(at, weights=np.asarray(values)[here], minlength=n)

    def result(self) -> list[CalibrationBin | None]:
        """Rows, mean prediction and mean label per bucket; None for a bucket without rows."""
        rows, predicted, observed = self._sums
        return [
            CalibrationBin(float(p / n), float(y / n), int(n)) if n else None
            for n, p, y in zip(rows, predicted, observed, strict=True)
        ]


def known(labels: Array, scores: Array) -> tuple[Float64, Float64]:
    """The rows that have a label. Raises DataError for scores that are NaN or do not fit."""
    labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise DataError(
            f"labels of shape {labels.shape} are measured against scores of shape {scores.shape}; "
            f"give one score per label"
        )
    here = ~np.isnan(labels)
    labels, scores = labels[here], scores[here]
    if np.isnan(scores).any():
        raise DataError(
            f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN; "
            f"find the model that computed them"
        )
    return labels, scores


def shares(labels: Float64, predicted: Float64) -> tuple[Float64, Float64]:
    """The same, if all labels are in [0, 1]. Raises DataError otherwise."""
    wrong = labels[(labels < 0) | (labels > 1)]
    if len(wrong):
        raise DataError(f"label {wrong[0]} is not in [0, 1], so it is not a rate")
    return labels, predicted
