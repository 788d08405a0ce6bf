"""Calibration: a rising map of a task's log-odds, fitted on held-out rows, kept with the model.

What a model calls 5 % should happen in 5 of 100 cases. Two maps: Platt's straight line (few
parameters, few rows needed) and isotonic regression (any rising shape, thousands of rows needed).
Both rise strictly, so that no two candidates change places and almost none come to tie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator
from scipy.special import expit

from tamis.runtime import Float32, Float64
from tamis.train.platt import platt_line

Array = NDArray[np.floating]
Method = Literal["none", "platt", "isotonic", "auto"]

FOLDS = 5
"""Parts of the held-out rows by which `auto` chooses."""
JUDGED = 200_000
"""Most rows that `auto` chooses by; the map itself is fitted on all."""


class Calibration(BaseModel):
    """A rising, piecewise linear map of log-odds, in JSON as its numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["none", "platt", "isotonic"] = "none"
    """Which fit made it."""
    x: tuple[float, ...] = (0.0,)
    """Log-odds before, rising strictly; between two of them the map is straight."""
    y: tuple[float, ...] = (0.0,)
    """Log-odds after, rising strictly."""
    slope: float = 1.0
    """Below the first and above the last knot; > 0."""

    @model_validator(mode="after")
    def _rises(self) -> Calibration:
        rising = all(b > a for v in (self.x, self.y) for a, b in pairwise(v))
        if not self.x or len(self.x) != len(self.y) or not rising or not self.slope > 0:
            raise ValueError("a calibration has as many x as y, both rising, and a slope above 0")
        return self

    def __call__(self, logits: Array) -> Array:
        """Log-odds (n,) after calibration, in the type that came."""
        if self.kind == "none":
            return logits
        x, y = self._knots
        below, above = np.minimum(logits - x[0], 0), np.maximum(logits - x[-1], 0)
        moved = np.interp(logits, x, y) + self.slope * (below + above)
        return moved.astype(logits.dtype, copy=False)

    def __str__(self) -> str:
        """In a word or two: `none`, `platt 0.91 x - 0.3`, `isotonic, 41 knots`."""
        if self.kind == "platt":
            return f"platt {self.slope:.3g} x {self.y[0]:+.3g}"
        return self.kind if self.kind == "none" else f"isotonic, {len(self.x)} knots"

    @cached_property
    def _knots(self) -> tuple[Float64, Float64]:
        return np.array(self.x), np.array(self.y)


def calibrated(logits: Float32, maps: Sequence[Calibration]) -> Float32:
    """Calibrated log-odds (n, T) of log-odds (n, T), each column through its map; () = none."""
    if all(m.kind == "none" for m in maps):
        return logits
    return np.stack([m(logits[:, t]) for t, m in enumerate(maps)], axis=1)


def platt(labels: Array, logits: Array) -> Calibration:
    """The straight line `slope · x + intercept` (slope > 0) of least cross entropy. Platt 1999.

    Labels (n,) are in [0, 1] or NaN (does not count). No map where one class only is there.
    """
    slope, intercept = platt_line(labels, logits)
    if (slope, intercept) == (1.0, 0.0):
        return Calibration()
    return Calibration(kind="platt", y=(intercept,), slope=slope)


def isotonic(labels: Array, logits: Array) -> Calibration:
    """Isotonic regression, straight between the centres of its steps and rising beyond its ends.

    scikit-learn's pool-adjacent-violators finds the steps: runs of rows whose mean label rises from
    run to run. As a staircase every run would be a tie; here a step's mean holds at its centre and
    the map is straight in between (centred isotonic regression, Oron & Flournoy 2017), so that the
    order is kept inside a run too. Beyond the first and last centre, Platt's slope goes on. A run
    without a positive (or negative) at an end is drawn to Platt's line by the weight of one row,
    so that nothing is impossible or certain. Labels as for `platt`.
    """
    known = ~np.isnan(labels)
    order = np.argsort(logits[known], kind="stable")
    y, z = (a[known][order].astype(np.float64) for a in (labels, logits))
    if not 0 < y.sum() < len(y):
        return Calibration()
    slope, intercept = platt_line(y, z)
    line = slope * z + intercept
    first = _steps(y, z)
    rows = np.diff(np.append(first, len(y)))
    yes, no = np.add.reduceat(y, first), np.add.reduceat(1 - y, first)
    p, q = np.add.reduceat(expit(line), first), np.add.reduceat(expit(-line), first)
    # The centre of a step is where Platt's line has the step's mean probability.
    centre = np.clip((np.log(p / q) - intercept) / slope, z[first], z[first + rows - 1])
    certain = (yes == 0) | (no == 0)
    level = np.log(np.where(certain, yes + p / rows, yes) / np.where(certain, no + q / rows, no))
    kept = _rising(centre, level)
    return Calibration(
        kind="isotonic", x=tuple(centre[kept].tolist()), y=tuple(level[kept].tolist()), slope=slope
    )


