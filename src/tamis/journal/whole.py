"""A journal with its exported stretches: entries that have left the journal are read from files."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from tamis.journal.entries import Entry, encoded
from tamis.journal.protocol import (
    Answers,
    Appended,
    Durability,
    ExperimentLog,
    Journal,
    Lines,
    Numbered,
)
from tamis.journal.stretches import Stretch, stretches
from tamis.schema import StoreError

HELD = 2
"""Stretches that are kept in memory: a version that takes over reads old ones, while the version
that answers may read others."""


class WholeJournal:
    """Reads what was trimmed from the stretches of a project, and passes everything else on.

    A service can so start from a version that is older than the journal's first entry.

    Args:
        journal: the journal, which this object closes.
        project: the project's folder.
    """

    def __init__(self, journal: Journal, project: Path) -> None:
        self._journal = journal
        self._project = project
        self._held: dict[Path, list[Numbered]] = {}
        """The stretches that are being read, by their folders; at most `HELD`."""
        self._turn = threading.Lock()

    @property
    def durability(self) -> Durability:
        return self._journal.durability

    def append(self, entries: Sequence[Entry]) -> list[Appended]:
        return self._journal.append(entries)

    def read(self, after: int, limit: int) -> list[Numbered]:
        found = self._journal.read(after, limit)
        # Trimmed while it was read: `start` is read last, so that no gap is overlooked.
        start = self._journal.start
        if after >= start:
            return found
        return self._exported(after, limit, start) or self._journal.read(max(after, start), limit)

    def lines(self, after: int, limit: int) -> Lines:
        if after >= self._journal.start:
            return self._journal.lines(after, limit)
        found = self.read(after, limit)
        content = b"\n".join([encoded(one.entry) for one in found])
        return Lines(content, found[-1].sequence if found else after)

    def _exported(self, after: int, limit: int, start: int) -> list[Numbered]:
        """At most `limit` entries of the stretches above `after`, up to number `start`."""
        reached = after
        for stretch in stretches(self._project):
            if stretch.last <= after:
                continue
            if stretch.first > reached + 1:
                break
            entries = self._entries(stretch)
            first = bisect_right(entries, after, key=lambda one: one.sequence)
            page = entries[first : first + max(limit, 0)]
            if first + len(page) == len(entries) or (page and page[-1].sequence >= start):
                self._read_whole(stretch)
            if page:
                return [one for one in page if one.sequence <= start]
            reached = stretch.last
        if reached < start:
            self._missing(reached, start)
        return []

    def _entries(self, stretch: Stretch) -> list[Numbered]:
        with self._turn:  # threads that read one stretch decode it once
            entries = self._held.get(stretch.path)
            if entries is None:
                while len(self._held) >= HELD:
                    del self._held[next(iter(self._held))]
                entries = self._held[stretch.path] = stretch.entries()
            return entries

    def _read_whole(self, stretch: Stretch) -> None:
        """Frees the entries of a stretch whose last page was read."""
        with self._turn:
            self._held.pop(stretch.path, None)

    def _missing(self, after: int, upto: int) -> None:
        raise StoreError(
            f"entries {after + 1} to {upto} have left the journal, and {self._project} holds no "
            "export of them: restore journal/exported from a backup, or train a new version"
        )

    def find(self, key: str) -> Numbered | None:
        return self._journal.find(key)

    @property
    def head(self) -> int:
        return self._journal.head

    @property
    def start(self) -> int:
        return self._journal.start

    def trim(self, upto: int) -> int:
        return self._journal.trim(upto)

    def forget_keys(self, before: int) -> int:
        return self._journal.forget_keys(before)

    @property
    def answers(self) -> Answers:
        return self._journal.answers

    @property
    def experiments(self) -> ExperimentLog:
        return self._journal.experiments

    def close(self) -> None:
        self._journal.close()
