"""Which table of a folder is the event log, and which of its columns means what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from tamis.data import column_names as words
from tamis.data.files import COMPRESSED, RawTable, format_of, read_raw
from tamis.data.times import parse_times
from tamis.data.typed_frames import infer_types
from tamis.schema import DataError

Frames = dict[str, pl.DataFrame]


def readable_tables(folder: Path) -> tuple[Frames, list[str]]:
    """All tables of the folder that can be read, by file name."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder.")
    frames, notes = Frames(), list[str]()
    for path in sorted(folder.iterdir()):
        if (
            path.is_file()
            and format_of(path)
            and table_stem(path.name) not in ("rejects", "readme")
        ):
            try:
                raw = read_raw(path, path.name)
            except DataError as error:
                if path.suffix != ".json":  # mostly settings, not tables
                    notes.append(f"not readable: {error}")
                continue
            frames[path.name] = _with_types(raw)
    return frames, notes


def _with_types(raw: RawTable) -> pl.DataFrame:
    return infer_types(raw.frame) if raw.separator else raw.frame


def table_stem(file: str) -> str:
    """A table file's name without its endings, as a plain lower-case word."""
    name = file.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return words.plain(name.rsplit(".", 1)[0])


def event_table(frames: Frames, folder: Path) -> str:
    """The table with a user, an item and a time column; of several, by name, then the longest."""
    fitting = [f for f in frames if {"user", "item", "time"} <= set(event_columns(frames[f]))]
    if not fitting:
        seen = "; ".join(f"{f}: {', '.join(frame.columns[:8])}" for f, frame in frames.items())
        raise DataError(
            f"{folder}: no table looks like an event log. Looked for one with a user (user_id, "
            "customer_id …), an item (item_id, product_id …) and a time (timestamp, time, date …) "
            f"column. Found {seen or 'no CSV, TSV, Parquet or JSONL file'}."
        )
    return max(fitting, key=lambda f: (table_stem(f) in words.EVENT_TABLES, frames[f].height))


def event_columns(frame: pl.DataFrame) -> dict[str, str]:
    """Keys of [events] → columns."""
    users = [c for c in frame.columns if words.USER.match(words.plain(c))]
    items = [c for c in frame.columns if words.ITEM.match(words.plain(c))]
    found = {"user": _shortest_id(users), "item": _shortest_id(items)}
    found["time"] = named_column(frame, words.TIME, is_time)
    found["arrival"] = named_column(frame, words.ARRIVAL, is_time)
    found["behaviour"] = named_column(frame, words.BEHAVIOUR, _is_label)
    found["value"] = named_column(frame, words.VALUE, _is_number)
    found["request"] = named_column(frame, words.REQUEST)
    found["position"] = named_column(frame, words.POSITION, _is_number)
    return {key: column for key, column in found.items() if column}


def _shortest_id(columns: Sequence[str]) -> str | None:
    """Of `user` and `user_id` the one that says id."""
    return min(columns, key=lambda c: ("id" not in words.plain(c), len(c)), default=None)


def named_column(
    frame: pl.DataFrame, names: Sequence[str], fits: Callable[[pl.Series], bool] | None = None
) -> str | None:
    """The column with the first of the usual names whose values fit."""
    by_name = {words.plain(c): c for c in reversed(frame.columns)}
    for name in names:
        if name in by_name and (fits is None or fits(frame[by_name[name]])):
            return by_name[name]
    return None


def is_time(column: pl.Series) -> bool:
    """Whether most of the first 10,000 values of a column are times."""
    if column.dtype.is_nested() or column.dtype == pl.Boolean:
        return False
    times = parse_times(column.head(10_000))
    lost = times.bad | times.missing | times.other_unit
    return bool(lost.mean() < 0.5) and not times.small


def _is_label(column: pl.Series) -> bool:
    return isinstance(column.dtype, pl.String | pl.Categorical) and column.n_unique() <= 50


def _is_number(column: pl.Series) -> bool:
    return column.dtype.is_numeric()
