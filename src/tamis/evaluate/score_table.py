"""Scores and labels summed per distinct score, in bounded memory: AUC, reliability, quantiles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamis.evaluate.probability import CalibrationBin
from tamis.runtime import Float64, UInt32

Array = NDArray[np.generic]

MOST = 1 << 18
"""Largest number of distinct scores that are kept: 262,144."""


class ScoreTable:
    """A sorted table with one line per distinct score, into which batches of rows are merged.

    Scores are rounded to float32. The table is exact for at most `most` distinct scores. Beyond
    that the lowest bits of all scores are dropped one by one, and scores that differ only in them
    count as tied. Memory: 32 bytes × `most` for the lines, and as much for rows not yet merged.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.dropped_bits = 0
        """Number of low bits of the scores that are dropped; 0: all scores are exact."""
        self._keys = np.zeros(0, np.uint32)
        self._sums = np.zeros((3, 0))  # rows, labels, scores
        self._waiting: list[tuple[UInt32, Float64]] = []
        self._waits = 0

    def add(self, labels: Float64, scores: Float64) -> None:
        """labels (n,) in [0, 1], scores (n,) finite."""
        kept = scores.astype(np.float32)
        sums = np.stack([np.ones(len(labels)), labels, kept]).astype(np.float64)
        self._waiting.append((_keys(kept) >> np.uint32(self.dropped_bits), sums))
        self._waits += len(labels)
        if self._waits >= self.most:
            self._merge()

    @property
    def rows(self) -> Float64:
        """(lines,) rows of each distinct score, ascending by score."""
        return self._merged()[0]

    @property
    def labels(self) -> Float64:
        """(lines,) the sum of their labels."""
        return self._merged()[1]

    @property
    def scores(self) -> Float64:
        """(lines,) their score; their mean score where bits were dropped."""
        rows, _, scores = self._merged()
        return scores / rows

    def auc(self) -> float:
        """In [0, 1]: the probability that a positive scores above a negative; ties count half.

        NaN if a class is missing.
        """
        rows, positives, _ = self._merged()
        negatives = rows - positives
        pairs = positives.sum() * negatives.sum()
        if not pairs > 0:
            return float("nan")
        below = np.cumsum(negatives) - negatives
        return float((positives * (below + negatives / 2)).sum() / pairs)

    def auc_error(self) -> float:
        """Upper bound of the difference of `auc` from the exact AUC; 0 while the table is exact.

        It is half of the share of pairs that count as tied.
        """
        rows, positives, _ = self._merged()
        negatives = rows - positives
        pairs = positives.sum() * negatives.sum()
        if not self.dropped_bits or not pairs > 0:
            return 0.0
        return float((positives * negatives).sum() / (2 * pairs))

    def pcoc(self) -> float:
        """Scores ÷ labels, both summed; NaN where no label is above 0."""
        _, labels, scores = self._merged()
        return float(scores.sum() / labels.sum()) if labels.sum() > 0 else float("nan")

    def curve(self, bins: int = 10) -> list[CalibrationBin]:
        """The reliability curve: at most `bins` bins of about equally many rows, ascending.

        Rows of equal score stay together, as in `calibration_curve`.
        """
        rows, labels, scores = self._merged()
        if not len(rows):
            return []
        edges = self.quantiles(np.linspace(0, 1, bins + 1)[1:-1])
        number = np.searchsorted(edges, scores / rows, side="left")
        n, y, p = (np.bincount(number, weights=w, minlength=bins) for w in (rows, labels, scores))
        return [
            CalibrationBin(float(p[b] / n[b]), float(y[b] / n[b]), int(n[b]))
            for b in np.flatnonzero(n)
        ]

    def quantiles(self, q: Float64) -> Float64:
        """Quantiles of the scores, with linear interpolation as in `numpy.quantile`."""
        rows, scores = self.rows, self.scores
        end = np.cumsum(rows)
        at = q * (end[-1] - 1)
        low, high = (
            scores[np.searchsorted(end, place, side="right")]
            for place in (np.floor(at), np.ceil(at))
        )
        return low + (at - np.floor(at)) * (high - low)

    def _merged(self) -> Float64:
        self._merge()
        return self._sums

    def _merge(self) -> None:
        if not self._waiting:
            return
        keys = np.concatenate([self._keys, *(k for k, _ in self._waiting)])
        sums = np.concatenate([self._sums, *(s for _, s in self._waiting)], axis=1)
        self._waiting, self._waits = [], 0
        self._keys, self._sums = _by_key(keys, sums)
        while len(self._keys) > self.most:
            self.dropped_bits += 1
            self._keys, self._sums = _by_key(self._keys >> np.uint32(1), self._sums)


def _keys(scores: NDArray[np.float32]) -> UInt32:
    """Unsigned numbers in the order of the scores."""
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0 makes -0 the same as 0
    sign = np.uint32(1 << 31)
    return np.where(bits & sign, ~bits, bits | sign)


def _by_key(keys: UInt32, sums: Float64) -> tuple[UInt32, Float64]:
    """Ascending distinct keys, and the sums of each."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else np.zeros(0, int)
    return keys[first], np.add.reduceat(sums[:, order], first, axis=1) if len(keys) else sums
