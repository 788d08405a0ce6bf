"""A SQLite file that several processes of one machine read and write, with a write-ahead log."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import apsw

from tamis.journal.protocol import Lines
from tamis.schema import StoreError

NEWEST_FAULTY = (3, 51, 2)
"""Up to this version, SQLite could lose commits when a second connection reset the log
(the "WAL reset" fault, mended in 3.51.3)."""
Connection = Any
"""`apsw.Connection`, whose own types are incomplete."""
WAITS = 5_000
"""Milliseconds that a commit waits for those of other processes."""
CHECKPOINT = 4_000
"""Pages of the write-ahead log from which on a commit copies them into the file."""


class SqliteFile:
    """The file `path`, which is made if it is not there, with one connection that writes and one
    that reads.

    Its table `state` holds integers by name, among them `format`.

    Args:
        what: what the file holds, for messages: "journal".
        tables: statements that make the tables of a new file, and fill `state`.
        format: the format that this release knows.
        synchronous: FULL: a commit is on the disk when it returns. NORMAL: it survives `kill -9`,
            and a loss of power may lose the last ones.

    Raises StoreError where the file cannot be opened, is no SQLite file or has another format, and
    where SQLite is older than 3.51.3.
    """

    def __init__(
        self,
        path: Path,
        what: str,
        tables: Sequence[str],
        format: int,
        synchronous: Literal["FULL", "NORMAL"],
    ) -> None:
        _check_version()
        self.path, self.what = path, what
        self._synchronous = synchronous
        self._turn = threading.Lock()  # of the writing connection
        self._reading = threading.Lock()
        with self.failing("open"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.writer = self._connection()
            self._make(tables)
            self._reader = self._connection()
        found = self.state("format")
        if found != format:
            raise StoreError(
                f"{path}: format {found}, which this release of Tamis does not know: "
                "open it with the release that wrote it"
            )

    @contextmanager
    def transaction(self) -> Generator[Connection]:
        """The writing connection within a transaction: all of the block is written, or nothing."""
        with self._turn, self.failing("write to"):
            writer = self.writer
            writer.execute("BEGIN IMMEDIATE")
            try:
                yield writer
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._reading, self.failing("read"):
            return self._reader.execute(query, values).fetchall()

    def lines(self, query: str, after: int, limit: int) -> Lines:
        """The JSON texts of a query as lines, which SQLite joins: no object is made per row.

        query: gives numbers and texts, in order; its values are `after` and `limit`.
        """
        joined = (
            f"WITH texts (number, body) AS ({query}) "
            "SELECT max(number), CAST(group_concat(body, char(10)) AS BLOB) FROM texts"
        )
        limit = max(limit, 0)
        with self._reading, self.failing("read"):
            while True:
                try:
                    ((last, content),) = self._reader.execute(joined, (after, limit)).fetchall()
                    return Lines(content or b"", after if last is None else last)
                except apsw.TooBigError:  # longer than the longest text of SQLite
                    if limit < 2:
                        raise
                    limit //= 2

    def state(self, name: str) -> int:
        """A number of the table `state`."""
        with self._reading, self.failing("read"):
            return state_of(self._reader, name)

    def shrink(self) -> None:
        """Gives the space of deleted rows back to the file system."""
        with self._turn, self.failing("shrink"):
            self.writer.execute("PRAGMA incremental_vacuum").fetchall()

    def close(self) -> None:
        """Closes both connections."""
        with self._turn, self._reading:
            self._reader.close()
            self.writer.close()

    @contextmanager
    def failing(self, doing: str) -> Generator[None]:
        """Turns the errors of SQLite into StoreError, with what can be done."""
        try:
            yield
        except (apsw.Error, OSError) as error:
            cure = next((cure for kind, cure in _CURES.items() if isinstance(error, kind)), "")
            raise StoreError(
                f"cannot {doing} the {self.what} {self.path}: {error}{cure}"
            ) from error

    def _make(self, tables: Sequence[str]) -> None:
        """Makes the tables of a new file; several processes may open it at once."""
        if self._made():
            return
        with self.transaction() as writer:
            for statement in () if self._made() else tables:
                writer.execute(statement)

    def _made(self) -> bool:
        found = "SELECT count(*) FROM sqlite_schema WHERE name = 'state'"
        return self.writer.execute(found).fetchall() == [(1,)]

    def _connection(self) -> Connection:
        connection: Connection = apsw.Connection(str(self.path))
        connection.set_busy_timeout(WAITS)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has an effect on a new file only
        _use_write_ahead_log(connection)
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}").fetchall()
        return connection


_CURES: dict[type[Exception], str] = {
    apsw.FullError: "; free some space on the disk: nothing of this call was written",
    apsw.BusyError: "; another process has held it for 5 seconds: see what is writing to it",
    apsw.ReadOnlyError: "; let this user write to the file and its folder",
    apsw.CantOpenError: "; check that the folder exists and may be written to",
    apsw.NotADBError: "; it is not a SQLite file: move it away, or restore it from a backup",
    apsw.CorruptError: "; it is damaged: restore it from a backup, or export what can be read",
    apsw.ConnectionClosedError: "; it was closed: open it again",
}


def state_of(connection: Connection, name: str) -> int:
    """A number of the table `state`, as a connection sees it."""
    ((value,),) = connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchall()
    return int(value)


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


def _check_version() -> None:
    found = apsw.sqlite_lib_version()
    if tuple(int(part) for part in found.split(".")[:3]) <= NEWEST_FAULTY:
        raise StoreError(
            f"SQLite {found} may lose commits when several processes write (mended in 3.51.3): "
            "pip install --upgrade apsw"
        )
