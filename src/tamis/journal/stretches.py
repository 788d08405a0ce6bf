"""Closed stretches of a journal as Parquet files beside the project's tables.

    journal/exported/00000000000000000001-00000000000000004200/
        stretch.json      format, first and last number, time of writing, role → column of events
        events.parquet    one row per event, in the columns of the project's event log
        changes.parquet   the other entries: sequence, body (the entry as JSON)

A stretch is written under a name that starts with a dot, and renamed when it is complete: a killed
export leaves no stretch, and the next one writes it again. Both files hold their entries whole:
`entries` gives them back as the journal held them, but for users who were deleted since:
see `Stretch.without_users`.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from tamis.journal.entries import DELETED_USER, Event, UserPatch, UserPut, decoded, encoded
from tamis.journal.protocol import Numbered
from tamis.schema import EventsConfig, StoreError

EXPORTED = Path("journal") / "exported"
"""The folder of the stretches, in the project's folder."""
FORMAT = 1
EVENT_SCHEMA = pl.Schema(
    {
        "sequence": pl.Int64(),
        "event_id": pl.String(),
        "user_id": pl.String(),
        "item_id": pl.String(),
        "behaviour": pl.String(),
        "time": pl.Int64(),
        "arrival": pl.Int64(),
        "value": pl.Float64(),
        "recommendation_id": pl.String(),
        "position": pl.Int64(),
        "context": pl.String(),
    }
)
"""Columns of events by their roles; times in ms since 1970 UTC, `context` as JSON."""
CHANGE_SCHEMA = pl.Schema({"sequence": pl.Int64(), "body": pl.String()})
_KEPT_OF_DELETED = ("sequence", "item_id", "behaviour", "time", "arrival", "value")
"""Roles of what an event keeps when its user is deleted."""
_FIELDS = tuple(name for name in EVENT_SCHEMA if name not in ("sequence", "context"))


@dataclass(frozen=True)
class Stretch:
    """The entries `first` to `last` of a journal, in a folder."""

    path: Path
    first: int
    last: int

    @cached_property
    def _meta(self) -> Mapping[str, Any]:
        with _reading(self.path):
            meta = json.loads((self.path / "stretch.json").read_text("utf-8"))
        if meta["format"] > FORMAT:
            raise StoreError(
                f"{self.path}: written in format {meta['format']}, this release of Tamis reads up "
                f"to {FORMAT}: upgrade tamis"
            )
        return meta

    @property
    def written(self) -> int:
        """When it was written, ms since 1970 UTC."""
        return int(self._meta["written"])

    def events(self, after: int = 0) -> pl.DataFrame:
        """The events with numbers above `after`, as `EVENT_SCHEMA`, in order."""
        roles: Mapping[str, str] = self._meta["columns"]
        with _reading(self.path):
            frame = pl.read_parquet(self.path / "events.parquet")
            frame = frame.select(pl.col(column).alias(role) for role, column in roles.items())
            times = pl.col("time", "arrival").dt.epoch("ms")
            return frame.with_columns(times).filter(pl.col("sequence") > after)

    def changes(self, after: int = 0) -> list[Numbered]:
        """The entries that are no events with numbers above `after`, in order."""
        place = f"{self.path}/changes.parquet, entry"
        return [
            Numbered(sequence, decoded(body, f"{place} {sequence}"))
            for sequence, body in self.change_table(after).iter_rows()
        ]

    def change_table(self, after: int = 0) -> pl.DataFrame:
        """The same as `CHANGE_SCHEMA`."""
        with _reading(self.path):
            frame = pl.read_parquet(self.path / "changes.parquet")
            return frame.filter(pl.col("sequence") > after)

    def entries(self, after: int = 0) -> list[Numbered]:
        """All entries with numbers above `after`, in order, as the journal held them."""
        events = [
            Numbered(row.pop("sequence"), _event(row))
            for row in self.events(after).iter_rows(named=True)
        ]
        return sorted([*events, *self.changes(after)], key=lambda numbered: numbered.sequence)

    def without_users(self, users: Mapping[str, int]) -> int:
        """Takes users {id: number of the entry that deleted the user} out of the entries from
        before that entry; returns how many entries were changed. Each file is replaced at once.

        Their events stay as those of `DELETED_USER`, without id, context and answer: items keep
        their row numbers and their counters. Puts and patches of these users lose their columns.
        """
        return self._without_events(users) + self._without_columns(users)

    def _without_events(self, users: Mapping[str, int]) -> int:
        roles: Mapping[str, str] = self._meta["columns"]
        file = self.path / "events.parquet"
        with _reading(self.path):
            frame = pl.read_parquet(file)
            user, sequence = pl.col(roles["user_id"]), pl.col(roles["sequence"])
            deleted = user.replace_strict(users, default=0, return_dtype=pl.Int64)
            lost = frame.select(sequence <= deleted).to_series()
            kept = {roles[role] for role in _KEPT_OF_DELETED}
            fixed = {roles["user_id"]: DELETED_USER, roles["event_id"]: ""}
            blank = [
                pl.when(~lost).then(name).otherwise(pl.lit(fixed.get(name))).alias(name)
                for name in frame.columns
                if name not in kept
            ]
            changed = frame.with_columns(blank).cast(frame.schema)
        if lost.any():
            _replace(file, changed)
        return int(lost.sum())

    def _without_columns(self, users: Mapping[str, int]) -> int:
        changes, lost = self.changes(), 0
        for k, (number, entry) in enumerate(changes):
            if not isinstance(entry, UserPut | UserPatch) or not entry.columns:
                continue
            if number <= users.get(entry.user_id, 0):
                changes[k] = Numbered(number, msgspec.structs.replace(entry, columns={}))
                lost += 1
        if lost:
            _replace(self.path / "changes.parquet", _change_table(changes))
        return lost


