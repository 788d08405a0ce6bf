"""Detects the event log among the tables of a folder, and the roles of its columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from tamis.data import column_names as words
from tamis.data.column_profile import ColumnProfile
from tamis.data.label_meanings import usual_meaning
from tamis.data.table_folder import Frames, no_tables, table_stem
from tamis.data.table_links import TableSet, dependent_columns
from tamis.data.times import parse_times
from tamis.schema import DataError, suggest

_GROUPED = 0.5
"""Share of rows with the user of the row before from which on a file is grouped by user."""
_RELATIVE = {
    "day": ("days", 31), "days": ("days", 31), "hour": ("hours", 24), "hours": ("hours", 24),
    "time": ("s", 2400), "timestamp": ("s", 2400), "ts": ("s", 2400), "seconds": ("s", 2400),
    "天": ("days", 31),
}  # fmt: skip
"""Last words of the names of columns of times since a start: their unit, and the largest number
that would be part of a date or a clock."""
MARGIN = 1.0
"""Readings of a log whose points differ by less are near: the user should decide."""
_TIME_MARGIN = 0.3
_TABLE_MARGIN = 0.3
_SURE = 3.0
"""Points of a name that says plainly whose id a column is."""
_MATRIX = 10
"""Columns of numbers from which on a table with hardly any others is taken for a matrix."""
_LARGE = 20
"""Rows from which the repetition of values is evidence."""


@dataclass(frozen=True)
class Given:
    """What the user settles: files and columns by name; None is detected."""

    events: str | None = None
    items: str | None = None
    users: str | None = None
    user: str | None = None
    item: str | None = None
    time: str | None = None
    behaviour: str | None = None
    value: str | None = None

    def column(self, key: str) -> str | None:
        """The column that is given for a key of `[events]`."""
        return getattr(self, key)


_DETECT = Given()


@dataclass(frozen=True)
class RoleChoice:
    """A decision between near readings."""

    key: str
    """What was chosen: "events" (a file), "user", "item" or "time"."""
    chosen: str
    others: tuple[str, ...]
    """The near alternatives, the best first."""
    why: str
    """What spoke for the chosen one."""


def find_log(
    tables: TableSet, folder: Path, given: Given = _DETECT, notes: Sequence[str] = ()
) -> EventLog:
    """Finds the event log: the table with a user, an item and a time in each row.

    Names of columns, the repetition and the types of their values, their joins with the other
    tables and their dependence on one another all count. Of several logs the one with more evidence
    is taken.

    Args:
        given: what the user settles.
        notes: about files that could not be read, for the message of the error.

    Raises:
        DataError: no table has these columns, or a given file or column does not exist; the message
            says for each table what was found and what spoke against the rest.
    """
    _check_given(tables, folder, given)
    files = [given.events] if given.events else list(tables.frames)
    read = [EventLog(tables, file, given) for file in files]
    complete = [log for log in read if log.complete] or _without_times(read)
    if not complete:
        raise DataError(_no_log(read, folder, notes))
    complete.sort(key=lambda log: -log.points)
    best = complete[0]
    near = [log.file for log in complete[1:] if log.points > best.points - _TABLE_MARGIN]
    if near:
        why = "its name, its columns and its length"
        best.choices.insert(0, RoleChoice("events", best.file, tuple(near), why))
    return best


def _without_times(read: Sequence[EventLog]) -> list[EventLog]:
    """The tables that are logs without times; none if a time may have been missed.

    The user and the item must be evident, no column may look like a time by its name, and no other
    table may have the time of an order or a session.
    """
    found: list[EventLog] = []
    for log in read:
        if not log.pairs or "time" in log.found or log.rejected:
            continue
        user, item = log.pairs[0]
        sure = min(log.id_points(user)[0], log.id_points(item)[1])
        if sure >= 1.0 and not _elsewhere(log, ("time",), read, but=(user, item)):
            log.untimed = "random" if log.runs(user) > _GROUPED else "rows"
            found.append(log)
    return found


def event_table(frames: Frames, folder: Path) -> str:
    """The file name of the event log. Raises DataError as `find_log`."""
    return find_log(TableSet(frames), folder).file


def event_columns(frame: pl.DataFrame) -> dict[str, str]:
    """Detected columns of an event log, by their key in `[events]`."""
    return EventLog(TableSet({"": frame}), "").found


def named_column(
    frame: pl.DataFrame, names: Sequence[str], fits: Callable[[pl.Series], bool] | None = None
) -> str | None:
    """The column with the first of `names` (in snake case) whose values pass `fits`, or None."""
    by_name = {words.plain(c): c for c in reversed(frame.columns)}
    for name in names:
        if name in by_name and (fits is None or fits(frame[by_name[name]])):
            return by_name[name]
    return None


def is_time(column: pl.Series) -> bool:
    """Whether at least half of the values are times after 1973."""
    return ColumnProfile(column).times.share >= 0.5


class EventLog:
    """A table read as an event log: the roles of its columns, and what speaks for them."""

    def __init__(self, tables: TableSet, file: str, given: Given = _DETECT) -> None:
        """Columns named in `given` are taken as they are; the others are detected."""
        self.tables, self.file, self.given = tables, file, given
        self.frame = tables.frames[file]
        self.columns = tables.columns(file)
        self.rejected: list[str] = []
        """Sentences about columns whose values speak against what their names say."""
        self.untimed: Literal["rows", "random"] | None = None
        """For a log without times: the order of its events, as `[events] untimed`."""
        if given.time == "none" and "none" not in self.columns and self.pairs:
            self.untimed = "random" if self.runs(self.pairs[0][0]) > _GROUPED else "rows"

    @property
    def complete(self) -> bool:
        """Whether a user, an item and a time were found."""
        return bool(self.pairs) and ("time" in self.found or self.untimed is not None)

    @cached_property
    def points(self) -> float:
        """How much speaks for this table as the log, and how long it is."""
        stem = table_stem(self.file).split("_")
        named = any(word in words.EVENT_TABLES for word in stem)
        last = stem[-1] in words.EVENT_TABLES or stem[0] in words.EVENT_TABLES
        (user, item), *_ = self.pairs
        ids = min(self.id_points(user)[0] + self.id_points(item)[1], 2 * _SURE)
        length = min(float(np.log10(max(self.frame.height, 1))), 6.0)
        told = "behaviour" in self.found or "value" in self.found
        return ids + 0.5 * named + 1.5 * last + 0.3 * length + 0.5 * told

    @cached_property
    def found(self) -> dict[str, str]:
        """Columns by their key in `[events]`, those that were found."""
        found: dict[str, str] = {}
        times = self.times
        if times:
            found["time"] = times[0][0]
        if self.pairs:
            (found["user"], found["item"]), *_ = self.pairs
        else:
            found |= self._alone()
        for key in ("user", "item", "time"):
            column = self.given.column(key)
            if column and column in self.columns:
                found[key] = column
        taken = set(found.values())
        rest = [c for name, c in self.columns.items() if name not in taken]
        fixed = ("user", "item", "time")
        found = {key: found[key] for key in fixed if key in found}
        found |= self._others(rest, taken)
        return found

    def _alone(self) -> dict[str, str]:
        """The column of the user or the item, if there is only one of them."""
        found: dict[str, str] = {}
        for at, key in enumerate(("user", "item")):
            strength = (words.user_strength, words.item_strength)[at]
            best = max(self.candidates, key=lambda c: self.id_points(c)[at], default=None)
            if best is not None and (
                self.id_points(best)[at] >= 0.5 * _SURE or strength(best) == 1.0
            ):
                found[key] = best
        return found

    def _others(self, rest: list[ColumnProfile], taken: set[str]) -> dict[str, str]:
        """The columns of the optional keys."""
        found: dict[str, str | None] = {}

        def first(names: Sequence[str], fits: Callable[[ColumnProfile], bool]) -> str | None:
            frame = self.frame.drop(taken)
            return named_column(frame, names, lambda values: fits(self.columns[values.name]))

        found["arrival"] = first(words.ARRIVAL, lambda c: c.times.share >= 0.5)
        found["behaviour"] = self.given.behaviour or self._behaviour(rest)
        taken = taken | {c for c in found.values() if c}
        found["value"] = self.given.value or self._value([c for c in rest if c.name not in taken])
        taken = taken | {c for c in found.values() if c}
        found["request"] = self._request([c for c in rest if c.name not in taken])
        found["position"] = first(words.POSITION, lambda c: c.is_whole and c.distinct < 32_768)
        return {key: column for key, column in found.items() if column}

    # The columns of users and items

    @cached_property
    def candidates(self) -> list[str]:
        """Columns that may be the id of a user or an item."""
        given = (self.given.user, self.given.item)
        rows = self.frame.height
        return [n for n, c in self.columns.items() if n in given or _may_be_id(c, rows)]

    @cached_property
    def dependent(self) -> dict[str, set[str]]:
        """Per candidate, the columns that have one value for each of its values."""
        large = self.frame.height >= _LARGE
        return {c: dependent_columns(self.frame, c) if large else set() for c in self.candidates}

    def id_points(self, name: str) -> tuple[float, float]:
        """How much speaks for a column as the user's id, and as the item's."""
        return self._id_points[name]

    @cached_property
    def _id_points(self) -> dict[str, tuple[float, float]]:
        return {name: self._points_of(name) for name in self.candidates}

    def _points_of(self, name: str) -> tuple[float, float]:
        column = self.columns[name]
        user, item = (_SURE * f(name) for f in (words.user_strength, words.item_strength))
        both = 0.5 + 0.25 * column.parts.is_id
        if column.given >= _LARGE:
            if column.unique > 0.999:
                both -= 4.0  # the number of the row
            elif column.unique > 0.8:
                both -= 0.5
            if column.distinct < 20 and column.given > 10 * column.distinct:
                both -= 1.5  # a category or a flag
        if not column.parts.words:  # `id`: of the row, unless it repeats
            both -= 0.5
        both -= column.missing
        for link in self.tables.links(self.file, name)[:2]:
            kind = self.tables.kind(link.file, link.key)
            both += 0.5 * link.strength
            item += 2.0 * link.strength * kind
            user -= 2.0 * link.strength * kind
        mine = self.dependent[name]
        heads = [self.columns[c].head for c in mine]
        item += 0.5 * min(sum(words.is_one_of(h, words.ITEM_ATTRIBUTES) for h in heads), 3)
        user += 0.5 * min(sum(words.is_one_of(h, words.USER_ATTRIBUTES) for h in heads), 3)
        for other, theirs in self.dependent.items():
            if name in theirs and other not in mine:  # an attribute of the other
                session = words.is_one_of(self.columns[other].head, words.REQUEST_WORDS)
                item -= 1.5
                user -= 0.0 if session else 1.5
        return user + both, item + both

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Columns of the user and the item, the most likely pair first."""
        return [pair for pair, _ in self._scored]

    @cached_property
    def _scored(self) -> list[tuple[tuple[str, str], float]]:
        given_user, given_item = self.given.user, self.given.item
        best = sorted(self.candidates, key=lambda c: -max(self.id_points(c)))[:8]
        users = [given_user] if given_user else best
        items = [given_item] if given_item else best
        scored: list[tuple[tuple[str, str], float]] = []
        for user in users:
            for item in items:
                if user == item:
                    continue
                own_user = self.id_points(user)[0] if user != given_user else 10.0
                own_item = self.id_points(item)[1] if item != given_item else 10.0
                if min(own_user, own_item) <= 0.0:
                    continue
                scored.append(((user, item), own_user + own_item + self._together(user, item)))
        return sorted(scored, key=lambda entry: -entry[1])

    def _together(self, user: str, item: str) -> float:
        """How much speaks for one column as the user and another as the item, as a pair."""
        points = 0.25 * (self.frame.columns.index(user) < self.frame.columns.index(item))
        if item in self.dependent[user]:
            points -= 2.0  # one item per user
        if user in self.dependent[item]:
            points -= 2.0  # one user per item: its author
        return points + self._behaves(user, item)

    def _behaves(self, user: str, item: str) -> float:
        """Up to 1.5 for a user whose rows lie together: in the file, and in time.

        Files are often sorted by user, and users act in sessions: many rows, then none for days.
        """
        if self.frame.height < _LARGE:
            return 0.0
        together = self.runs(user) - self.runs(item)
        points = float(np.clip(together, -0.5, 0.5))
        bursts = self._gap(user), self._gap(item)
        if min(bursts) >= 0 and max(bursts) > 0:
            points += float(np.clip(np.log10((bursts[1] + 1e-6) / (bursts[0] + 1e-6)), -1.0, 1.0))
        return points

    def runs(self, name: str) -> float:
        """Share of rows with the value of the row before, beyond what chance gives."""
        values = self.frame[name].head(200_000)
        counts = values.value_counts(name="__n__")["__n__"].to_numpy() / max(len(values), 1)
        return float((values == values.shift()).mean() or 0.0) - float((counts**2).sum())  # pyright: ignore[reportArgumentType]

    def _gap(self, name: str) -> float:
        """Median / mean time between consecutive rows of one value; -1 where it is unknown."""
        if name in self._gaps:
            return self._gaps[name]
        self._gaps[name] = -1.0
        if self._ms is not None:
            frame = pl.DataFrame({"id": self.frame[name].rank("dense"), "ms": self._ms})
            some = (
                frame.drop_nulls().sample(min(frame.drop_nulls().height, 200_000), seed=0)
                if (frame.height > 200_000)
                else frame.drop_nulls()
            )
            gaps = some.sort("id", "ms").select(
                pl.col("ms").diff().filter(pl.col("id") == pl.col("id").shift())
            )["ms"]
            mean = float(gaps.mean() or 0.0)  # pyright: ignore[reportArgumentType]
            if len(gaps) >= _LARGE and mean > 0:
                self._gaps[name] = float(gaps.median() or 0.0) / mean  # pyright: ignore[reportArgumentType]
        return self._gaps[name]

    @cached_property
    def _gaps(self) -> dict[str, float]:
        return {}

    @cached_property
    def _ms(self) -> pl.Series | None:
        """(n,) the times of the rows in ms, null where there is none."""
        times = self.times
        if not times:
            return None
        parsed = parse_times(self.frame[times[0][0]])
        lost = pl.Series(parsed.bad | parsed.missing | parsed.other_unit)
        ms = pl.DataFrame({"ms": parsed.ms}).select(pl.when(~lost).then("ms"))
        return ms.to_series()

    def is_attribute(self, name: str) -> str | None:
        """ "item" or "user" if a column has one value per item or per user, else None."""
        if not self.pairs:
            return None
        user, item = self.pairs[0]
        if name in self.dependent.get(item, ()):
            return "item"
        return "user" if name in self.dependent.get(user, ()) else None

    # The column of the time

    @cached_property
    def times(self) -> list[tuple[str, float]]:
        """Columns of times with their points, the most likely first."""
        if self.given.time:
            return [(self.given.time, 10.0)] if self.given.time in self.columns else []
        found: list[tuple[str, float]] = []
        for name, column in self.columns.items():
            points = self._time_points(column)
            if points is not None:
                found.append((name, points))
        if not found:
            units = ((name, self._relative_unit(c)) for name, c in self.columns.items())
            order = ("s", "hours", "days")
            relative = sorted((order.index(unit), name) for name, unit in units if unit)
            found = [(name, 1.0 - 0.5 * at) for at, name in relative]
            if found:
                self.rejected.clear()
        return sorted(found, key=lambda entry: -entry[1])

    @property
    def time_unit(self) -> str | None:
        """The unit of the time, where it is not evident from the values: as `events.time_unit`."""
        name = self.found.get("time")
        if name is None:
            return None
        column = self.columns[name]
        return "excel" if column.times.excel else self._relative_unit(column)

    def _relative_unit(self, column: ColumnProfile) -> str | None:
        """The unit of small numbers that count time since the start of the log, or None.

        `DAY` from 1 to 711 counts days; from 1 to 31 it would be the day of a month.
        """
        unit = _RELATIVE.get(column.head)
        if unit is None or not column.is_whole or not column.times.small or column.lowest < 0:
            return None
        name, least = unit
        return name if column.highest > least and column.distinct >= 8 else None

    def _time_points(self, column: ColumnProfile) -> float | None:
        """How much speaks for a column as the time of the event; None if it is not one.

        A column whose values contradict its name is added to `rejected`.
        """
        plain, head = words.plain(column.name), column.head
        listed = plain in words.TIME
        named = listed or words.is_one_of(head, words.TIME_WORDS)
        if not (named or column.values.dtype.is_temporal() or column.is_text or column.is_whole):
            return None
        if not named and (
            words.user_strength(column.name) > 0 or words.item_strength(column.name) > 0
        ):
            return None
        times = column.times
        if times.share < 0.5:
            lasting = any(word in words.DURATION_WORDS for word in column.parts.words[:-1])
            if named and column.given and not lasting and not column.is_truth:
                self.rejected.append(_not_times(column))
            return None
        numbers = column.is_number and times.unit in ("s", "ms", "us", "ns")
        coarse = times.unit in ("year", "month")
        if not named and (coarse or (numbers and times.plausible < 0.95)):
            return None
        if not named and column.is_number and not numbers and column.given < _LARGE:
            return None
        points = times.share + 0.3 * times.below_a_day
        points += 1.0 - 0.02 * words.TIME.index(plain) if listed else 0.8 * named
        points -= 1.5 * any(words.is_one_of(w, words.OTHER_TIME_WORDS) for w in column.parts.words)
        points -= 1.0 * coarse
        if column.distinct < 2 and column.given >= _LARGE:
            points -= 1.0
        return points

    # The optional columns

    def _behaviour(self, rest: Iterable[ColumnProfile]) -> str | None:
        """The column of the names of behaviours: labels with usual meanings, or by its name."""
        best: tuple[float, str | None] = (0.0, None)
        for column in rest:
            labels = column.labels
            if not labels or not (column.is_text or column.is_whole) or column.is_truth:
                continue
            known = [label for label in labels if usual_meaning(label) is not None]
            plain = words.plain(column.name)
            named = 1.0 - 0.02 * words.BEHAVIOUR.index(plain) if plain in words.BEHAVIOUR else 0.0
            if not named and words.is_one_of(column.head, _BEHAVIOUR_HEADS):
                named = 0.5
            if column.head in ("type", "kind", "interaction") and column.is_text and not known:
                named = 0.0  # of the item, of the device
            if column.is_whole and (not named or len(labels) > 12):
                continue
            if not named and column.is_text and words.is_one_of(column.head, words.RATING_WORDS):
                named = 0.5  # ratings in words
            points = named + (len(known) / len(labels) if known else 0.0)
            if self.is_attribute(column.name) and len(known) < 2:
                points -= 1.0
            if points >= 0.5 and points > best[0]:
                best = (points, column.name)
        return best[1]

    def _value(self, rest: Sequence[ColumnProfile]) -> str | None:
        """The column of a rating, of seconds or of an amount."""
        numbers = [
            c for c in rest if c.is_number and not c.is_truth and not c.parts.is_id and c.distinct
        ]
        for column in numbers:  # returns are in the number of pieces, not in the price
            if column.lowest < 0 and words.is_one_of(column.head, words.QUANTITY_WORDS):
                return column.name
        own = [c for c in numbers if not self.is_attribute(c.name)]
        for some in (own, numbers):  # a price of the item says nothing of the event
            if name := _named_value(some):
                return name
        return next((c.name for c in numbers if self._is_scale(c)), None)

    def _is_scale(self, column: ColumnProfile) -> bool:
        """Whether numbers without a telling name are ratings: all values of a usual scale occur."""
        if words.is_one_of(column.head, words.ATTRIBUTE_WORDS) or column.given < _LARGE:
            return False
        if self.is_attribute(column.name):
            return False
        return tuple(column.numbers) in _SCALES

    def _request(self, rest: Sequence[ColumnProfile]) -> str | None:
        """The column of the request, the basket or the session: it repeats, and is no number."""
        frame = self.frame.select(c.name for c in rest if c.distinct and not c.is_truth)
        fits = {c.name for c in rest if c.given < _LARGE or c.unique < 0.999}
        if name := named_column(frame, words.REQUEST, lambda c: c.name in fits):
            return name
        for column in rest:
            named = words.is_one_of(column.head, words.REQUEST_WORDS)
            if named and column.parts.is_id and column.distinct and column.name in fits:
                return column.name
        return None

    # Decisions

    @cached_property
    def choices(self) -> list[RoleChoice]:
        """Decisions between near readings that the user may want to change."""
        found: list[RoleChoice] = []
        scored = self._scored
        if scored:
            (user, item), best = scored[0]
            near = [pair for pair, points in scored[1:] if points > best - MARGIN]
            for key, chosen, at in (("user", user, 0), ("item", item, 1)):
                others = tuple(dict.fromkeys(p[at] for p in near if p[at] != chosen))
                if key == "item" and others == (user,):
                    continue  # the two exchanged: one question is enough
                if others and not self.given.column(key):
                    found.append(RoleChoice(key, chosen, others, self._why(chosen)))
        times = self.times
        others = [
            name
            for name, points in times[1:]
            if points > times[0][1] - _TIME_MARGIN and not self._same_days(times[0][0], name)
        ]
        if others and not self.given.time:
            found.append(RoleChoice("time", times[0][0], tuple(others), "its name and its values"))
        return found

    def _same_days(self, one: str, other: str) -> bool:
        """Whether two columns of times agree to a day nearly everywhere."""
        first, second = (
            parse_times(self.frame[name].head(10_000)).ms // 86_400_000 for name in (one, other)
        )
        return bool((np.abs(first - second) <= 1).mean() > 0.95)

    def _why(self, name: str) -> str:
        """What speaks for a column as an id, in a few words."""
        column, why = self.columns[name], list[str]()
        if max(words.user_strength(name), words.item_strength(name)) > 0:
            why.append("its name")
        for link in self.tables.links(self.file, name)[:1]:
            why.append(f"{link.held:.0%} of its values are in {link.file}")
        if column.given >= _LARGE:
            why.append(f"{column.distinct:,} values in {column.given:,} rows")
        return ", ".join(why)


