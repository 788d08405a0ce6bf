"""Label columns and raw columns of a Polars or pandas frame of labelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from tamis.data import cleaned, columns_of
from tamis.runtime import Float32
from tamis.schema import DataError, LabelError, TaskConfig, condition_of, suggest
from tamis.train.tasks import class_numbers

if TYPE_CHECKING:
    import pandas as pd

    Frame = pl.DataFrame | pd.DataFrame

MOST_CLASSES = 1000
"""Distinct labels up to which a column's values can be classes."""


def task_of_label(
    frame: Frame, name: str, kind: Literal["binary", "multiclass", "regression"]
) -> TaskConfig:
    """The task of that kind of a label column; the classes are the column's distinct labels.

    Raises DataError as `label_column`; LabelError for fewer than two classes or more than 1,000.
    """
    if kind != "multiclass":
        return TaskConfig(name=name, kind=kind)
    labels = label_column(columns_of(frame, [name]), name).drop_nulls().unique().sort().to_list()
    if not 2 <= len(labels) <= MOST_CLASSES:
        raise LabelError(
            f"label column {name!r} has {len(labels):,} distinct values; multiclass needs 2 to "
            f"{MOST_CLASSES:,} classes. For a number use task = 'regression'"
        )
    return TaskConfig(name=name, kind=kind, classes=tuple(labels))


def with_conditional_labels(frame: Frame, tasks: Sequence[TaskConfig]) -> Frame:
    """The frame with a label column for every conditional task that has none.

    The column of `like|click` is `like` where `click` is 1 and missing elsewhere. Raises DataError
    where one of these two columns is absent.
    """
    conditional = [t for t in tasks if t.given is not None]
    if not conditional:
        return frame
    whole = columns_of(frame, [str(name) for name in getattr(frame, "columns", ())])
    absent = [t for t in conditional if t.name not in whole.columns]
    if not absent:
        return frame

    def column(name: str) -> pl.Series:
        return label_column(whole, name)

    return whole.with_columns(
        pl.when(column(_condition_column(t, tasks)) == 1).then(column(t.base)).alias(t.name)
        for t in absent
    )


def label_column(table: pl.DataFrame, name: str) -> pl.Series:
    """The label column of that name as Float64, null where missing (null, NaN, `NULL`, `NA` …).

    Raises DataError, naming the value and its row, where a value is no number, and where the column
    is absent.
    """
    return _numbers(table, name, "label")


def label_columns(table: pl.DataFrame, tasks: Sequence[TaskConfig]) -> Float32:
    """(n, T) labels of the tasks' columns, NaN where missing; classes as their numbers."""
    columns = [
        class_numbers(task, label_column(table, task.name).fill_null(np.nan).to_numpy())
        for task in tasks
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _condition_column(task: TaskConfig, tasks: Sequence[TaskConfig]) -> str:
    other = condition_of(task, tasks)
    assert task.given is not None
    return task.given if other is None else other.base


def raw_columns(frame: Frame, names: Sequence[str]) -> dict[str, Float32]:
    """{name: (n,)} columns as they are, NaN where missing.

    Raises DataError where a value is no number, and for an absent column.
    """
    table = columns_of(frame, list(names))
    return {
        name: _numbers(table, name, "duration").fill_null(np.nan).to_numpy().astype(np.float32)
        for name in names
    }


def _numbers(table: pl.DataFrame, name: str, role: str) -> pl.Series:
    if name not in table.columns:
        raise DataError(
            f"the frame has no {role} column {name!r}.{suggest(name, table.columns)} "
            f"Its columns are {', '.join(table.columns)}"
        )
    values = table[name]
    if values.dtype.is_temporal() or values.dtype.is_nested() or values.dtype == pl.Object:
        raise DataError(f"{role} column {name!r} is {values.dtype}; {role}s are numbers")
    # `NULL`, `NA` and blanks are missing.
    given = cleaned(values).values if values.dtype == pl.String else values
    cast = given.cast(pl.Float64, strict=False)
    wrong = cast.is_null() & given.is_not_null()
    if wrong.any():
        row = int(wrong.arg_true()[0])
        make = f": make 0 and 1 of texts, for example label = {name} == {values[row]!r}"
        raise DataError(
            f"{role} column {name!r} holds {values[row]!r} in row {row}; {role}s are numbers"
            + (make if role == "label" else "")
        )
    return cast.fill_nan(None)
