"""Checks the values of a log's events against the tasks that learn from them, before any fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tamis.data import Dataset
from tamis.runtime import Bool, Float32, Index
from tamis.schema import DataError, TaskConfig, class_values


def check_task_values(tasks: Sequence[TaskConfig], data: Dataset) -> list[str]:
    """Remarks on events whose value gives a task no label.

    These are missing values, and values that are not among the `classes` of a multiclass task.

    Raises DataError, naming a value, its event and how to fix it, where watched times and shares
    are negative or infinite, numbers are infinite, or no event of a task has a usable value.
    """
    notes: list[str] = []
    for task in tasks:
        if task.kind == "binary" or task.value != "value":
            continue
        codes = [data.code(name) for name in task.behaviour]
        at = np.flatnonzero(np.isin(data.events.behaviour, codes))
        if len(at):
            notes += _checked(task, data, at, data.events.value[at])
    return notes


def _checked(task: TaskConfig, data: Dataset, at: Index, value: Float32) -> list[str]:
    """The remarks of one task on the values (n,) of its events at `at` (n,)."""
    named = " and ".join(f"`{name}`" for name in task.behaviour)
    missing = np.isnan(value)
    if missing.all():
        raise DataError(
            f"task {task.name!r} learns the value of {named}, but none of these {len(at):,} events "
            "has a value; name its column in [events] value, or remove the task"
        )
    with np.errstate(invalid="ignore"):
        wrong = ~missing & ~np.isfinite(value)
        if task.kind in ("watch_time", "completion"):
            wrong |= value < 0
    if wrong.any():
        event = int(at[np.flatnonzero(wrong)[0]])
        what = "infinite" if task.kind in ("regression", "multiclass") else "negative or infinite"
        raise DataError(
            f"task {task.name!r}: {int(wrong.sum()):,} of the {len(at):,} values of {named} are "
            f"{what}, such as {_described(data, event)}; correct or remove these rows in the "
            "event table"
        )
    notes: list[str] = []
    if missing.any():
        notes.append(
            f"task {task.name!r}: {int(missing.sum()):,} of the {len(at):,} {named} events have no "
            "value, so they give no label"
        )
    if task.kind == "multiclass":
        notes += _of_other_classes(task, data, at, ~missing & ~_is_class(task, value), named)
    return notes


def _of_other_classes(
    task: TaskConfig,
    data: Dataset,
    at: Index,
    other: Bool,
    named: str,
) -> list[str]:
    """A remark on the events whose value is not a class."""
    if not other.any():
        return []
    classes = ", ".join(f"{value:g}" for value in class_values(task))
    example = _described(data, int(at[np.flatnonzero(other)[0]]))
    text = (
        f"task {task.name!r}: {int(other.sum()):,} of the {len(at):,} {named} events have a value "
        f"that is not among the classes {classes}, such as {example}"
    )
    if int(other.sum()) == int((~np.isnan(data.events.value[at])).sum()):
        raise DataError(f'{text}; correct `classes` of [tasks."{task.name}"]')
    return [f"{text}; they give no label"]


def _is_class(task: TaskConfig, value: Float32) -> Bool:
    return np.isin(value, np.asarray(class_values(task), np.float32))


def _described(data: Dataset, event: int) -> str:
    """ "-3 (user u7, item i5, 2024-05-01T10:00:00)"."""
    events = data.events
    moment = np.datetime64(int(events.time[event]), "ms").astype("datetime64[s]")
    user, item = data.users.ids[int(events.user[event])], data.items.ids[int(events.item[event])]
    return f"{events.value[event]:g} (user {user}, item {item}, {moment})"
