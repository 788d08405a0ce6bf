"""Monotone regression: a piecewise linear map of one number to another."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from tamis.runtime import Float64

Array = NDArray[np.floating]

KNOTS = 200
"""Maximum number of knots of a map."""
ROWS_PER_KNOT = 20
"""Minimum number of rows per knot."""


class Monotone(BaseModel):
    """A monotone map: linear between its knots, constant beyond them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    x: tuple[float, ...]
    """Knots, strictly ascending."""
    y: tuple[float, ...]
    """Values at the knots, all rising or all falling, as many as x."""

    @model_validator(mode="after")
    def _check_monotone(self) -> Monotone:
        steps = np.diff(self.y)
        if not self.x or len(self.x) != len(self.y) or (np.diff(self.x) <= 0).any():
            raise ValueError(
                "a monotone map needs as many y as x, and x strictly ascending; "
                f"got x = {self.x} and y = {self.y}"
            )
        if (steps < 0).any() and (steps > 0).any():
            raise ValueError("y of a monotone map must rise everywhere or fall everywhere")
        return self

    def __call__(self, x: Array) -> Float64:
        """Values (n,) at x (n,)."""
        return np.interp(x, self.x, self.y)


def monotone(
    x: Array,
    y: Array,
    centre: Literal["mean", "median"] = "mean",
    direction: Literal["rising", "falling", "auto"] = "rising",
    knots: int = KNOTS,
) -> Monotone | None:
    """Isotonic regression of y on x, on bins of equal count.

    Adjacent bins whose centres are out of order are pooled (pool adjacent violators, Barlow et al.
    1972, with the centre of all their rows). A bin's value is placed at its mean x, and the map is
    linear in between.

    Args:
        x, y: (n,); rows where either is NaN are left out.
        centre: "mean" minimises the squared error, "median" the absolute error.
        direction: "auto" takes the direction of the smaller error.
        knots: maximum number of bins.

    Returns None where no row is left.
    """
    known = ~(np.isnan(x) | np.isnan(y))
    order = np.argsort(x[known], kind="stable")
    x, y = (a[known][order].astype(np.float64) for a in (x, y))
    if not len(x):
        return None
    if direction == "auto":
        both = [_pooled(x, sign * y, centre, knots) for sign in (1.0, -1.0)]
        errors = [_error(x, sign * y, m, centre) for sign, m in zip((1.0, -1.0), both, strict=True)]
        direction = "rising" if errors[0] <= errors[1] else "falling"
    sign = 1.0 if direction == "rising" else -1.0
    at, value = _pooled(x, sign * y, centre, knots)
    return Monotone(x=tuple(at.tolist()), y=tuple((sign * value).tolist()))


def _pooled(x: Float64, y: Float64, centre: str, knots: int) -> tuple[Float64, Float64]:
    """x and ascending y of the pooled bins."""
    middle = np.median if centre == "median" else np.mean
    edges = _edges(x, min(knots, max(1, len(x) // ROWS_PER_KNOT)))
    blocks: list[tuple[int, int, float]] = []  # first row, end, value
    for first, end in pairwise(edges.tolist()):
        block = (first, end, float(middle(y[first:end])))
        while blocks and blocks[-1][2] > block[2]:
            begin = blocks.pop()[0]
            block = (begin, block[1], float(middle(y[begin : block[1]])))
        blocks.append(block)
    at = np.array([x[first:end].mean() for first, end, _ in blocks])
    return at, np.array([value for _, _, value in blocks])


def _edges(x: Float64, bins: int) -> NDArray[np.intp]:
    """First row of each bin of about equal count, and n; equal x are in one bin."""
    wanted = np.linspace(0, len(x), bins + 1).astype(np.intp)[:-1]
    first = np.searchsorted(x, x[wanted], side="left")
    return np.append(np.unique(first), len(x))


def _error(x: Float64, y: Float64, knots: tuple[Float64, Float64], centre: str) -> float:
    """Mean absolute error for "median", mean squared error for "mean"."""
    wrong = np.abs(np.interp(x, *knots) - y)
    return float(wrong.mean() if centre == "median" else np.square(wrong).mean())
