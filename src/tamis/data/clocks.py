"""Times of the day in a column of their own, beside a column of dates."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data._dates import DAY_MS
from tamis.data._time_texts import read_texts
from tamis.data.missing import cleaned
from tamis.data.notes import Note
from tamis.data.numbers import is_number
from tamis.data.text_form import PLAIN, TextForm
from tamis.data.times import Times

ClockForm = Literal["clock", "hours", "HHMM", "HHMMSS", "share of a day"]
_NOON = "2000-01-01 "
_DATED = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
_MOST = 0.95
"""Least share of the values of a column of clock times that are such."""


def clock_form(column: pl.Series) -> ClockForm | None:
    """How the values of a column (n,) write times of the day; None if they hardly are such.

    Numbers are hours (0 to 23), HHMM (0 to 2359, some above 59), HHMMSS, or shares of a day below 1
    as spreadsheets store them.
    """
    known = column.drop_nulls()
    if not len(known):
        return None
    if known.dtype == pl.Time:
        return "clock"
    if known.dtype == pl.String:
        texts = cleaned(known).values.drop_nulls()
        number = texts.cast(pl.Float64, strict=False)
        if number.null_count() == 0:
            return _of_numbers(number.to_numpy())
        some = texts.head(1000)
        if some.str.contains(_DATED).any():
            return None
        read = read_texts(_NOON + some).read & some.str.contains(r"\d\D").to_numpy()
        return "clock" if float(read.mean()) >= _MOST else None
    if is_number(known.dtype):
        return _of_numbers(known.cast(pl.Float64).to_numpy())
    return None


def _of_numbers(number: NDArray[np.float64]) -> ClockForm | None:
    number = number[np.isfinite(number)]
    if not len(number) or number.min() < 0:
        return None
    highest = float(number.max())
    if highest < 1 and highest > 0:
        return "share of a day"
    if (number != np.floor(number)).any():
        return None
    forms: tuple[tuple[ClockForm, int], ...] = (("hours", 23), ("HHMM", 2359), ("HHMMSS", 235_959))
    for form, most in forms:
        if highest <= most:
            _, valid = _ms_of(number, form)
            return form if float(valid.mean()) >= _MOST else None
    return None


def parse_clock(column: pl.Series, form: TextForm = PLAIN) -> Times:
    """Times of the day (n,) in ms since midnight; values that are none are `bad`."""
    name = clock_form(column)
    missing = column.is_null().to_numpy()
    no = np.zeros(len(column), np.bool_)
    if column.dtype == pl.Time:
        nanoseconds = column.cast(pl.Int64).fill_null(0).to_numpy()
        return Times(nanoseconds // 1_000_000, "clock", missing, no, no)
    if column.dtype == pl.String:
        clean = cleaned(column, form.missing).values
        missing = clean.is_null().to_numpy()
        if name == "clock" or name is None:
            read = read_texts(_NOON + clean)
            ms = np.where(read.read, read.ms % DAY_MS, 0)
            return Times(ms, "clock", missing, ~read.read & ~missing, no)
        column = clean.cast(pl.Float64, strict=False)
    if name is None or not is_number(column.dtype):
        return Times(np.zeros(len(column), np.int64), "", missing, ~missing, no)
    number = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    ms, valid = _ms_of(number, name)
    note = Note(f"times of the day are read as {name}")
    return Times(ms, name, missing, ~valid & ~missing, no, notes=[note])


def _ms_of(number: NDArray[np.float64], form: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(n,) ms since midnight, and whether the numbers are times of the day in this form."""
    fits = np.isfinite(number) & (number >= 0)
    safe = np.where(fits, number, 0.0)
    if form == "share of a day":
        fits &= safe < 1
        return np.where(fits, np.round(safe * DAY_MS), 0).astype(np.int64), fits
    whole = safe.astype(np.int64)
    fits &= whole == safe
    hour = whole if form == "hours" else whole // (100 if form == "HHMM" else 10_000)
    minute = whole * 0 if form == "hours" else whole // (1 if form == "HHMM" else 100) % 100
    second = whole % 100 if form == "HHMMSS" else whole * 0
    fits &= (hour < 24) & (minute < 60) & (second < 60)
    ms = ((hour * 60 + minute) * 60 + second) * 1000
    return np.where(fits, ms, 0), fits


def with_clock(dates: Times, clock: Times) -> Times:
    """Dates (n,) with the times of the day added, where these are given."""
    ms = np.where(clock.bad | clock.missing, dates.ms, dates.ms + clock.ms)
    return Times(
        ms, dates.unit, dates.missing, dates.bad, dates.other_unit, dates.small, dates.excel,
        [*dates.notes, *clock.notes],
    )  # fmt: skip
