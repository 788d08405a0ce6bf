"""Reads a table file of any supported format; errors name the file and how to fix it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from tamis.data._archives import COMPRESSED, UNPACKED_HERE, inner_name
from tamis.data._encodings import (
    advice,
    decoded,
    file_bytes,
    marked_encoding,
    other_format,
    read_head,
    zeros,
)
from tamis.data._json_tables import flattened, read_json_table
from tamis.data._lines import file_lines
from tamis.data._raw_table import RawTable
from tamis.data._text_tables import SEPARATORS, read_text_table
from tamis.data.notes import Note
from tamis.schema import DataError

TEXT, PARQUET, JSONL = "text", "parquet", "jsonl"
FORMATS = {
    ".csv": TEXT,
    ".tsv": TEXT,
    ".txt": TEXT,
    ".tab": TEXT,
    ".dat": TEXT,
    ".data": TEXT,
    ".inter": TEXT,
    ".item": TEXT,
    ".user": TEXT,
    ".parquet": PARQUET,
    ".pq": PARQUET,
    ".jsonl": JSONL,
    ".ndjson": JSONL,
    ".json": JSONL,
}


def format_of(path: Path) -> str | None:
    """`text`, `parquet` or `jsonl`, by the ending before .gz, .zst, .bz2 or .xz, or of the
    single table in a .zip; None for other endings."""
    while path.suffix.lower() in COMPRESSED:
        path = path.with_name(inner_name(path) or "table")
    return FORMATS.get(path.suffix.lower())


def read_raw(
    path: Path,
    file: str,
    separator: str | None = None,
    kind: str | None = None,
    encoding: str | None = None,
    columns: Sequence[str] = (),
) -> RawTable:
    """Reads a table file.

    Args:
        path: the file.
        file: its name in messages.
        separator: of a text file; None = detected from the first lines.
        kind: its format (`TEXT`, `PARQUET`, `JSONL`); None = detected from the ending.
        encoding: of a text or JSONL file; None = UTF-8, or as the byte-order mark says.
        columns: names of the columns of a text file whose first line holds values; empty = the
            first line names the columns.

    Raises:
        DataError: the file is missing, of an unknown format, damaged, truncated, empty, or in
            another encoding, or `columns` are not as many as its first line has fields.
    """
    _must_exist(path, file)
    kind = kind or format_of(path)
    if kind is None:
        raise DataError(
            f"{file}: unknown format. Use {', '.join(FORMATS)}, each also with .gz, .zst, .bz2, "
            ".xz or .zip."
        )
    try:
        if kind == PARQUET:
            table = _read_parquet(path, file)
        else:
            source, notes = _source(path, file, encoding)
            text = kind == TEXT
            table = (
                read_text_table(source, file, separator, columns)
                if text
                else read_json_table(source, file)
            )
            table.notes = [replace(note, file=file) for note in (*notes, *table.notes)]
    except (OSError, pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise DataError(_damage(path, file, kind, error)) from error
    if table.frame.width == 0 or (table.frame.height == 0 and not table.broken):
        raise DataError(f"{file}: the table is empty (no rows after the header).")
    return table


def text_lines(path: Path, file: str) -> pl.Series:
    """(n,) the lines of the text file `path`, called `file` in messages; an empty line is null.

    Raises:
        DataError: the file is missing, damaged, or empty.
    """
    _must_exist(path, file)
    try:
        lines = file_lines(_source(path, file, None)[0])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(_damage(path, file, TEXT, error)) from error
    if lines.null_count() == len(lines):
        raise DataError(f"{file}: the file is empty; export it again.")
    return lines


def _must_exist(path: Path, file: str) -> None:
    if not path.exists():
        there = sorted(p.name for p in path.parent.glob("*")) if path.parent.is_dir() else []
        listing = ", ".join(there[:12]) or "nothing"
        raise DataError(f"{file}: there is no such file; its folder holds {listing}.")


def _source(path: Path, file: str, encoding: str | None) -> tuple[Path | bytes, list[Note]]:
    """The file itself where the parser can read it, else its text as UTF-8; and how it was read.

    Raises:
        DataError: the file is of another format than text, or not in the encoding.
    """
    head = read_head(path)
    if wrong := other_format(head):
        raise DataError(f"{file}: {wrong}.")
    marked = marked_encoding(head)
    if marked is not None:
        return decoded(path, file, marked), [Note(f"the encoding is {marked}, by its first bytes")]
    if encoding is not None and encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        return decoded(path, file, encoding), []
    if b"\r" in head and b"\n" not in head:
        data = decoded(path, file, "utf-8").replace(b"\r", b"\n")
        return data, [Note("lines end with a carriage return alone, as on old Macs")]
    if path.suffix.lower() in UNPACKED_HERE:
        return decoded(path, file, "utf-8"), []
    if zeros(head):
        raise DataError(f"{file}: it is not UTF-8 text. {advice(file_bytes(path, file))}")
    return path, []


def _read_parquet(path: Path, file: str) -> RawTable:
    packed = path.suffix.lower() in UNPACKED_HERE
    source = file_bytes(path, file) if packed else path
    frame, notes = flattened(pl.read_parquet(source, glob=False))
    return RawTable(file, frame, np.arange(1, frame.height + 1), [], notes=notes)


def _damage(path: Path, file: str, kind: str, error: Exception) -> str:
    """The message for a damaged file: what is wrong with it, and how to fix it."""
    text = re.sub(r"\s+", " ", str(error))[:200]
    lower = text.lower()
    if "utf-8" in lower and path.suffix.lower() not in (".zst", ".zstd"):
        return f"{file}: it is not UTF-8 text. {advice(file_bytes(path, file))} ({text})"
    if "utf-8" in lower:
        cure = "it is not UTF-8 text: convert it (iconv)"
    elif any(word in lower for word in ("end of file", "incomplete frame", "unexpected eof")):
        cure = "the compressed file is cut short: copy or export it again"
    elif kind == PARQUET:
        cure = "not a complete Parquet file: copy or export it again"
    elif kind == JSONL and not isinstance(error, OSError):
        cure = 'not JSON Lines: each line must hold one object, like {"user_id": 1}'
    elif "empty csv" in lower:
        cure = "the file is empty: its first line must name the columns"
    elif isinstance(error, OSError) and error.strerror:
        cure = error.strerror
    else:
        cure = "it could not be parsed"
    return f"{file}: {cure}. ({text})"


def unseparated(table: RawTable) -> str:
    """A hint if a text table seems to be split at the wrong character or has no header, else ""."""
    names = table.frame.columns
    if table.separator and len(names) == 1:
        likely = [s for s in SEPARATORS if s in names[0] and s != table.separator]
        if likely:
            return (
                f" It was split at {table.separator!r} into one column; the separator looks like "
                f"{likely[0]!r}: set `separator`, or remove it to have it detected."
            )
    if table.separator and len(names) == 1 and " " in names[0]:
        return " It has a single column: separate the columns by commas or tabs."
    if names and all(re.fullmatch(r"-?\d+(\.\d+)?(_duplicated_\d+)?", name) for name in names):
        return " Its first line holds numbers: add a header line that names the columns."
    return ""
