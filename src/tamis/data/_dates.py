"""Calendar dates as milliseconds since 1970 UTC: of their parts, and written as one number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DAY_MS = 86_400_000
CALENDAR = {
    "year": "YYYY",
    "month": "YYYYMM",
    "day": "YYYYMMDD",
    "hour": "YYYYMMDDHH",
    "minute": "YYYYMMDDHHMM",
    "second": "YYYYMMDDHHMMSS",
    "yymmdd": "YYMMDD",
    "yymmddhh": "YYMMDDHH",
    "yymmddhhmm": "YYMMDDHHMM",
    "yymmddhhmmss": "YYMMDDHHMMSS",
    "mmdd": "MMDD",
}
"""Units of times written as one number, with their digits."""
_FIRST, _LAST = 1900, 2100
_TAIL = {
    "year": 0, "month": 2, "day": 4, "hour": 6, "minute": 8, "second": 10,
    "yymmdd": 4, "yymmddhh": 6, "yymmddhhmm": 8, "yymmddhhmmss": 10,
    "mmdd": 4,
}  # fmt: skip
"""Digits after the year."""
NO_YEAR = 2000
"""The year of dates that are written without one; a leap year."""
_SHARE = 0.95
"""Least share of the numbers that are dates of a unit."""


def parts_ms(
    year: NDArray[np.integer[Any]],
    month: NDArray[np.integer[Any]],
    day: NDArray[np.integer[Any]],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(n,) midnight of the dates in ms since 1970 UTC, and whether they exist (0 where not).

    Source: Howard Hinnant, chrono-Compatible Low-Level Date Algorithms, `days_from_civil`.
    """
    y, m, d = (np.asarray(part, dtype=np.int64) for part in (year, month, day))
    leap = (y % 4 == 0) & ((y % 100 != 0) | (y % 400 == 0))
    lengths = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    inside = (m >= 1) & (m <= 12) & (y >= 1) & (y <= 9999)
    longest = lengths[np.where(inside, m, 0)] + (leap & (m == 2))
    valid = inside & (d >= 1) & (d <= longest)
    shifted = y - (m <= 2)
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * (m + np.where(m > 2, -3, 9)) + 2) // 5 + d - 1
    days = era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468
    return np.where(valid, days * DAY_MS, 0), valid


def calendar_unit(
    number: NDArray[np.int64] | NDArray[np.float64], usable: NDArray[np.bool_]
) -> str:
    """The unit of `CALENDAR` in which nearly all numbers (n,) are dates of 1900 to 2100, or "".

    Only numbers that are `usable` (n,) count. Units with four digits of the year go before those
    with two; without a year (MMDD) none is recognised.

    Numbers of the size of seconds (from 1e9) or milliseconds may look like dates with hours or
    minutes by chance, but hardly all of them.
    """
    step = max(1, len(number) // 1000)
    some = number[::step][usable[::step]]
    if not len(some):
        return ""
    middle = float(np.median(some))
    for unit, tail in _TAIL.items():
        first, last = _years(unit)
        if unit == "mmdd" or not max(first, 1) * 10**tail <= middle <= (last + 1) * 10**tail:
            continue
        _, valid = calendar_ms(number[usable], unit)
        if float(valid.mean()) >= _SHARE:
            return unit
    return ""


def _years(unit: str) -> tuple[int, int]:
    """The first and the last year of a unit, as they are written in the numbers."""
    if unit == "mmdd":
        return 0, 0
    return (0, 99) if unit.startswith("yy") else (_FIRST, _LAST)


def calendar_ms(
    number: NDArray[np.int64] | NDArray[np.float64], unit: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(n,) ms since 1970 UTC of numbers such as 20240105, and whether they are such dates.

    Dates without a year (MMDD) are of the year `NO_YEAR`.
    """
    tail = _TAIL[unit]
    first, last = _years(unit)
    least = max(first * 10**tail, 101)  # 1 January of the first year
    fits = (number >= least) & (number < (last + 1) * 10**tail)
    whole = np.where(fits, number, least).astype(np.int64)
    fits &= number == whole
    digits = [whole // 10**tail]  # the year, then month, day, hour, minute, second
    rest = whole % 10**tail
    for left in range(tail - 2, -1, -2):
        digits.append(rest // 10**left)
        rest = rest % 10**left
    year, month, day, hour, minute, second = (*digits, *_defaults(len(digits), len(whole)))
    if unit == "mmdd":
        year = np.full_like(year, NO_YEAR)
    elif unit.startswith("yy"):
        year = century(year)
    ms, valid = parts_ms(year, month, day)
    valid &= fits & (hour < 24) & (minute < 60) & (second < 60)
    total = ms + ((hour * 60 + minute) * 60 + second) * 1000
    return np.where(valid, total, 0), valid


def century(year: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """(n,) years of their last two digits: 69 to 99 are of the 20th century, as POSIX has it."""
    return np.where(year <= 68, 2000, 1900) + np.asarray(year, dtype=np.int64)


def _defaults(given: int, n: int) -> list[NDArray[np.int64]]:
    """Month 1, day 1, hour, minute and second 0, from the part that is not given."""
    return [np.full(n, value, np.int64) for value in (0, 1, 1, 0, 0, 0)[given:]]
