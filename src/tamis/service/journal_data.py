"""The entries of a project's journal as part of its data set: events, users and items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tamis.data import (
    CITY,
    MISSING,
    UNKNOWN,
    Dataset,
    EventContext,
    Events,
    Rejects,
    Table,
    Texts,
    id_text,
    repeated_events,
    with_ids,
)
from tamis.journal import (
    DELETED_USER,
    EVENT_SCHEMA,
    JOURNAL,
    Cell,
    Entry,
    Event,
    ItemDelete,
    ItemHide,
    ItemPatch,
    ItemPut,
    ItemShow,
    Journal,
    Numbered,
    UserDelete,
    UserPatch,
    UserPut,
    context_values,
    events_frame,
    hash_of,
    stretches,
)
from tamis.runtime import Int64
from tamis.schema import EventsConfig, ProjectConfig, StoreError, TableConfig

PAGE = 10_000
"""Entries that are read from a journal at once."""
SOURCE = "journal"
"""Name of the journal in reports of rejected rows, and of its rows: their sequence numbers."""


@dataclass(frozen=True, eq=False)
class JournalData:
    """What the exported stretches and the journal of a project hold, up to one position."""

    events: pl.DataFrame
    """Columns of `EVENT_SCHEMA`, in the order of the journal."""
    changes: tuple[Numbered, ...]
    """The other entries, in order."""
    position: int
    """Number of the last entry."""

    @classmethod
    def read(cls, project: Path, journal: Journal | None, upto: int | None = None) -> JournalData:
        """Everything up to number `upto` (None: the head).

        Raises StoreError where the journal or a stretch cannot be read, or entries are missing.
        """
        events, changes, last = [pl.DataFrame(schema=EVENT_SCHEMA)], list[Numbered](), 0
        for stretch in stretches(project):
            if stretch.first != last + 1:
                raise _gap(last, stretch.first - 1)
            events.append(stretch.events())
            changes += stretch.changes()
            last = stretch.last
        head = last if journal is None else journal.head
        if journal is not None and journal.start > last:
            raise _gap(last, journal.start)
        if upto is not None:
            head = min(head, upto)
        for page in _pages(journal, last, head):
            events.append(events_frame(page))
            changes += [one for one in page if one.sequence > last and not _is_event(one)]
        frame = pl.concat(events).filter(pl.col("sequence") <= head)
        kept = tuple(one for one in changes if one.sequence <= head)
        return cls(frame, kept, head)

    def withdrawn(self) -> list[Entry]:
        """Entries that make the items hidden and deleted which are so at the end."""
        hidden, deleted = dict[str, None](), dict[str, None]()
        for _, entry in self.changes:
            if isinstance(entry, ItemHide):
                hidden[entry.item_id] = None
            elif isinstance(entry, ItemShow):
                hidden.pop(entry.item_id, None)
            elif isinstance(entry, ItemDelete):
                deleted[entry.item_id] = None
            elif isinstance(entry, ItemPut | ItemPatch):
                deleted.pop(entry.item_id, None)
        return [
            *(ItemHide(item_id=item) for item in hidden),
            *(ItemDelete(item_id=item) for item in deleted),
        ]


def has_journal(project: Path, config: ProjectConfig) -> bool:
    """Whether the project has a journal, or exported entries of one."""
    return bool(config.journal.store or (project / JOURNAL).exists() or stretches(project))


def with_journal(
    data: Dataset,
    found: JournalData,
    config: ProjectConfig,
    rejects: Rejects,
) -> Dataset:
    """The data set with the journal's events and changes of users and items.

    Users that were deleted have no row and no event from before. Events that the tables have as
    well, equal in user, item, behaviour and time, are left out and reported, as are those of
    behaviours that are not declared any more.

    The events have the times at which they reached the service, as answers count them, also where
    the log has no column of arrivals.
    """
    deleted = {e.user_id: n for n, e in found.changes if isinstance(e, UserDelete)}
    data = _without_users(data, deleted)
    frame = found.events.filter(pl.col("user_id") != DELETED_USER)
    if deleted:
        since = pl.col("user_id").replace_strict(deleted, default=0, return_dtype=pl.Int64)
        frame = frame.filter(pl.col("sequence") > since)
    codes = {behaviour.name: code for code, behaviour in enumerate(data.behaviours)}
    known = frame["behaviour"].is_in(list(codes))
    _report(rejects, frame.filter(~known), "behaviour is not declared in tamis.toml", "behaviour")
    frame = frame.filter(known)
    users = changed_table(data.users, found.changes, UserPut, UserPatch, config.users, deleted)
    items = changed_table(data.items, found.changes, ItemPut, ItemPatch, config.items, {})
    for name, table, declared in (("user", users, config.users), ("item", items, config.items)):
        if declared is not None and declared.unknown == "drop":
            lost = pl.Series(table.rows(frame[f"{name}_id"]) == UNKNOWN)
            text = f"unknown {name}: its id is not in the table of {name}s"
            _report(rejects, frame.filter(lost), text, f"{name}_id")
            frame = frame.filter(~lost)
    users = with_ids(users, frame["user_id"].unique(maintain_order=True))
    items = with_ids(items, frame["item_id"].unique(maintain_order=True))
    more = _events(frame, users, items, codes, config.events, data.events)
    events = _joined(data.events, more)
    repeated = repeated_events(events, by_request=config.events.request is not None)
    repeated[: len(data.events)] = False
    again = frame.filter(pl.Series(repeated[len(data.events) :]))
    _report(rejects, again, "duplicate of an event that came before", "event_id")
    kept = np.flatnonzero(~repeated)
    kept = kept[np.argsort(events.time[kept], kind="stable")]
    return replace(data, users=users, items=items, events=events.take(kept))


def entry_events(
    entries: Sequence[Numbered], config: ProjectConfig, users: Table, items: Table
) -> Events:
    """The events among entries of a journal, in their order, as training reads them.

    Users and items that the tables do not hold have the row -1. All behaviours must be declared.
    """
    codes = {name: code for code, name in enumerate(config.behaviours)}
    frame = events_frame(entries)
    return _events(frame, users, items, codes, config.events, Events.none(config))


def _pages(journal: Journal | None, after: int, head: int) -> Iterator[list[Numbered]]:
    while journal is not None and after < head:
        page = journal.read(after, PAGE)
        if not page:
            return
        after = page[-1].sequence
        yield page


def _is_event(numbered: Numbered) -> bool:
    return isinstance(numbered.entry, Event)


def _gap(last: int, upto: int) -> StoreError:
    return StoreError(
        f"entries {last + 1} to {upto} have left the journal, and no export holds them: restore "
        "journal/exported from a backup"
    )


def _report(rejects: Rejects, lost: pl.DataFrame, reason: str, column: str) -> None:
    rejects.add(SOURCE, lost["sequence"].to_numpy(), reason, column, lost[column])


def _without_users(data: Dataset, deleted: Mapping[str, int]) -> Dataset:
    """The data without the rows and events of users."""
    rows = data.users.rows(pl.Series(list(deleted), dtype=pl.String))
    if not (rows != UNKNOWN).any():
        return data
    kept = np.ones(len(data.users), np.bool_)
    kept[rows[rows != UNKNOWN]] = False
    number = np.where(kept, np.cumsum(kept) - 1, UNKNOWN).astype(np.int32)
    mask = pl.Series(kept)
    frame = data.users.frame.filter(mask) if data.users.frame.width else data.users.frame
    users = Table("users", data.users.ids.filter(mask), frame)
    events = data.events.take(kept[data.events.user])
    events = replace(events, user=number[events.user])
    follows = data.follows
    if follows is not None:
        follows = follows.take(kept[follows.user])
        follows = replace(follows, user=number[follows.user])
    return replace(data, users=users, events=events, follows=follows)


def changed_table(
    table: Table,
    changes: Sequence[Numbered],
    put: type[UserPut] | type[ItemPut],
    patch: type[UserPatch] | type[ItemPatch],
    declared: TableConfig | None,
    deleted: Mapping[str, int],
) -> Table:
    """The table after the puts and patches, by the rules by which a service applies them."""
    wanted: list[tuple[str, Mapping[str, Cell], bool]] = []
    gone: set[str] = set()
    for number, entry in changes:
        if isinstance(entry, ItemDelete) and put is ItemPut:
            gone.add(entry.item_id)
        if isinstance(entry, put | patch):
            name = entry.user_id if isinstance(entry, UserPut | UserPatch) else entry.item_id
            if number > deleted.get(name, 0):
                keep = isinstance(entry, patch) and name not in gone
                wanted.append((name, entry.columns, keep))
                gone.discard(name)
    if declared is None or declared.path is None:
        table = _with_columns(table, [cells for _, cells, _ in wanted], declared)
    if not wanted:
        return table
    for name, cells, keep in wanted:
        row = table.row(name)
        if row == UNKNOWN:
            row = int(table.add([name])[0])
        table.change(row, cells, keep=keep)
    return Table(table.name, table.ids, table.frame)


def _with_columns(
    table: Table, rows: Sequence[Mapping[str, Cell]], declared: TableConfig | None
) -> Table:
    """A table that has no file, with the columns of the puts, in the types of their values, and
    those that the project declares."""
    values: dict[str, list[Cell]] = {}
    for cells in rows:
        for name, value in cells.items():
            if value is not None and name not in table.frame.columns:
                values.setdefault(name, []).append(value)
    types = {name: pl.Series(found, strict=False).dtype for name, found in values.items()}
    for role, dtype in _ROLES.items():
        column = None if declared is None else getattr(declared, role)
        if column is not None and column not in table.frame.columns:
            types[column] = types.get(column, dtype)
    new = [pl.Series(name, [None] * len(table), dtype) for name, dtype in types.items()]
    return Table(table.name, table.ids, pl.DataFrame([*table.frame, *new]))


_ROLES: dict[str, pl.DataType] = {
    **dict.fromkeys(("title", "category", "author", "city"), pl.String()),
    **dict.fromkeys(("latitude", "longitude"), pl.Float64()),
    "published": pl.Int64(),
}
"""Roles of the columns of a table, and their types where no value was put yet."""


def _events(
    frame: pl.DataFrame,
    users: Table,
    items: Table,
    codes: Mapping[str, int],
    config: EventsConfig,
    former: Events,
) -> Events:
    """The events (n,) of the journal as arrays, in its order."""
    came = (
        np.maximum.accumulate(frame["arrival"].to_numpy()) if len(frame) else np.zeros(0, np.int64)
    )
    time = np.minimum(frame["time"].to_numpy(), came)
    n = len(frame)
    position = frame["position"].fill_null(0).to_numpy().astype(np.int16)
    behaviour = np.zeros(0, np.uint8)
    if n:
        behaviour = frame["behaviour"].replace_strict(codes, return_dtype=pl.UInt8).to_numpy()
    return Events(
        user=users.rows(frame["user_id"]),
        item=items.rows(frame["item_id"]),
        behaviour=behaviour,
        time=time,
        arrival=came,
        value=frame["value"].fill_null(np.nan).to_numpy().astype(np.float32),
        request=_requests(frame) if config.request is not None else np.full(n, -1, np.int64),
        position=position if config.position is not None else np.zeros(n, np.int16),
        context=_context(frame, config),
        weights={name: np.ones(n, np.float32) for name in former.weights},
    )


def _requests(frame: pl.DataFrame) -> Int64:
    """(n,) a number of each answer that showed an item; -1 where none is given."""
    ids = frame["recommendation_id"].unique().drop_nulls().to_list()
    numbers: dict[str, int] = {name: hash_of(name) for name in ids}
    requests = frame["recommendation_id"].replace_strict(
        numbers, default=None, return_dtype=pl.Int64
    )
    return requests.fill_null(-1).to_numpy()


def _context(frame: pl.DataFrame, config: EventsConfig) -> EventContext | None:
    """As `tamis.data` reads the log's columns of context."""
    named = {name: name for name in config.context} | ({CITY: config.city} if config.city else {})
    missing = MISSING if config.missing is None else config.missing
    columns: dict[str, Texts] = {}
    for name in named:
        values: list[Any] = context_values(frame["context"], name)
        texts = pl.Series(name, [None if v is None else str(v) for v in values], pl.String)
        columns[name] = Texts.of(id_text(texts, SOURCE, missing))
    if config.latitude is None or config.longitude is None:
        return EventContext(columns) if columns else None
    nowhere = np.full(len(frame), np.nan, np.float32)
    return EventContext(columns, nowhere, nowhere)


def _joined(first: Events, second: Events) -> Events:
    """The events of both, one after another."""
    if not len(first):
        return second
    columns = {
        name: np.concatenate([column, getattr(second, name)])
        for name, column in vars(first).items()
        if name not in ("context", "weights")
    }
    weights = {
        name: np.concatenate([column, second.weights[name]])
        for name, column in first.weights.items()
    }
    return Events(**columns, context=_joined_context(first, second), weights=weights)


def _joined_context(first: Events, second: Events) -> EventContext | None:
    one, other = first.context, second.context
    if one is None or other is None:
        return None
    columns = {
        name: Texts.join([texts, other.columns[name]]) for name, texts in one.columns.items()
    }
    if one.latitude is None or one.longitude is None:
        return EventContext(columns)
    assert other.latitude is not None
    assert other.longitude is not None
    latitude = np.concatenate([one.latitude, other.latitude])
    return EventContext(columns, latitude, np.concatenate([one.longitude, other.longitude]))
