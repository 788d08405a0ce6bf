"""Label columns and raw columns of a Polars or pandas frame of labelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tamis.data import columns_of
from tamis.runtime import Float32
from tamis.schema import TaskConfig, condition_of

if TYPE_CHECKING:
    import pandas as pd

    Frame = pl.DataFrame | pd.DataFrame


def with_conditional_labels(frame: Frame, tasks: Sequence[TaskConfig]) -> Frame:
    """The frame with a label column for every conditional task that has none.

    The column of `like|click` is `like` where `click` is 1 and missing elsewhere. Raises DataError
    where one of these two columns is absent.
    """
    absent = [t for t in tasks if t.given is not None and t.name not in frame.columns]
    if not absent:
        return frame
    needed = [name for t in absent for name in (t.base, _condition_column(t, tasks))]
    table = columns_of(frame, list(dict.fromkeys(needed)))
    whole = frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)
    return whole.with_columns(
        pl.when(table[_condition_column(t, tasks)] == 1).then(table[t.base]).alias(t.name)
        for t in absent
    )


def _condition_column(task: TaskConfig, tasks: Sequence[TaskConfig]) -> str:
    other = condition_of(task, tasks)
    assert task.given is not None
    return task.given if other is None else other.base


def raw_columns(frame: Frame, names: Sequence[str]) -> dict[str, Float32]:
    """{name: (n,)} columns as they are, NaN where missing. Raises DataError for an absent one."""
    table = columns_of(frame, list(names))
    return {name: table[name].cast(pl.Float32).fill_null(np.nan).to_numpy() for name in names}
