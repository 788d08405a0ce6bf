"""Reads the tables of users and items: checks ids, detects types, numbers rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.files import RawTable, read_raw, unseparated
from tamis.data.ids import EXACT, id_text, shortened_ids
from tamis.data.missing import MISSING, markers_text
from tamis.data.notes import Note
from tamis.data.numbers import decimal_mark
from tamis.data.rejects import Rejects, Sieve
from tamis.data.table import Table
from tamis.data.text_form import TextForm
from tamis.data.times import parse_times
from tamis.data.values import Attribute, Wanted, read_attribute
from tamis.schema import ConfigError, DataError, EventsConfig, FollowsConfig, TableConfig, suggest

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


def read_declared(config: TableConfig | EventsConfig | FollowsConfig, root: Path) -> RawTable:
    """Reads the file of a declared table in the project's folder. Raises DataError."""
    if config.path is None:
        raise ValueError("the table has no path: there is no file to read")
    return read_raw(
        root / config.path,
        config.path,
        config.separator,
        encoding=config.encoding,
        columns=config.columns,
    )


def form_of(config: TableConfig | EventsConfig | FollowsConfig, raw: RawTable) -> TextForm:
    """How the texts of a table are written: as declared, else as its values show."""
    usual = decimal_mark(raw.frame) if raw.separator not in ("", ",") else None
    missing = MISSING if config.missing is None else config.missing
    return TextForm(raw.separator, config.decimal, usual, missing, config.day_first)


def read_ids(sieve: Sieve, column: pl.Series, what: str, form: TextForm) -> pl.Series:
    """(n,) ids as text, null where missing.

    Rejects rows whose id is missing or longer than `MAX_ID`; `what` is "user", "item" or "author".
    Raises DataError for a column that cannot hold ids.
    """
    ids = id_text(column, sieve.file, form.missing)
    empty = ids.is_null().to_numpy()
    if empty.any():
        blank = column.is_null()
        if column.dtype == pl.String:
            blank |= column.str.strip_chars() == ""
        sieve.reject(empty & blank.fill_null(True).to_numpy(), f"empty {what} id", column.name)
        text = f"{what} id is a text that means a missing value"
        sieve.reject(empty, text, column.name, column)
    _note_lost_digits(sieve, column, ids)
    long = (ids.str.len_bytes() > MAX_ID).fill_null(False)
    if long.any():
        long = (ids.str.len_chars() > MAX_ID).fill_null(False)
        text = f"{what} id longer than {MAX_ID:,} characters"
        sieve.reject(long.to_numpy(), text, ids.name, ids)
    return ids


def _note_lost_digits(sieve: Sieve, column: pl.Series, ids: pl.Series) -> None:
    """A note where ids have lost digits, so that several may have become one."""
    if column.dtype.is_float() and bool((column.abs() >= EXACT).any()):
        large = column.filter(column.abs() >= EXACT)
        text = f"{len(large):,} ids are floats beyond 2^53, which have lost their last digits"
        fix = "Write the column as integers or text."
    elif column.dtype == pl.String and len(short := shortened_ids(ids)):
        text = f'{len(short):,} ids such as "{short[0]}" were shortened by a spreadsheet'
        fix = "Export the column again as text: different ids may have become one."
    else:
        return
    sieve.note([Note(text, fix, doubtful=True)], column.name)


def read_table(
    config: TableConfig,
    root: Path,
    name: str,
    rejects: Rejects,
    wanted: Mapping[str, Wanted] | None = None,
    former: Table | None = None,
) -> Table:
    """Reads a table of users or items.

    Columns of text files get the type of their values (`read_attribute`); values that do not fit it
    are left empty and reported. Titles, categories, authors and cities stay texts. The column
    `published` becomes Int64 milliseconds.

    Args:
        config: the declaration of a table that has a file.
        root: the project's folder.
        name: "items" or "users".
        rejects: receives the rows that cannot be used.
        wanted: what columns are read as, because a feature needs it; others by their values.
        former: an earlier state of the table; its rows keep their numbers, new ids follow.

    Raises:
        DataError: the file cannot be read, lacks a declared column, or has no usable row.
        ValueError: the table has no file.
    """
    raw = read_declared(config, root)
    form = form_of(config, raw)
    keys = ("id", "title", "category", "author", "published", "latitude", "longitude", "city")
    declared = {key: getattr(config, key) for key in keys if getattr(config, key)}
    texts = () if config.text is None else config.text.columns
    declared |= {f"text.columns[{k}]": column for k, column in enumerate(texts)}
    require_columns(raw, declared, name)
    sieve = start_sieve(raw, rejects)
    ids = read_ids(sieve, raw.frame[config.id], name.removesuffix("s"), form)
    duplicate = ~ids.is_first_distinct().to_numpy()
    sieve.reject(duplicate, "duplicate id (the first one is kept)", config.id, ids)
    frame = raw.frame.drop(config.id)
    frame = _typed(frame, sieve, {**_roles(config), **(wanted or {})}, form)
    if config.published:
        frame = _published(frame, raw.frame[config.published], sieve, config.time_unit, form)
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
    rejects.notes += raw.notes
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
        lists = id_text(values, items.name, ()).str.split(separator)
    else:
        lists = id_text(values, items.name, ()).reshape((-1, 1)).cast(pl.List(pl.String))
    cleaned = pl.element().str.strip_chars()
    kept = lists.to_frame("c").select(
        pl.col("c")
        .list.eval(cleaned.filter(pl.element().is_not_null() & (cleaned != "")))
        .fill_null([])
    )
    return kept.to_series()


