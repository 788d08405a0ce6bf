"""A journal in one SQLite file, which several processes of one machine may read and write.

PROJECT/journal/journal.sqlite     table entries: sequence, key, body (JSON)
                                   table state: format, head, start
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from tamis.journal.entries import decoded
from tamis.journal.group_commit import GroupCommit, Line
from tamis.journal.protocol import Appended, Durability, Numbered
from tamis.schema import StoreError

NEWEST_FAULTY = (3, 51, 2)
"""Up to this version, SQLite could lose commits when a second connection reset the log
(the "WAL reset" fault, mended in 3.51.3)."""
Connection = Any
"""`apsw.Connection`, whose own types are incomplete."""
FORMAT = 1
WAITS = 5_000
"""Milliseconds that a commit waits for those of other processes."""
TRIMMED_AT_ONCE = 10_000
"""Entries deleted in one transaction, between which appends get their turn."""

_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    sequence INTEGER PRIMARY KEY, key TEXT UNIQUE, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO state VALUES ('format', 1), ('head', 0), ('start', 0);
"""


class EmbeddedJournal:
    """A journal in the file `path`, which is made if it is not there.

    An acknowledged entry survives `kill -9` and a loss of power: each commit ends with an fsync of
    the write-ahead log (`synchronous=FULL`). Calls that arrive during a commit share the next.

    Raises StoreError where the file cannot be opened, is not a journal, or is of a later release,
    and where SQLite is older than 3.51.3.
    """

    def __init__(self, path: Path) -> None:
        _check_version()
        self._path = path
        self._turn = threading.Lock()  # of the writing connection
        self._reading = threading.Lock()
        with self._failing("open"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connection()
            self._make_tables()
            self._reader = self._connection()
        found = self._state("format")
        if found != FORMAT:
            raise StoreError(
                f"{path}: format {found}, which this release of Tamis does not know: "
                "open it with the release that wrote it"
            )
        self._commits = GroupCommit(self._write, name=f"journal {path.name}")

    @property
    def durability(self) -> Durability:
        return Durability(
            process_killed=True,
            power_lost=True,
            text="every acknowledged entry is on the disk (fsync); it survives kill -9 and a loss "
            "of power, as far as the disk keeps what it has confirmed",
        )

    def append(self, entries: Sequence[Any]) -> list[Appended]:
        return self._commits.append(entries)

    def read(self, after: int, limit: int) -> list[Numbered]:
        rows = self._rows(
            "SELECT sequence, body FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?",
            (after, limit),
        )
        return [self._numbered(sequence, body) for sequence, body in rows]

    def find(self, key: str) -> Numbered | None:
        rows = self._rows("SELECT sequence, body FROM entries WHERE key = ?", (key,))
        return self._numbered(*rows[0]) if rows else None

    @property
    def head(self) -> int:
        return self._state("head")

    @property
    def start(self) -> int:
        return self._state("start")

    def trim(self, upto: int) -> int:
        head = self.head
        if upto > head:
            raise StoreError(f"cannot trim up to entry {upto}: the last one is {head}")
        deleted = 0
        for last in range(self.start + TRIMMED_AT_ONCE, upto + TRIMMED_AT_ONCE, TRIMMED_AT_ONCE):
            with self._transaction() as writer:
                writer.execute("DELETE FROM entries WHERE sequence <= ?", (min(last, upto),))
                deleted += writer.changes()
                writer.execute(
                    "UPDATE state SET value = max(value, ?) WHERE name = 'start'",
                    (min(last, upto),),
                )
        with self._turn, self._failing("trim"):
            self._writer.execute("PRAGMA incremental_vacuum").fetchall()
        return deleted

    def close(self) -> None:
        self._commits.close()
        with self._turn, self._reading:
            self._reader.close()
            self._writer.close()

    def _write(self, lines: Sequence[Line]) -> list[Appended]:
        """One transaction. Lines whose key is known, or came before in `lines`, are left out."""
        with self._transaction() as writer:
            head = _state_of(writer, "head")
            keys = json.dumps([line.key for line in lines if line.key is not None])
            known: dict[str, int] = dict(
                writer.execute(
                    "SELECT key, sequence FROM entries "
                    "WHERE key IN (SELECT value FROM json_each(?))",
                    (keys,),
                )
            )
            results: list[Appended] = []
            rows: list[tuple[int, str | None, str]] = []
            for line in lines:
                first = None if line.key is None else known.get(line.key)
                if first is None:
                    head += 1
                    rows.append((head, line.key, line.body))
                    if line.key is not None:
                        known[line.key] = head
                results.append(Appended(head if first is None else first, first is not None))
            writer.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
            writer.execute("UPDATE state SET value = ? WHERE name = 'head'", (head,))
        return results

    @contextmanager
    def _transaction(self) -> Generator[Connection]:
        with self._turn, self._failing("write to"):
            writer = self._writer
            writer.execute("BEGIN IMMEDIATE")
            try:
                yield writer
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise

    def _rows(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._reading, self._failing("read"):
            return self._reader.execute(query, values).fetchall()

    def _state(self, name: str) -> int:
        with self._reading, self._failing("read"):
            return _state_of(self._reader, name)

    def _numbered(self, sequence: int, body: str) -> Numbered:
        return Numbered(sequence, decoded(body, f"{self._path}, entry {sequence}"))

    def _make_tables(self) -> None:
        """Makes the tables of a new file; several processes may open it at once."""
        found = "SELECT count(*) FROM sqlite_schema WHERE name IN ('entries', 'state')"
        if self._writer.execute(found).fetchall() == [(2,)]:
            return
        with self._transaction() as writer:
            for statement in filter(str.strip, _TABLES.split(";")):
                writer.execute(statement)

    def _connection(self) -> Connection:
        connection: Connection = apsw.Connection(str(self._path))
        connection.set_busy_timeout(WAITS)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has an effect on a new file only
        _use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk
        return connection

    @contextmanager
    def _failing(self, doing: str) -> Generator[None]:
        """Turns the errors of SQLite into StoreError, with what can be done."""
        try:
            yield
        except (apsw.Error, OSError) as error:
            cure = next((cure for kind, cure in _CURES.items() if isinstance(error, kind)), "")
            raise StoreError(f"cannot {doing} the journal {self._path}: {error}{cure}") from error


_CURES: dict[type[Exception], str] = {
    apsw.FullError: "; free some space on the disk: nothing of this call was written",
    apsw.BusyError: "; another process has held it for 5 seconds: see what is writing to it",
    apsw.ReadOnlyError: "; let this user write to the file and its folder",
    apsw.CantOpenError: "; check that the folder exists and may be written to",
    apsw.NotADBError: "; it is not a SQLite file: move it away, or restore it from a backup",
    apsw.CorruptError: "; it is damaged: restore it from a backup, or export what can be read",
    apsw.ConnectionClosedError: "; it was closed: open it again",
}


def _use_write_ahead_log(connection: Connection) -> None:
    """SQLite does not wait for a lock here, so this tries again while another process opens."""
    until = time.monotonic() + WAITS / 1_000
    while connection.execute("PRAGMA journal_mode").fetchall() != [("wal",)]:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        except apsw.BusyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.005)


def _state_of(connection: Connection, name: str) -> int:
    ((value,),) = connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchall()
    return int(value)


def _check_version() -> None:
    found = apsw.sqlite_lib_version()
    if tuple(int(part) for part in found.split(".")[:3]) <= NEWEST_FAULTY:
        raise StoreError(
            f"SQLite {found} may lose commits when several processes write (mended in 3.51.3): "
            "pip install --upgrade apsw"
        )
