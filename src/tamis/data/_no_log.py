"""The message that no table of a folder is an event log, with what was found in each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tamis.data.column_profile import ColumnProfile
from tamis.data.event_log import EventLog
from tamis.data.table_folder import no_tables

"""Points of a name that says plainly whose id a column is."""
_MATRIX = 10
"""Columns of numbers from which on a table with hardly any others is taken for a matrix."""
_NEEDED = ("user", "item", "time")


def no_log_message(read: Sequence[EventLog], folder: Path, notes: Sequence[str]) -> str:
    """The message that no table is an event log, with what was found in each."""
    if not read:
        listed = "".join(f"\n  {note}" for note in notes)
        if any(note.startswith("not readable") for note in notes):
            return f"{folder}: no table of events: none of its tables can be read.{listed}"
        return f"{folder}: no table of events: {no_tables(folder)}.{listed}"
    lines: list[str] = []
    for log in read:
        found, columns = log.found, ", ".join(log.frame.columns)
        columns = columns if len(columns) <= 200 else columns[:200] + " …"
        have = [f"{k} = `{found[k]}`" for k in _NEEDED if k in found]
        lack = [k for k in _NEEDED if k not in found]
        lines.append(
            f"{log.file}: {', '.join(have) or 'nothing'} found, no {', no '.join(lack)}; "
            f"its columns: {columns}"
        )
        hints = [*log.rejected, *_lists(log), *elsewhere(log, lack, read)]
        lines += [f"  {hint}" for hint in hints]
    listed = "\n".join(f"  {line}" for line in [*lines, *notes])
    return (
        f"{folder}: no table looks like an event log, with a user, an item and a time per row.\n"
        f"{listed}\n"
        "  To settle a column: tamis init DIR --events FILE --user COL --item COL --time COL "
        "(--time none if there are no times)."
    )


def _lists(log: EventLog) -> list[str]:
    """Sentences about columns and lines that hold several items each."""
    found: list[str] = []
    if len(log.columns) == 1 and re.fullmatch(r"[\d\s]+", next(iter(log.columns))):
        found.append(
            "its lines look like a user and then the items; write one row per user and item, with "
            "a header and a time (tamis.datasets.read_sequences and read_pairs read such files)"
        )
        return found
    numbers = [c for c in log.columns.values() if c.is_number and not c.parts.is_id]
    if len(numbers) > _MATRIX and len(numbers) > 0.9 * len(log.columns):
        found.append(
            f"its {len(numbers)} columns of numbers look like a matrix of users and items; an "
            "event log has one row per user and item: write its cells as rows (polars: unpivot)"
        )
    for column in log.columns.values():
        if column.holds_lists and column.given:
            found.append(
                f'column `{column.name}` holds several values per row, e.g. "{column.example}"; an '
                f"event log has one row per user and item: split them into rows ({_split(column)})"
            )
        fields = _fields(column.values.dtype)
        if fields:
            names = ", ".join(f"`{column.name}_{field}`" for field in fields[:4])
            found.append(
                f"column `{column.name}` holds objects: write their fields as columns ({names}"
                f"{' …' if len(fields) > 4 else ''})"
            )
    return found


def _split(column: ColumnProfile) -> str:
    """How to split a column of lists into rows by polars."""
    name = column.name
    if isinstance(column.values.dtype, pl.List | pl.Array):
        objects = f'.unnest("{name}")' if _fields(column.values.dtype) else ""
        return f'polars: frame.explode("{name}"){objects}'
    texts = column.sample.cast(pl.String)
    marks = (" ", "|", ";", ",")
    mark = max(marks, key=lambda m: float(texts.str.contains(m, literal=True).mean() or 0.0))  # pyright: ignore[reportArgumentType]
    how = f'polars: frame.with_columns(pl.col("{name}").str.split("{mark}")).explode("{name}")'
    parts = texts.str.split(mark).explode().drop_nulls()
    if float(parts.str.contains(r"\S-[01]$").mean() or 0.0) > 0.9:  # pyright: ignore[reportArgumentType]
        how += "; write the -1 and -0 at the ends as 1 and 0 into a column `clicked`"
    return how


def _fields(dtype: pl.DataType) -> list[str]:
    """The names of the fields of a column of objects, or of lists of objects; else none."""
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype
    return [field.name for field in inner.fields] if isinstance(inner, pl.Struct) else []


def elsewhere(
    log: EventLog, lack: Sequence[str], read: Sequence[EventLog], but: Sequence[str] = ()
) -> list[str]:
    """Sentences about other tables that hold what a table lacks, and join with it.

    but: columns of the table that are not joined by.
    """
    found: list[str] = []
    if "item" in lack or not lack:
        return found
    for name in log.columns:
        for link in log.tables.links(log.file, name) if name not in but else ():
            if not link.named:
                continue
            other = next((o for o in read if o.file == link.file), None)
            have = [k for k in lack if other is not None and k in other.found]
            if other is not None and have:
                roles = " and ".join(f"the {k} (`{other.found[k]}`)" for k in have)
                found.append(
                    f"{other.file} has {roles} of each `{link.key}`: join the two tables by it, "
                    "into one row per user, item and time"
                )
    return found
