"""Dates and times from texts in the usual formats, with one order of day and month per column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data._dates import DAY_MS, century, parts_ms
from tamis.data._time_words import MONTHS, ZONE_HOURS, bare_texts, eastern
from tamis.data.notes import Note

_WEEKDAY = r"(?:[\p{L}-]{2,13}[.,]{0,2}\s+)"
"""A day of the week, or another word before the date, such as `Posted`."""
_MONTH = r"(?P<name>\p{L}{3,10})\.?"
_OF = r"(?:(?:of|de|del|di)\s+|d')?"
_CLOCK = (
    r"(?P<h>\d{1,2})(?:[:.](?P<mi>\d{2})(?:[:.](?P<s>\d{2})(?:[.,:](?P<f>\d{1,9}))?)?)?"
    r"(?:\s*(?P<ap>[ap])\.?m\.?)?"
)
_BASIC_CLOCK = r"(?P<h>\d{2})(?::?(?P<mi>\d{2})(?::?(?P<s>\d{2})(?:[.,](?P<f>\d{1,9}))?)?)?"
_ZONE = (
    rf"(?:\s*(?:(?P<z>{'|'.join(ZONE_HOURS)})|(?:utc|gmt)?(?P<zs>[+−-])(?P<zh>\d{{1,2}})(?::?(?P<zm>\d{{2}}))?"
    r"(?:\s*[a-z]{2,5})?))?"
)
_TAIL = r"(?:\s*m=[+-][\d.]+)?(?:\s*\([^)]*\))?(?:\s*\[[^\]]*\])?\.?$"
"""What Go, JavaScript and Java write after the zone."""
_JOIN = r"(?:\s*(?:t|,|at|um|a las|:|_)\s*|\s+)"
_TIME = rf"(?:{_JOIN}{_CLOCK})?{_ZONE}{_TAIL}"
_YEAR_FIRST = rf"^(?P<y>\d{{4}})\s*[-/.]\s*(?P<m>\d{{1,2}})\s*[-/.]\s*(?P<d>\d{{1,2}})\.?{_TIME}"
_US_WORDS = r"^(?P<m>\d{1,2})\s+(?P<d>\d{1,2}),\s*(?P<y>\d{4})$"
"""As reviews of Amazon: `01 31, 2014`."""
_MONTH_ONLY = (
    r"^(?P<y>\d{4})\s*[-/]\s*(?P<m>\d{1,2})$",
    r"^(?P<m>\d{1,2})\s*[-/.]\s*(?P<y>\d{4})$",
    rf"^{_MONTH}[-\s/.,]+{_OF}(?P<y>\d{{4}})$",
    rf"^(?P<y>\d{{4}})[-\s/.]+{_MONTH}$",
)
_QUARTER = (r"^(?P<y>\d{4})[-\s/]*q(?P<q>[1-4])$", r"^q(?P<q>[1-4])[-\s/]*(?P<y>\d{4})$")
_WEEK = r"^(?P<y>\d{4})[-\s/]*w(?P<w>\d{1,2})(?:-?(?P<wd>[1-7]))?$"
_BASIC = rf"^(?P<y>\d{{4}})(?P<m>\d{{2}})(?P<d>\d{{2}})(?:[t\s_-]?{_BASIC_CLOCK})?{_ZONE}{_TAIL}"
_YEAR_LAST = (
    rf"^{_WEEKDAY}?(?P<a>\d{{1,2}})\s*(?P<mark>[-/.])\s*(?P<b>\d{{1,2}})\s*[-/.]\s*"
    rf"(?P<y>\d{{4}}|\d{{2}}){_TIME}"
)
_NAMED = (
    rf"^{_WEEKDAY}?(?P<d>\d{{1,2}})(?:st|nd|rd|th|er|o)?[-\s/.]+{_OF}{_MONTH}[-\s/,]+{_OF}(?P<y>\d{{4}}|\d{{2}}){_TIME}",
    rf"^{_WEEKDAY}?{_MONTH}[-\s/]+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[-,\s/]+(?P<y>\d{{4}}){_TIME}",
    rf"^{_WEEKDAY}?{_MONTH}\s+(?P<d>\d{{1,2}})\s+{_CLOCK}{_ZONE}\s+(?P<y>\d{{4}})$",  # ctime
    rf"^(?P<y>\d{{4}})[-\s/]+{_MONTH}[-\s/]+(?P<d>\d{{1,2}}){_TIME}",
)
_ISO = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?Z?$"
_DB2 = r"^(\d{4}-\d{2}-\d{2})-(\d{2})\.(\d{2})\.(\d{2})"


@dataclass
class TimeTexts:
    """Parsed texts."""

    ms: NDArray[np.int64]
    """(n,) milliseconds since 1970 UTC; 0 where not read."""
    read: NDArray[np.bool_]
    """(n,) whether the text is a time."""
    notes: list[Note] = field(default_factory=list[Note])
    """How the texts were read, where it is not evident."""

    def at(self, texts: pl.Series, unique: pl.Series) -> TimeTexts:
        """The times of `texts` (m,), where `self` holds those of their distinct ones (n,)."""
        table = pl.DataFrame({"text": unique, "ms": self.ms, "read": self.read})
        joined = pl.DataFrame({"text": texts}).join(
            table, on="text", how="left", nulls_equal=True, maintain_order="left"
        )
        return TimeTexts(joined["ms"].to_numpy(), joined["read"].to_numpy(), self.notes)


def read_texts(column: pl.Series, day_first: bool | None = None) -> TimeTexts:
    """Reads a column (n,) of texts without blanks around them; nulls are not read.

    Formats: ISO 8601, also basic (20240105T130000Z), by the hour, by the week (2024-W05), and with
    year, month and day parted by other marks; months and quarters; day or month first (31/12/2023,
    1.2.24); names of months in several languages (Jan 5, 2024; 5. Januar 2024; 5 de enero de 2024);
    Chinese, Japanese and Korean dates and clocks; those of ctime, RFC 2822, Apache, Go, JavaScript
    and Java. Without a zone: UTC.

    Args:
        day_first: whether 2/1/2024 is the second of January; None: as most of the column's values,
            with a doubt where none of them tells.
    """
    found = TimeTexts(np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_))
    _read_iso(column, found)
    if bool(found.read[column.is_not_null().to_numpy()].all()):
        return found
    text = eastern(bare_texts(column).str.replace(_DB2, "$1 $2:$3:$4"))
    for pattern in (_YEAR_FIRST, *_NAMED, _BASIC, _US_WORDS, *_MONTH_ONLY):
        for where, parts in _matching(text, found, pattern):
            year, day = _numbers(parts, "y"), _numbers(parts, "d", 1)
            if "name" in parts.columns:
                month = (
                    parts["name"]
                    .replace_strict(MONTHS, default=0, return_dtype=pl.Int64)
                    .to_numpy()
                )
            else:
                month = _numbers(parts, "m")
            _store(found, where, parts, year, month, day)
    for where, parts in _matching(text, found, _YEAR_LAST):
        _read_year_last(column, found, where, parts, day_first)
    for pattern in _QUARTER:
        for where, parts in _matching(text, found, pattern):
            _store(found, where, parts, _numbers(parts, "y"), 3 * _numbers(parts, "q") - 2)
    for where, parts in _matching(text, found, _WEEK):
        _read_weeks(found, where, parts)
    return found


def _read_weeks(found: TimeTexts, where: NDArray[np.intp], parts: pl.DataFrame) -> None:
    """Weeks of ISO 8601 (`2024-W05`, `2024-W05-3`): week 1 holds the 4th of January."""
    year, week = _numbers(parts, "y"), _numbers(parts, "w")
    ones = np.ones_like(year)
    fourth, _ = parts_ms(year, ones, 4 * ones)
    monday = fourth - (fourth // DAY_MS + 3) % 7 * DAY_MS  # 1970-01-01 was a Thursday
    valid = (week >= 1) & (week <= 53)
    ms = monday + ((week - 1) * 7 + _numbers(parts, "wd", 1) - 1) * DAY_MS
    found.ms[where[valid]] = ms[valid]
    found.read[where[valid]] = True


def _read_iso(column: pl.Series, found: TimeTexts) -> None:
    """The most usual format, by the fast parser."""
    some = column.drop_nulls().head(100)
    if not len(some) or not bool(some.str.contains(_ISO).any()):
        return
    plain = column.str.strip_suffix("Z").str.replace("T", " ", literal=True)
    parsed = plain.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="ms")
    # The parser also takes one-digit parts; they are the same dates.
    found.read |= parsed.is_not_null().to_numpy()
    found.ms[:] = parsed.cast(pl.Int64).fill_null(0).to_numpy()


def _matching(
    text: pl.Series, found: TimeTexts, pattern: str
) -> Iterator[tuple[NDArray[np.intp], pl.DataFrame]]:
    """The places of unread texts that match the pattern, and its groups; nothing if none does."""
    left = np.flatnonzero(~found.read)
    rest = text if len(left) == len(text) else text.gather(left)
    hit = rest.str.contains(pattern).fill_null(False)
    if hit.any():
        parts = rest.filter(hit).str.extract_groups(pattern).struct.unnest()
        yield left[hit.to_numpy()], parts


def _numbers(parts: pl.DataFrame, name: str, default: int = 0) -> NDArray[np.int64]:
    if name not in parts.columns:
        return np.full(parts.height, default, np.int64)
    return parts[name].cast(pl.Int64).fill_null(default).to_numpy()


def _store(
    found: TimeTexts,
    where: NDArray[np.intp],
    parts: pl.DataFrame,
    year: NDArray[np.int64],
    month: NDArray[np.int64],
    day: NDArray[np.int64] | None = None,
) -> None:
    """Writes the times of those of the dates that exist; without a day, of the first."""
    short = (parts["y"].str.len_chars() == 2).to_numpy()
    year = np.where(short, century(year), year)
    ms, valid = parts_ms(year, month, np.ones_like(year) if day is None else day)
    offset, fits = _clock_ms(parts)
    valid &= fits
    found.ms[where[valid]] = (ms + offset)[valid]
    found.read[where[valid]] = True


def _clock_ms(parts: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(n,) ms of the day less the offset of the zone, and whether the clock shows such a time."""
    if "h" not in parts.columns:
        zero = np.zeros(parts.height, np.int64)
        return zero, np.ones(parts.height, np.bool_)
    hour, minute, second = (_numbers(parts, name) for name in ("h", "mi", "s"))
    fits = (minute < 60) & (second <= 60)
    end = (hour == 24) & (minute == 0) & (second == 0)
    fits &= (hour < 24) | end
    if "ap" in parts.columns:
        half = parts["ap"]
        some = half.is_not_null().to_numpy()
        late = (half == "p").fill_null(False).to_numpy()
        fits &= ~some | (hour <= 12) | late  # 13:05 PM is written, too
        hour = np.where(some, hour % 12 + 12 * late, hour)
    fraction = parts["f"].str.pad_end(3, "0").str.slice(0, 3).cast(pl.Int64).fill_null(0).to_numpy()
    ms = ((hour * 60 + minute) * 60 + second) * 1000 + fraction
    zone = _numbers(parts, "zh") * 60 + _numbers(parts, "zm")
    fits &= zone <= 15 * 60
    zone = np.where((parts["zs"] == "+").fill_null(False).to_numpy(), zone, -zone)
    named = parts["z"].replace_strict(ZONE_HOURS, default=0, return_dtype=pl.Int64).fill_null(0)
    return ms - (zone + 60 * named.to_numpy()) * 60_000, fits


