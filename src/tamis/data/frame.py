"""Makes a data set of a data frame, without a project."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Integral, Number, Real
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.dataset import Dataset, Events
from tamis.data.ids import EXACT, id_text
from tamis.data.numbers import read_numbers
from tamis.data.table import Table
from tamis.data.times import parse_times
from tamis.data.values import plain_frame, plain_types
from tamis.schema import Behaviour, DataError, TamisWarning, suggest

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
    columns = _column_names(user=user, item=item, time=time, value=value)
    table = columns_of(frame, columns)
    for name in columns:
        _check_column(table, name)
    table = table.select(columns)
    if min_value is not None:
        if value is None:
            raise DataError(
                f"min_value={min_value} needs a value column: pass value='rating' or the like"
            )
        if not isinstance(min_value, Real) or np.isnan(float(min_value)):
            raise DataError(f"min_value = {min_value!r}: give a number")
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

    A pandas frame is reduced to `columns`, without its index; if one of them is missing, all
    columns are kept, so that an error message can suggest the nearest one. Columns of Python
    objects become texts, numbers or lists where their values are.

    Raises:
        DataError: `frame` is not a data frame, or has one of `columns` twice or as its index.
    """
    if isinstance(frame, pl.DataFrame):
        objects = [c for c in columns if frame.schema.get(c) == pl.Object]
        if objects:
            frame = frame.with_columns(_of_objects(c, frame[c].to_list()) for c in objects)
        return plain_frame(frame)
    table: Any = frame  # pandas comes without type stubs
    if isinstance(table, pl.LazyFrame) or not (
        hasattr(table, "columns") and hasattr(table, "iloc")
    ):
        make = "make one of rows or columns by polars.DataFrame(…)"
        if isinstance(table, pl.LazyFrame):
            make = "call .collect() on it"
        raise DataError(
            f"expected a Polars or pandas DataFrame, got {type(table).__name__}; {make}"
        )
    names = [str(name) for name in table.columns]
    twice = sorted({name for name in names if names.count(name) > 1} & set(columns))
    if twice:
        raise DataError(f"the frame has {names.count(twice[0])} columns {twice[0]!r}; keep one")
    lost = set(columns) - set(names)
    index = sorted(lost & {str(name) for name in table.index.names})
    if index:
        raise DataError(
            f"{index[0]!r} is the index of the frame, not a column: call frame.reset_index()"
        )
    wanted = [
        k for k, name in enumerate(names) if name in columns or (lost and names.count(name) == 1)
    ]
    return plain_frame(pl.DataFrame([_from_pandas(names[k], table.iloc[:, k]) for k in wanted]))


def _from_pandas(name: str, column: Any) -> pl.Series:
    values = column.to_numpy()
    if values.dtype != object:
        return pl.Series(name, values, nan_to_null=True)  # in pandas, NaN is a missing value
    # Texts or lists: a missing value may be None, NaN or pandas.NA.
    present = zip(values, column.isna(), strict=True)
    return _of_objects(name, [None if gone else value for value, gone in present])


def _of_objects(name: str, values: Sequence[object]) -> pl.Series:
    """A column of Python objects in the type of its values.

    If some are lists, a bare value counts as a list of one. What has no other type stays Object.
    """
    listed = [
        isinstance(v, list | tuple | set | frozenset | np.ndarray | pl.Series) for v in values
    ]
    if any(listed):
        values = [
            v if v is None else _list(v) if is_list else [v]
            for v, is_list in zip(values, listed, strict=True)
        ]
    elif all(v is None or isinstance(v, Number | np.bool_) for v in values):
        values = _numbers_of_one_type(values)
    try:
        return pl.Series(name, values, strict=False)
    except (TypeError, ValueError, pl.exceptions.PolarsError):
        return pl.Series(name, values, dtype=pl.Object)


def _numbers_of_one_type(values: Sequence[Any]) -> Sequence[object]:
    """The same numbers, of booleans, decimals and others as floats where the types differ."""
    types: set[type] = {type(value) for value in values if value is not None}
    if len(types) < 2 or all(issubclass(each, Integral) for each in types - {bool, np.bool_}):
        return values
    return [None if value is None else float(value) for value in values]


def _list(value: Any) -> list[object]:
    if isinstance(value, set | frozenset):  # whose order differs from process to process
        return sorted(cast("set[object]", value), key=repr)
    return list(value)


def _column_names(**columns: object) -> list[str]:
    """The names of the given columns. Raises DataError for one that is no text or used twice."""
    for role, name in columns.items():
        if name is None and role in ("user", "item"):
            raise DataError(f"{role} = None: name the frame's column of {role}s")
        if name is not None and not isinstance(name, str):
            raise DataError(f"{role} = {name!r}: give the name of a column")
    names = [name for name in columns.values() if isinstance(name, str)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        roles = " and ".join(role for role, name in columns.items() if name == twice[0])
        raise DataError(f"column {twice[0]!r} is given as {roles}; name a column of its own each")
    return names


def _check_column(table: pl.DataFrame, name: str) -> None:
    if name not in table.columns:
        raise DataError(
            f"the frame has no column {name!r}; its columns are {table.columns}."
            f"{suggest(name, table.columns)}"
        )
    missing = plain_types(table[name]).null_count()  # NaN is missing, too
    if missing:
        raise DataError(
            f"column {name!r} has {missing} missing values (null or NaN); remove these rows, "
            f"in Polars by frame.fill_nan(None).drop_nulls({name!r})"
        )


def _rows(name: str, ids: pl.Series) -> tuple[Table, NDArray[np.int32]]:
    text = id_text(ids, "the frame")
    if text.null_count():
        row = int(text.is_null().to_numpy().argmax())
        raise DataError(
            f"column {ids.name!r} has {text.null_count()} missing ids, such as {ids[row]!r} in row "
            f"{row}; correct or remove these rows"
        )
    if ids.dtype.is_float() and (large := int((ids.abs() >= EXACT).sum())):
        warnings.warn(
            f"column {ids.name!r}: {large:,} ids are floats beyond 2^53, which have lost their "
            "last digits, so that several may have become one; give integers or texts",
            TamisWarning,
            stacklevel=3,
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
