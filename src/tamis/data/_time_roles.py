"""The columns of the time of a log: which one, in which unit, and a time of the day beside it."""

from __future__ import annotations

import time as clock
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from tamis.data import column_names as words
from tamis.data._dates import calendar_ms
from tamis.data.clocks import ClockForm, clock_form
from tamis.data.column_profile import EARLIEST_MS, LATEST_MS, ColumnProfile
from tamis.data.times import PER_UNIT_MS

_LARGE = 20
"""Rows from which the repetition of values is evidence."""
_RELATIVE = {
    "minute": ("minutes", 59), "minutes": ("minutes", 59), "hour": ("hours", 24),
    "hours": ("hours", 24), "day": ("days", 31), "days": ("days", 31), "week": ("weeks", 53),
    "weeks": ("weeks", 53), "time": ("s", 2400), "timestamp": ("s", 2400), "stamp": ("s", 2400),
    "ts": ("s", 2400), "seconds": ("s", 2400), "天": ("days", 31), "周": ("weeks", 53),
}  # fmt: skip
"""Last words of the names of columns of times since a start: their unit, and the largest number
that would be part of a date or a clock."""
_FINEST = ("mmdd", "s", "minutes", "hours", "days", "weeks")
"""Units of numbers too small for dates, the most exact reading first."""
_SINCE_1970 = ("minutes", "hours", "days")
_LEAST_DAYS = 8
"""Distinct numbers from which on MMDD and times since a start are recognised."""
_DAILY = ("day", "yymmdd", "mmdd", "days", "weeks")
_PARTS = ("year", "month", "day")
_CLOCK_HEADS: dict[ClockForm, frozenset[str]] = {
    "hours": words.word_set("hour hours hr hh stunde hora heure ora uur 小时 時 시"),
    "HHMM": words.CLOCK_WORDS,
    "HHMMSS": words.CLOCK_WORDS,
    "share of a day": words.CLOCK_WORDS,
}
"""Words in the names of columns of numbers that are times of the day."""


@dataclass(frozen=True)
class Rejected:
    """A column that is a time by its name, but not by its values."""

    columns: tuple[str, ...]
    text: str
    blocks: bool
    """Whether it may hold the times of the log nevertheless, so that the log is not untimed."""


