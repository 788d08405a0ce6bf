"""The steps of experiments in a SQLite file.

PROJECT/journal/experiments.sqlite   table steps: number, body (JSON)
                                     table state: format
"""

from __future__ import annotations

from pathlib import Path

from tamis.journal.entries import ExperimentStep, encoded, step_of
from tamis.journal.sqlite_file import SqliteFile

FORMAT = 1

_TABLES = (
    "CREATE TABLE steps (number INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    f"INSERT INTO state VALUES ('format', {FORMAT})",
)
_COUNT = "SELECT count(*) FROM steps"


class EmbeddedExperiments:
    """Steps in the file `path`, which is made if it is not there. Commits reach the disk.

    Raises StoreError as `EmbeddedJournal` does.
    """

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, "log of experiments", _TABLES, FORMAT, "FULL")

    @property
    def head(self) -> int:
        return int(self._file.rows(_COUNT)[0][0])

    def read(self) -> list[ExperimentStep]:
        rows = self._file.rows("SELECT number, body FROM steps ORDER BY number")
        return [step_of(body, f"{self._file.path}, step {number}") for number, body in rows]

    def append(self, step: ExperimentStep, after: int) -> bool:
        with self._file.transaction() as writer:
            ((count,),) = writer.execute(_COUNT).fetchall()
            if count != after:
                return False
            body = encoded(step).decode()
            writer.execute("INSERT INTO steps VALUES (?, ?)", (after + 1, body))
        return True

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
