"""Reads the tables of a project into a `Dataset`; rows that cannot be used are reported."""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data._duplicates import repeated_events
from tamis.data._event_context import event_context
from tamis.data.clocks import parse_clock, with_clock
from tamis.data.dataset import Dataset, Events
from tamis.data.files import RawTable
from tamis.data.follows import read_follows
from tamis.data.ids import id_text, one_id
from tamis.data.notes import Note
from tamis.data.numbers import read_numbers
from tamis.data.outcomes import OutcomeRows, events_of_rows, read_outcomes, within
from tamis.data.rejects import Rejects, Sieve
from tamis.data.sample_weights import read_weights, weight_columns
from tamis.data.table import UNKNOWN, Table
from tamis.data.tables import (
    form_of,
    missing_note,
    read_declared,
    read_ids,
    read_table,
    require_columns,
    spreadsheet_days,
    start_sieve,
    with_ids,
)
from tamis.data.text_form import TextForm
from tamis.data.times import Times, parse_times
from tamis.data.user_ids import user_column
from tamis.data.values import Wanted
from tamis.runtime import Bool, Float32, Index, Int32, Int64, Progress
from tamis.schema import (
    Behaviour,
    DataError,
    DenseFeat,
    EventsConfig,
    ProjectConfig,
    SparseFeat,
    TableConfig,
    VarLenSparseFeat,
)

DAY_MS = 86_400_000
_NO_BEHAVIOUR = 255


def read_dataset(
    config: ProjectConfig,
    root: Path | str,
    progress: Progress | None = None,
    former: Dataset | None = None,
    now: int | None = None,
) -> tuple[Dataset, Rejects]:
    """Reads the tables of a project.

    Events are sorted by time; equal times keep the order of the file. Rejected are rows with an
    empty or overlong id, no usable time, a time in another unit than most or more than a day after
    `now`, a value that is not a number, a behaviour that is not declared, and exact duplicates.
    Users and items that are not in their table are added to it, without attributes, and counted in
    a note; where the table declares `unknown = "drop"`, their events are rejected. Without a table
    of users or of items, they are those of the events, in the order of the file. Without a file of
    events there are none.

    Args:
        config: the declaration of the project.
        root: the project's folder.
        progress: receives one stage for each file.
        former: an earlier state of the data, whose users and items keep their row numbers.
        now: the current time, ms since 1970 UTC; None = the clock.

    Returns:
        The data, and the rejected rows with file, row and reason.

    Raises:
        DataError: a file is missing, damaged or empty, a declared column is missing, no event is
            usable, or no id of the events is in the table of users or items.
    """
    shown = progress or Progress("read", wanted=False)
    root, rejects, wanted = Path(root), Rejects(), _wanted(config)

    def table(declared: TableConfig | None, name: str, old: Table | None) -> Table:
        if declared is None or declared.path is None:
            return old or _no_rows(name)
        shown.begin(f"read {declared.path}")
        return read_table(declared, root, name, rejects, wanted, old)

    items = table(config.items, "items", former.items if former else None)
    users = table(config.users, "users", former.users if former else None)
    if config.events.path is None:
        data = Dataset(users, items, Events.none(config), tuple(config.behaviours.values()))
    else:
        shown.begin(f"read {config.events.path}")
        reader = _EventReader.open(config, root, rejects)
        shown.begin(f"check {reader.raw.frame.height:,} events")
        data = reader.dataset(users, items, now)
    if config.follows is not None:
        shown.begin(f"read {config.follows.path}")
        follows = read_follows(config.follows, root, data.users, rejects)
        data = replace(data, follows=follows)
    return data, rejects


def read_items(config: ProjectConfig, root: Path | str) -> Table:
    """Reads only the table of items, as `read_dataset` does; empty if none is declared.

    Raises:
        DataError: as `read_dataset`.
    """
    if config.items.path is None:
        return _no_rows("items")
    return read_table(config.items, Path(root), "items", Rejects(), _wanted(config))


def _no_rows(name: str) -> Table:
    return Table(name, pl.Series("id", [], pl.String), pl.DataFrame())


def _wanted(config: ProjectConfig) -> dict[str, Wanted]:
    """What the columns of declared features are read as."""
    found: dict[str, Wanted] = {}
    for feature in config.features:
        if isinstance(feature, SparseFeat):
            found.setdefault(feature.source, "lossless")
        elif isinstance(feature, VarLenSparseFeat) and not feature.history:
            found.setdefault(feature.source, "text" if feature.ngrams else "words")
    for feature in config.features:
        if isinstance(feature, DenseFeat) and feature.width == 1:
            found[feature.source] = "number"
    return found


