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
}
"""Units of times written as one number, with their digits."""
_FIRST, _LAST = 1900, 2100
_TAIL = {"year": 0, "month": 2, "day": 4, "hour": 6, "minute": 8, "second": 10}
"""Digits after the year."""
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

    Only numbers that are `usable` (n,) count.

    Numbers of the size of seconds (from 1e9) or milliseconds may look like dates with hours or
    minutes by chance, but hardly all of them.
    """
    step = max(1, len(number) // 1000)
    some = number[::step][usable[::step]]
    if not len(some):
        return ""
    middle = float(np.median(some))
    for unit, tail in _TAIL.items():
        if _FIRST * 10**tail <= middle <= (_LAST + 1) * 10**tail:
            _, valid = calendar_ms(number[usable], unit)
            return unit if float(valid.mean()) >= _SHARE else ""
    return ""


def calendar_ms(
    number: NDArray[np.int64] | NDArray[np.float64], unit: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(n,) ms since 1970 UTC of numbers such as 20240105, and whether they are such dates."""
    tail = _TAIL[unit]
    fits = (number >= _FIRST * 10**tail) & (number < (_LAST + 1) * 10**tail)
    whole = np.where(fits, number, _FIRST * 10**tail).astype(np.int64)
    fits &= number == whole
    digits = [whole // 10**tail]  # the year, then month, day, hour, minute, second
    rest = whole % 10**tail
    for left in range(tail - 2, -1, -2):
        digits.append(rest // 10**left)
        rest = rest % 10**left
    year, month, day, hour, minute, second = (*digits, *_defaults(len(digits), len(whole)))
    ms, valid = parts_ms(year, month, day)
    valid &= fits & (hour < 24) & (minute < 60) & (second < 60)
    total = ms + ((hour * 60 + minute) * 60 + second) * 1000
    return np.where(valid, total, 0), valid


def _defaults(given: int, n: int) -> list[NDArray[np.int64]]:
    """Month 1, day 1, hour, minute and second 0, from the part that is not given."""
    return [np.full(n, value, np.int64) for value in (0, 1, 1, 0, 0, 0)[given:]]
