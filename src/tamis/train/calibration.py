"""Calibration: an increasing map of a task's log-odds, fitted on held-out rows.

Of the rows that a calibrated model predicts at 5 %, 5 in 100 are positive. There are two kinds of
map: Platt's line (two parameters, needs few rows) and isotonic regression (any increasing shape,
needs thousands of rows). Both are strictly increasing, so the order of candidates is kept.
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
"""Folds of the cross-validation by which `auto` chooses."""
MAX_ROWS = 200_000
"""Maximum number of rows of that cross-validation; the map itself is fitted on all rows."""


class Calibration(BaseModel):
    """A strictly increasing, piecewise linear map of log-odds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["none", "platt", "isotonic"] = "none"
    """The method that fitted it."""
    x: tuple[float, ...] = (0.0,)
    """Knots: log-odds before calibration, strictly ascending."""
    y: tuple[float, ...] = (0.0,)
    """Log-odds after calibration at the knots, strictly ascending; linear in between."""
    slope: float = 1.0
    """Slope below the first and above the last knot; > 0."""

    @model_validator(mode="after")
    def _check_increasing(self) -> Calibration:
        rising = all(b > a for v in (self.x, self.y) for a, b in pairwise(v))
        if not self.x or len(self.x) != len(self.y) or not rising or not self.slope > 0:
            raise ValueError(
                "a calibration needs as many x as y, both strictly ascending, and a slope above 0; "
                f"got x = {self.x}, y = {self.y} and slope = {self.slope:g}"
            )
        return self

    def __call__(self, logits: Array) -> Array:
        """Calibrated log-odds (n,) of log-odds (n,), in the same dtype."""
        if self.kind == "none":
            return logits
        x, y = self._knots
        below, above = np.minimum(logits - x[0], 0), np.maximum(logits - x[-1], 0)
        moved = np.interp(logits, x, y) + self.slope * (below + above)
        return moved.astype(logits.dtype, copy=False)

    def moved(self, shift: float) -> Calibration:
        """The same map, with `shift` added to all log-odds that it gives."""
        if self.kind == "none":
            return Calibration(kind="platt", y=(shift,))
        y = tuple(value + shift for value in self.y)
        return Calibration(kind=self.kind, x=self.x, y=y, slope=self.slope)

    def __str__(self) -> str:
        """A short description: `none`, `platt 0.91 x - 0.3` or `isotonic, 41 knots`."""
        if self.kind == "platt":
            return f"platt {self.slope:.3g} x {self.y[0]:+.3g}"
        return self.kind if self.kind == "none" else f"isotonic, {len(self.x)} knots"

    @cached_property
    def _knots(self) -> tuple[Float64, Float64]:
        return np.array(self.x), np.array(self.y)


def calibrated(logits: Float32, maps: Sequence[Calibration]) -> Float32:
    """Calibrated log-odds (n, T) of log-odds (n, T), column t by `maps[t]`; no maps: unchanged."""
    if all(m.kind == "none" for m in maps):
        return logits
    return np.stack([m(logits[:, t]) for t, m in enumerate(maps)], axis=1)


def platt(labels: Array, logits: Array) -> Calibration:
    """Platt scaling: the line `slope · x + intercept`, slope > 0, of least cross entropy.

    Platt 1999; see `platt_line`. The identity where only one class is present.

    Args:
        labels: (n,) in [0, 1]; rows with NaN are left out.
        logits: (n,) log-odds.
    """
    slope, intercept = platt_line(labels, logits)
    if (slope, intercept) == (1.0, 0.0):
        return Calibration()
    return Calibration(kind="platt", y=(intercept,), slope=slope)


def isotonic(labels: Array, logits: Array) -> Calibration:
    """Centred isotonic regression (Oron & Flournoy 2017); arguments as `platt`.

    scikit-learn's pool-adjacent-violators algorithm finds the steps: runs of rows whose mean label
    increases from run to run. A step function would make every run a tie. Here the mean of a step
    is the value at its centre and the map is linear between centres, so the order within a run is
    kept. Beyond the first and the last centre the map continues with Platt's slope. A step without
    positives (or negatives) is pulled towards Platt's line with the weight of one row, so that no
    probability is 0 or 1.
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
    # The centre of a step: where Platt's line equals the step's mean probability.
    centre = np.clip((np.log(p / q) - intercept) / slope, z[first], z[first + rows - 1])
    certain = (yes == 0) | (no == 0)
    level = np.log(np.where(certain, yes + p / rows, yes) / np.where(certain, no + q / rows, no))
    kept = _rising(centre, level)
    return Calibration(
        kind="isotonic", x=tuple(centre[kept].tolist()), y=tuple(level[kept].tolist()), slope=slope
    )


def _steps(y: Float64, z: Float64) -> NDArray[np.intp]:
    """First row of each run of equal fitted values; rows (n,) of labels y ascend by z."""
    from sklearn.isotonic import isotonic_regression  # slow to import; only needed in training

    # Rows of equal score are one point.
    _, first, rows = np.unique(z, return_index=True, return_counts=True)
    fitted = isotonic_regression(np.add.reduceat(y, first) / rows, sample_weight=rows)
    return first[np.r_[True, np.diff(fitted) > 0]]


def _rising(x: Float64, y: Float64) -> NDArray[np.bool_]:
    """bool: knots to keep so that x and y ascend strictly; drops ends pulled past a neighbour."""
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
"""Calibration methods, from the simplest to the most flexible."""


def fit_calibration(
    labels: Array,
    logits: Array,
    method: Method = "auto",
    *,
    groups: NDArray[np.int64] | None = None,
    orders_only: bool = False,
) -> Calibration:
    """Fits the calibration map of one task on held-out rows.

    Args:
        labels: (n,) in [0, 1]; rows with NaN are left out.
        logits: (n,) log-odds.
        method: "auto" takes the simplest of none, Platt and isotonic whose cross entropy in
            five-fold cross-validation is within one standard error of the best.
        groups: (n,) the request or user of each row; "auto" keeps a group in one fold.
        orders_only: the loss defines only an order, so "auto" never takes none.
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
    return FITS[_best_method(names, labels, logits, group)](labels, logits)


def _best_method(names: list[str], labels: Array, logits: Array, group: NDArray[np.intp]) -> str:
    """The simplest of `names` within one standard error of the best cross-validated loss."""
    random = np.random.default_rng(0)
    draw = random.permutation(int(group.max()) + 1)[group]  # (n,) groups in a random order
    if len(labels) > MAX_ROWS:
        part = draw < np.partition(draw, MAX_ROWS)[MAX_ROWS]
        labels, logits, group, draw = labels[part], logits[part], group[part], draw[part]
    fold = draw % FOLDS
    losses = {name: np.zeros(len(labels)) for name in names}
    for k in range(FOLDS):
        held_out, train = fold == k, fold != k
        for name, loss in losses.items():
            z = FITS[name](labels[train], logits[train])(logits[held_out].astype(np.float64))
            loss[held_out] = np.logaddexp(0, z) - labels[held_out] * z
    best = min(losses, key=lambda name: losses[name].sum())
    for name in names:
        worse = np.bincount(group, weights=losses[name] - losses[best])
        worse = worse[np.bincount(group, minlength=len(worse)) > 0]
        if worse.mean() <= worse.std() / np.sqrt(len(worse)):
            return name
    return best
