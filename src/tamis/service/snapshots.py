"""Snapshots of the views of a version: a service that starts again reads one and the tail.

journal/snapshots/VERSION/POSITION/    what `Views.snapshot` writes
    snapshot.json                      address of the journal, checksums of the files
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tamis.bundle import files_of
from tamis.journal import Journal, JournalAwayError
from tamis.schema import StoreError, VersionError, reading
from tamis.service.views import Views

log = logging.getLogger("tamis.service")

META = "snapshot.json"
ABANDONED = 3_600.0
"""Seconds after which a draft is one of a process that was killed."""
LEAST = 1_000
"""Entries since the last snapshot below which another one saves no time worth the writing."""


class Snapshots:
    """The snapshots of one version's views, of which the newest is kept.

    Args:
        project: the project's folder.
        version: name of the version.
        store: address of the journal.
    """

    def __init__(self, project: Path, version: str, store: str) -> None:
        self._versions = project / "versions"
        self._folder = project / "journal" / "snapshots" / version
        self._store = store

    def restore(self, views: Views, journal: Journal) -> bool:
        """Brings views that were just made to the newest snapshot; whether there was one.

        Snapshots of more entries than the journal holds are not used. Where it does not answer, the
        newest one is.

        Raises VersionError where it is damaged, or of entries that the journal does not hold; it is
        deleted then, and the views must not be used.
        """
        try:
            head = journal.head
        except JournalAwayError:
            head = sys.maxsize
        for path in reversed(self._paths()):
            if _position(path) > head or _position(path) <= views.position:
                continue
            try:
                if self._checked(path):
                    views.restore(path)
                    self._compare(views, journal)
                    return True
            except VersionError:
                shutil.rmtree(path, ignore_errors=True)
                raise
        return False

    def remove_before(self, number: int) -> None:
        """Removes the snapshots of all versions that do not hold entry `number`, which deletes a
        user: they hold the user's events."""
        for path in self._folder.parent.glob("*/[0-9]*"):
            if _position(path) < number:
                shutil.rmtree(path, ignore_errors=True)

    def write(self, views: Views, every: float) -> bool:
        """Writes a snapshot, unless one that is younger than `every` seconds, or nearly as new, is
        there, of this or of another process; whether it was written.

        Raises OSError where the disk is full.
        """
        paths = self._paths()
        if paths:
            age = time.time() - (paths[-1] / META).stat().st_mtime
            if age < every or views.position < _position(paths[-1]) + LEAST:
                return False
        position = views.position
        path, draft = self._folder / f"{position:020d}", self._folder / f".{position}-{os.getpid()}"
        try:
            draft.mkdir(parents=True)
            views.snapshot(draft)
            meta = {"store": self._store, "files": files_of(draft)}
            (draft / META).write_text(json.dumps(meta), "utf-8")
            if path.exists():
                return False
            os.replace(draft, path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        for old in (*paths, *self._abandoned()):
            shutil.rmtree(old, ignore_errors=True)
        return True

    def _abandoned(self) -> Iterator[Path]:
        """Snapshots of versions that were removed, and drafts of processes that were killed."""
        for folder in self._folder.parent.glob("*/"):
            if not (self._versions / folder.name).is_dir():
                yield folder
        for draft in self._folder.parent.glob("*/.[0-9]*"):
            with suppress(FileNotFoundError):  # another process has just completed it
                if draft.stat().st_mtime < time.time() - ABANDONED:
                    yield draft

    def _compare(self, views: Views, journal: Journal) -> None:
        try:
            views.last.check(journal, views.position)
        except JournalAwayError:  # compared once it is there
            return
        except StoreError as error:
            raise VersionError(f"the snapshot at entry {views.position}: {error}") from error

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*"))

    def _checked(self, path: Path) -> bool:
        """Whether a snapshot is of this journal. Raises VersionError where it is damaged."""
        with reading(path):
            meta: dict[str, Any] = json.loads((path / META).read_text("utf-8"))
            found = {name: list(value) for name, value in files_of(path).items() if name != META}
            if meta["files"] != found:
                raise ValueError("the files differ from what was written")
            return meta["store"] == self._store


def _position(path: Path) -> int:
    return int(path.name)


def repeat(work: Callable[[], bool], every: float, ended: threading.Event) -> None:
    """Calls `work` every `every` seconds in a thread, until it returns False or `ended` is set.

    A failure is logged, and the next call is made all the same.
    """

    def run() -> None:
        going = True
        while going and not ended.wait(every):
            try:
                going = work()
            except Exception:
                log.exception("no snapshot could be written")

    threading.Thread(target=run, name="snapshots", daemon=True).start()
