"""Report of the rows and values rejected while reading, with file, row and reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data.notes import Note

_SCHEMA = {
    "file": pl.String,
    "row": pl.Int64,
    "reason": pl.String,
    "column": pl.String,
    "value": pl.String,
    "action": pl.String,
}
ROW, VALUE = "row left out", "value left empty"
_SHOWN = 80
"""Characters of a rejected value that the report keeps."""


@dataclass
class Rejects:
    """A report of rejected rows and values, to which further ones are added."""

    parts: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])
    rows_read: dict[str, int] = field(default_factory=dict[str, int])
    """Number of rows of each file, good and bad."""
    notes: list[Note] = field(default_factory=list[Note])
    """How values were read, where it is not evident; nothing is lost by it."""

    def add(
        self,
        file: str,
        rows: NDArray[np.integer[Any]],
        reason: str,
        column: str = "",
        values: pl.Series | None = None,
        action: str = ROW,
    ) -> None:
        """Adds rejected rows of a file.

        Args:
            file: name of the file.
            rows: (n,) row numbers, as in `RawTable.row_numbers`.
            reason: the same text for all of them.
            column: the column whose value is the reason; empty if it is the whole row.
            values: (n,) the values that were rejected.
            action: `ROW` or `VALUE`: whether the row or only the value is left out.
        """
        if len(rows) == 0:
            return
        shown = pl.Series("value", [None], dtype=pl.String)
        if values is not None:
            shown = values.cast(pl.String).str.slice(0, _SHOWN).alias("value")
        frame = pl.DataFrame({"row": np.asarray(rows, dtype=np.int64)}).with_columns(
            pl.lit(file).alias("file"),
            pl.lit(reason).alias("reason"),
            pl.lit(column).alias("column"),
            (shown if values is not None else pl.lit(None, dtype=pl.String)).alias("value"),
            pl.lit(action).alias("action"),
        )
        self.parts.append(frame.select(list(_SCHEMA)))

    def merge(self, other: Rejects) -> None:
        """Adds the report of another table."""
        self.parts.extend(other.parts)
        self.rows_read.update(other.rows_read)
        self.notes.extend(other.notes)

    @property
    def frame(self) -> pl.DataFrame:
        """One line per rejection: file, row, reason, column, start of the value, action."""
        if not self.parts:
            return pl.DataFrame(schema=_SCHEMA)
        return pl.concat(self.parts).sort("file", "row", maintain_order=True)

    def __len__(self) -> int:
        """The number of rows left out; values left empty do not count."""
        return self.count()

    def count(self, file: str | None = None, reason: str | None = None) -> int:
        """The number of rows left out, of one file or for reasons that begin with `reason`."""
        total = 0
        for part in self.parts:
            same_file = file is None or part["file"][0] == file
            same_reason = reason is None or part["reason"][0].startswith(reason)
            if same_file and same_reason and part["action"][0] == ROW:
                total += part.height
        return total

    @property
    def counts(self) -> dict[str, int]:
        """Rejections by reason, most frequent first."""
        totals: dict[str, int] = {}
        for part in self.parts:
            reason = part["reason"][0]
            totals[reason] = totals.get(reason, 0) + part.height
        return dict(sorted(totals.items(), key=lambda pair: -pair[1]))

    def share(self, file: str) -> float:
        """The share of a file's rows that were left out, in [0, 1]."""
        return self.count(file) / max(self.rows_read.get(file, 0), 1)

    def write(self, path: Path | str) -> Path:
        """Writes all rejections as CSV and returns the path; an empty report is a header line."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.frame.write_csv(path)
        return path

    def summary(self) -> list[tuple[str, str, int, str]]:
        """(file, reason, count, sample) of each kind of rejection, most frequent first.

        The sample names the first three rows with their values.
        """
        out: dict[tuple[str, str], tuple[int, str]] = {}
        for part in self.parts:
            key = (part["file"][0], f"{part['reason'][0]}: {part['action'][0]}")
            count, sample = out.get(key, (0, ""))
            out[key] = (count + part.height, sample or _sample(part))
        ordered = sorted(out.items(), key=lambda pair: -pair[1][0])
        return [(file, reason, count, sample) for (file, reason), (count, sample) in ordered]


def _sample(part: pl.DataFrame) -> str:
    head = part.head(3)
    shown: Sequence[str] = [
        f"row {row}" + (f" ({value[:24]})" if value is not None else "")
        for row, value in zip(head["row"], head["value"], strict=True)
    ]
    return ", ".join(shown)


class Sieve:
    """The rows of one file that are still accepted; only the first defect of a row is reported."""

    def __init__(self, file: str, row_numbers: NDArray[np.int64], rejects: Rejects) -> None:
        """Accepts all rows of `file` at first; `rejects` receives those that are not."""
        self.file = file
        self.alive = np.ones(len(row_numbers), dtype=np.bool_)
        self._rows = row_numbers
        self._rejects = rejects

    def reject(
        self,
        bad: NDArray[np.bool_],
        reason: str,
        column: str = "",
        values: pl.Series | None = None,
    ) -> None:
        """Rejects the rows where `bad` (n,) is True and that are still accepted.

        column and values (n,): the column that has the defect, for the report.
        """
        hit = np.flatnonzero(self.alive & bad)
        if len(hit):
            found = values.gather(hit) if values is not None else None
            self._rejects.add(self.file, self._rows[hit], reason, column, found)
            self.alive[hit] = False

    def row_number(self, row: int) -> int:
        """The number of row `row` (from 0) in the file, as reports name it."""
        return int(self._rows[row])

    def note(self, notes: Iterable[Note], column: str = "") -> None:
        """Adds notes on how the file, or one of its columns, was read."""
        self._rejects.notes += [replace(n, file=self.file, column=column) for n in notes]

    def blank(
        self,
        bad: NDArray[np.bool_],
        reason: str,
        column: str = "",
        values: pl.Series | None = None,
    ) -> None:
        """Reports unusable values where `bad` (n,) is True; their rows are kept."""
        hit = np.flatnonzero(self.alive & bad)
        if len(hit):
            found = values.gather(hit) if values is not None else None
            self._rejects.add(self.file, self._rows[hit], reason, column, found, action=VALUE)