def _steps(y: Float64, z: Float64) -> NDArray[np.intp]:
    """First row of each run of equal fitted value; rows ascend by z."""
    from sklearn.isotonic import isotonic_regression  # takes longer to import than a request takes

    _, first, rows = np.unique(z, return_index=True, return_counts=True)  # equal scores as one
    fitted = isotonic_regression(np.add.reduceat(y, first) / rows, sample_weight=rows)
    return first[np.r_[True, np.diff(fitted) > 0]]


def _rising(x: Float64, y: Float64) -> NDArray[np.bool_]:
    """Knots that rise strictly in both; an end that was drawn past its neighbour goes."""
    kept = np.ones(len(x), np.bool_)
    if len(x) > 1:
        kept[0], kept[-1] = y[0] < y[1], y[-1] > y[-2]
    if not kept.any():
        kept[0] = True
    inner = np.flatnonzero(kept)
    tied = np.r_[False, (np.diff(x[inner]) <= 0) | (np.diff(y[inner]) <= 0)]
    kept[inner[tied]] = False
    return kept


FITS: dict[str, Callable[[Array, Array], Calibration]] = {
    "none": lambda labels, logits: Calibration(),
    "platt": platt,
    "isotonic": isotonic,
}
"""From the simplest to the most flexible."""


def fit_calibration(
    labels: Array,
    logits: Array,
    method: Method = "auto",
    *,
    groups: NDArray[np.int64] | None = None,
    orders_only: bool = False,
) -> Calibration:
    """The map of one task, fitted on held-out rows: labels (n,) in [0, 1] or NaN, log-odds (n,).

    `auto` takes the simplest of none, Platt and isotonic whose cross entropy on rows that it was
    not fitted on (five folds of whole `groups`) is within one standard error of the best one's.
    `orders_only`: the loss promised an order and no probability, so that none is no choice.
    """
    if method != "auto":
        return FITS[method](labels, logits)
    known = ~np.isnan(labels)
    labels, logits = labels[known], logits[known]
    if len(labels) == 0:
        return Calibration()
    names = [name for name in FITS if name != "none" or not orders_only]
    _, group = np.unique(
        np.arange(len(labels)) if groups is None else groups[known], return_inverse=True
    )
    return FITS[_chosen(names, labels, logits, group)](labels, logits)


def _chosen(names: list[str], labels: Array, logits: Array, group: NDArray[np.intp]) -> str:
    """The simplest of `names` that is as good as the best one, out of fold."""
    random = np.random.default_rng(0)
    draw = random.permutation(int(group.max()) + 1)[group]  # (n,) groups in a random order
    if len(labels) > JUDGED:
        part = draw < np.partition(draw, JUDGED)[JUDGED]
        labels, logits, group, draw = labels[part], logits[part], group[part], draw[part]
    fold = draw % FOLDS
    losses = {name: np.zeros(len(labels)) for name in names}
    for k in range(FOLDS):
        here, there = fold == k, fold != k
        for name, loss in losses.items():
            z = FITS[name](labels[there], logits[there])(logits[here].astype(np.float64))
            loss[here] = np.logaddexp(0, z) - labels[here] * z
    best = min(losses, key=lambda name: losses[name].sum())
    for name in names:
        worse = np.bincount(group, weights=losses[name] - losses[best])
        worse = worse[np.bincount(group, minlength=len(worse)) > 0]
        if worse.mean() <= worse.std() / np.sqrt(len(worse)):
            return name
    return best
