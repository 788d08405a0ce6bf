"""Histories as a column of a data frame: what each row's user did before the row's time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tamis.data import columns_of
from tamis.runtime import Bool, Int64
from tamis.schema import DataError, suggest, whole_number

if TYPE_CHECKING:
    import pandas as pd

    Frame = pl.DataFrame | pd.DataFrame


def history_column(
    frame: Frame,
    *,
    user: str = "user_id",
    time: str = "timestamp",
    item: str = "item_id",
    where: str | None = None,
    n: int = 20,
) -> pl.Series:
    """(rows,) lists: the last `n` items of each row's user before the row's time, oldest first.

    Rows of equal time do not count, so that no row sees itself or what happened together with it.
    The frame may be in any order. Declare the column as `VarLenSparseFeat("liked", max_len=n,
    shares="item_id")`.

        rows = rows.with_columns(liked=history_column(rows, where="like"))

    Args:
        frame: Polars or pandas frame with one row per event.
        user: column of the user.
        time: column of the time: numbers, dates or datetimes.
        item: column whose values are listed: the item, or one of its attributes.
        where: column of 0 and 1, or booleans; only rows with 1 are listed. None: all rows.
        n: longest history, at least 1.

    Raises DataError for a missing column and for missing users or times, ConfigError for `n` < 1.
    """
    n = whole_number("n", n)
    names = [user, time, item, *([] if where is None else [where])]
    table = columns_of(frame, names)
    for name in names:
        if name not in table.columns:
            raise DataError(
                f"the frame has no column {name!r}.{suggest(name, table.columns)} "
                f"Its columns are {', '.join(table.columns)}"
            )
    for name in (user, time):
        values = table[name]
        missing = (values.fill_nan(None) if values.dtype.is_float() else values).null_count()
        if missing:
            raise DataError(
                f"column {name!r} has {missing:,} missing values; a history needs the user and "
                "time of every row: remove these rows"
            )
    users = table[user].rank("dense").to_numpy()
    times = table[time].rank("dense").to_numpy()
    order = np.lexsort((times, users))
    kept = _kept(table, where)[order]
    bounds = _bounds(users[order], times[order], kept, n)
    listed = table[item].gather(order).filter(pl.Series(kept))
    return _lists(listed, *bounds, order).alias("history")


def _kept(table: pl.DataFrame, where: str | None) -> Bool:
    """(rows,) the rows that histories list."""
    if where is None:
        return np.ones(len(table), np.bool_)
    values = table[where].cast(pl.Float64, strict=False)
    wrong = values.is_null() | ~values.is_in([0.0, 1.0])
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(
            f"column {where!r} holds {table[where][row]!r} in row {row}; `where` names a column "
            "of 0 and 1, for example rating >= 4"
        )
    return values.to_numpy() == 1


def _bounds(users: Int64, times: Int64, kept: Bool, n: int) -> tuple[Int64, Int64]:
    """(rows,) first and end of each row's history among the kept rows.

    users, times: (rows,) sorted by user, then time.
    """
    rows = np.arange(len(users))
    new_user = np.diff(users, prepend=-1) != 0
    new_time = new_user | (np.diff(times, prepend=-1) != 0)
    before = np.concatenate([[0], np.cumsum(kept)])
    of_user = before[np.maximum.accumulate(np.where(new_user, rows, 0))]
    end = before[np.maximum.accumulate(np.where(new_time, rows, 0))]
    return np.maximum(of_user, end - n), end


def _lists(values: pl.Series, first: Int64, end: Int64, order: Int64) -> pl.Series:
    """(rows,) lists `values[first:end]`; row k of the bounds is row order[k] of the result."""
    lengths = end - first
    place = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    flat = pl.DataFrame(
        {
            "row": np.repeat(order, lengths),
            "value": values.gather(np.repeat(first, lengths) + place),
        }
    )
    found = flat.group_by("row", maintain_order=True).agg("value")
    rows = pl.DataFrame({"row": np.arange(len(order))})
    return rows.join(found, on="row", how="left", maintain_order="left")["value"].fill_null([])