def stretches(project: Path) -> list[Stretch]:
    """The complete stretches of a project, in order. Raises StoreError where two overlap."""
    found: list[Stretch] = []
    for path in sorted((project / EXPORTED).glob("[0-9]*-[0-9]*")):
        first, _, last = path.name.partition("-")
        stretch = Stretch(path, int(first), int(last))
        if found and stretch.first <= found[-1].last:
            raise StoreError(
                f"{path} holds entries that {found[-1].path} holds, too: move one of them away"
            )
        found.append(stretch)
    return found


def write_stretch(
    project: Path, entries: Sequence[Numbered], first: int, last: int, config: EventsConfig
) -> Stretch:
    """Writes the stretch of the numbers `first` to `last`, and waits until it is on the disk.

    Args:
        entries: all entries of these numbers, in order.
        config: the declaration of the event log, whose columns the events get.

    Raises StoreError where it cannot be written.
    """
    folder = project / EXPORTED
    path = folder / f"{first:020d}-{last:020d}"
    draft = folder / f".{path.name}"
    columns = _columns(config)
    meta = {
        "format": FORMAT,
        "first": first,
        "last": last,
        "written": time.time_ns() // 1_000_000,
        "columns": columns,
    }
    try:
        for left in folder.glob(".[0-9]*"):  # of an export that was killed
            shutil.rmtree(left)
        draft.mkdir(parents=True)
        (draft / "stretch.json").write_text(json.dumps(meta, indent=1), "utf-8")
        _event_table(entries, columns, config).write_parquet(draft / "events.parquet")
        _change_table(entries).write_parquet(draft / "changes.parquet")
        for file in [*draft.iterdir(), draft]:
            _sync(file)
        os.replace(draft, path)
        _sync(folder)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error}; free space or repair the folder, then export again: "
            "the entries are still in the journal"
        ) from error
    return Stretch(path, first, last)


