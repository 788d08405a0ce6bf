"""Checks of labels and sample weights before a fit, and reasons why a metric is undefined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.features import Rows
from tamis.runtime import Bool, Float32
from tamis.schema import LabelError, TaskConfig, class_names

Array = NDArray[np.generic]
SHOWN = 3
"""Wrong values that an error shows, each with its first row."""


class Metrics(dict[str, float]):
    """{metric: value}; a metric that these labels do not define is NaN, and `undefined` says why.

    Its `repr` shows the reasons after the values.
    """

    def __init__(self, *values: Any, **named: float) -> None:
        super().__init__(*values, **named)
        self.undefined: dict[str, str] = {}
        """{metric: why it is undefined}."""

    def reasons(self) -> list[str]:
        """ "auc and gauc are undefined: all 7 labels are 1", a text per reason."""
        return reason_lines(self.undefined)

    def __repr__(self) -> str:
        return "; ".join([super().__repr__(), *self.reasons()])


def reason_lines(undefined: Mapping[str, str]) -> list[str]:
    """A text for each reason of {metric: reason}, with the metrics that it makes undefined."""
    lines: list[str] = []
    for reason in dict.fromkeys(undefined.values()):
        metrics = [metric for metric, its in undefined.items() if its == reason]
        verb = "is" if len(metrics) == 1 else "are"
        *first, last = metrics
        named = f"{', '.join(first)} and {last}" if first else last
        lines.append(f"{named} {verb} undefined: {reason}")
    return lines


def check_labels(
    rows: Rows, tasks: Sequence[TaskConfig], of: str = "training", *, every: bool = True
) -> None:
    """Checks that the labels of every task are values that the task can have.

    binary: [0, 1]. multiclass: class numbers from 0. watch_time and completion: finite and at least
    0. regression: finite. NaN is a missing label. Training rows must also have a label of every
    task, and a positive one of all but multiclass and regression; sample weights must be finite,
    at least 0 and not all 0.

    Args:
        rows: with labels (n, T).
        tasks: the T tasks.
        of: the kind of rows, for messages: "training", "validation", "test".
        every: whether each task must have the labels that training needs; else one suffices.

    Raises LabelError naming the task, the values, their rows (from 0) and how to fix them.
    """
    if rows.labels is None:
        raise LabelError(f"the {of} rows have no labels; give `labels` to their Rows")
    if rows.labels.ndim != 2 or rows.labels.shape[1] != len(tasks):
        raise LabelError(
            f"the labels of the {of} rows have shape {rows.labels.shape}; {len(tasks)} tasks need "
            f"(n, {len(tasks)})"
        )
    for t, task in enumerate(tasks):
        label = rows.labels[:, t]
        with np.errstate(invalid="ignore"):
            wrong = ~np.isnan(label) & ~_ALLOWED[task.kind](label, task)
        if wrong.any():
            raise LabelError(_wrong_labels(label, wrong, task, of))
    if of != "training":
        return
    if len(rows) == 0:
        raise LabelError("there are no rows to train on; check the split and the labels")
    faults = unlearnable(rows.labels, tasks)
    if faults and (every or len(faults) == len(tasks)):
        task, fault = next(iter(faults.items()))
        raise LabelError(
            f"task {tasks[task].name!r} {fault} in {len(rows)} training rows; check its behaviours "
            "and the training windows, or in a frame its label column"
        )
    _check_weights(rows.weights)


def unlearnable(labels: Float32, tasks: Sequence[TaskConfig]) -> dict[int, str]:
    """{number of a task that cannot learn from labels (n, T): "has no label"}."""
    found = {t: _unlearnable(labels[:, t], task) for t, task in enumerate(tasks)}
    return {t: fault for t, fault in found.items() if fault}


def one_class_notes(rows: Rows, tasks: Sequence[TaskConfig], of: str) -> list[str]:
    """A remark per task whose labels in these rows are missing or all equal; see `check_labels`."""
    assert rows.labels is not None
    effects = {
        "training": "the model can learn only this value",
        "validation": "metrics of order (AUC, XAUC) are undefined on them, so this task can "
        "neither stop the fit nor be calibrated",
        "test": "metrics of order (AUC, XAUC) are undefined on them",
    }
    found: list[str] = []
    for t, task in enumerate(tasks):
        same = _all_equal(rows.labels[:, t])
        if same:
            found.append(f"task {task.name!r}: {same} in the {of} rows; {effects[of]}")
    return found


def undefined_metrics(
    metrics: dict[str, float], label: Array, groups: Array | None = None
) -> dict[str, str]:
    """{metric: why it is undefined} of the metrics that are NaN.

    Args:
        metrics: {metric: value} of one task.
        label: (n,) the labels that they were computed from; NaN: missing.
        groups: (n,) users or requests of metrics within groups; None: there are none.
    """
    every = _all_equal(label)
    reasons: dict[str, str] = {}
    for metric, value in metrics.items():
        if not np.isnan(value):
            continue
        if every:
            reasons[metric] = every
        elif groups is not None:
            reasons[metric] = (
                f"none of the {len(np.unique(groups)):,} groups (users or requests) has labels of "
                "both classes"
            )
        else:
            reasons[metric] = "it cannot be computed from these labels"
    return reasons


def _all_equal(label: Array) -> str:
    """ "all 7 labels are 1" or "none of 7 rows has a label"; "" where two labels differ."""
    known = label[~np.isnan(label)]
    if not len(known):
        return f"none of {len(label):,} rows has a label" if len(label) else "there is no row"
    if known.min() != known.max():
        return ""
    if len(known) == 1:
        return f"the only label is {known[0]:g}"
    return f"all {len(known):,} labels are {known[0]:g}"


def _in_unit_interval(label: Float32, task: TaskConfig) -> Bool:
    return (label >= 0) & (label <= 1)


def _is_class(label: Float32, task: TaskConfig) -> Bool:
    return (label >= 0) & (label < len(class_names(task))) & (label == np.floor(label))


def _is_amount(label: Float32, task: TaskConfig) -> Bool:
    return (label >= 0) & np.isfinite(label)


def _is_number(label: Float32, task: TaskConfig) -> Bool:
    return np.isfinite(label)


_ALLOWED = {
    "binary": _in_unit_interval,
    "multiclass": _is_class,
    "regression": _is_number,
    "watch_time": _is_amount,
    "completion": _is_amount,
}


def _wrong_labels(label: Float32, wrong: Bool, task: TaskConfig, of: str) -> str:
    """The message for labels that the task cannot have."""
    known = int((~np.isnan(label)).sum())
    start = (
        f"task {task.name!r}: {int(wrong.sum()):,} of the {known:,} labels of the {of} rows are "
        f"{_OUTSIDE[task.kind].format(most=len(class_names(task)) - 1)}: {examples(label, wrong)}. "
    )
    return start + _fix(label, task)


_OUTSIDE = {
    "binary": "outside [0, 1]",
    "multiclass": "no class numbers from 0 to {most}",
    "regression": "not finite",
    "watch_time": "negative or infinite",
    "completion": "negative or infinite",
}


def _fix(label: Float32, task: TaskConfig) -> str:
    """How to fix wrong labels of a task."""
    if task.kind == "multiclass":
        return "Declare every value in `classes`, or remove these rows' labels (NaN = no label)"
    if task.kind != "binary":
        return "Correct these values, or remove these rows' labels (NaN = no label)"
    values = np.unique(label[~np.isnan(label)])
    if len(values) == 2:
        low, high = values
        return f"Write the two values as 0 and 1: label = 0 where it is {low:g}, 1 where {high:g}"
    return (
        "Make them 0 and 1 (for ratings from 4 on: label = rating >= 4), or declare what they are "
        'with kind = "regression", "multiclass" or "watch_time" (TaskConfig, or [tasks.NAME])'
    )


def examples(values: Array, wrong: Bool) -> str:
    """ "5 (row 0), -1 (row 7), …": the first distinct wrong values, each with its first row."""
    rows = np.flatnonzero(wrong)
    _, first = np.unique(values[rows], return_index=True)
    first = np.sort(first)
    shown = ", ".join(f"{values[rows[k]]:g} (row {rows[k]})" for k in first[:SHOWN])
    return shown + (", …" if len(first) > SHOWN else "")


def _unlearnable(label: Float32, task: TaskConfig) -> str:
    """What is missing for a fit; "" where nothing is."""
    known = label[~np.isnan(label)]
    if not len(known):
        return "has no label"
    if task.kind in ("multiclass", "regression"):
        return ""
    return "" if known.max() > 0 else "has no positive label"


def _check_weights(weights: NDArray[np.float32] | None) -> None:
    """Raises LabelError for sample weights (n,) or (n, T) that cannot be used."""
    if weights is None:
        return
    with np.errstate(invalid="ignore"):
        wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise LabelError(
            f"{int(wrong.sum()):,} of {weights.size:,} sample weights are negative, infinite or "
            f"missing: {weights[wrong][0]:g} (row {row}); give numbers from 0 on"
        )
    if not weights.any():
        raise LabelError("all sample weights are 0, so no row counts; give weights above 0")
