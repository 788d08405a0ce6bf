"""`tamis export`: the journal's entries become Parquet files, and old ones leave the journal."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tamis.journal import (
    EXPORTED,
    JOURNAL,
    Journal,
    Numbered,
    Stretch,
    UserDelete,
    export_turn,
    open_journal,
    stretches,
    write_stretch,
    write_synced,
)
from tamis.runtime import Progress
from tamis.schema import EventsConfig, JournalConfig, StoreError
from tamis.service import Clock, ProjectFolder, system_clock

log = logging.getLogger("tamis.jobs")

DELETIONS = EXPORTED / "deletions.json"
"""Number of the entry up to which deleted users are gone from the files."""
DAY_MS = 86_400_000
PAGE = 10_000
"""Entries that are read at once."""
STRETCH = 200_000
"""Most entries of one stretch, which is made in memory."""


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote, and what left the journal."""

    position: int
    """Number of the last entry that is in a file now."""
    exported: int
    """Entries that were written by this export."""
    folders: tuple[str, ...]
    """Folders of the stretches that were written."""
    trimmed: int
    """Entries that left the journal; they are in the files."""
    forgotten_keys: int
    """Ids of events that count as new if they are sent again."""
    deleted_answers: int
    """Answers that were deleted for their age, or with their user."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def export(
    project: Path | str,
    *,
    trim: bool = False,
    progress: bool = False,
    clock: Clock = system_clock,
) -> ExportReport:
    """Writes the entries of the project's journal that are in no file yet, and applies retention.

    A killed export leaves the entries in the journal, and the next one writes them; none is lost
    or doubled. Users that were deleted are taken out of the files as well: their columns, and the
    user, context and answer of their events. What has left the journal is read from the files, by
    `tamis train` and by services.

    Args:
        trim: everything that is in a file leaves the journal now, not after `[journal] keep_days`.
        clock: the time to which ages are measured, ms since 1970 UTC.

    Raises ConfigError if the folder is no project, StoreError if it has no journal, another process
    exports it, or files cannot be written.
    """
    opened = ProjectFolder(Path(project))
    root, config = opened.root, opened.config
    if not config.journal.store and not (root / JOURNAL).exists():
        raise StoreError(
            f"{root} has no journal yet: `tamis serve` and `tamis events` make one. If it is on a "
            'Redis server, declare store = "redis://…" in [journal] of tamis.toml'
        )
    journal = open_journal(root, config.name, config.journal.store)
    try:
        with export_turn(root), Progress("export", progress) as shown:
            shown.begin("write what is new")
            before = stretches(root)
            last = before[-1].last if before else 0
            written = list(_written(journal, root, last, config.events))
            deleted = _delete_users(journal, root)
            shown.begin("apply retention")
            return _retained(journal, root, config.journal, written, deleted, trim, clock())
    finally:
        journal.close()


def _written(journal: Journal, root: Path, last: int, config: EventsConfig) -> Iterator[Stretch]:
    """Writes the entries above number `last`, up to the head of now."""
    head = journal.head
    if journal.start > last:
        raise StoreError(
            f"entries {last + 1} to {journal.start} have left the journal without an export: "
            "restore journal/exported from a backup"
        )
    while last < head:
        upto = min(last + STRETCH, head)
        yield write_stretch(root, _between(journal, last, upto), last + 1, upto, config)
        last = upto


def _between(journal: Journal, after: int, upto: int) -> list[Numbered]:
    entries: list[Numbered] = []
    while after < upto and (page := journal.read(after, PAGE)):
        entries += [one for one in page if one.sequence <= upto]
        after = page[-1].sequence
    return entries


def _delete_users(journal: Journal, root: Path) -> int:
    """Deletes what the files and the journal hold of users who were deleted since the last export:
    events and columns from before, answers. Returns the number of answers.

    An export that was killed before it came to the end of this leaves it to the next one.
    """
    every, done = stretches(root), _deleted_until(root)
    users = {
        entry.user_id: number
        for stretch in every
        if stretch.last > done
        for number, entry in stretch.changes(done)
        if isinstance(entry, UserDelete)
    }
    for stretch in every if users else ():
        stretch.without_users(users)
    answers = sum(journal.answers.forget_user(user, number) for user, number in users.items())
    if every and every[-1].last > done:
        write_synced(root / DELETIONS, json.dumps({"until": every[-1].last}))
    return answers


def _deleted_until(root: Path) -> int:
    """Number of the entry up to which users were deleted from the files; 0 where it is unknown."""
    try:
        return int(json.loads((root / DELETIONS).read_text("utf-8"))["until"])
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read (%s): all deletions are looked at again", DELETIONS, error)
        return 0


def _retained(
    journal: Journal,
    root: Path,
    config: JournalConfig,
    written: list[Stretch],
    deleted: int,
    trim: bool,
    now: int,
) -> ExportReport:
    every = stretches(root)
    keep = 0 if trim else config.keep_days * DAY_MS
    old = [s.last for s in every if trim or s.written + keep <= now]
    return ExportReport(
        position=every[-1].last if every else 0,
        exported=sum(stretch.last - stretch.first + 1 for stretch in written),
        folders=tuple(str(stretch.path.relative_to(root)) for stretch in written),
        trimmed=journal.trim(old[-1]) if old else 0,
        forgotten_keys=journal.forget_keys(now - int(config.keys_days * DAY_MS)),
        deleted_answers=deleted + journal.answers.trim(now - int(config.answers_days * DAY_MS)),
    )
