"""Splits the lines of a text table into records: quotation marks, line breaks within fields.

A record that is not well written costs itself, never the table: a stray quotation mark does not
take the rows after it into its field, and a line with too many fields is left out and reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.runtime import Bool, Int64


@dataclass
class Records:
    """The records of a text table."""

    frame: pl.DataFrame
    """Columns of text, named by their numbers; an empty field is null."""
    lines: Int64
    """(n,) line on which each record begins, from 1."""
    broken: list[tuple[Int64, str, pl.Series]]
    """Lines that are not records: their numbers, the reason, their texts."""
    short: Int64
    """Lines of records with fewer fields than the header."""


@dataclass(frozen=True)
class _Grammar:
    """Regular expressions of lines and of their parts, for one separator."""

    separator: str

    @property
    def mark(self) -> str:
        return re.escape(self.separator)

    @property
    def _field(self) -> str:
        return rf'(?:{_QUOTED}|(?:[ ]*[^{self.mark}" ][^{self.mark}]*)?[ ]*)'

    @property
    def whole(self) -> str:
        """A line that is a record by itself."""
        return rf"^{self._field}(?:{self.mark}{self._field})*$"

    @property
    def opens(self) -> str:
        """A line whose last field is in quotation marks and not closed."""
        return rf'^(?:{self._field}{self.mark})*[ ]*"(?:[^"]|"")*$'

    @property
    def closes(self) -> str:
        """A line that begins within quotation marks, closes them and is complete."""
        return rf'^(?:[^"]|"")*"[ ]*(?:{self.mark}{self._field})*$'

    @property
    def reopens(self) -> str:
        """A line that begins within quotation marks and ends within others."""
        return rf'^(?:[^"]|"")*"[ ]*(?:{self.mark}{self._field})*{self.mark}[ ]*"(?:[^"]|"")*$'

    @property
    def field(self) -> str:
        """A field with the separator before it."""
        return rf"{self.mark}(?:{_QUOTED}|[^{self.mark}]*)"

    @property
    def quoted(self) -> str:
        """A field in quotation marks, with the separator before it."""
        return rf"(^|{self.mark}){_QUOTED}"


_QUOTED = r'[ ]*"(?:[^"]|"")*"[ ]*'
_INSIDE = r'^(?:[^"]|"")*$'


def split_records(lines: pl.Series, first: int, separator: str, width: int) -> Records:
    """The records of the lines (m,) of a text table, without the header.

    Fields are in quotation marks or not; a mark within a field without marks is a character (`17"
    screen`). A field in marks may hold the separator, doubled marks and line breaks; `\\"` is read
    as `""` where the line is no record otherwise. A line with an open or misplaced mark is broken;
    in tables separated by tabs, where marks are usually characters, it is read with them.

    Args:
        lines: texts; null where empty.
        first: number of the first of them.
        separator: one or several characters.
        width: number of fields of the header.
    """
    grammar = _Grammar(separator)
    numbers = np.arange(first, first + len(lines))
    quoted = np.zeros(len(lines), np.bool_)
    if len(separator) == 1:  # with several characters, marks are characters
        quoted = _mask(lines.str.contains(rf'(^|{re.escape(separator)})[ ]*"'))
    whole = ~quoted
    whole[quoted] = _mask(lines.filter(pl.Series(quoted)).str.contains(grammar.whole))
    lines, whole = _unescaped(lines, quoted & ~whole, whole, grammar)
    spans = _Spans.of(lines, whole, grammar, width)
    while True:
        starts, ends, lost = spans.chosen()
        literal = np.zeros(len(lines), np.bool_)
        if separator == "\t":
            literal[lost], lost = True, lost[:0]
        text, begin = _texts(lines, starts, ends, lost)
        parsed_by_marks = quoted[begin] & ~literal[begin]
        fields = _count(text, separator, grammar, parsed_by_marks)
        wrong = np.isin(begin, starts) & (fields != width)
        if not wrong.any():
            break
        spans.opens[begin[wrong]] = False  # a stray mark: the lines after it are looked at again
    empty = _mask(text.is_null() | (text.str.strip_chars(" ") == ""))
    text, fields = _trimmed(text, fields, separator, width, empty)
    long = (fields > width) & ~empty
    broken: list[tuple[Int64, str, pl.Series]] = []
    if len(lost):
        reason = "a quotation mark is misplaced or never closed"
        broken.append((numbers[lost], reason, lines.gather(lost)))
    if long.any():
        reason = f"more than the header's {width} fields"
        broken.append((numbers[begin[long]], reason, text.filter(pl.Series(long))))
    good = ~long & ~empty
    frame, order = _parsed(text, good, parsed_by_marks, grammar, width)
    return Records(frame, numbers[begin[order]], broken, numbers[begin[good & (fields < width)]])


def _mask(series: pl.Series) -> Bool:
    return series.fill_null(False).to_numpy().astype(np.bool_)


def _replaced(texts: pl.Series, at: NDArray[np.intp], new: pl.Series) -> pl.Series:
    """The texts (n,) with `new` (k,) at the positions `at` (k,)."""
    place = np.arange(len(texts))
    place[at] = len(texts) + np.arange(len(at))
    return pl.concat([texts, new.alias(texts.name)]).gather(place)


def _unescaped(
    lines: pl.Series, wrong: Bool, whole: Bool, grammar: _Grammar
) -> tuple[pl.Series, Bool]:
    """The lines with `\\"` as `""` where they are no record otherwise."""
    escaped = wrong & _mask(lines.str.contains('\\"', literal=True))
    if not escaped.any():
        return lines, whole
    plain = lines.filter(pl.Series(escaped)).str.replace_all('\\"', '""', literal=True)
    at = np.flatnonzero(escaped)
    changed = _replaced(lines, at, plain)
    whole = whole.copy()
    whole[at] = _mask(plain.str.contains(grammar.whole))
    return changed, whole


@dataclass
class _Spans:
    """Lines on which a field in quotation marks is open at the end, and where it may be closed."""

    wrong: NDArray[np.intp]
    """(w,) lines that are no records by themselves, ascending."""
    opens: Bool
    """(m,) those of them that end within quotation marks."""
    ends: NDArray[np.intp]
    """(w,) the line on which the record of each is complete; -1 if it never is."""

    @classmethod
    def of(cls, lines: pl.Series, whole: Bool, grammar: _Grammar, width: int) -> _Spans:
        wrong = np.flatnonzero(~whole)
        opens = np.zeros(len(lines), np.bool_)
        if not len(wrong):
            return cls(wrong, opens, wrong)
        opens[wrong] = _mask(lines.gather(wrong).str.contains(grammar.opens))
        texts = lines.fill_null("")
        leaves = np.flatnonzero(~_mask(texts.str.contains(_INSIDE)))
        some = texts.gather(leaves)
        reopens = _mask(some.str.contains(grammar.reopens))
        closing = np.flatnonzero(~reopens)  # the field that is open there ends, or it is no record
        target = np.append(np.where(_mask(some.str.contains(grammar.closes)), leaves, -1), -1)
        after = np.searchsorted(leaves, wrong, side="right")
        ends = target[np.append(closing, len(leaves))[np.searchsorted(closing, after)]]
        ends[~opens[wrong]] = -1
        like, full = _like_records(lines, whole, opens, grammar, width)
        within = np.concatenate([[0], np.cumsum(like)])
        several = full[wrong] & (ends > wrong + 1)
        taken = within[ends + 1] - within[wrong + 1] == ends - wrong
        ends[several & taken] = -1  # a stray mark took in lines that are records by themselves
        return cls(wrong, opens, ends)

    def chosen(self) -> tuple[Int64, Int64, Int64]:
        """The first (r,) and last (r,) lines of the records of several lines, which do not overlap,
        and the lines (b,) that are neither whole nor part of one."""
        usable = (self.ends >= 0) & self.opens[self.wrong]
        starts: list[int] = []
        ends: list[int] = []
        lost: list[int] = []
        last = -1
        rows = zip(self.wrong.tolist(), self.ends.tolist(), usable.tolist(), strict=True)
        for start, end, fits in rows:  # only lines that are no records by themselves
            if start <= last:
                continue
            if fits:
                starts.append(start)
                ends.append(end)
                last = end
            else:
                lost.append(start)
        found = [np.array(each, np.int64) for each in (starts, ends, lost)]
        return found[0], found[1], found[2]


_SHAPES = (
    r"^\s*\d+\s*$", r'^\s*"\d+"\s*$', r'^\s*[^\s"]*\d[^\s"]*\s*$', r'^\s*"[^\s"]*\d[^\s"]*"\s*$',
    r'^\s*"[^"]*"\s*$', r'^\s*[^\s"]+\s*$',
)  # fmt: skip
"""Shapes of the first fields of records, the narrowest first."""


def _like_records(
    lines: pl.Series, whole: Bool, opens: Bool, grammar: _Grammar, width: int
) -> tuple[Bool, Bool]:
    """Lines (m,) that look like records if marks are characters.

    Returns:
        Lines with as many separators as the header and a first field like those of records, which
        are whole or open; and lines with as many separators.
    """
    texts = lines.fill_null("")
    full = texts.str.count_matches(grammar.separator, literal=True).to_numpy() == width - 1
    first = texts.str.extract(rf"^([^{grammar.mark}]*)")
    known = first.filter(pl.Series(opens | (whole & full))).head(1000)
    for shape in _SHAPES:
        if len(known) and int(known.str.contains(shape).sum()) > 0.95 * len(known):
            return full & _mask(first.str.contains(shape)), full
    return full, full


def _texts(
    lines: pl.Series, starts: Int64, ends: Int64, lost: Int64
) -> tuple[pl.Series, NDArray[np.intp]]:
    """The texts (n,) of the records, and the positions (n,) of their first lines."""
    kept = np.ones(len(lines), np.bool_)
    kept[lost] = False
    if not len(starts):
        return lines.filter(pl.Series(kept)), np.flatnonzero(kept)
    record = np.arange(len(lines))
    sizes = ends - starts
    steps = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    inner = np.repeat(starts, sizes) + steps + 1
    record[inner] = np.repeat(starts, sizes)
    frame = pl.DataFrame({"record": record, "text": lines}).filter(pl.Series(kept))
    several = frame.filter(pl.col("record").is_in(starts)).fill_null("")
    joined = several.group_by("record", maintain_order=True).agg(pl.col("text").str.join("\n"))
    kept[inner] = False
    begin = np.flatnonzero(kept)
    table = pl.DataFrame({"record": begin, "text": lines.gather(begin)})
    table = table.join(joined, on="record", how="left", maintain_order="left")
    return table.select(pl.coalesce("text_right", "text")).to_series(), begin


def _count(text: pl.Series, separator: str, grammar: _Grammar, by_marks: Bool) -> Int64:
    """(n,) number of fields."""
    bare = text
    if by_marks.any():
        at = np.flatnonzero(by_marks)
        bare = _replaced(text, at, text.gather(at).str.replace_all(grammar.quoted, "${1}"))
    counts = bare.str.count_matches(separator, literal=True).fill_null(0)
    return counts.to_numpy().astype(np.int64) + 1


def _trimmed(
    text: pl.Series, fields: Int64, separator: str, width: int, empty: Bool
) -> tuple[pl.Series, Int64]:
    """The records without empty fields beyond the header's."""
    over = np.flatnonzero((fields > width) & ~empty)
    if not len(over):
        return text, fields
    some = text.gather(over)
    marks = re.escape(separator)
    tail = some.str.extract(rf"((?:{marks}[ ]*)+)$").fill_null("")
    spare = tail.str.count_matches(separator, literal=True).to_numpy().astype(np.int64)
    fits = fields[over] - spare <= width
    if not fits.any():
        return text, fields
    at, fields = over[fits], fields.copy()
    for extra in np.unique(fields[at] - width):
        here = at[fields[at] - width == extra]
        cut = rf"(?:{marks}[ ]*){{{extra}}}$"
        text = _replaced(text, here, text.gather(here).str.replace(cut, ""))
        fields[here] = width
    return text, fields