def _named_value(numbers: Sequence[ColumnProfile]) -> str | None:
    """The first column whose name says that it holds a rating, seconds or an amount."""
    by_name = {words.plain(c.name): c.name for c in reversed(numbers)}
    for name in (*words.RATING, *words.VALUE):
        if name in by_name:
            return by_name[name]
    for heads in (words.RATING_WORDS, words.WATCHED_WORDS):
        for column in numbers:
            if words.is_one_of(column.head, heads):
                return column.name
    for column in numbers:
        if words.SPENT_WORDS & set(column.parts.words):
            return column.name
    return next((c.name for c in numbers if words.is_one_of(c.head, words.AMOUNT_WORDS)), None)


_BEHAVIOUR_HEADS = words.word_set(
    "behaviour behavior event action interaction activity type kind 行为 操作 动作 事件"
)
_CLOCK = r"^\s*\d{1,2}[:.hH]\d{2}(:\d{2})?(\.\d+)?\s*([aApP]\.?[mM]\.?)?\s*$"
"""A time of the day without a date."""
_SCALES = frozenset(
    {
        tuple(float(v) for v in range(low, high + 1))
        for low, high in ((1, 5), (0, 5), (1, 10), (0, 10))
    }
    | {
        tuple(v / 2 for v in range(1, 11)),
        tuple(v / 2 for v in range(11)),
        (-1.0, 1.0),
        (-1.0, 0.0, 1.0),
    }
)
"""Usual scales of ratings, all of whose values occur."""


