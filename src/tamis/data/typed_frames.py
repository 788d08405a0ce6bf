"""Reads a table file as a frame with typed columns and all its rows, and writes a frame."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import polars as pl

from tamis.data.files import read_raw
from tamis.data.numbers import decimal_mark
from tamis.data.text_form import TextForm
from tamis.data.values import Wanted, read_attribute
from tamis.schema import ConfigError, DataError


def read_frame(
    path: Path, separator: str | None = None, texts: Collection[str] = ()
) -> pl.DataFrame:
    """Reads all rows of a table file in order; each column has the type that all its values fit.

    texts: columns of a text file that stay texts, because they hold ids.

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
    return infer_types(raw.frame, raw.separator, texts=texts)


def infer_types(
    frame: pl.DataFrame,
    separator: str = "",
    wanted: Wanted = "lossless",
    texts: Collection[str] = (),
) -> pl.DataFrame:
    """The frame with each column in the type of its values (`read_attribute`).

    Args:
        separator: of the text file that the frame comes from; empty: of another format, whose texts
            stay texts.
        wanted: "lossless": the type that all values of a column fit. "any": the type of nearly all
            of them; others become null.
        texts: columns of texts that are left as they are.
    """
    usual = decimal_mark(frame) if separator not in ("", ",") else None
    form = TextForm(separator, usual=usual)
    inferred = bool(separator)
    read = [
        column if column.name in texts else read_attribute(column, wanted, form, inferred).values
        for column in frame
    ]
    return pl.DataFrame(read)


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
