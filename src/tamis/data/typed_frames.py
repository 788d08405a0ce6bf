"""Reads a table file as a frame with typed columns and all its rows, and writes a frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from tamis.data.files import read_raw
from tamis.schema import ConfigError, DataError


def read_frame(path: Path, separator: str | None = None) -> pl.DataFrame:
    """Reads all rows of a table file in order; each column has the type that all its values fit.

    Raises:
        DataError: as `read_raw`; or a line cannot be parsed as a row.
    """
    raw = read_raw(path, path.name, separator)
    if raw.broken:
        numbers, reason, _ = raw.broken[0]
        raise DataError(
            f"{path.name}: line {int(numbers[0])}: {reason}. Rows are identified by their position "
            "here, so none can be skipped: correct the line, or delete it."
        )
    return infer_types(raw.frame) if raw.separator else raw.frame


def infer_types(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with each text column converted to the type that all its values fit."""
    return frame.select([inferred(column) for column in frame])


def inferred(column: pl.Series) -> pl.Series:
    """The column as Int64 or Float64 if every value fits; texts with leading zeros stay texts."""
    if column.null_count() == len(column):
        return column
    head = column.drop_nulls().head(100)
    if head.cast(pl.Float64, strict=False).null_count():
        return column
    if bool(column.str.contains(r"^[-+]?0\d").any()):
        return column
    for dtype in (pl.Int64, pl.Float64):
        cast = column.cast(dtype, strict=False)
        if cast.null_count() == column.null_count():
            return cast.fill_nan(None) if dtype == pl.Float64 else cast
    return column


_WRITTEN = (".csv", ".tsv", ".parquet", ".jsonl")
"""Endings of the formats that `write_frame` writes."""


def check_ending(path: Path) -> None:
    """Raises ConfigError unless `write_frame` can write a file with this ending."""
    if path.suffix.lower() not in _WRITTEN:
        raise ConfigError(f"{path}: unknown format: use one of the endings {', '.join(_WRITTEN)}")


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Writes a frame in the format of the file's ending: .csv, .tsv, .parquet or .jsonl.

    The file appears only when it is complete.

    Raises:
        ConfigError: another ending.
        DataError: the file cannot be written.
    """
    writers: dict[str, Callable[[Path], object]] = {
        ".csv": frame.write_csv,
        ".tsv": lambda to: frame.write_csv(to, separator="\t"),
        ".parquet": frame.write_parquet,
        ".jsonl": frame.write_ndjson,
    }
    check_ending(path)
    write = writers[path.suffix.lower()]
    draft = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(draft)
        draft.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error