class TimeColumns:
    """The columns of a table read as the times of its events."""

    def __init__(self, columns: Mapping[str, ColumnProfile], given: str | None) -> None:
        """given: the column that the user names; None: detected."""
        self.columns, self.given = columns, given
        self.rejected: list[Rejected] = []

    @cached_property
    def ranked(self) -> list[tuple[str, float]]:
        """Columns of times with their points, the most likely first."""
        if self.given:
            return [(self.given, 10.0)] if self.given in self.columns else []
        found: list[tuple[str, float]] = []
        for name, column in self.columns.items():
            points = self._points(column)
            if points is not None:
                found.append((name, points))
        if not found:
            units = ((name, self._small_unit(c)) for name, c in self.columns.items())
            small = sorted((_FINEST.index(unit), name) for name, unit in units if unit)
            found = [(name, 1.0 - 0.5 * at) for at, (_, name) in enumerate(small)]
            if found:
                self.rejected.clear()
            else:
                self._note_parts()
        return sorted(found, key=lambda entry: -entry[1])

    def unit(self, name: str) -> str | None:
        """The unit of a column of times where it is not evident: as `events.time_unit`."""
        column = self.columns[name]
        if column.times.excel:
            return "excel"
        if column.times.unit.startswith("yy"):
            return column.times.unit
        unit = self._small_unit(column)
        return "s" if unit is None and self.given == name and column.times.small else unit

    def time_of_day(self, name: str, taken: Collection[str]) -> str | None:
        """The column of the time of the day, where the column `name` holds dates alone.

        taken: columns that have another role.
        """
        dates = self.columns[name]
        unit = dates.times.unit if dates.times.distinct else self.unit(name)
        daily = unit in _DAILY or (unit in ("iso", "typed") and not dates.times.below_a_day)
        if not daily or not dates.given:
            return None
        ranked: list[tuple[int, str]] = []
        for column in self.columns.values():
            if column.name == name or column.name in taken:
                continue
            points = _clock_points(column)
            if points:
                ranked.append((-points, column.name))
        return min(ranked)[1] if ranked else None

    def _points(self, column: ColumnProfile) -> float | None:
        """How much speaks for a column as the time of the event; None if it is not one.

        A column whose values contradict its name is added to `rejected`.
        """
        listed = words.plain(column.name) in words.TIME
        named = _named(column)
        if not (named or column.values.dtype.is_temporal() or column.is_text or column.is_whole):
            return None
        if not named and (
            words.user_strength(column.name) > 0 or words.item_strength(column.name) > 0
        ):
            return None
        times = column.times
        if times.share < 0.5:
            if named:
                self._reject(column)
            return None
        numbers = times.unit in ("s", "ms", "us", "ns")
        coarse = times.unit in ("year", "month") or (times.unit == "iso" and _is_period(column))
        period = coarse and times.unit != "year" and _is_period(column)
        written = times.unit.startswith("yy") and column.head in _RELATIVE
        if not (named or period or written) and (coarse or times.unit.startswith("yy")):
            return None
        if not named and numbers and times.plausible < 0.95:
            return None
        if not named and column.is_number and not numbers and column.given < _LARGE:
            return None
        if times.distinct < 2 and column.given >= _LARGE:
            text = (
                f'column `{column.name}` holds one time in all rows, "{column.example}", which '
                "orders no events"
            )
            self.rejected.append(Rejected((column.name,), text, blocks=False))
            return None
        points = times.share + 0.3 * times.below_a_day - 2.0 * column.missing
        points += 1.0 - 0.02 * words.TIME.index(words.plain(column.name)) if listed else 0.8 * named
        points -= 1.5 * any(words.is_one_of(w, words.OTHER_TIME_WORDS) for w in column.parts.words)
        return points - 1.0 * coarse

    def _reject(self, column: ColumnProfile) -> None:
        """Notes a column that is a time by its name only, unless its name explains the values."""
        lasting = any(word in words.DURATION_WORDS for word in column.parts.words[:-1])
        counted = column.times.small and column.head in ("times", "days", "dates")
        if not column.given or lasting or counted or column.is_truth:
            return
        self.rejected.append(Rejected((column.name,), _not_times(column), blocks=True))

    def _small_unit(self, column: ColumnProfile) -> str | None:
        """The unit of numbers that are too small for dates, or None.

        They are dates without a year (MMDD), or count time since 1970, where the least of them is
        far from 0 and all mean times since 1990, or since the start of the log. `DAY` from 1 to 711
        counts days; from 1 to 31 it would be the day of a month.
        """
        if not column.is_whole or not column.times.small or column.lowest < 0:
            return None
        relative = _RELATIVE.get(column.head)
        named = relative is not None or _named(column)
        if not (named or self.given == column.name) or column.distinct < _LEAST_DAYS:
            return None
        if column.highest <= 1231 and column.head not in ("day", "days", "hour", "hours"):
            numbers = column.values.drop_nulls().cast(pl.Int64).to_numpy()
            if bool(calendar_ms(numbers, "mmdd")[1].all()):
                return "mmdd"
        if column.lowest > column.highest - column.lowest:
            now = clock.time() * 1000 + LATEST_MS
            for unit in _SINCE_1970:
                first, last = (limit / PER_UNIT_MS[unit] for limit in (EARLIEST_MS, now))
                if first <= column.lowest and column.highest <= last:
                    return unit
        if relative is None:
            return None
        unit, least = relative
        return unit if column.highest > least else None

    def since_1970(self, name: str) -> bool:
        """Whether the numbers of a column mean times since 1970 rather than since a start."""
        column = self.columns[name]
        return column.lowest > column.highest - column.lowest

    def _note_parts(self) -> None:
        """Rejects the parts of dates in columns of their own, with the way to join them."""
        parts = {c.head: c.name for c in self.columns.values() if c.head in _PARTS and c.is_whole}
        if not {"year", "month"} <= parts.keys():
            return
        names = tuple(parts[part] for part in _PARTS if part in parts)
        listed = ", ".join(f"`{name}`" for name in names)
        text = f"columns {listed} hold parts of dates: to use them, write them into one column"
        self.rejected = [r for r in self.rejected if not set(names) & set(r.columns)]
        self.rejected.append(Rejected(names, text, blocks=True))


def _named(column: ColumnProfile) -> bool:
    """Whether the name of a column says that it is a time."""
    if "of" in column.parts.words and column.times.small:  # `hour_of_day`
        return False
    if words.plain(column.name) in words.TIME or words.is_one_of(column.head, words.TIME_WORDS):
        return True
    return bool(words.DATE_WORDS & set(column.parts.words)) and column.times.share >= 0.5


def _is_period(column: ColumnProfile) -> bool:
    return words.is_one_of(column.head, words.PERIOD_WORDS)


def _clock_points(column: ColumnProfile) -> int:
    """How much speaks for a column as a time of the day; 0 if it is none."""
    if column.parts.is_id or column.is_truth or words.DURATION_WORDS & set(column.parts.words[:-1]):
        return 0
    form = clock_form(column.values)
    if form is None:
        return 0
    if form == "clock":
        lasting = words.WATCHED_WORDS & set(column.parts.words)
        return 0 if lasting else 3
    heads = _CLOCK_HEADS[form]
    if not (heads & set(column.parts.words)) or column.distinct < 2:
        return 0
    return 1 if form == "hours" else 2


def _not_times(column: ColumnProfile) -> str:
    """The sentence about a column that is a time by its name only."""
    times = column.times
    if clock_form(column.values) == "clock":
        return (
            f'column `{column.name}` holds times of the day, e.g. "{column.example}", but no '
            "column holds the dates"
        )
    what = f"column `{column.name}` looks like a time by its name, but "
    if times.small:
        return what + f'its numbers are too small for dates, e.g. "{times.example}"'
    if times.share == 0:
        return what + f'none of its values is one, e.g. "{times.example or column.example}"'
    return what + f'{1 - times.share:.0%} of its values are not times, e.g. "{times.example}"'
