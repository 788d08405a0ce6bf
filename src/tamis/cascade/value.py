"""The value that orders candidates: a compiled fusion with the item columns that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.cascade._ranges import ANY, POSITIVE, PROBABILITY, Range
from tamis.cascade.candidates import Candidates
from tamis.cascade.fusion import Fusion
from tamis.data import Table, is_number, number_array
from tamis.features import GrowingRows
from tamis.runtime import Float64, Int32
from tamis.schema import ProjectConfig, TaskConfig, prediction_names

DEFAULT_TASK = "positive"
"""Name of the task where none is declared: any positive behaviour."""


@dataclass(eq=False)
class Value:
    """A compiled fusion with the item columns that it reads."""

    fusion: Fusion
    columns: Mapping[str, Float64]
    """(N,) each, by item row."""

    def __post_init__(self) -> None:
        self._growing: dict[str, GrowingRows] = {}

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up the numbers of new and changed items; see `FollowsItems`."""
        found = numeric_columns(items.part(rows)) if self.columns else {}
        columns: dict[str, Float64] = {}
        for name, column in self.columns.items():
            growing = self._growing.setdefault(name, GrowingRows(column, unknown=False))
            columns[name] = growing.put(rows, found[name], len(items))
        self.columns = columns

    def __call__(
        self, candidates: Candidates, predictions: Mapping[str, NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """(n,) the fused value of the candidates, in their order; see `Fusion`."""
        fields = {name: column[candidates.item] for name, column in self.columns.items()}
        scores = {name: self._scores(candidates, name) for name in self.fusion.channels}
        return self.fusion({**predictions, **fields, **scores}, candidates.indptr)

    def _scores(self, candidates: Candidates, channel: str) -> NDArray[Any]:
        """(n,) scores of a channel; NaN where it has not recalled the item, or failed."""
        missing = np.full(len(candidates), np.nan, np.float32)
        return candidates.columns.get(f"score:{channel}", missing)


def value_of(config: ProjectConfig, items: Table | None = None) -> Value:
    """The fusion of `tamis.toml`, checked against tasks, item columns and channels.

    Args:
        items: the items' table; None: the expression may not name item columns.

    Raises ConfigError naming the place, the column and how to fix it.
    """
    known = {} if items is None else numeric_columns(items)
    between = {name: _range(column) for name, column in known.items()}
    gaps = {name: text for name, column in known.items() if (text := _gap(name, column))}
    tasks = list(config.tasks.values())
    names = prediction_names(tasks) if tasks else [DEFAULT_TASK]
    fusion = Fusion(
        config.cascade.fusion,
        names,
        columns={name: r for name, r in between.items() if name not in names},
        gaps=gaps,
        ranges=_ranges(tasks),
        channels=list(config.cascade.channels),
    )
    return Value(fusion, {name: known[name] for name in fusion.columns})


def numeric_columns(items: Table) -> dict[str, Float64]:
    """The numeric columns of the items: (N,) each, NaN where missing."""
    found: dict[str, Float64] = {}
    for column in items.frame:
        if is_number(column.dtype) or column.dtype == pl.Boolean:
            values = number_array(column)
            found[column.name] = np.where(np.isfinite(values), values, np.nan)
    return found


def _range(column: Float64) -> Range:
    finite = column[np.isfinite(column)]
    return (float(finite.min()), float(finite.max())) if len(finite) else ANY


def _gap(name: str, column: Float64) -> str:
    """A sentence with the number of items without a value; empty where all have one."""
    missing = int((~np.isfinite(column)).sum())
    return f"{missing:,} of {len(column):,} items have no {name}" if missing else ""


def _ranges(tasks: list[TaskConfig]) -> dict[str, Range]:
    """Value ranges of the predictions that are not probabilities."""
    out: dict[str, Range] = {}
    for task in tasks:
        if task.kind == "regression":
            out[task.name] = ANY
        elif task.kind == "multiclass":
            out[task.name] = ANY if task.value == "value" else POSITIVE
        elif task.kind == "watch_time":
            out |= {task.name: POSITIVE, f"{task.base}_seconds": POSITIVE}
        elif task.kind == "completion":
            out |= {task.name: POSITIVE, f"{task.base}_share": PROBABILITY}
    return out


def tasks_of(config: ProjectConfig) -> tuple[TaskConfig, ...]:
    """The tasks of the ranker; one task of all positive behaviours where none is declared."""
    positive = tuple(name for name, b in config.behaviours.items() if b.positive)
    return tuple(config.tasks.values()) or (TaskConfig(name=DEFAULT_TASK, behaviour=positive),)


def task_names(config: ProjectConfig) -> Sequence[str]:
    """Names of the tasks of `tasks_of`."""
    return [task.name for task in tasks_of(config)]
