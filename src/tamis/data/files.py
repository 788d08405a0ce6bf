"""Reads a table file of any supported format; errors name the file and how to fix it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.schema import DataError

TEXT, PARQUET, JSONL = "text", "parquet", "jsonl"
FORMATS = {
    ".csv": TEXT,
    ".tsv": TEXT,
    ".txt": TEXT,
    ".tab": TEXT,
    ".parquet": PARQUET,
    ".pq": PARQUET,
    ".jsonl": JSONL,
    ".ndjson": JSONL,
    ".json": JSONL,
}
COMPRESSED = (".gz", ".zst", ".zstd")
_LINE = "\x00line"
SEPARATORS = (",", "\t", ";", "|")


@dataclass
class RawTable:
    """A table file as it was read, before its rows are checked."""

    file: str
    """File name for messages and for the report of rejected rows."""
    frame: pl.DataFrame
    """Text files: columns of text, empty fields null. Other formats: as typed in the file."""
    row_numbers: NDArray[np.int64]
    """(n,) line numbers of a text file, whose header is line 1; else row numbers from 1."""
    broken: list[tuple[NDArray[np.int64], str, pl.Series]]
    """Lines that cannot be parsed as rows: their numbers, the reason, their texts."""
    separator: str = ""
    """Of a text file; else empty."""


def format_of(path: Path) -> str | None:
    """`text`, `parquet` or `jsonl`, by the ending before .gz or .zst; None for other endings."""
    suffixes = [s.lower() for s in path.suffixes]
    while suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


def read_raw(
    path: Path,
    file: str,
    separator: str | None = None,
    kind: str | None = None,
    columns: Sequence[str] = (),
) -> RawTable:
    """Reads a table file.

    Args:
        path: the file.
        file: its name in messages.
        separator: of a text file; None = detected from the header line.
        kind: its format (`TEXT`, `PARQUET`, `JSONL`); None = detected from the ending.
        columns: names of the columns of a text file whose first line holds values; empty = the
            first line names the columns.

    Raises:
        DataError: the file is missing, of an unknown format, damaged, truncated, or empty, or
            `columns` are not as many as its first line has fields.
    """
    _must_exist(path, file)
    kind = kind or format_of(path)
    if kind is None:
        raise DataError(
            f"{file}: unknown format. Use {', '.join(FORMATS)}, each also with .gz or .zst."
        )
    try:
        if kind == TEXT:
            table = _read_text(path, file, separator)
            if columns:
                table = _first_line_as_row(table, path, columns)
        elif kind == JSONL:
            table = _read_jsonl(path, file)
        else:
            table = _read_parquet(path, file)
    except (OSError, pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise DataError(_damage(file, kind, error)) from error
    if table.frame.width == 0 or (table.frame.height == 0 and not table.broken):
        raise DataError(f"{file}: the table is empty (no rows after the header).")
    return table


def _first_line_as_row(table: RawTable, path: Path, columns: Sequence[str]) -> RawTable:
    """The table with its first line, which was read as the header, as its first row."""
    first = pl.read_csv(
        f"{_header(path)}\n".encode(),
        has_header=False,
        separator=table.separator,
        infer_schema=False,
    )
    if len(columns) != first.width:
        raise DataError(
            f"{table.file}: `columns` names {len(columns)} columns ({', '.join(columns)}), but its "
            f"first line has {first.width} fields: {', '.join(map(str, first.row(0)))[:200]}. Name "
            "all of them, in their order."
        )
    frame = pl.concat(
        [
            first.rename(dict(zip(first.columns, columns, strict=True))),
            table.frame.rename(dict(zip(table.frame.columns, columns, strict=True))),
        ]
    )
    return replace(table, frame=frame, row_numbers=np.r_[1, table.row_numbers])


def text_lines(path: Path, file: str) -> pl.Series:
    """(n,) the lines of the text file `path`, called `file` in messages; an empty line is null.

    Raises:
        DataError: the file is missing, damaged, or empty.
    """
    _must_exist(path, file)
    try:
        lines = _lines(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(_damage(file, TEXT, error)) from error
    if lines.null_count() == len(lines):
        raise DataError(f"{file}: the file is empty; export it again.")
    return lines


def _must_exist(path: Path, file: str) -> None:
    if not path.exists():
        there = sorted(p.name for p in path.parent.glob("*")) if path.parent.is_dir() else []
        listing = ", ".join(there[:12]) or "nothing"
        raise DataError(f"{file}: there is no such file; its folder holds {listing}.")


def _read_parquet(path: Path, file: str) -> RawTable:
    frame = pl.read_parquet(path, glob=False)
    return RawTable(file, frame, np.arange(1, frame.height + 1), [])


def _read_text(path: Path, file: str, separator: str | None) -> RawTable:
    header = _header(path)
    if not header:
        raise DataError(f"{file}: the file is empty. Its first line must name the columns.")
    separator = separator or max(SEPARATORS, key=header.count)
    try:
        quotes = _quotes(path)
        if quotes % 2:
            return _read_line_by_line(path, file, separator)
        frame = pl.read_csv(
            path,
            separator=separator,
            infer_schema=False,
            quote_char='"' if quotes else None,
            glob=False,
        )
    except pl.exceptions.ComputeError as error:
        if "utf-8" in str(error).lower():
            raise
        return _read_line_by_line(path, file, separator)
    return RawTable(file, frame, np.arange(2, frame.height + 2), [], separator)


def _header(path: Path) -> str:
    lines = _lines(path, n_rows=1)
    return (lines[0] or "") if len(lines) else ""


def _lines(path: Path, n_rows: int | None = None) -> pl.Series:
    """(n,) the lines of a text file, compressed or not; an empty line is null."""
    try:
        frame = pl.read_csv(
            path,
            has_header=False,
            separator="\x1f",
            quote_char=None,
            infer_schema=False,
            new_columns=["line"],
            n_rows=n_rows,
            truncate_ragged_lines=True,
            glob=False,
        )
    except pl.exceptions.NoDataError:
        return pl.Series("line", [], dtype=pl.String)
    return frame["line"].str.strip_chars_end("\r").str.strip_chars_start("\ufeff")


def _quotes(path: Path) -> int:
    """Number of quotation marks: 0 switches quoting off; an odd number is a defect."""
    if path.suffix.lower() in COMPRESSED:
        counts = _lines(path).str.count_matches('"', literal=True)
        return int(counts.cast(pl.Int64).sum() or 0)
    total = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 24):
            total += block.count(b'"')
    return total


def _read_line_by_line(path: Path, file: str, separator: str) -> RawTable:
    """Reads a file with defective lines: lines with too many fields or open quotes are rejected.

    A quotation mark opens a quoted field only at the start of a field (`17" screen` is text), and
    never in tab-separated files. A line whose quotation is not closed is rejected, so that a single
    stray mark does not affect the lines after it.
    """
    lines = _lines(path)
    opening = rf'(^|{re.escape(separator)})"' if separator != "\t" else r"[^\s\S]"
    bare = lines.str.replace_all(opening + '(?:[^"]|"")*"', "${1}")
    fields = (bare.str.count_matches(separator, literal=True) + 1).fill_null(0).to_numpy()
    quoted = lines.str.contains(opening).fill_null(False).to_numpy()
    odd = (lines.str.count_matches('"', literal=True).fill_null(0) % 2 == 1).to_numpy()
    width = int(fields[0])
    open_quote = bare.str.contains(opening).fill_null(False).to_numpy() | (quoted & odd)
    long = (fields > width) & ~open_quote
    numbers = np.arange(1, len(lines) + 1)
    broken = [
        (numbers[bad], reason, lines.filter(pl.Series(bad)))
        for bad, reason in (
            (open_quote, "a quotation mark is never closed"),
            (long, f"more than the header's {width} fields"),
        )
        if bad.any()
    ]
    good = lines.is_not_null().to_numpy() & ~open_quote & ~long
    good[0] = False
    names = pl.read_csv(f"{lines[0]}\n".encode(), separator=separator, infer_schema=False).columns
    header = separator.join(
        map(str, range(width))
    )  # each group is parsed with a header of plain numbers
    parts: list[pl.DataFrame] = []
    for group, mark in ((good & ~quoted, None), (good & quoted, '"')):
        text = "\n".join([header, *lines.filter(pl.Series(group))]).encode()
        part = pl.read_csv(text, separator=separator, infer_schema=False, quote_char=mark)
        parts.append(part.with_columns(pl.Series(_LINE, numbers[group])))
    frame = pl.concat(parts).sort(_LINE)
    frame.columns = [*names, _LINE]
    return RawTable(file, frame.drop(_LINE), frame[_LINE].to_numpy(), broken, separator)


def _read_jsonl(path: Path, file: str) -> RawTable:
    try:
        frame = pl.read_ndjson(path, infer_schema_length=None)
        numbers = np.arange(1, frame.height + 1)
        broken: list[tuple[NDArray[np.int64], str, pl.Series]] = []
    except pl.exceptions.ComputeError:
        lines = _lines(path)
        good = _is_object(lines)
        bad = ~good & lines.is_not_null().to_numpy()
        numbers = np.arange(1, len(lines) + 1)
        broken = [(numbers[bad], "not a JSON object", lines.filter(pl.Series(bad)))]
        kept = lines.filter(pl.Series(good)).to_list()
        if not kept:
            raise
        frame = pl.read_ndjson("\n".join(kept).encode(), infer_schema_length=None)
        numbers = numbers[good]
    return RawTable(file, frame, numbers, broken)


def _is_object(lines: pl.Series) -> NDArray[np.bool_]:
    """(n,) lines that are one JSON object each (used only if a file has a defective line)."""
    import json

    def parses(line: str | None) -> bool:
        try:
            return line is not None and isinstance(json.loads(line), dict)
        except ValueError:
            return False

    return np.fromiter(map(parses, lines.to_list()), dtype=np.bool_, count=len(lines))


def _damage(file: str, kind: str, error: Exception) -> str:
    """The message for a damaged file: what is wrong with it, and how to fix it."""
    text = re.sub(r"\s+", " ", str(error))[:200]
    lower = text.lower()
    if "utf-8" in lower:
        advice = "it is not UTF-8 text: convert it (iconv -f latin1 -t utf-8)"
    elif any(word in lower for word in ("end of file", "incomplete frame", "unexpected eof")):
        advice = "the compressed file is cut short: copy or export it again"
    elif kind == PARQUET:
        advice = "not a complete Parquet file: copy or export it again"
    elif kind == JSONL and not isinstance(error, OSError):
        advice = 'not JSON Lines: each line must hold one object, like {"user_id": 1}'
    elif "empty csv" in lower:
        advice = "the file is empty: its first line must name the columns"
    elif isinstance(error, OSError) and error.strerror:
        advice = error.strerror
    else:
        advice = "it could not be parsed"
    return f"{file}: {advice}. ({text})"


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
        if "::" in names[0]:
            return ' Its separator is "::", which is not supported: replace it with a tab.'
    if names and all(re.fullmatch(r"-?\d+(\.\d+)?(_duplicated_\d+)?", name) for name in names):
        return " Its first line holds numbers: add a header line that names the columns."
    return ""
