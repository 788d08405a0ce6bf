"""Parses timestamps of any unit and usual format into milliseconds since 1970 UTC."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data._dates import CALENDAR, calendar_ms, calendar_unit
from tamis.data._time_texts import read_texts
from tamis.data.notes import Note
from tamis.data.numbers import is_number
from tamis.data.text_form import PLAIN, TextForm

PER_UNIT_MS = {
    "s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6,
    "minutes": 6e4, "hours": 3.6e6, "days": 8.64e7, "weeks": 6.048e8,
}  # fmt: skip
_FROM = {"s": 1e8, "ms": 1e11, "us": 1e14, "ns": 1e17}
"""Smallest number that counts as a time of the unit (1973 to 5138); smaller ones fit no unit."""
_SMALL = "small"
EXCEL = (32_874.0, 55_153.0)
"""Days since 1899-12-30 of 1990 to 2050, as spreadsheets store dates."""
ZERO_DATES = ("0000-00-00", "0000-00-00 00:00:00")
"""What MySQL writes for a missing date."""


@dataclass
class Times:
    """A parsed column."""

    ms: NDArray[np.int64]
    """(n,) milliseconds since 1970 UTC; 0 where `bad`."""
    unit: str
    """s, ms, us, ns; year, month, day, hour, minute or second of a calendar written as a number
    (YYYY … YYYYMMDDHHMMSS); excel; iso (text) or typed (a date column of Parquet)."""
    missing: NDArray[np.bool_]
    """(n,) no value."""
    bad: NDArray[np.bool_]
    """(n,) a value that is not a time."""
    other_unit: NDArray[np.bool_]
    """(n,) a number of another magnitude than most, so in another unit."""
    small: bool = False
    """Most numbers are too small for a date after 1973; they may be seconds since some start."""
    excel: bool = False
    """The numbers look like days of a spreadsheet, and the unit was not given; they are read as
    seconds, which is certainly wrong."""
    notes: list[Note] = field(default_factory=list[Note])
    """How the texts were read, where it is not evident."""


def parse_times(column: pl.Series, unit: str = "auto", form: TextForm = PLAIN) -> Times:
    """Parses a column (n,) of times.

    Date columns are converted. Numbers have the given `unit` (s, ms, us, ns, hours or days, or
    excel: days since 1899-12-30); with "auto" it is detected: YYYYMMDD and the like (`_calendar`)
    where they are dates of 1900 to 2100, else from the magnitude that most of them have (s from
    1e8, ms from 1e11, us from 1e14, ns from 1e17), and numbers of another magnitude are flagged as
    `other_unit`. Texts, and all texts with unit "iso", are dates in any usual format
    (`_time_texts`), UTC where they name no time zone.

    Args:
        form: texts that mean a missing value, and the order of day and month.
    """
    dtype = column.dtype
    if dtype.is_temporal():
        return _typed(column)
    if isinstance(dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    gone = column.is_null().to_numpy()
    if column.dtype == pl.String:
        whole = column.cast(pl.Int64, strict=False)
        if whole.null_count() == column.null_count():
            return _numbers(whole.fill_null(0).to_numpy(), gone, gone, unit)
        return _texts(column, unit, form)
    if dtype.is_integer():
        filled = column.cast(pl.Int64, strict=False)
        beyond = (filled.is_null() & column.is_not_null()).to_numpy() | gone
        return _numbers(filled.fill_null(0).to_numpy(), gone, beyond, unit)
    if is_number(dtype):
        filled = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        gone |= np.isnan(filled)
        return _numbers(filled, gone, ~np.isfinite(filled), unit)
    no = np.zeros(len(column), np.bool_)
    return Times(np.zeros(len(column), np.int64), unit, gone, ~gone, no)


def _texts(column: pl.Series, unit: str, form: TextForm) -> Times:
    text = column.str.strip_chars()
    gap = (text.is_in([*form.missing, *ZERO_DATES]) | (text == "")).fill_null(True)
    gone = gap.to_numpy()
    text = text.to_frame().select(pl.when(~gap).then(pl.first())).to_series()
    dotted = text.str.replace(r"^(\d{4,}),(\d+)$", "${1}.${2}")  # a decimal comma
    number = dotted.cast(pl.Float64, strict=False)
    given = np.isfinite(number.fill_null(np.nan).to_numpy())
    if unit == "iso" or (unit == "auto" and given.sum() * 2 < len(text) - gone.sum()):
        return _dates(text, gone, form.day_first)
    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() == number.null_count():  # floats hold nanoseconds only to 256 ns
        return _numbers(whole.fill_null(0).to_numpy(), gone, ~given, unit)
    times = _numbers(number.fill_null(np.nan).to_numpy(), gone, ~given, unit)
    short = text.str.contains(r"^\d(?:\.\d{0,6})?[eE]\+\d+$").fill_null(False)
    if short.any():
        times.notes.append(
            Note(
                f'{int(short.sum()):,} times such as "{text.filter(short)[0]}" were shortened by a '
                "spreadsheet and have lost their last digits",
                "Export the column again as text.",
                doubtful=True,
            )
        )
    return times


def _dates(text: pl.Series, gone: NDArray[np.bool_], day_first: bool | None) -> Times:
    unique = text.unique()
    if len(unique) > 0.5 * len(text):
        found = read_texts(text, day_first)
    else:  # dates repeat: read each once
        each = read_texts(unique, day_first)
        found = each.at(text, unique)
    number = text.str.contains(r"^-?\d+(\.\d+)?$").fill_null(False).to_numpy()
    other = number & ~found.read
    bad = ~found.read & ~gone & ~other
    return Times(found.ms, "iso", gone, bad, other, notes=found.notes)


def _typed(column: pl.Series) -> Times:
    missing = column.is_null().to_numpy()
    no = np.zeros(len(missing), dtype=np.bool_)
    if column.dtype == pl.Time or column.dtype == pl.Duration:
        return Times(np.zeros(len(column), np.int64), "typed", missing, ~missing, no)
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    ms = column.cast(pl.Datetime("ms")).cast(pl.Int64).fill_null(0).to_numpy()
    return Times(ms, "typed", missing, no, no)


def _numbers(
    number: NDArray[np.int64] | NDArray[np.float64],
    missing: NDArray[np.bool_],
    unusable: NDArray[np.bool_],
    unit: str,
) -> Times:
    bad = unusable & ~missing
    other = np.zeros(len(number), dtype=np.bool_)
    small = excel = False
    if unit in ("auto", "iso"):
        unit = calendar_unit(number, ~unusable)
        if not unit:
            unit, other = _majority(number, ~unusable)
            small, unit = unit == _SMALL, "s" if unit == _SMALL else unit
            excel = small and _days_of_a_spreadsheet(number[~unusable])
    usable = ~(bad | missing | other)
    safe = np.where(usable, number, 0)
    if unit in CALENDAR:
        ms, valid = calendar_ms(safe, unit)
        times = Times(np.where(usable, ms, 0), unit, missing, bad | (usable & ~valid), other)
        times.notes.append(Note(f"times are read as {CALENDAR[unit]}"))
        return times
    if unit == "excel":
        ms = np.round((safe - 25_569) * 86_400_000.0)
    else:
        factor = PER_UNIT_MS[unit]
        ms = safe * int(factor) if factor >= 1 else np.floor_divide(safe, round(1 / factor))
    beyond = np.abs(ms.astype(np.float64)) > 1e17
    whole = np.where(beyond | ~usable, 0, np.floor(ms)).astype(np.int64)
    return Times(whole, unit, missing, bad | (beyond & usable), other, small, excel)


def _days_of_a_spreadsheet(number: NDArray[np.int64] | NDArray[np.float64]) -> bool:
    inside = (number >= EXCEL[0]) & (number <= EXCEL[1])
    return bool(len(number) and inside.mean() > 0.9)


def _majority(
    number: NDArray[np.int64] | NDArray[np.float64], usable: NDArray[np.bool_]
) -> tuple[str, NDArray[np.bool_]]:
    names = [_SMALL, *_FROM]
    edges = np.array(list(_FROM.values()))
    magnitude = np.searchsorted(edges, np.abs(np.where(usable, number, 0)), side="right")
    counts = np.bincount(magnitude[usable], minlength=len(names))
    most = int(counts.argmax()) if counts.any() else 1
    return names[most], usable & (magnitude != most)
