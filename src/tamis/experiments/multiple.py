"""Corrections for several tests at once: Holm (no false finding at all) and Benjamini–Hochberg
(a bounded share of false findings)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis.runtime import Float64
from tamis.schema import DataError


def holm(p: Sequence[float]) -> Float64:
    """(m,) adjusted p-values: a metric is found at level α where its own is at most α (Holm 1979).

    Raises DataError for a value outside [0, 1].
    """
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    m = len(values)
    stepped = np.maximum.accumulate(values[order] * np.arange(m, 0, -1))
    return _placed(np.minimum(stepped, 1.0), order)


def benjamini_hochberg(p: Sequence[float]) -> Float64:
    """(m,) adjusted p-values (q-values), for independent or positively dependent tests
    (Benjamini and Hochberg 1995). Raises DataError for a value outside [0, 1]."""
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    m = len(values)
    scaled = values[order] * m / np.arange(1, m + 1)
    stepped = np.minimum.accumulate(scaled[::-1])[::-1]
    return _placed(np.minimum(stepped, 1.0), order)


def _checked(p: Sequence[float]) -> Float64:
    values = np.asarray(p, np.float64)
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise DataError(
            f"p-value number {wrong[0]} is {values[wrong[0]]}: give numbers from 0 to 1"
        )
    return values


def _placed(sorted_values: Float64, order: np.ndarray) -> Float64:
    placed = np.empty_like(sorted_values)
    placed[order] = sorted_values
    return placed
