"""Reads tables of text: separator, header, quotation marks, and rows that are cut short."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data._archives import COMPRESSED
from tamis.data._lines import file_lines
from tamis.data._raw_table import RawTable
from tamis.data._records import split_records
from tamis.data.notes import Note
from tamis.schema import DataError

SEPARATORS = (",", "\t", ";", "|", "::", "\x01")
"""Separators that are detected: those of usual tables, of MovieLens, and of Hive; and blanks, where
all lines have the same number of fields."""
_FIRST_LINES = 100
"""Lines by which the separator and the header are detected."""
_BLOCK = 1 << 24
"""Bytes of a file that are looked through at a time."""


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


def read_text_table(
    source: Path | bytes, file: str, separator: str | None, columns: Sequence[str]
) -> RawTable:
    if separator == " " or (separator is None and _by_blanks(source)):
        source, separator = _single_blanks(source), " "
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
    first = file_lines(source, n_rows=_FIRST_LINES).fill_null("").to_list()
    texts = [line.strip() for line in first]
    header = next((n for n, text in enumerate(texts) if text), None)
    if header is None:
        raise DataError(f"{file}: the file is empty. Its first line must name the columns.")
    notes: list[Note] = []
    if declared := re.fullmatch(r'"?sep=(.)"?', texts[header]):  # Excel's first line
        separator = separator or declared[1]
        header = next((n for n, text in enumerate(texts) if text and n > header), header)
    separator = separator or _separator(first[header:])
    counts = [_fields(line, separator) for line in first]
    given = [count for count, text in zip(counts, texts, strict=True) if text]
    usual = max(set(given[1:] or given), key=given.count)
    _check_groups(texts[header:], usual, file)
    begin = header
    while begin + 1 < len(texts) and _is_comment(texts[begin], separator, usual):
        begin += 1
    if columns:
        return _without_header(begin, first[begin], file, separator, columns)
    while counts[begin] == 1 < usual - 1 and usual in counts[begin:]:
        begin += 1
    if begin > header:
        text = f"{begin - header} lines before the header are left out"
        notes.append(Note(text, "Remove them if the header is another line."))
    names = _header_names(_without_mark(first[begin], separator, usual), separator)
    rows = [line for line, text in zip(first[begin + 1 :], texts[begin + 1 :], strict=True) if text]
    unnamed = bool(rows) and all(_fields(row, separator) == len(names) + 1 for row in rows)
    numbers = [re.split(re.escape(separator), row)[0].strip(' "') for row in rows]
    unnamed &= numbers == [str(n) for n in range(1, len(rows) + 1)]
    if unnamed:
        names = ["row", *names]
        notes.append(Note("the header has no name for the first column, which numbers the rows"))
    return _Layout(begin, names, separator, notes, unnamed)


def _without_header(
    begin: int, line: str, file: str, separator: str, columns: Sequence[str]
) -> _Layout:
    """The layout of a file whose line number `begin`, from 0, is its first row."""
    values = _header_names(line, separator)
    if len(columns) != len(values):
        raise DataError(
            f"{file}: `columns` names {len(columns)} columns ({', '.join(columns)}), but its first "
            f"line has {len(values)} fields: {', '.join(values)[:200]}. Name all of them, in their "
            "order."
        )
    return _Layout(begin - 1, list(columns), separator, [])


def _by_blanks(source: Path | bytes) -> bool:
    """Whether blanks separate the fields: nothing else does, and all lines have equally many.

    Lines of numbers may as well be a user and then the items of a sequence: without a header, one
    column must hold times or other long values.
    """
    lines: list[str] = file_lines(source, n_rows=_FIRST_LINES).drop_nulls().to_list()
    rows = [line.split() for line in lines if not line.startswith(("#", "%"))]
    if len(rows) < 2 or any('"' in line for line in lines):
        return False
    if any(sum(mark in line for line in lines) > 0.5 * len(lines) for mark in SEPARATORS):
        return False
    width = len(rows[1])
    if any(len(row) != width for row in rows) or width < 2:
        return False
    words = all(re.fullmatch(r"[A-Za-z_][\w-]*", field) for field in rows[0])
    timed = any(all(len(field) >= 9 for field in column) for column in zip(*rows, strict=True))
    return words or (timed and width >= 3 and len(rows) >= 10)


def _single_blanks(source: Path | bytes) -> bytes:
    """The text with one blank between fields, and none around lines."""
    lines = file_lines(source).str.strip_chars().str.replace_all(r"\s+", " ").fill_null("")
    return "\n".join([*lines.to_list(), ""]).encode()


def _is_comment(text: str, separator: str, usual: int) -> bool:
    """Whether a line before the table is a comment; a header may begin with # as well."""
    marked = text.startswith(("% ", "# ", "%%", "##"))
    return marked and _fields(text.lstrip("#% "), separator) != usual


def _without_mark(line: str, separator: str, usual: int) -> str:
    """A header without the mark of a comment before it, `# user item`."""
    bare = line.lstrip("#% ")
    plain = line.startswith(("# ", "% ")) and _fields(bare, separator) == usual
    return bare if plain else line


def _check_groups(texts: Sequence[str], usual: int, file: str) -> None:
    """Raises DataError for a file whose rows stand below the name of their group, as Netflix's."""
    groups = [text for text in texts if re.fullmatch(r"[\w-]{1,40}:", text)]
    if usual > 1 and groups and groups[0] == texts[0]:
        raise DataError(
            f'{file}: the line "{groups[0]}" names the group of the rows below it, as in the files '
            "of the Netflix Prize: write the name into a column of each row, such as item, user, "
            "rating and date."
        )


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
    lines = file_lines(source).slice(layout.header + 1)
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
    lines = file_lines(source).slice(layout.header + 1)
    width = len(layout.names)
    found = split_records(lines, layout.header + 2, layout.separator, width)
    notes = _short(found.short, width)
    return RawTable("", found.frame, found.lines, found.broken, layout.separator, notes)


def _well_placed_marks(source: Path | bytes, separator: str) -> int | None:
    """The number of quotation marks if each stands at the edge of a field and closes on its line;
    None if not, or if the file is compressed and has any."""
    if isinstance(source, Path) and source.suffix.lower() in COMPRESSED:
        return None if bool(file_lines(source).str.contains('"', literal=True).any()) else 0
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
