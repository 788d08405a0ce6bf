"""Reads the tables of users and items: checks ids, detects types, numbers rows."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.dataset import Table
from tamis.data.files import RawTable, read_raw, unseparated
from tamis.data.rejects import Rejects, Sieve
from tamis.data.times import parse_times
from tamis.data.typed_frames import inferred
from tamis.schema import ConfigError, DataError, TableConfig, suggest

MAX_ID = 1024
"""Most characters of an external id; a longer one is rejected as damaged."""


def require_columns(raw: RawTable, wanted: dict[str, str], section: str) -> None:
    """Checks that a table has the declared columns.

    wanted: keys of the section of `tamis.toml` (`user`) → column names.

    Raises:
        DataError: columns are missing; the message suggests the nearest ones.
    """
    have = raw.frame.columns
    missing = {key: name for key, name in wanted.items() if name not in have}
    if not missing:
        return
    texts = [
        f'`{section}.{key}` = "{name}" is not a column.{suggest(name, have)}'
        for key, name in missing.items()
    ]
    raise DataError(
        f"{raw.file}: {' '.join(texts)} Its columns are {', '.join(have)[:400]}.{unseparated(raw)}"
    )


def id_text(column: pl.Series, file: str) -> pl.Series:
    """(n,) ids as text. Floats that are all whole (1.0, from a column with gaps) lose the ".0".

    Raises:
        DataError: the column holds lists, structs or binary data.
    """
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        raise DataError(
            f"{file}: column `{column.name}` holds {column.dtype}; ids must be text or numbers."
        )
    if column.dtype.is_float():
        column = column.fill_nan(None)
        whole = column.cast(pl.Int64, strict=False)
        if bool((whole.cast(pl.Float64) == column).all()):
            column = whole
    return column.cast(pl.String)


def sieve_ids(sieve: Sieve, ids: pl.Series, what: str) -> None:
    """Rejects rows whose id is empty or longer than `MAX_ID`; `what` is "user" or "item"."""
    empty = ids.is_null() | (ids.str.strip_chars() == "")
    sieve.reject(empty.fill_null(True).to_numpy(), f"empty {what} id", ids.name)
    long = (ids.str.len_bytes() > MAX_ID).fill_null(False)
    if long.any():
        long = (ids.str.len_chars() > MAX_ID).fill_null(False)
        text = f"{what} id longer than {MAX_ID:,} characters"
        sieve.reject(long.to_numpy(), text, ids.name, ids)


def read_table(
    config: TableConfig,
    root: Path,
    name: str,
    rejects: Rejects,
    numeric: Collection[str] = (),
    former: Table | None = None,
) -> Table:
    """Reads a table of users or items.

    Columns of text files get the type that all their values fit. The column `published` becomes
    Int64 milliseconds.

    Args:
        config: the declaration of a table that has a file.
        root: the project's folder.
        name: "items" or "users".
        rejects: receives the rows that cannot be used.
        numeric: columns of numbers; other values in them are left empty and reported.
        former: an earlier state of the table; its rows keep their numbers, new ids follow.

    Raises:
        DataError: the file cannot be read, lacks a declared column, or has no usable row.
    """
    if config.path is None:
        raise ValueError(f"[{name}] has no path: there is no file to read")
    raw = read_raw(root / config.path, config.path, config.separator)
    keys = ("id", "title", "category", "author", "published", "latitude", "longitude", "city")
    declared = {key: getattr(config, key) for key in keys if getattr(config, key)}
    require_columns(raw, declared, name)
    sieve = start_sieve(raw, rejects)
    ids = id_text(raw.frame[config.id], raw.file)
    sieve_ids(sieve, ids, name.removesuffix("s"))
    duplicate = ~ids.is_first_distinct().to_numpy()
    sieve.reject(duplicate, "duplicate id (the first one is kept)", config.id, ids)
    frame = raw.frame.drop(config.id)
    frame = _typed(frame, sieve, set(numeric), text=bool(raw.separator))
    if config.published:
        frame = _published(frame, raw.frame[config.published], sieve)
    alive = pl.Series(sieve.alive)
    table = Table(name, ids.filter(alive).alias("id"), frame.filter(alive))
    if len(table) == 0:
        raise DataError(
            f"{raw.file}: no usable row of {raw.frame.height:,}: {_reasons(rejects, raw.file)}."
        )
    return table if former is None else after(former, table)


def start_sieve(raw: RawTable, rejects: Rejects) -> Sieve:
    """A sieve over the rows of a file; reports its broken lines and drops blank ones."""
    for rows, reason, lines in raw.broken:
        rejects.add(raw.file, rows, reason, values=lines)
    broken = sum(len(rows) for rows, _, _ in raw.broken)
    rejects.rows_read[raw.file] = raw.frame.height + broken
    sieve = Sieve(raw.file, raw.row_numbers, rejects)
    blank = raw.frame.select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy()
    if blank.any():
        sieve.alive &= ~blank  # blank lines between rows are not a defect
        rejects.rows_read[raw.file] -= int(blank.sum())
    return sieve


def after(former: Table, table: Table) -> Table:
    """`table` renumbered: ids of `former` keep their rows, new ids follow in their order.

    Ids that `table` no longer holds keep their former attributes.
    """
    rows = table.rows(former.ids)
    absent, new = rows < 0, former.rows(table.ids) < 0
    kept = pl.DataFrame({"id": former.ids}).with_columns(former.frame)
    fresh = pl.DataFrame({"id": table.ids}).with_columns(table.frame)
    updated = fresh[rows[~absent].astype(np.int64)].with_columns(
        pl.Series("_", np.flatnonzero(~absent))
    )
    old = kept.filter(pl.Series(absent)).with_columns(pl.Series("_", np.flatnonzero(absent)))
    both = pl.concat([updated, old], how="diagonal_relaxed").sort("_").drop("_")
    merged = pl.concat([both, fresh.filter(pl.Series(new))], how="diagonal_relaxed")
    return Table(table.name, merged["id"], merged.drop("id").select(table.frame.columns))


def with_ids(table: Table, ids: pl.Series) -> Table:
    """The table with those of `ids` (unique) that it lacks added at its end, without attributes."""
    fresh = ids.filter(pl.Series(table.rows(ids) < 0))
    if len(fresh) == 0:
        return table
    gap = table.frame.clear(len(fresh))
    return Table(
        table.name, pl.concat([table.ids, fresh.alias("id")]), pl.concat([table.frame, gap])
    )


def item_categories(items: Table, column: str, separator: str | None = None) -> pl.Series:
    """(N,) lists of the categories of each item, as text; empty for items without one.

    The column holds one value per item, a list, or a text that is split by `separator`.

    Raises:
        ConfigError: the items have no such column.
    """
    if column not in items.frame.columns:
        known = ", ".join(items.frame.columns) or "none"
        raise ConfigError(
            f"category column {column!r} is not in the table of items (its columns: {known}); "
            f"name one of them"
        )
    values = items.frame[column]
    if isinstance(values.dtype, pl.List | pl.Array):
        lists = values.cast(pl.List(pl.String))
    elif separator:
        lists = values.cast(pl.String).str.split(separator)
    else:
        lists = values.cast(pl.String).reshape((-1, 1)).cast(pl.List(pl.String))
    cleaned = pl.element().str.strip_chars()
    kept = lists.to_frame("c").select(
        pl.col("c")
        .list.eval(cleaned.filter(pl.element().is_not_null() & (cleaned != "")))
        .fill_null([])
    )
    return kept.to_series()


def _typed(frame: pl.DataFrame, sieve: Sieve, numeric: set[str], text: bool) -> pl.DataFrame:
    columns: list[pl.Series] = []
    for column in frame:
        if column.dtype != pl.String:
            columns.append(column.fill_nan(None) if column.dtype.is_float() else column)
        elif column.name in numeric:
            columns.append(_number(column, sieve))
        else:
            columns.append(inferred(column) if text else column)
    return pl.DataFrame(columns) if columns else frame


def _number(column: pl.Series, sieve: Sieve) -> pl.Series:
    cast = column.cast(pl.Float64, strict=False)
    finite = cast.is_finite().fill_null(False)
    given = (
        column.is_not_null() & (column.str.strip_chars() != "") & ~cast.is_nan().fill_null(False)
    )
    sieve.blank((given & ~finite).to_numpy(), "not a number", column.name, column)
    return cast.to_frame().select(pl.when(finite).then(pl.first())).to_series().alias(column.name)


def _published(frame: pl.DataFrame, column: pl.Series, sieve: Sieve) -> pl.DataFrame:
    times = parse_times(column)
    unusable: NDArray[np.bool_] = times.bad | times.other_unit
    sieve.blank(unusable, "not a time", column.name, column)
    ms = pl.Series(column.name, times.ms)
    gaps = pl.Series(times.missing | unusable)
    return frame.with_columns(pl.when(~gaps).then(ms).alias(column.name))


def _reasons(rejects: Rejects, file: str) -> str:
    lines = [f"{reason} ({count:,} rows)" for f, reason, count, _ in rejects.summary() if f == file]
    return "; ".join(lines[:4]) or "none was found"