def _may_be_id(column: ColumnProfile, rows: int) -> bool:
    """Whether a column of the log may be the id of a user or an item, by its type and values."""
    dtype = column.values.dtype
    if not column.distinct or dtype.is_temporal() or dtype == pl.Boolean:
        return False
    if column.is_number:
        if not column.is_whole:
            return False
    elif not column.is_text or column.length > 200 or column.words_per_value > 12:
        return False
    if column.holds_lists:
        return False
    if column.is_truth and rows >= _LARGE:
        return False
    named = max(words.user_strength(column.name), words.item_strength(column.name)) > 0
    if not named and column.times.share >= 0.95 and column.times.plausible >= 0.95:
        return False
    return named or column.distinct > 1


def _not_times(column: ColumnProfile) -> str:
    """The sentence about a column that is a time by its name only."""
    times = column.times
    if column.is_text and column.sample.cast(pl.String).str.contains(_CLOCK).mean() == 1.0:
        return (
            f'column `{column.name}` holds times of the day, e.g. "{column.example}": to use them, '
            "write them and the date into one column; without them, events of one day have one time"
        )
    what = f"column `{column.name}` looks like a time by its name, but "
    if times.small:
        return what + f'its numbers are too small for dates, e.g. "{times.example}"'
    if times.share == 0:
        return what + f'none of its values is one, e.g. "{times.example}"'
    return what + f'{1 - times.share:.0%} of its values are not times, e.g. "{times.example}"'


