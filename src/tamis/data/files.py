"""Reads a table file of any supported format; errors name the file and how to fix it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data._encodings import (
    advice,
    decoded,
    file_bytes,
    marked_encoding,
    other_format,
    read_head,
    zeros,
)
from tamis.data._records import split_records
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
COMPRESSED = (".gz", ".zst", ".zstd")
SEPARATORS = (",", "\t", ";", "|", "::", "\x01")
"""Separators that are detected: those of usual tables, of MovieLens, and of Hive."""
_FIRST_LINES = 100
"""Lines by which the separator and the header are detected."""
_BLOCK = 1 << 24
"""Bytes of a file that are looked through at a time."""


@dataclass
class RawTable:
    """A table file as it was read, before its rows are checked."""

    file: str
    """File name for messages and for the report of rejected rows."""
    frame: pl.DataFrame
    """Text files: columns of text, empty fields null. Other formats: as typed in the file."""
    row_numbers: NDArray[np.int64]
    """(n,) lines of a text file on which the rows begin, from 1; else row numbers from 1."""
    broken: list[tuple[NDArray[np.int64], str, pl.Series]]
    """Lines that cannot be parsed as rows: their numbers, the reason, their texts."""
    separator: str = ""
    """Of a text file; else empty."""
    notes: list[Note] = field(default_factory=list[Note])
    """How the file was read, where it is not evident."""


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
            f"{file}: unknown format. Use {', '.join(FORMATS)}, each also with .gz or .zst."
        )
    try:
        if kind == PARQUET:
            table = _read_parquet(path, file)
        else:
            source, notes = _source(path, file, encoding)
            text = kind == TEXT
            table = (
                _read_text(source, file, separator, columns) if text else _read_jsonl(source, file)
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
        lines = _lines(_source(path, file, None)[0])
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
    if zeros(head):
        raise DataError(f"{file}: it is not UTF-8 text. {advice(file_bytes(path, file))}")
    return path, []


def _read_parquet(path: Path, file: str) -> RawTable:
    frame = pl.read_parquet(path, glob=False)
    return RawTable(file, frame, np.arange(1, frame.height + 1), [])


@dataclass(frozen=True)
class _Layout:
    """Where the table of a text file begins, and how its columns are named."""

    header: int
    """Lines before the header; -1 if there is none."""
    names: list[str]
    separator: str
    notes: list[Note]
    unnamed_first: bool = False
    """Rows have one more field than the header: the first one is their number."""


def _read_text(
    source: Path | bytes, file: str, separator: str | None, columns: Sequence[str]
) -> RawTable:
    layout = _layout(source, file, separator, columns)
    table = _read_plain(source, layout) or _read_records(source, layout)
    table.file = file
    frame, notes = _named(table.frame, layout.names)
    table.frame = frame
    table.notes = [*layout.notes, *notes, *table.notes]
    return table


def _layout(
    source: Path | bytes, file: str, separator: str | None, columns: Sequence[str] = ()
) -> _Layout:
    """Raises DataError for a file without any line, or with another number of columns."""
    first = _lines(source, n_rows=_FIRST_LINES).fill_null("").to_list()
    texts = [line.strip() for line in first]
    header = next((n for n, text in enumerate(texts) if text), None)
    if header is None:
        raise DataError(f"{file}: the file is empty. Its first line must name the columns.")
    notes: list[Note] = []
    if declared := re.fullmatch(r'"?sep=(.)"?', texts[header]):  # Excel's first line
        separator = separator or declared[1]
        header = next((n for n, text in enumerate(texts) if text and n > header), header)
    separator = separator or _separator(first[header:])
    if columns:
        return _without_header(first[header], file, separator, columns)
    counts = [_fields(line, separator) for line in first]
    given = [count for count, text in zip(counts, texts, strict=True) if text]
    usual = max(set(given[1:] or given), key=given.count)
    begin = header
    while counts[begin] == 1 < usual - 1 and usual in counts[begin:]:
        begin += 1
    if begin > header:
        text = f"{begin - header} lines before the header are left out"
        notes.append(Note(text, "Remove them if the header is another line."))
    names = _header_names(first[begin], separator)
    rows = [line for line, text in zip(first[begin + 1 :], texts[begin + 1 :], strict=True) if text]
    unnamed = bool(rows) and all(_fields(row, separator) == len(names) + 1 for row in rows)
    numbers = [re.split(re.escape(separator), row)[0].strip(' "') for row in rows]
    unnamed &= numbers == [str(n) for n in range(1, len(rows) + 1)]
    if unnamed:
        names = ["row", *names]
        notes.append(Note("the header has no name for the first column, which numbers the rows"))
    return _Layout(begin, names, separator, notes, unnamed)


def _without_header(line: str, file: str, separator: str, columns: Sequence[str]) -> _Layout:
    values = _header_names(line, separator)
    if len(columns) != len(values):
        raise DataError(
            f"{file}: `columns` names {len(columns)} columns ({', '.join(columns)}), but its first "
            f"line has {len(values)} fields: {', '.join(values)[:200]}. Name all of them, in their "
            "order."
        )
    return _Layout(-1, list(columns), separator, [])


def _fields(line: str, separator: str) -> int:
    """Number of fields of a line; separators within quotation marks do not count."""
    if '"' in line and separator != "\t":
        line = re.sub(r'"(?:[^"]|"")*"', "", line)
    return line.count(separator) + 1


def _separator(lines: list[str]) -> str:
    """The separator that occurs in the header, and most often as often in the other lines.

    Of several, another one than the comma, which also occurs in texts and numbers; of those, the
    one with more columns.
    """
    lines = [line for line in lines if line.strip()]
    ranked: list[tuple[bool, bool, int, str]] = []
    for mark in SEPARATORS:
        counts = [_fields(line, mark) for line in lines]
        if counts[0] > 1:
            alike = sum(count == counts[0] for count in counts) / len(counts)
            ranked.append((alike > 0.8, mark != ",", counts[0], mark))
    return max(ranked)[-1] if ranked else ","


def _header_names(line: str, separator: str) -> list[str]:
    if len(separator) > 1:
        return [name.strip(' "') for name in line.split(separator)]
    text = re.sub(rf'({re.escape(separator)}|^)[ ]+"', r'\1"', line)
    quote = '"' if text.count('"') % 2 == 0 and '"' in text else None
    names = pl.read_csv(
        f"{text}\n".encode(), separator=separator, infer_schema=False, has_header=False,
        quote_char=quote,
    ).row(0)  # fmt: skip
    return [(name or "").strip(" \t\ufeff\u00a0") for name in names]


def _named(frame: pl.DataFrame, names: list[str]) -> tuple[pl.DataFrame, list[Note]]:
    """The frame with the names of the header, which become unique; a column without a name and
    without a value is the end of lines that close with a separator, and is left out."""
    columns: list[pl.Series] = []
    taken: dict[str, int] = {}
    twice: list[str] = []
    for number, (column, name) in enumerate(zip(frame, names, strict=True), 1):
        if not name:
            if column.null_count() == len(column):
                continue
            name = f"column_{number}"
        count = taken.get(name, 0)
        taken[name] = count + 1
        if count:
            twice.append(name)
        columns.append(column.alias(f"{name}_duplicated_{count - 1}" if count else name))
    notes = [
        Note(
            f"{taken[name]} columns are called `{name}`; the first of them is read",
            "Give the columns names of their own.",
            doubtful=True,
            column=name,
        )
        for name in dict.fromkeys(twice)
    ]
    return pl.DataFrame(columns), notes


def _read_plain(source: Path | bytes, layout: _Layout) -> RawTable | None:
    """Reads a table by the parser alone; None if some line needs a closer look."""
    if len(layout.separator) > 1 or layout.header > 0 or layout.unnamed_first:
        return None
    marks = _well_placed_marks(source, layout.separator)
    if marks is None:
        return None
    try:
        frame = pl.read_csv(
            source,
            separator=layout.separator,
            has_header=layout.header == 0,
            infer_schema=False,
            quote_char='"' if marks else None,
            glob=False,
        )
    except pl.exceptions.ComputeError as error:
        if "utf-8" in str(error).lower():
            raise
        return None
    if frame.width != len(layout.names):
        return None
    begin = layout.header + 2
    numbers = np.arange(begin, frame.height + begin)
    last = frame.to_series(-1)
    kept = None
    if frame.to_series(0).null_count():  # a blank line is no row
        kept = ~frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    notes: list[Note] = []
    if layout.names[-1] and frame.width > 1 and last.null_count():
        notes = _short(_short_lines(source, layout, last), frame.width)
    if kept is not None and not kept.all():
        frame, numbers = frame.filter(kept), numbers[kept.to_numpy()]
    return RawTable("", frame, numbers, [], layout.separator, notes)


def _short_lines(source: Path | bytes, layout: _Layout, last: pl.Series) -> NDArray[np.int64]:
    """Lines with fewer fields than the header, among those whose last column is empty."""
    lines = _lines(source).slice(layout.header + 1)
    if len(lines) != len(last):
        return np.zeros(0, np.int64)
    empty = np.flatnonzero((last.is_null() & lines.is_not_null()).to_numpy())
    some = lines.gather(empty).str.replace_all('"(?:[^"]|"")*"', "")
    fields = some.str.count_matches(layout.separator, literal=True).to_numpy() + 1
    return empty[fields < len(layout.names)] + layout.header + 2


def _short(lines: NDArray[np.int64], width: int) -> list[Note]:
    if not len(lines):
        return []
    text = (
        f"{len(lines):,} rows have fewer than {width} fields (the first on line {lines[0]}): their "
        "last columns are empty"
    )
    return [Note(text, "Check that these lines are whole.", doubtful=True)]


def _read_records(source: Path | bytes, layout: _Layout) -> RawTable:
    """Reads a table line by line: lines that are no rows are reported."""
    lines = _lines(source).slice(layout.header + 1)
    width = len(layout.names)
    found = split_records(lines, layout.header + 2, layout.separator, width)
    notes = _short(found.short, width)
    return RawTable("", found.frame, found.lines, found.broken, layout.separator, notes)


def _lines(source: Path | bytes, n_rows: int | None = None) -> pl.Series:
    """(n,) the lines of a text file, compressed or not; an empty line is null."""
    try:
        frame = pl.read_csv(
            source,
            has_header=False,
            separator="\x00",
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


def _well_placed_marks(source: Path | bytes, separator: str) -> int | None:
    """The number of quotation marks if each stands at the edge of a field and closes on its line;
    None if not, or if the file is compressed and has any."""
    if isinstance(source, Path) and source.suffix.lower() in COMPRESSED:
        return None if bool(_lines(source).str.contains('"', literal=True).any()) else 0
    data = np.frombuffer(source, np.uint8) if isinstance(source, bytes) else _mapped(source)
    places: list[NDArray[np.int64]] = []
    line_of: list[NDArray[np.int64]] = []
    before = 0
    for begin in range(0, len(data), _BLOCK):
        block = data[begin : begin + _BLOCK]
        marks = np.flatnonzero(block == ord('"'))
        ends = np.flatnonzero(block == ord("\n")) if len(marks) or places else marks
        if len(marks):
            places.append(marks + begin)
            line_of.append(np.searchsorted(ends, marks) + before)
        before += len(ends)
    if not places:
        return 0
    place, line = np.concatenate(places), np.concatenate(line_of)
    if len(place) % 2 or (line[::2] != line[1::2]).any():
        return None
    opens, closes = place[::2], place[1::2]
    before_open = data[np.maximum(opens - 1, 0)]
    after_close = data[np.minimum(closes + 1, len(data) - 1)]
    left, right = (
        (edge == ord(separator)) | (edge == ord("\n")) | (edge == ord("\r"))
        for edge in (before_open, after_close)
    )
    left |= (opens == 0) | ((opens == 3) & (bytes(data[:3]) == b"\xef\xbb\xbf"))
    right |= closes == len(data) - 1
    return len(place) if bool(left.all() and right.all()) else None


def _mapped(path: Path) -> NDArray[np.uint8]:
    return np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)


def _read_jsonl(source: Path | bytes, file: str) -> RawTable:
    data = source if isinstance(source, bytes) else None
    head = read_head(source) if isinstance(source, Path) else source[:64]
    if head.startswith(b"\xef\xbb\xbf") or head.lstrip()[:1] == b"[":
        data = data or decoded(source, file, "utf-8-sig")  # type: ignore[arg-type]
        if data.lstrip()[:1] == b"[":
            return _read_json_array(data, file)
    try:
        frame = pl.read_ndjson(data or source, infer_schema_length=None)
        numbers = np.arange(1, frame.height + 1)
        broken: list[tuple[NDArray[np.int64], str, pl.Series]] = []
    except pl.exceptions.ComputeError:
        lines = _lines(data or source)
        lines = lines.str.replace_all(_NO_NUMBER, "${1}null${2}")
        good = _is_object(lines)
        bad = ~good & lines.is_not_null().to_numpy()
        numbers = np.arange(1, len(lines) + 1)
        broken = [(numbers[bad], "not a JSON object", lines.filter(pl.Series(bad)))]
        kept = lines.filter(pl.Series(good)).to_list()
        if not kept:
            raise
        frame = pl.read_ndjson("\n".join(kept).encode(), infer_schema_length=None)
        numbers = numbers[good]
    return RawTable(file, frame, numbers, [part for part in broken if len(part[0])])


_NO_NUMBER = r"([:\[,]\s*)(?:-?NaN|-?Infinity)(\s*[,}\]])"
"""What Python writes for missing and infinite numbers, which JSON does not know."""


def _read_json_array(data: bytes, file: str) -> RawTable:
    """A file that is one list of objects, each a row."""
    frame = pl.read_json(data, infer_schema_length=None)
    return RawTable(file, frame, np.arange(1, frame.height + 1), [])


def _is_object(lines: pl.Series) -> NDArray[np.bool_]:
    """(n,) lines that are one JSON object each (used only if a file has a defective line)."""
    import json

    def parses(line: str | None) -> bool:
        try:
            return line is not None and isinstance(json.loads(line), dict)
        except ValueError:
            return False

    return np.fromiter(map(parses, lines.to_list()), dtype=np.bool_, count=len(lines))


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
