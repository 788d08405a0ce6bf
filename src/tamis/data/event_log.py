"""A table read as an event log: the roles of its columns, and what speaks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl

from tamis.data import column_names as words
from tamis.data._given import DETECT, Given, RoleChoice
from tamis.data._time_roles import TimeColumns
from tamis.data._value_roles import behaviour_column, request_column, value_column
from tamis.data.column_profile import ColumnProfile, named_column
from tamis.data.table_folder import table_stem
from tamis.data.table_links import Link, TableSet, dependent_columns
from tamis.data.times import parse_times

GROUPED = 0.5
"""Share of rows with the user of the row before from which on a file is grouped by user."""
MARGIN = 1.0
"""Readings of a log whose points differ by less are near: the user should decide."""
_TIME_MARGIN = 0.3
_TABLE_MARGIN = 0.3
_FEW_MISSING = 0.01
"""Share of rows without a user from which on a column of visitors is looked for."""
_SURE = 3.0
_LARGE = 20
"""Rows from which the repetition of values is evidence."""


class EventLog:
    """A table read as an event log: the roles of its columns, and what speaks for them."""

    def __init__(self, tables: TableSet, file: str, given: Given = DETECT) -> None:
        """Columns named in `given` are taken as they are; the others are detected."""
        self.tables, self.file, self.given = tables, file, given
        self.frame = tables.frames[file]
        self.columns = tables.columns(file)
        self.time_columns = TimeColumns(self.columns, given.time)
        self.untimed: Literal["rows", "random"] | None = None
        """For a log without times: the order of its events, as `[events] untimed`."""
        if given.time == "none" and "none" not in self.columns and self.pairs:
            self.untimed = "random" if self.runs(self.pairs[0][0]) > GROUPED else "rows"

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
        if visitor := self._visitor():
            found["visitor"] = visitor
        if "time" in found and (clock := self.time_columns.time_of_day(found["time"], taken)):
            found["time_of_day"] = clock
            rest = [c for c in rest if c.name != clock]
            taken = taken | {clock}
        return found | self._others(rest, taken)

    def _visitor(self) -> str | None:
        """The column that stands for the user in the rows without one, if users are missing."""
        if not self.pairs:
            return None
        user, item = self.pairs[0]
        gone = self._no_user(user)
        if float(gone.mean() or 0.0) < _FEW_MISSING:  # pyright: ignore[reportArgumentType]
            return None
        for name, column in self.columns.items():
            named = words.VISITOR_WORDS & set(column.parts.words)
            if name in (user, item) or not named or name not in self.candidates:
                continue
            own = self.frame[name].filter(gone)
            if own.null_count() <= 0.1 * len(own) and own.n_unique() < 0.9 * len(own):
                return name
        return None

    def _no_user(self, user: str) -> pl.Series:
        """(n,) rows without a known user."""
        values = self.frame[user]
        gone = values.is_null()
        nobody = self.columns[user].placeholder
        return gone if nobody is None else gone | (values.cast(pl.String) == nobody).fill_null(True)

    @property
    def anonymous(self) -> str | None:
        """The value of the user's column that stands for unknown users, if there is one."""
        return self.columns[self.pairs[0][0]].placeholder if self.pairs else None

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
        found["behaviour"] = self.given.behaviour or behaviour_column(rest, self.is_attribute)
        taken = taken | {c for c in found.values() if c}
        left = [c for c in rest if c.name not in taken]
        found["value"] = self.given.value or value_column(left, self.is_attribute)
        taken = taken | {c for c in found.values() if c}
        found["request"] = request_column([c for c in rest if c.name not in taken])
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
            if column.distinct == 1:
                both -= 4.0
        if column.placeholder is not None:
            user -= column.top[1]
            item -= 3.0 * column.top[1]
        if not column.parts.words:  # `id`: of the row, unless it repeats
            both -= 0.5
        both -= column.missing
        for link in self.tables.links(self.file, name)[:2]:
            kind = self.tables.kind(link.file, link.key)
            strength = link.strength * (0.1 if self._contested(link) else 1.0)
            both += 0.5 * strength
            item += 2.0 * strength * kind
            user -= 2.0 * strength * kind
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

    def _contested(self, link: Link) -> bool:
        """Whether another column joins the same table better: numbers of two sides overlap."""
        if link.named or link.text:
            return False
        theirs = [
            other
            for name in self.candidates
            if name != link.column
            for other in self.tables.links(self.file, name)
            if other.file == link.file
        ]
        mine = (link.strength, link.used)
        return any(o.named or (o.strength, o.used) > mine for o in theirs)

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

    @property
    def times(self) -> list[tuple[str, float]]:
        """Columns of times with their points, the most likely first."""
        return self.time_columns.ranked

    @property
    def rejected(self) -> list[str]:
        """Sentences about columns whose values speak against what their names say."""
        used = {self.found.get("time_of_day"), self.found.get("request")}
        return [r.text for r in self.time_columns.rejected if not used & set(r.columns)]

    @property
    def time_unit(self) -> str | None:
        """The unit of the time, where it is not evident from the values: as `events.time_unit`."""
        name = self.found.get("time")
        return None if name is None else self.time_columns.unit(name)

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


def _may_be_id(column: ColumnProfile, rows: int) -> bool:
    """Whether a column of the log may be the id of a user or an item, by its type and values."""
    dtype = column.values.dtype
    if not column.distinct or dtype.is_temporal() or dtype == pl.Boolean:
        return False
    named = max(words.user_strength(column.name), words.item_strength(column.name)) > 0
    if column.is_number:
        if not column.is_whole and not (named and column.parts.is_id):
            return False
    elif not column.is_text or column.length > 200 or column.words_per_value > 12:
        return False
    if column.holds_lists:
        return False
    if column.is_truth and rows >= _LARGE:
        return False
    if not named and column.times.share >= 0.95 and column.times.plausible >= 0.95:
        return False
    return named or column.distinct > 1
