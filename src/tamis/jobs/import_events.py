"""`tamis events`: a file of events becomes entries of the project's journal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from tamis.data import Dataset, read_dataset
from tamis.journal import Event, Value, open_journal
from tamis.runtime import Progress
from tamis.schema import ProjectConfig
from tamis.service import ProjectFolder

BATCH = 500
"""Events of one commit."""


@dataclass(frozen=True)
class ImportReport:
    """What became of a file's events."""

    file: str
    accepted: int
    duplicates: int
    """Events of the same file that an earlier import had written."""
    rejected: list[RejectedRows] = field(default_factory=list["RejectedRows"])
    """Rows that could not be used, or only in part, by reason."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class RejectedRows:
    """Rows of one file that were left out, or used without some values, for one reason."""

    file: str
    reason: str
    rows: int
    sample: str
    """The first of them."""


def import_events(
    project: Path | str,
    file: Path | str,
    *,
    store: str = "",
    progress: bool = False,
) -> ImportReport:
    """Appends the events of a table file to the journal of a project.

    The file has the columns of the project's event log, in any format that `tamis train` reads. A
    running service takes the events into account before its next answer. To import the same file
    again, after a failure half-way for instance, adds what is missing and doubles nothing. Events
    on which the serving version was trained must not be imported: it would count them twice.

    Events keep the arrival of the file (their time, where the log has no such column), but none
    arrives before those that are in the journal already; so a training on a file of old events
    knows at each time what had happened before it.

    Args:
        store: address of the journal: "" for a file of the project, or redis://host:port/db.

    Raises ConfigError if the folder is no project, DataError if the file cannot be read, StoreError
    if the journal cannot be written.
    """
    opened, path = ProjectFolder(Path(project)), Path(file).resolve()
    config = opened.config
    with Progress("events", progress) as shown:
        declared = config.events.model_copy(update={"path": str(path)})
        data, rejects = read_dataset(
            config.model_copy(update={"events": declared}), opened.root, shown
        )
        entries = _entries(data, config, _file_id(path))
        shown.begin("append to the journal")
        journal = open_journal(opened.root, config.name, store or config.journal.store)
        accepted = duplicates = 0
        try:
            while batch := list(islice(entries, BATCH)):
                taken = journal.append(batch)
                again = sum(one.duplicate for one in taken)
                accepted, duplicates = accepted + len(taken) - again, duplicates + again
                shown.update(accepted + duplicates, len(data.events), "events")
        finally:
            journal.close()
    return ImportReport(
        file=str(file),
        accepted=accepted,
        duplicates=duplicates,
        rejected=[RejectedRows(*one) for one in rejects.summary()],
    )


def _file_id(path: Path) -> str:
    """The same for the same content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _entries(data: Dataset, config: ProjectConfig, file: str) -> Iterator[Event]:
    """The events of `data`, those with user and item.

    An event's id says what it is, not where it stands: it stays the same where a later import can
    use more rows of the file. Exact repeats have been left out by the reader.
    """
    events = data.events
    users, items = data.users.ids.to_list(), data.items.ids.to_list()
    names = [behaviour.name for behaviour in data.behaviours]
    context = _context(data, config)
    for k in np.flatnonzero((events.user >= 0) & (events.item >= 0)).tolist():
        value = float(events.value[k])
        event = Event(
            event_id="",
            user_id=users[events.user[k]],
            item_id=items[events.item[k]],
            behaviour=names[events.behaviour[k]],
            time=int(events.time[k]),
            arrival=0,
            value=value if np.isfinite(value) else None,
            context={name: texts[k] for name, texts in context.items() if texts[k] is not None},
            position=int(events.position[k]) or None,
        )
        content = hashlib.sha256(f"{file} {event} {int(events.request[k])}".encode())
        yield structs.replace(
            event, event_id=f"file:{content.hexdigest()[:32]}", arrival=int(events.arrival[k])
        )


def _context(data: Dataset, config: ProjectConfig) -> dict[str, Sequence[Value]]:
    """The columns of context that a request can give, as texts."""
    if data.events.context is None:
        return {}
    columns = data.events.context.columns
    return {
        name: columns[name].values.to_list()
        for name in config.events.request_columns
        if name in columns
    }