def _read_year_last(
    column: pl.Series,
    found: TimeTexts,
    where: NDArray[np.intp],
    parts: pl.DataFrame,
    day_first: bool | None,
) -> None:
    first, second, last = (_numbers(parts, name) for name in ("a", "b", "y"))
    example = str(column[int(where[0])])
    short = bool((parts["y"].str.len_chars() == 2).all())
    if short and bool((first > 31).any()):  # 99-12-31
        found.notes.append(Note(f'"{example}" and the like are read with the year first'))
        swapped = parts.with_columns(y=pl.col("a").str.zfill(2))
        _store(found, where, swapped, first, second, last)
        return
    if day_first is None:
        day_first = _decide(found, first, second, parts, example)
    day, month = (first, second) if day_first else (second, first)
    _store(found, where, parts, last, month, day)


def _decide(
    found: TimeTexts,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    parts: pl.DataFrame,
    example: str,
) -> bool:
    """Whether the day is first: as most values that exist in one order only; else by the usage of
    the mark (31.12. and 31-12- have the day first, 12/31/ the month), which is doubtful."""
    days, months = int((first > 12).sum()), int((second > 12).sum())
    if days or months:
        order = days >= months
        text = (
            f'"{example}" and the like are read with the {"day" if order else "month"} first: '
            f"{max(days, months):,} of {len(first):,} values exist only so"
        )
        mixed = bool(days and months)
        if mixed:
            text += f", but {min(days, months):,} only the other way: the column mixes both orders"
        fix = "Write the column in one order, or set `day_first`." if mixed else ""
        found.notes.append(Note(text, fix, mixed))
        return order
    order = bool(parts["mark"][0] in ".-")
    varied = [len(np.unique(part)) for part in (first, second)]
    if max(varied) >= 3 and min(varied) == 1:  # consecutive days of one month
        order = varied[0] > varied[1]
    found.notes.append(
        Note(
            f'"{example}" and the like are read with the {"day" if order else "month"} first, '
            "though no value tells",
            f"If that is wrong, set `day_first = {'false' if order else 'true'}`.",
            doubtful=True,
        )
    )
    return order
