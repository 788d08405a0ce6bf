"""Makes a data set of a data frame, without a project."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.dataset import Dataset, Events, Table
from tamis.data.ids import id_text
from tamis.data.numbers import read_numbers
from tamis.data.times import parse_times
from tamis.data.values import plain_frame, plain_types
from tamis.schema import Behaviour, DataError

if TYPE_CHECKING:
    import pandas as pd


def dataset_from_frame(
    frame: pl.DataFrame | pd.DataFrame,
    *,
    user: str = "user_id",
    item: str = "item_id",
    time: str | None = None,
    value: str | None = None,
    min_value: float | None = None,
) -> Dataset:
    """Makes a data set of a log with one row per interaction.

    Users and items are numbered in the order of their first event.

    Args:
        frame: Polars or pandas frame.
        user, item: columns of the ids.
        time: column of dates, ISO 8601 texts or numbers since 1970, whose unit is detected from
            their size. None: the order of the rows is the order in time.
        value: column of ratings or amounts. None: there is none.
        min_value: only rows with at least this value are positive events; the others count as
            seen. None: all events are positive.

    Raises:
        DataError: a column is missing, or an id, time or value is missing or unusable.
    """
    columns = [name for name in (user, item, time, value) if name is not None]
    table = columns_of(frame, columns)
    for name in columns:
        _check_column(table, name)
    table = table.select(columns)
    if min_value is not None and value is None:
        raise DataError(
            f"min_value={min_value} needs a value column: pass value='rating' or the like"
        )
    times = np.arange(len(table), dtype=np.int64) if time is None else _milliseconds(table[time])
    order = np.argsort(times, kind="stable")
    table, times = table[order], times[order]
    users, user_rows = _rows("users", table[user])
    items, item_rows = _rows("items", table[item])
    n = len(table)
    values = np.full(n, np.nan, np.float32) if value is None else _numbers(table[value])
    below = np.zeros(n, np.uint8) if min_value is None else (values < min_value).astype(np.uint8)
    events = Events(
        user=user_rows,
        item=item_rows,
        behaviour=below,
        time=times,
        arrival=times,
        value=values,
        request=np.full(n, -1, np.int64),
        position=np.zeros(n, np.int16),
    )
    behaviours = (Behaviour(name="positive", positive=True), Behaviour(name="other"))
    return Dataset(users, items, events, behaviours[: 1 if min_value is None else 2])


def columns_of(frame: pl.DataFrame | pd.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """A Polars frame of a Polars or pandas frame; pyarrow is not needed.

    A pandas frame is reduced to `columns`; if one of them is missing, all columns are kept, so that
    an error message can suggest the nearest one.

    Raises:
        DataError: `frame` is not a data frame.
    """
    if isinstance(frame, pl.DataFrame):
        return plain_frame(frame)
    table: Any = frame  # pandas comes without type stubs
    if not hasattr(table, "columns"):
        raise DataError(f"expected a Polars or pandas DataFrame, got {type(table).__name__}")
    all_there = set(columns) <= set(table.columns)
    wanted = [name for name in table.columns if not all_there or name in columns]
    return plain_frame(pl.DataFrame([_from_pandas(str(name), table[name]) for name in wanted]))


def _from_pandas(name: str, column: Any) -> pl.Series:
    values = column.to_numpy()
    if values.dtype != object:
        return pl.Series(name, values, nan_to_null=True)  # in pandas, NaN is a missing value
    # Texts or lists: a missing value may be None, NaN or pandas.NA.
    present = zip(values, column.isna(), strict=True)
    return pl.Series(name, [None if gone else value for value, gone in present], strict=False)


def _check_column(table: pl.DataFrame, name: str) -> None:
    if name not in table.columns:
        raise DataError(f"the frame has no column {name!r}; its columns are {table.columns}")
    missing = plain_types(table[name]).null_count()  # NaN is missing, too
    if missing:
        raise DataError(
            f"column {name!r} has {missing} missing values (null or NaN); remove these rows, "
            f"in Polars by frame.fill_nan(None).drop_nulls({name!r})"
        )


def _rows(name: str, ids: pl.Series) -> tuple[Table, NDArray[np.int32]]:
    text = id_text(ids, "the frame", ())
    if text.null_count():
        raise DataError(
            f"column {ids.name!r} has {text.null_count()} empty ids, such as in row "
            f"{text.is_null().arg_max()}; correct or remove these rows"
        )
    unique = text.unique(maintain_order=True).alias("id")
    table = Table(name, unique, pl.DataFrame())
    return table, table.rows(text)


def _numbers(column: pl.Series) -> NDArray[np.float32]:
    read = read_numbers(column)
    if read.bad.any():
        place = int(np.flatnonzero(read.bad)[0])
        raise DataError(
            f"value column {column.name!r} has {int(read.bad.sum())} values that are not numbers, "
            f"such as {column[place]!r} in row {place}; correct or remove these rows"
        )
    return read.values.fill_null(np.nan).to_numpy().astype(np.float32)


def _milliseconds(column: pl.Series) -> NDArray[np.int64]:
    times = parse_times(column)
    if times.excel:
        raise DataError(
            f"time column {column.name!r} holds numbers such as {column[0]!r}, which look like the "
            "days of a spreadsheet; convert them: datetime(1899, 12, 30) + timedelta(days=…)"
        )
    for note in times.notes:
        if note.doubtful:
            warnings.warn(f"time column {column.name!r}: {note.what}", stacklevel=3)
    wrong = np.flatnonzero(times.bad | times.other_unit | times.missing)
    if len(wrong):
        raise DataError(
            f"time column {column.name!r} has {len(wrong)} values that are not times, or are in "
            f"another unit than the rest, such as {column[int(wrong[0])]!r}; "
            "correct or remove these rows"
        )
    return times.ms
