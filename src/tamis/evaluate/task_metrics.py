"""All metrics of one task's predictions, collected batch by batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamis.evaluate.probability import CalibrationBin, checked, ece
from tamis.evaluate.score_table import MOST, ScoreTable
from tamis.evaluate.streams import GAUC, NDCG, XAUC, Errors, LogLoss, known, shares

Array = NDArray[np.generic]


class RateMetrics:
    """Metrics of probabilities: ranking quality (AUC, GAUC, NDCG within requests), log loss, NE,
    and calibration (PCOC, ECE).

    Args:
        binary: whether labels are 0 or 1. Otherwise they are shares in [0, 1]; ranking quality is
            then measured by XAUC, and there is no GAUC.
        k: places of NDCG.
        most: largest number of distinct scores that are kept (`ScoreTable`).
    """

    def __init__(self, binary: bool = True, k: int = 10, most: int = MOST) -> None:
        self.binary, self.k = binary, k
        self._table, self._loss = ScoreTable(most), LogLoss()
        self._gauc, self._ndcg, self._xauc = GAUC(), NDCG(k), XAUC(most)

    def add(self, labels: Array, predicted: Array, users: Array, requests: Array) -> None:
        """labels (n,), NaN is ignored; users and requests (n,) ascending numbers."""
        y, p = known(labels, predicted)
        self._table.add(*(checked(y, p) if self.binary else shares(y, p)))
        self._loss.add(y, p)
        self._ndcg.add(labels, predicted, requests)
        if self.binary:
            self._gauc.add(labels, predicted, users)
        else:
            self._xauc.add(y, p)

    def result(self) -> dict[str, float]:
        """rows, positives, auc (xauc), gauc, ndcg@k, logloss, ne, pcoc, ece, auc_error (a bound of
        the error of auc; 0 = exact) and gauc_skipped (number of users with one class only)."""
        table = self._table
        order = {"xauc": self._xauc.result()}
        if self.binary:
            order = {
                "auc": table.auc(),
                "auc_error": table.auc_error(),
                "gauc": self._gauc.result(),
                "gauc_skipped": self._gauc.skipped,
            }
        return {
            "rows": int(table.rows.sum()),
            "positives": float(table.labels.sum()),
            **order,
            f"ndcg@{self.k}": self._ndcg.result(),
            "logloss": self._loss.result(),
            "ne": self._loss.normalised(),
            "pcoc": table.pcoc(),
            "ece": ece(table.curve()),
        }

    def undefined(self) -> dict[str, str]:
        """{metric of `result`: why it is NaN}."""
        found = self.result()
        rows, positives = found["rows"], found["positives"]
        if not rows:
            every = "no row has a label"
        elif positives in (0, rows):
            every = f"all {rows:,} labels are {positives / rows:g}"
        else:
            every = ""
        groups = {
            "gauc": f"none of {found.get('gauc_skipped', 0):,} users has labels of both classes",
            f"ndcg@{self.k}": "no request has a positive label",
        }
        missing = [metric for metric, value in found.items() if np.isnan(value)]
        return {m: every or groups.get(m, "all labels are equal") for m in missing}

    def curve(self, bins: int = 12) -> list[CalibrationBin]:
        """The reliability curve."""
        return self._table.curve(bins)


class NumberMetrics:
    """Metrics of numbers (watch time, ratings): XAUC, mean absolute and squared error, bias.

    `scores` order the rows where that is not the prediction itself (`exp(z)` of watch time, whose
    prediction is in seconds). XAUC uses a sample of `most` rows if there are more.
    """

    def __init__(self, most: int = 1_000_000) -> None:
        self._errors, self._xauc = Errors(), XAUC(most)

    def add(self, labels: Array, predicted: Array, scores: Array | None = None) -> None:
        """labels (n,), NaN is ignored; predicted (n,) in their unit; scores (n,)."""
        self._errors.add(labels, predicted)
        self._xauc.add(labels, predicted if scores is None else scores)

    def result(self) -> dict[str, float]:
        """rows, xauc, mae, rmse, bias (mean predicted ÷ mean observed)."""
        errors = self._errors.result()
        return {"rows": self._xauc.rows, "xauc": self._xauc.result(), **errors}

    def undefined(self) -> dict[str, str]:
        """{metric of `result`: why it is NaN}."""
        found = self.result()
        rows = int(found["rows"])
        every = f"all {rows:,} labels are equal" if rows else "no row has a label"
        return {
            metric: "the labels sum up to 0" if metric == "bias" and rows else every
            for metric, value in found.items()
            if np.isnan(value)
        }
