"""A monotone map of one number to another: what is learnt of a shape that is only known to rise."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from tamis.runtime import Float64

Array = NDArray[np.floating]

KNOTS = 200
"""Most knots of a map."""
ROWS_PER_KNOT = 20
"""Fewest rows that make a knot."""


class Monotone(BaseModel):
    """Straight between its knots, level beyond them; in JSON as its numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    x: tuple[float, ...]
    """Ascending strictly."""
    y: tuple[float, ...]
    """All rising or all falling, as many as x."""

    @model_validator(mode="after")
    def _is_one(self) -> Monotone:
        steps = np.diff(self.y)
        if not self.x or len(self.x) != len(self.y) or (np.diff(self.x) <= 0).any():
            raise ValueError("a monotone map has as many y as x, and x ascends")
        if (steps < 0).any() and (steps > 0).any():
            raise ValueError("y must rise or fall everywhere")
        return self

    def __call__(self, x: Array) -> Float64:
        """(n,) of (n,)."""
        return np.interp(x, self.x, self.y)


def monotone(
    x: Array,
    y: Array,
    centre: Literal["mean", "median"] = "mean",
    direction: Literal["rising", "falling", "auto"] = "rising",
    knots: int = KNOTS,
) -> Monotone | None:
    """Isotonic regression of y (n,) on x (n,): the monotone map of least squared error ("mean") or
    least absolute error ("median"). Rows where either is NaN do not count; None where none is left.

    Rows are put into `knots` bins of equal count; neighbours whose centres are out of order become
    one (pool adjacent violators, Barlow et al. 1972, with the centre of all their rows). A bin's
    value stands at its mean x and the map is straight in between. "auto" takes the direction that
    leaves the smaller error.
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
    """Ascending x and y of the blocks' centres."""
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
    """First rows of bins of about equal count, and n; equal x are never parted."""
    wanted = np.linspace(0, len(x), bins + 1).astype(np.intp)[:-1]
    first = np.searchsorted(x, x[wanted], side="left")
    return np.append(np.unique(first), len(x))


def _error(x: Float64, y: Float64, knots: tuple[Float64, Float64], centre: str) -> float:
    wrong = np.abs(np.interp(x, *knots) - y)
    return float(wrong.mean() if centre == "median" else np.square(wrong).mean())
