"""Labels of training rows: which events belong to which row, and each task's label of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.cascade.hydrate import item_numbers
from tamis.data import Dataset
from tamis.runtime import Bool, Float32, Index
from tamis.schema import TaskConfig, chain, class_values, condition_of


def task_labels(
    tasks: Sequence[TaskConfig], data: Dataset, item: NDArray[np.int32], row: Index, event: Index
) -> Float32:
    """(n, T) labels of n rows of items `item` (n,); event `event[k]` belongs to row `row[k]`.

    A label is NaN where the condition of a conditional task (or a condition of that condition)
    does not hold, and where the task predicts a number and none is given. Pairs may be in any
    order.
    """
    order = np.argsort(event, kind="stable")  # events are in order of time: the last one counts
    answers = _RowEvents(data, item, row[order], event[order])
    return np.stack([answers.label(task, tasks) for task in tasks], axis=1)


def task_weights(
    columns: Sequence[str | None],
    tasks: Sequence[TaskConfig],
    data: Dataset,
    row: Index,
    event: Index,
    shown: Index | int,
) -> Float32 | None:
    """(n, T) sample weights of n rows; None if no task has a column of them.

    Args:
        columns: each task's column in `Events.weights`; None = all its rows weigh 1.
        tasks, data: as of `task_labels`.
        row, event: pairs as of `task_labels`; a task reads the last event of its behaviours.
        shown: (n,) the event of each row's impression, which the weight is read from where no event
            of the task followed; of rows without impressions the number n, and the weight is 1.
    """
    if not any(columns):
        return None
    n = shown if isinstance(shown, int) else len(shown)
    order = np.argsort(event, kind="stable")  # of repeated rows, the last event counts
    row, event = row[order], event[order]
    out = np.ones((n, len(tasks)), np.float32)
    for t, (task, column) in enumerate(zip(tasks, columns, strict=True)):
        if column is None:
            continue
        weights = data.events.weights[column]
        if not isinstance(shown, int):
            out[:, t] = weights[shown]
        codes = [data.code(name) for name in task.behaviour]
        own = np.isin(data.events.behaviour[event], codes)
        out[row[own], t] = weights[event[own]]
    return out


class _RowEvents:
    """The events that belong to rows, in order of time."""

    def __init__(self, data: Dataset, item: NDArray[np.int32], row: Index, event: Index) -> None:
        self.data, self.item, self.row = data, item, row
        self.behaviour = data.events.behaviour[event]
        self.value = data.events.value[event]

    def label(self, task: TaskConfig, tasks: Sequence[TaskConfig]) -> Float32:
        label = self._free(task)
        if task.kind != "binary" and task.absent is not None:
            label = np.where(np.isnan(label), np.float32(task.absent), label)
        if task.given is not None:
            label[~self._holds(task, tasks)] = np.nan
        return label

    def _holds(self, task: TaskConfig, tasks: Sequence[TaskConfig]) -> Bool:
        """(n,) True where all conditions of the task hold."""
        chain(task, tasks)  # raises where conditions form a circle
        holds = np.ones(len(self.item), np.bool_)
        link: TaskConfig | None = task
        while link is not None and link.given is not None:
            before = condition_of(link, tasks)
            holds &= self._happened((link.given,) if before is None else before.behaviour)
            link = before
        return holds

    def _free(self, task: TaskConfig) -> Float32:
        """(n,) the label without regard to conditions."""
        if task.kind == "binary":
            return self._happened(task.behaviour).astype(np.float32)
        if task.value == "behaviour":
            return self._last_behaviour(task)
        if task.value == "count":
            return np.bincount(self.row[self._of(task.behaviour)], minlength=len(self.item)).astype(
                np.float32
            )
        if task.kind in ("watch_time", "completion"):
            return self._watched(task)
        last = self._last_value(task)
        return _classes(task, last) if task.kind == "multiclass" else last

    def _of(self, behaviours: Sequence[str]) -> Bool:
        codes = np.array([self.data.code(name) for name in behaviours], dtype=np.uint8)
        return np.isin(self.behaviour, codes)

    def _happened(self, behaviours: Sequence[str]) -> Bool:
        done = np.zeros(len(self.item), np.bool_)
        done[self.row[self._of(behaviours)]] = True
        return done

    def _last_value(self, task: TaskConfig) -> Float32:
        where = self._of(task.behaviour) & ~np.isnan(self.value)
        label = np.full(len(self.item), np.nan, np.float32)
        label[self.row[where]] = self.value[where]  # of repeated rows, the last value is kept
        return label

    def _last_behaviour(self, task: TaskConfig) -> Float32:
        number = np.zeros(len(self.data.behaviours), np.float32)
        for k, name in enumerate(task.behaviour, start=1):
            number[self.data.code(name)] = k
        where = self._of(task.behaviour)
        label = np.zeros(len(self.item), np.float32)
        label[self.row[where]] = number[self.behaviour[where]]
        return label

    def _watched(self, task: TaskConfig) -> Float32:
        """Sum of the values in the log's unit, or that sum as a fraction of the duration."""
        where = self._of(task.behaviour) & ~np.isnan(self.value)
        n = len(self.item)
        total = np.bincount(self.row[where], self.value[where].astype(np.float64), minlength=n)
        some = np.bincount(self.row[where], minlength=n) > 0
        if task.kind == "completion" and task.duration is not None:
            length = item_numbers(self.data.items, task.duration, task.name)[self.item]
            total /= np.where(length > 0, length, np.nan)
        return np.where(some, total, np.nan).astype(np.float32)


def _classes(task: TaskConfig, value: Float32) -> Float32:
    """Class numbers of values; NaN for a value that is not a class."""
    values = np.asarray(class_values(task), dtype=np.float32)
    at = np.minimum(np.searchsorted(values, np.nan_to_num(value)), len(values) - 1)
    return np.where(values[at] == value, at, np.nan).astype(np.float32)


def answers(data: Dataset, rows: Index, behaviours: Sequence[str]) -> tuple[Index, Index]:
    """(row, event) pairs: each event of `behaviours` and the impression that it answers, the last
    one before it of the same user, item and request. `rows` (n,) are the impressions' events."""
    events = data.events
    codes = np.array([data.code(name) for name in behaviours], dtype=np.uint8)
    acts = np.flatnonzero(np.isin(events.behaviour, codes))

    def frame(index: Index) -> pl.DataFrame:
        columns = {k: getattr(events, k)[index] for k in ("user", "item", "request", "time")}
        return pl.DataFrame(columns).with_columns(row=pl.int_range(pl.len()))

    shown = frame(rows).sort("time", maintain_order=True)
    done = frame(acts).rename({"row": "act"}).sort("time", maintain_order=True)
    joined = done.join_asof(
        shown,
        on="time",
        by=["user", "item", "request"],
        strategy="backward",
        check_sortedness=False,
    ).drop_nulls("row")
    return joined["row"].to_numpy().astype(np.intp), acts[joined["act"].to_numpy()]


def needed(tasks: Sequence[TaskConfig]) -> list[str]:
    """The behaviours that the labels of `tasks` need, including those of their conditions."""
    names = [name for task in tasks for name in task.behaviour]
    for task in tasks:
        if task.given is not None and condition_of(task, tasks) is None:
            names.append(task.given)
    return list(dict.fromkeys(names))
