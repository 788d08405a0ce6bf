"""Sufficient statistics of an arm: the number of units, and means and co-moments of their metrics.

All statistics of a report (means, ratios, CUPED) are functions of these numbers, so a log is read
once, in any order, by any number of processes, and no value of a single user is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tamis.runtime import Float64
from tamis.schema import DataError


@dataclass(frozen=True, eq=False)
class ArmMoments:
    """Of n units (users) with K columns each: metrics, denominators and covariates."""

    names: tuple[str, ...]
    """(K,) the columns."""
    n: int
    """Number of units."""
    mean: Float64
    """(K,)"""
    comoment: Float64
    """(K, K) sums of products of deviations from the means."""

    @classmethod
    def empty(cls, names: Sequence[str]) -> Self:
        """No units."""
        k = len(names)
        return cls(tuple(names), 0, np.zeros(k), np.zeros((k, k)))

    @classmethod
    def of(cls, names: Sequence[str], values: Float64) -> Self:
        """Of the rows of `values` (n, K). Raises DataError for another shape, NaN or infinity."""
        values = np.asarray(values, np.float64)
        if values.ndim != 2 or values.shape[1] != len(names):
            raise DataError(
                f"{len(names)} columns need values (n, {len(names)}), not {values.shape}"
            )
        if not np.isfinite(values).all():
            at, column = np.argwhere(~np.isfinite(values))[0]
            raise DataError(f"row {at} of {names[column]} is {values[at, column]}: give numbers")
        if not len(values):
            return cls.empty(names)
        mean = values.mean(axis=0)
        deviation = values - mean
        return cls(tuple(names), len(values), mean, deviation.T @ deviation)

    def __add__(self, other: ArmMoments) -> ArmMoments:
        """Of the units of both (Chan, Golub and LeVeque 1979: stable for large means)."""
        if self.names != other.names:
            raise DataError(f"columns {self.names} and {other.names} are not the same")
        n = self.n + other.n
        if n == 0:
            return self
        shift = other.mean - self.mean
        between = np.outer(shift, shift) * (self.n * other.n / n)
        return ArmMoments(
            self.names,
            n,
            self.mean + shift * (other.n / n),
            self.comoment + other.comoment + between,
        )

    @property
    def covariance(self) -> Float64:
        """(K, K) by n − 1. NaN for fewer than two units."""
        if self.n < 2:
            return np.full_like(self.comoment, np.nan)
        return self.comoment / (self.n - 1)

    def column(self, name: str) -> int:
        """The place of a column. Raises DataError where there is none."""
        if name not in self.names:
            raise DataError(f"there is no column {name!r}: columns are {', '.join(self.names)}")
        return self.names.index(name)