@dataclass
class _EventReader:
    """Converts the event log to arrays, step by step; each step rejects rows in the sieve."""

    config: EventsConfig
    behaviours: tuple[Behaviour, ...]
    raw: RawTable
    sieve: Sieve
    rejects: Rejects
    form: TextForm
    items: TableConfig | None
    """The table of items; None: the items are those of the events."""
    users: TableConfig | None
    seed: int
    """Of the order of an untimed log."""
    weights: dict[str, str]
    """{column of sample weights: the key that names it}."""

    @classmethod
    def open(cls, config: ProjectConfig, root: Path, rejects: Rejects) -> _EventReader:
        c = config.events
        raw = read_declared(c, root)
        form = form_of(c, raw)
        keys = ("user", "visitor", "item", "time", "time_of_day", "arrival", "behaviour", "value")
        keys += ("request", "position")
        wanted = {key: getattr(c, key) for key in keys if getattr(c, key)}
        if c.untimed is not None:
            del wanted["time"]
        require_columns(raw, wanted, "events")
        own = {f"{b.name}.column": b.column for b in config.behaviours.values() if b.column}
        require_columns(raw, own, "behaviours")
        said = {f"context[{k}]": name for k, name in enumerate(c.context)}
        place = ("city", "latitude", "longitude")
        said |= {key: getattr(c, key) for key in place if getattr(c, key)}
        require_columns(raw, said, "events")
        weights = weight_columns(config)
        for name, key in weights.items():
            section, _, rest = key.partition(".")
            require_columns(raw, {rest: name}, section)
        named = [*wanted.values(), *own.values(), *said.values(), *weights]
        raw.frame = raw.frame.select(list(dict.fromkeys(named)))
        sieve = start_sieve(raw, rejects)
        behaviours = tuple(config.behaviours.values())
        items = config.items if config.items.path is not None else None
        users, seed = config.users, config.seed
        return cls(c, behaviours, raw, sieve, rejects, form, items, users, seed, weights)

    def dataset(self, users: Table, items: Table, now: int | None) -> Dataset:
        user_ids = self._user_ids()
        item_ids = read_ids(self.sieve, self.raw.frame[self.config.item], "item", self.form)
        limit = DAY_MS + (int(clock.time() * 1000) if now is None else now)
        time = self._times(limit)
        arrival = self._arrival(time, limit)
        value = self._values()
        outcomes = read_outcomes(self.raw.frame, self.behaviours, self.sieve, self.form)
        behaviour = self._behaviours(value, outcomes)
        items, item = self._rows(items, item_ids, "item", self.items)
        users, user = self._rows(users, user_ids, "user", self.users)
        request, position = self._requests(), self._positions()
        events = Events(
            user,
            item,
            behaviour,
            time,
            arrival,
            value,
            request,
            position,
            event_context(self.config, self.raw, self.sieve, self.form),
            {
                name: read_weights(self.raw.frame[name], key, self.sieve, self.form)
                for name, key in self.weights.items()
            },
        )
        row = np.arange(len(events))
        if outcomes:
            row, code, own = events_of_rows(behaviour, _NO_BEHAVIOUR, outcomes)
            events = replace(events.take(row), behaviour=code)
            if own is not None:
                events = replace(events, value=np.where(np.isnan(own), events.value, own))
        return Dataset(users, items, self._sorted(events, row), self.behaviours)

    def _user_ids(self) -> pl.Series:
        """(n,) ids of the users, or of the visitors that stand for them."""
        own = self.raw.frame[self.config.user]
        users = user_column(self.raw.frame, self.config, self.raw.file, self.form)
        if self.config.anonymous:
            known = id_text(own, self.raw.file, self.form.missing).is_not_null()
            nobody = (known & users.is_null()).to_numpy()
            self.sieve.reject(nobody, "the user is anonymous", own.name, own)
        return read_ids(self.sieve, users, "user", self.form)

    def _times(self, limit: int) -> Int64:
        if self.config.untimed is not None:
            self._unit = "ms"
            order = np.arange(self.raw.frame.height)
            shuffled = self.config.untimed == "random"
            return np.random.default_rng(self.seed).permutation(order) if shuffled else order
        name = self.config.time
        column = self.raw.frame[name]
        times = parse_times(column, self.config.time_unit, self.form)
        if self.config.time_of_day is not None:
            times = self._with_clock(times)
        self._sieve_times(times, column, "time")
        self.sieve.reject(times.missing, "no time (empty, or the row is cut short)", name)
        self.sieve.reject(times.ms > limit, "time in the future", name, column)
        self._unit = times.unit
        return times.ms

    def _with_clock(self, dates: Times) -> Times:
        """The times of the rows: their dates with the times of the day of another column."""
        column = self.raw.frame[self.config.time_of_day or ""]
        clock = parse_clock(column, self.form)
        text = "not a time of the day: the date alone is taken"
        self.sieve.blank(clock.bad, text, column.name, column)
        self.sieve.note(clock.notes, column.name)
        return with_clock(dates, replace(clock, notes=[]))

    def _arrival(self, time: Int64, limit: int) -> Int64:
        name = self.config.arrival
        if name is None:
            return time
        column = self.raw.frame[name]
        unit = self.config.time_unit if self._unit in ("typed", "iso") else self._unit
        times = parse_times(column, unit, self.form)
        if times.bad.mean() > 0.5 and self.config.time_unit == "auto":
            times = parse_times(column, "auto", self.form)  # in another format than `time`
        self._sieve_times(times, column, "arrival")
        self.sieve.reject(times.ms > limit, "arrival in the future", name, column)
        return np.where(times.missing, time, times.ms)

    def _sieve_times(self, times: Times, column: pl.Series, what: str) -> None:
        if times.excel:
            raise DataError(spreadsheet_days(self.raw.file, column, "events"))
        self.sieve.note(times.notes, column.name)
        self.sieve.reject(times.bad, f"{what} is not a time", column.name, column)
        units = {"iso": "text", "s": "seconds", "ms": "milliseconds", "us": "microseconds"}
        usual = units.get(times.unit, times.unit)
        text = f"{what} in another unit than most rows ({usual})"
        self.sieve.reject(times.other_unit, text, column.name, column)

    def _values(self) -> Float32:
        """(n,) float32; NaN for rows without a value."""
        name = self.config.value
        if name is None:
            return np.full(self.raw.frame.height, np.nan, dtype=np.float32)
        column = self.raw.frame[name]
        read = read_numbers(column, self.form)
        if read.bad.any():
            infinite = (
                column.cast(pl.Float64, strict=False).is_infinite().fill_null(False).to_numpy()
            )
            self.sieve.reject(read.bad & infinite, "value is infinite", name, column)
            self.sieve.reject(read.bad, "value is not a number", name, column)
        self.sieve.note([*read.notes, *missing_note(read.markers)], name)
        return read.values.fill_null(np.nan).to_numpy().astype(np.float32)

    def _behaviours(self, value: Float32, outcomes: Sequence[OutcomeRows]) -> NDArray[np.uint8]:
        """(n,) code of the first behaviour without a column of its own whose label and bounds fit.

        Rows without one are rejected, unless they have an outcome.
        """
        code = np.full(len(value), _NO_BEHAVIOUR, dtype=np.uint8)
        name = self.config.behaviour
        labels = self._labels(name) if name else None
        named = np.zeros(len(value), dtype=np.bool_)
        for number in reversed(range(len(self.behaviours))):
            behaviour = self.behaviours[number]
            if behaviour.column is not None:
                continue
            fits = within(value, behaviour)
            if labels is not None:
                label = one_id(behaviour.label or behaviour.name)
                same = (labels == label).fill_null(False).to_numpy()
                named |= same
                fits = fits & same
            code[fits] = number
        none = code == _NO_BEHAVIOUR
        for outcome in outcomes:
            none &= ~outcome.holds
        self._sieve_behaviours(none, value, labels, named)
        return code

    def _labels(self, name: str) -> pl.Series:
        """(n,) labels as texts, as ids are; a declared label is one even if it looks missing."""
        column = self.raw.frame[name]
        declared = {b.label or b.name for b in self.behaviours}
        missing = tuple(text for text in self.form.missing if text not in declared)
        labels = id_text(column, self.raw.file, missing)
        if column.dtype == pl.Boolean and any(label.istitle() for label in declared):
            return labels.str.to_titlecase()  # True and False, as Python writes them
        return labels

    def _sieve_behaviours(
        self, none: Bool, value: Float32, labels: pl.Series | None, named: Bool
    ) -> None:
        own = [b.column for b in self.behaviours if b.column is not None]
        if len(own) == len(self.behaviours):
            text = "no outcome: the columns of all behaviours are false or empty"
            self.sieve.reject(none, text, ", ".join(own))
            return
        if labels is not None:
            empty = none & labels.is_null().to_numpy()
            self.sieve.reject(empty, "no behaviour is named", labels.name)
            text = "behaviour is not declared in tamis.toml"
            self.sieve.reject(none & ~named, text, labels.name, labels)
        if self.config.value is None:
            return
        column = self.raw.frame[self.config.value]
        text = "no value, but the behaviour depends on the value"
        self.sieve.reject(none & np.isnan(value), text, column.name)
        text = "value is outside the bounds of every declared behaviour"
        self.sieve.reject(none, text, column.name, column)

    def _rows(
        self, table: Table, ids: pl.Series, what: str, declared: TableConfig | None
    ) -> tuple[Table, Int32]:
        """(n,) row numbers, in the table extended by the ids that it lacks and that are kept."""
        rows = table.rows(ids) if len(table) else np.full(len(ids), UNKNOWN, np.int32)
        unknown = (rows == UNKNOWN) & self.sieve.alive
        if not unknown.any():
            return table, rows
        if declared is not None:
            self._check_overlap(table, ids, unknown, what, declared)
            if declared.unknown == "drop":
                text = f"unknown {what}: its id is not in the table of {what}s"
                self.sieve.reject(unknown, text, ids.name, ids)
                return table, rows
        lost = ids.filter(pl.Series(unknown)).unique(maintain_order=True)
        if declared is not None:
            self.sieve.note([_kept(lost, int(unknown.sum()), what, declared)], ids.name)
        table = with_ids(table, lost)
        return table, table.rows(ids)

    def _check_overlap(
        self, table: Table, ids: pl.Series, unknown: Bool, what: str, declared: TableConfig
    ) -> None:
        """Raises DataError if the table holds no id of the usable events."""
        if bool((unknown == self.sieve.alive).all()):
            raise DataError(
                f"{self.raw.file}: none of the {what} ids in `{ids.name}` is in `{declared.id}` of "
                f'{declared.path} (here "{ids.filter(pl.Series(unknown))[0]}", there '
                f'"{table.ids[0]}"). Check `events.{what}` and `{what}s.id`, and that both tables '
                "write the ids alike."
            )

    def _requests(self) -> Int64:
        """(n,) request numbers; hashes if they are not all numbers; -1 for rows without one."""
        name = self.config.request
        if name is None:
            return np.full(self.raw.frame.height, -1, dtype=np.int64)
        column = id_text(self.raw.frame[name], self.raw.file, self.form.missing)
        number = column.cast(pl.Int64, strict=False)
        if number.null_count() > column.null_count():
            hashed = (column.cast(pl.String).hash().to_numpy() >> np.uint64(1)).astype(np.int64)
            return np.where(column.is_null().to_numpy(), -1, hashed)
        return number.fill_null(-1).to_numpy()

    def _positions(self) -> NDArray[np.int16]:
        name = self.config.position
        if name is None:
            return np.zeros(self.raw.frame.height, dtype=np.int16)
        column = self.raw.frame[name]
        read = read_numbers(column, self.form)
        number = read.values.fill_null(np.nan).to_numpy()
        fits = (number >= 1) & (number <= 32_767) & (number == np.floor(number))
        bad = read.bad | (~fits & ~np.isnan(number))
        self.sieve.blank(bad, "position is not a whole number of at least 1", name, column)
        return np.where(fits, number, 0).astype(np.int16)

    def _sorted(self, events: Events, row: Index) -> Events:
        """The accepted events without duplicates, sorted by time; `row` (E,) are their rows."""
        alive = np.flatnonzero(self.sieve.alive[row])
        kept = events if len(alive) == len(events) else events.take(alive)
        repeated = np.zeros(len(events), dtype=np.bool_)
        repeated[alive] = repeated_events(kept, by_request=self.config.request is not None)
        alive = alive[~repeated[alive]]
        # A row may be an event that another row was before, and a further one that is new.
        bad, new = (np.zeros(len(self.sieve.alive), dtype=np.bool_) for _ in range(2))
        bad[row[repeated]] = True
        new[row[alive]] = True
        self.sieve.reject(bad & ~new, "duplicate of an earlier row")
        self.sieve.blank(bad & new, "an earlier row has one of its events already")
        if len(alive) == 0:
            rows = [r for r in self.rejects.summary() if r[0] == self.raw.file][:4]
            reasons = [f"{reason}: {count:,} ({sample})" for _, reason, count, sample in rows]
            raise DataError(
                f"{self.raw.file}: none of {self.raw.frame.height:,} events is usable. "
                + "; ".join(reasons)
                + _cure(reasons)
            )
        time = events.time[alive]
        if np.any(time[1:] < time[:-1]):
            alive = alive[np.argsort(time, kind="stable")]
        elif len(alive) == len(events):
            return events
        return events.take(alive)


def _cure(reasons: Sequence[str]) -> str:
    """What to do where the most frequent reason is that the events lie in the future."""
    if not reasons or not reasons[0].startswith("time in the future"):
        return "."
    return (
        ". Check the unit of the times (`events.time_unit`), that they are times at all, and the "
        "clock of this machine."
    )


def _kept(lost: pl.Series, events: int, what: str, declared: TableConfig) -> Note:
    """The note on ids that were added to a table."""
    return Note(
        f"{len(lost):,} {what}s of {events:,} events are not in {declared.path} (such as "
        f'"{lost[0]}"): they are kept, with missing attributes',
        f'Complete the table, or set `unknown = "drop"` in [{what}s] to leave their events out.',
    )