def _roles(config: TableConfig) -> dict[str, Wanted]:
    """What the columns with a role are read as."""
    roles: dict[str, Wanted] = {"published": "text", "title": "text"}
    roles |= {"category": "words", "author": "words", "city": "words"}
    roles |= {"latitude": "number", "longitude": "number"}
    columns: dict[str, str | None] = {role: getattr(config, role) for role in roles}
    texts = () if config.text is None else config.text.columns
    read: dict[str, Wanted] = dict.fromkeys(texts, "text")
    read.update({name: roles[role] for role, name in columns.items() if name})
    return read


def _typed(
    frame: pl.DataFrame, sieve: Sieve, wanted: Mapping[str, Wanted], form: TextForm
) -> pl.DataFrame:
    """The columns in the types of their values; reports values that do not fit or are missing."""
    columns: list[pl.Series] = []
    markers: list[str] = []
    for column in frame:
        name = column.name
        asked = wanted.get(name, "any")
        read = read_attribute(column, asked, form, infer=bool(form.separator))
        columns.append(read.values)
        sieve.note(read.notes, name)
        if read.markers:
            markers.append(f"`{name}` {markers_text(read.markers)}")
        if read.bad.any():
            _report_bad(sieve, column, read, asked)
    if markers:
        sieve.note([Note(f"texts that are read as missing: {'; '.join(markers)}", _KEEP_MARKERS)])
    return pl.DataFrame(columns) if columns else frame


_KEEP_MARKERS = "If they are values, set `missing` of the table to the texts that mean none."


def missing_note(markers: dict[str, int]) -> list[Note]:
    """The note on texts of one column that were read as missing; empty without any."""
    text = f"texts that are read as missing: {markers_text(markers)}"
    return [Note(text, _KEEP_MARKERS)] if markers else []


def _report_bad(sieve: Sieve, column: pl.Series, read: Attribute, asked: Wanted) -> None:
    lists = isinstance(read.values.dtype, pl.List)
    sieve.blank(read.bad, "not a list" if lists else "not a number", column.name, column)
    if asked == "number":
        return
    count, kind = int(read.bad.sum()), "lists" if lists else "numbers"
    text = f"a column of {kind}: {count:,} other values are left empty"
    fix = "If they are values, declare a sparse feature of the column: it then stays text."
    sieve.note([Note(text, fix, doubtful=True)], column.name)


def _published(
    frame: pl.DataFrame, column: pl.Series, sieve: Sieve, unit: str, form: TextForm
) -> pl.DataFrame:
    times = parse_times(column, unit, form)
    if times.excel:
        raise DataError(spreadsheet_days(sieve.file, column, "items"))
    notes = [*times.notes]
    if times.small and unit == "auto":
        text = "the numbers are too small for dates after 1973; they are taken as seconds"
        notes.append(Note(text, "Set `time_unit` in [items], or write dates.", doubtful=True))
    sieve.note(notes, column.name)
    unusable: NDArray[np.bool_] = times.bad | times.other_unit
    sieve.blank(unusable, "not a time", column.name, column)
    ms = pl.Series(column.name, times.ms)
    gaps = pl.Series(times.missing | unusable)
    return frame.with_columns(pl.when(~gaps).then(ms).alias(column.name))


def spreadsheet_days(file: str, column: pl.Series, section: str) -> str:
    """The message for a column of times that holds days since 1899-12-30."""
    example = str(column.drop_nulls()[0])
    return (
        f"{file}: `{column.name}` holds numbers such as {example}, which look like the days of a "
        f'spreadsheet. Set `time_unit = "excel"` in [{section}] if they are, "s" if they are '
        "seconds, or export the column as dates."
    )


def _reasons(rejects: Rejects, file: str) -> str:
    lines = [f"{reason} ({count:,} rows)" for f, reason, count, _ in rejects.summary() if f == file]
    return "; ".join(lines[:4]) or "none was found"
