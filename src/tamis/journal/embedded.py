"""A journal in SQLite files, which several processes of one machine may read and write.

PROJECT/journal/journal.sqlite     table entries: sequence, body (JSON)
                                   table keys: sequence, hash of the key, time of writing (ms)
                                   table state: format, head, start, forgotten

The answers are in `answers.sqlite` beside it (`EmbeddedAnswers`), the steps of experiments in
`experiments.sqlite` (`EmbeddedExperiments`).

Rows are only ever added at the end of a table: no index of keys is on the disk, where each event
would change another page of it. The keys are in memory (`KnownKeys`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tamis.journal.embedded_answers import EmbeddedAnswers
from tamis.journal.embedded_experiments import EmbeddedExperiments
from tamis.journal.entries import decoded
from tamis.journal.group_commit import Line
from tamis.journal.known_keys import KnownKeys, hash_of
from tamis.journal.numbered_log import NumberedLog
from tamis.journal.protocol import Appended, Durability, Lines, Numbered
from tamis.journal.sqlite_file import Connection, SqliteFile, state_of

FORMAT = 2
DELETED_AT_ONCE = 10_000
"""Rows deleted in one transaction, between which appends get their turn."""

_TABLES = (
    "CREATE TABLE entries (sequence INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE keys (sequence INTEGER PRIMARY KEY, hash INTEGER NOT NULL, "
    "written INTEGER NOT NULL)",
    "CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    f"INSERT INTO state VALUES ('format', {FORMAT}), ('head', 0), ('start', 0), ('forgotten', 0)",
)


_ENTRIES = "SELECT sequence, body FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?"
_NEW_KEYS = "SELECT sequence, hash FROM keys WHERE sequence > ? ORDER BY sequence"


class EmbeddedJournal(NumberedLog):
    """A journal in the file `path`, which is made if it is not there.

    An acknowledged entry survives `kill -9` and a loss of power: each commit ends with an fsync of
    the write-ahead log (`synchronous=FULL`). Calls that arrive during a commit share the next.

    Raises StoreError where the file cannot be opened, is not a journal, or is of another release,
    and where SQLite is older than 3.51.3.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = SqliteFile(path, "journal", _TABLES, FORMAT, "FULL")
        self._answers = EmbeddedAnswers(path.with_name("answers.sqlite"))
        self._experiments = EmbeddedExperiments(path.with_name("experiments.sqlite"))
        self._keys, self._indexing = KnownKeys(), threading.Lock()
        super().__init__(name=f"journal {path.name}")

    @property
    def durability(self) -> Durability:
        return Durability(
            process_killed=True,
            power_lost=True,
            text="every acknowledged entry is on the disk (fsync); it survives kill -9 and a loss "
            "of power, as far as the disk keeps what it has confirmed",
        )

    @property
    def answers(self) -> EmbeddedAnswers:
        return self._answers

    @property
    def experiments(self) -> EmbeddedExperiments:
        return self._experiments

    def read(self, after: int, limit: int) -> list[Numbered]:
        return [self._numbered(*row) for row in self._rows(after, limit)]

    def lines(self, after: int, limit: int) -> Lines:
        return self._file.lines(_ENTRIES, after, limit)

    def _rows(self, after: int, limit: int) -> list[tuple[int, str]]:
        rows: list[Any] = self._file.rows(_ENTRIES, (after, max(limit, 0)))
        return rows

    def find(self, key: str) -> Numbered | None:
        with self._indexing:
            rows = self._file.rows(_NEW_KEYS, (self._keys.seen,))
            self._keys.add(rows, seen=max((n for n, _ in rows), default=0))
            self._keys.forget(self._state("forgotten"))
            found = self._keys.find([hash_of(key)])
        query = "SELECT sequence, body FROM entries WHERE sequence = ?"
        entries = self._file.rows(query, (next(iter(found.values()), 0),))
        return self._numbered(*entries[0]) if entries else None

    def forget_keys(self, before: int) -> int:
        query = "SELECT min(sequence) FROM keys WHERE written >= ?"
        ((kept,),) = self._file.rows(query, (before,))
        upto = self.start if kept is None else min(kept - 1, self.start)
        forgotten, count = 0, DELETED_AT_ONCE
        while count == DELETED_AT_ONCE:
            with self._file.transaction() as writer:
                writer.execute(
                    "DELETE FROM keys WHERE sequence IN "
                    "(SELECT sequence FROM keys WHERE sequence <= ? ORDER BY sequence LIMIT ?)",
                    (upto, DELETED_AT_ONCE),
                )
                count = writer.changes()
                _set_state(writer, "forgotten", upto)
            forgotten += count
        return forgotten

    def _delete(self, start: int, upto: int) -> int:
        deleted = 0
        for last in range(start + DELETED_AT_ONCE, upto + DELETED_AT_ONCE, DELETED_AT_ONCE):
            with self._file.transaction() as writer:
                writer.execute("DELETE FROM entries WHERE sequence <= ?", (min(last, upto),))
                deleted += writer.changes()
                _set_state(writer, "start", min(last, upto))
        self._file.shrink()
        return deleted

    def _write(self, lines: Sequence[Line]) -> list[Appended]:
        """One transaction. Lines whose key is known, or came before in `lines`, are left out."""
        hashes = [None if line.key is None else hash_of(line.key) for line in lines]
        written = time.time_ns() // 1_000_000
        with self._file.transaction() as writer:
            head = state_of(writer, "head")
            known = self._known(writer, [h for h in hashes if h is not None], head)
            results: list[Appended] = []
            rows: list[tuple[int, str]] = []
            keys: list[tuple[int, int]] = []
            for line, key in zip(lines, hashes, strict=True):
                first = None if key is None else known.get(key)
                if first is None:
                    head += 1
                    rows.append((head, line.body))
                    if key is not None:
                        known[key] = head
                        keys.append((head, key))
                results.append(Appended(head if first is None else first, first is not None))
            if rows:
                writer.executemany("INSERT INTO entries VALUES (?, ?)", rows)
                writer.executemany(
                    "INSERT INTO keys VALUES (?, ?, ?)", [(n, k, written) for n, k in keys]
                )
                _set_state(writer, "head", head)
        with self._indexing:
            self._keys.add(keys, seen=head)
        return results

    def _known(self, writer: Connection, keys: Sequence[int], head: int) -> dict[int, int]:
        """{hash: number} of those of `keys` that the journal holds, of all processes."""
        with self._indexing:
            others = writer.execute(_NEW_KEYS, (self._keys.seen,)).fetchall()
            self._keys.add(others, seen=head)
            self._keys.forget(state_of(writer, "forgotten"))
            return self._keys.find(keys)

    def _state(self, name: str) -> int:
        return self._file.state(name)

    def _close(self) -> None:
        self._answers.close()
        self._experiments.close()
        self._file.close()

    def _numbered(self, sequence: int, body: str) -> Numbered:
        return Numbered(sequence, decoded(body, f"{self._path}, entry {sequence}"))


def _set_state(writer: Connection, name: str, value: int) -> None:
    """Raises a number of the table `state` to `value`; numbers never decrease."""
    writer.execute("UPDATE state SET value = max(value, ?) WHERE name = ?", (value, name))
