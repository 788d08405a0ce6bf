"""The answers of a service in a SQLite file.

PROJECT/journal/answers.sqlite     table answers: number, id, user, time of writing (ms),
                                   body (JSON)
                                   table state: format
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from tamis.journal.entries import Recommendation, answer_of, encoded
from tamis.journal.protocol import Lines, NumberedAnswer
from tamis.journal.sqlite_file import SqliteFile

FORMAT = 1
DELETED_AT_ONCE = 5_000
_LARGE = ("trace", "inputs", "rejected")
"""Fields that `lines` leaves out: SQLite removes them faster than Python copies them."""

_TABLES = (
    "CREATE TABLE answers (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, "
    "user TEXT, written INTEGER NOT NULL, body TEXT NOT NULL)",
    "CREATE INDEX answers_of_user ON answers (user) WHERE user IS NOT NULL",
    "CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    f"INSERT INTO state VALUES ('format', {FORMAT})",
)


class EmbeddedAnswers:
    """Answers in the file `path`, which is made if it is not there.

    Commits do not wait for the disk. The file is not that of the entries, so that they do not wait
    for answers either. Raises StoreError as `EmbeddedJournal` does.
    """

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, "answers", _TABLES, FORMAT, "NORMAL")

    def append(self, answers: Sequence[Recommendation]) -> None:
        written = time.time_ns() // 1_000_000
        rows = [(a.recommendation_id, a.user_id, written, encoded(a).decode()) for a in answers]
        with self._file.transaction() as writer:
            writer.executemany(
                "INSERT OR IGNORE INTO answers (id, user, written, body) VALUES (?, ?, ?, ?)", rows
            )

    def find(self, recommendation_id: str) -> Recommendation | None:
        query = "SELECT number, body FROM answers WHERE id = ?"
        rows = self._file.rows(query, (recommendation_id,))
        return self._numbered(*rows[0]).answer if rows else None

    def read(self, after: int, limit: int) -> list[NumberedAnswer]:
        query = "SELECT number, body FROM answers WHERE number > ? ORDER BY number LIMIT ?"
        return [self._numbered(*row) for row in self._file.rows(query, (after, max(limit, 0)))]

    def lines(self, after: int, limit: int, *, slates: bool = True) -> Lines:
        fields = _LARGE if slates else (*_LARGE, "slate")
        paths = ", ".join(f"'$.{name}'" for name in fields)
        query = (
            f"SELECT number, json_remove(body, {paths}) FROM answers WHERE number > ? "
            "ORDER BY number LIMIT ?"
        )
        return self._file.lines(query, after, limit)

    @property
    def head(self) -> int:
        rows = self._file.rows("SELECT seq FROM sqlite_sequence WHERE name = 'answers'")
        return int(rows[0][0]) if rows else 0

    def trim(self, before: int) -> int:
        """Deletes up to the first answer that was not written before then."""
        query = "SELECT min(number) FROM answers WHERE written >= ?"
        ((kept,),) = self._file.rows(query, (before,))
        upto = self.head if kept is None else kept - 1
        return self._delete("number <= ?", (upto,))

    def forget_user(self, user_id: str, before: int) -> int:
        position = "coalesce(json_extract(body, '$.position'), 0)"
        return self._delete(f"user = ? AND {position} < ?", (user_id, before))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _delete(self, where: str, values: tuple[object, ...]) -> int:
        deleted, count = 0, DELETED_AT_ONCE
        while count == DELETED_AT_ONCE:
            with self._file.transaction() as writer:
                writer.execute(
                    "DELETE FROM answers WHERE number IN (SELECT number FROM answers "
                    f"WHERE {where} ORDER BY number LIMIT {DELETED_AT_ONCE})",
                    values,
                )
                count = writer.changes()
            deleted += count
        self._file.shrink()
        return deleted

    def _numbered(self, number: int, body: str) -> NumberedAnswer:
        return NumberedAnswer(number, answer_of(body, f"{self._file.path}, answer {number}"))