def _check_given(tables: TableSet, folder: Path, given: Given) -> None:
    """Checks that given files and columns exist."""
    for key in ("events", "items", "users"):
        file = getattr(given, key)
        if file is not None and file not in tables.frames:
            raise DataError(
                f"--{key} {file}: no such table in {folder}.{suggest(file, tables.frames)} "
                f"It holds {', '.join(tables.frames) or 'none'}."
            )
    for key in ("user", "item", "time", "behaviour", "value"):
        name = given.column(key)
        if name is None or (key == "time" and name == "none"):
            continue
        files = [given.events] if given.events else list(tables.frames)
        columns = list(dict.fromkeys(c for file in files for c in tables.frames[file].columns))
        if name not in columns:
            raise DataError(
                f"--{key} {name}: no such column in {', '.join(files)}.{suggest(name, columns)} "
                f"The columns are {', '.join(columns[:40])}."
            )


def _no_log(read: Sequence[EventLog], folder: Path, notes: Sequence[str]) -> str:
    """The message that no table is an event log, with what was found in each."""
    if not read:
        listed = "".join(f"\n  {note}" for note in notes)
        if any(note.startswith("not readable") for note in notes):
            return f"{folder}: no table of events: none of its tables can be read.{listed}"
        return f"{folder}: no table of events: {no_tables(folder)}.{listed}"
    lines: list[str] = []
    for log in read:
        found, columns = log.found, ", ".join(log.frame.columns)
        columns = columns if len(columns) <= 200 else columns[:200] + " …"
        have = [f"{k} = `{found[k]}`" for k in _NEEDED if k in found]
        lack = [k for k in _NEEDED if k not in found]
        lines.append(
            f"{log.file}: {', '.join(have) or 'nothing'} found, no {', no '.join(lack)}; "
            f"its columns: {columns}"
        )
        hints = [*log.rejected, *_lists(log), *_elsewhere(log, lack, read)]
        lines += [f"  {hint}" for hint in hints]
    listed = "\n".join(f"  {line}" for line in [*lines, *notes])
    return (
        f"{folder}: no table looks like an event log, with a user, an item and a time per row.\n"
        f"{listed}\n"
        "  To settle a column: tamis init DIR --events FILE --user COL --item COL --time COL "
        "(--time none if there are no times)."
    )