@contextmanager
def export_turn(project: Path) -> Generator[None]:
    """Holds the turn to write stretches, which one process at a time has; it ends with the process.

    Raises StoreError where another process has it.
    """
    import apsw  # its lock of a file works on every system, and a killed process frees it

    path = project / EXPORTED / "turn.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    connection: Any = apsw.Connection(str(path))
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    except apsw.BusyError as error:
        raise StoreError(
            f"another process exports the journal of {project} now: wait until it has ended"
        ) from error
    finally:
        connection.close()


def events_frame(entries: Sequence[Numbered]) -> pl.DataFrame:
    """The events among entries, as `EVENT_SCHEMA`, in order."""
    rows = [(n, e) for n, e in entries if isinstance(e, Event)]
    columns: dict[str, list[Any]] = {"sequence": [n for n, _ in rows]}
    columns |= {field: [getattr(event, field) for _, event in rows] for field in _FIELDS}
    columns["context"] = [
        msgspec.json.encode(event.context).decode() if event.context else None for _, event in rows
    ]
    return pl.DataFrame(columns, EVENT_SCHEMA)


def context_values(context: pl.Series, name: str) -> list[Any]:
    """(n,) one value of each JSON object of `context`; None where it is missing."""
    decode = _memo(msgspec.json.Decoder(dict[str, Any]).decode)
    return [None if text is None else decode(text).get(name) for text in context.to_list()]


def _memo(decode: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    """`decode`, once per text: many events have one context."""
    known: dict[str, dict[str, Any]] = {}

    def memo(text: str) -> dict[str, Any]:
        if text not in known:
            known[text] = decode(text)
        return known[text]

    return memo


def _columns(config: EventsConfig) -> dict[str, str]:
    """{role: column}: as the project declares it, else the role's own name; each one once."""
    declared = {
        "user_id": config.user,
        "item_id": config.item,
        "time": config.time,
        "arrival": config.arrival,
        "behaviour": config.behaviour,
        "value": config.value,
        "recommendation_id": config.request,
        "position": config.position,
    }
    columns = {role: column for role, column in declared.items() if column}
    taken = {*columns.values(), *config.request_columns}
    for role in EVENT_SCHEMA:
        if role not in columns:
            name = role
            while name in taken:
                name += "_"
            columns[role] = name
            taken.add(name)
    return {role: columns[role] for role in EVENT_SCHEMA}


def _event_table(
    entries: Sequence[Numbered], columns: Mapping[str, str], config: EventsConfig
) -> pl.DataFrame:
    """The events in the columns of the project, and each column of context by itself."""
    frame = events_frame(entries)
    own = [
        pl.Series(name, _texts(context_values(frame["context"], name)), pl.String)
        for name in config.request_columns
        if name not in columns.values()
    ]
    times = pl.from_epoch(pl.col("time", "arrival"), "ms")
    return frame.with_columns(times).rename(dict(columns)).with_columns(own)


def _change_table(entries: Sequence[Numbered]) -> pl.DataFrame:
    rows = [(n, encoded(e).decode()) for n, e in entries if not isinstance(e, Event)]
    return pl.DataFrame(rows, CHANGE_SCHEMA, orient="row")


def _texts(values: Sequence[Any]) -> list[str | None]:
    return [None if value is None else str(value) for value in values]


def _event(row: dict[str, Any]) -> Event:
    text = row.pop("context")
    return Event(**row, context=msgspec.json.decode(text) if text else {})


def _replace(file: Path, frame: pl.DataFrame) -> None:
    draft = file.with_name(f".{file.name}")
    frame.write_parquet(draft)
    _sync(draft)
    os.replace(draft, file)


def write_synced(file: Path, text: str) -> None:
    """Replaces a small file at once; it is on the disk when this returns."""
    draft = file.with_name(f".{file.name}")
    draft.write_text(text, "utf-8")
    _sync(draft)
    os.replace(draft, file)
    _sync(file.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _reading(path: Path) -> Generator[None]:
    """Turns what reading a damaged stretch raises into StoreError."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise StoreError(
            f"{path} is not a readable stretch of a journal ({error}): restore it from a backup"
        ) from error