def _parsed(
    text: pl.Series, good: Bool, by_marks: Bool, grammar: _Grammar, width: int
) -> tuple[pl.DataFrame, NDArray[np.intp]]:
    """The fields of the good records (n,), and their positions."""
    plain, marked = np.flatnonzero(good & ~by_marks), np.flatnonzero(good & by_marks)
    fields = text.gather(plain).str.split_exact(grammar.separator, width - 1).struct.unnest()
    parts = [fields.rename(dict(zip(fields.columns, map(str, range(width)), strict=True)))]
    if len(marked):
        lists = (grammar.separator + text.gather(marked)).str.extract_all(grammar.field)
        columns = (lists.list.get(n, null_on_oob=True).str.slice(1) for n in range(width))
        parts.append(pl.DataFrame([_unquoted(c).alias(str(n)) for n, c in enumerate(columns)]))
    both = np.concatenate([plain, marked])
    order = np.argsort(both, kind="stable")
    empty = pl.when(pl.all() != "").then(pl.all())
    return pl.concat(parts)[order].select(empty), both[order]


def _unquoted(column: pl.Series) -> pl.Series:
    """Fields without the marks around them, and with single ones within."""
    within = pl.first().str.strip_chars(" ").str.slice(1).str.head(-1)
    plain = within.str.replace_all('""', '"', literal=True)
    quoted = pl.first().str.contains('^[ ]*"')
    return column.to_frame().select(pl.when(quoted).then(plain).otherwise(pl.first())).to_series()