_NEEDED = ("user", "item", "time")


def _lists(log: EventLog) -> list[str]:
    """Sentences about columns and lines that hold several items each."""
    found: list[str] = []
    if len(log.columns) == 1 and re.fullmatch(r"[\d\s]+", next(iter(log.columns))):
        found.append(
            "its lines look like a user and then the items; write one row per user and item, with "
            "a header and a time (tamis.datasets.read_sequences and read_pairs read such files)"
        )
        return found
    numbers = [c for c in log.columns.values() if c.is_number and not c.parts.is_id]
    if len(numbers) > _MATRIX and len(numbers) > 0.9 * len(log.columns):
        found.append(
            f"its {len(numbers)} columns of numbers look like a matrix of users and items; an "
            "event log has one row per user and item: write its cells as rows (polars: unpivot)"
        )
    for column in log.columns.values():
        if column.holds_lists and column.given:
            found.append(
                f'column `{column.name}` holds several values per row, e.g. "{column.example}"; an '
                "event log has one row per user and item: split them into rows"
            )
        fields = _fields(column.values.dtype)
        if fields:
            names = ", ".join(f"`{column.name}_{field}`" for field in fields[:4])
            found.append(
                f"column `{column.name}` holds objects: write their fields as columns ({names}"
                f"{' …' if len(fields) > 4 else ''})"
            )
    return found


def _fields(dtype: pl.DataType) -> list[str]:
    """The names of the fields of a column of objects, or of lists of objects; else none."""
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype
    return [field.name for field in inner.fields] if isinstance(inner, pl.Struct) else []


def _elsewhere(
    log: EventLog, lack: Sequence[str], read: Sequence[EventLog], but: Sequence[str] = ()
) -> list[str]:
    """Sentences about other tables that hold what a table lacks, and join with it.

    but: columns of the table that are not joined by.
    """
    found: list[str] = []
    if "item" in lack or not lack:
        return found
    for name in log.columns:
        for link in log.tables.links(log.file, name) if name not in but else ():
            if not link.named:
                continue
            other = next((o for o in read if o.file == link.file), None)
            have = [k for k in lack if other is not None and k in other.found]
            if other is not None and have:
                roles = " and ".join(f"the {k} (`{other.found[k]}`)" for k in have)
                found.append(
                    f"{other.file} has {roles} of each `{link.key}`: join the two tables by it, "
                    "into one row per user, item and time"
                )
    return found
