"""`tamis score`: a ranker's scores of the rows of a table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.bundle import Kind, Versions
from tamis.cascade import (
    Candidates,
    Guard,
    Queries,
    StageTimer,
    context_before,
    queries_at,
    value_of,
)
from tamis.data import (
    CITY,
    UNKNOWN,
    EventContext,
    TextForm,
    Texts,
    check_ending,
    id_text,
    number_array,
    parse_clock,
    parse_times,
    read_frame,
    user_column,
    with_clock,
    write_frame,
)
from tamis.features import Histories
from tamis.jobs._row_models import ABOUT, RowModel, with_scores
from tamis.jobs._version_data import hydrate_of, in_rows_of
from tamis.runtime import Progress
from tamis.schema import ConfigError, DataError, load_config, suggest
from tamis.service import CONFIG, Parts, ProjectFolder

QUERIES = 2_000
"""Queries (a user at a time) that are recalled in one batch."""
Columns = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class ScoreReport:
    """The result of `tamis score`."""

    out: Path
    rows: int
    columns: tuple[str, ...]
    """Columns of the file: the rows' keys, then the scores."""
    model: str
    """Name of the version, or of the ranker, that scored."""
    unknown: dict[str, int]
    """{"users", "items"}: rows whose user or item is unknown to the version."""

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "out": str(self.out)}


def score(
    folder: Path | str,
    table: Path | str | pl.DataFrame,
    out: Path | str,
    *,
    version: str = "serving",
    progress: bool = False,
) -> ScoreReport:
    """Scores every row of a table, in order, and writes the rows' keys and scores to `out`.

    Args:
        folder: a trained project, or the folder of `tamis compare --table … --out FOLDER`.
        table: of a project, rows of user, item and (if wanted) time, named as in [events], each
            scored as of its time; for a ranker of rows, a table with the columns it was trained on.
        out: .csv, .tsv, .parquet or .jsonl. One task: a column `score`; several: a column for each
            prediction, and `value`, the fusion of them.
        version: "serving" or "evaluation", of a project.

    Raises ConfigError, DataError and VersionError with the place and how to fix it.
    """
    folder, out = Path(folder), Path(out)
    check_ending(out)
    with Progress("score", progress) as steps:
        steps.begin("read the table")
        if RowModel.is_in(folder):
            frame = table if isinstance(table, pl.DataFrame) else read_frame(Path(table))
            steps.begin("score")
            ranker = RowModel.open(folder)
            scored, unknown, name = ranker.score(frame), {}, ranker.use
        elif (folder / CONFIG).is_file():
            if version not in list(Kind):
                raise ConfigError(f"--version {version}: give 'serving' or 'evaluation'")
            events = load_config(folder).events
            ids = (events.user, events.item)
            frame = table
            if not isinstance(frame, pl.DataFrame):
                frame = read_frame(Path(frame), texts=ids)
            steps.begin("read the log")
            scorer = _ProjectScorer(folder, Kind(version))
            steps.begin("score")
            scored, unknown, name = (*scorer.score(frame), scorer.name)
        else:
            raise ConfigError(
                f"{folder} is no project (it holds neither {CONFIG} nor {ABOUT}): give a trained "
                "project, or the folder that `tamis compare --table … --out FOLDER` wrote"
            )
        steps.begin("write")
        write_frame(scored, out)
    return ScoreReport(out, len(scored), tuple(scored.columns), name, unknown)


class _ProjectScorer:
    """A project's ranker with its log: features are computed as of each row's time."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        project = ProjectFolder(folder)
        opened = Versions(folder).current(kind)
        self.name, self.until = opened.name, opened.manifest.data_until
        self.parts = Parts.open(opened)
        self.config = self.parts.config
        self.data = in_rows_of(self.parts, project.read(project.config)[0])
        self.histories = Histories.of(self.data)

    def score(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        """(keys and scores of every row, numbers of rows with an unknown user or item)."""
        user, item, time = self._read(frame)
        queries, candidates, order = self._queries(user, item, time, self._context(frame))
        made = replace(candidates, columns=self._recalled(queries, candidates))
        rows = hydrate_of(self.parts, self.data)(queries, made)
        scores = dict(self.parts.rank.score_rows(rows))
        if len(scores) > 1:
            scores["value"] = value_of(self.config, self.parts.items)(made, scores)
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        in_order = {name: column[back] for name, column in scores.items()}
        events = self.config.events
        keys = [c for c in (events.user, events.item, events.time) if c in frame.columns]
        unknown = {"users": int((user == UNKNOWN).sum()), "items": int((item == UNKNOWN).sum())}
        return with_scores(frame.select(keys), in_order, single=len(scores) == 1), unknown

    def _read(
        self, frame: pl.DataFrame
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """(user row, item row, ms) of every row of the table."""
        events = self.config.events
        for key, name in (("user", events.user), ("item", events.item)):
            if name not in frame.columns:
                raise DataError(
                    f"the table has no column {name!r} ([events] {key})."
                    f"{suggest(name, frame.columns)} It has {', '.join(frame.columns)[:400]}."
                )
        if events.visitor is not None and events.visitor not in frame.columns:
            events = events.model_copy(update={"visitor": None})
        users = user_column(frame, events, "the table", TextForm())
        user = self.parts.users.rows(id_text(users, "the table"))
        item = self.parts.items.rows(id_text(frame[events.item], "the table"))
        if events.time not in frame.columns or events.untimed is not None:
            return user, item, np.full(len(frame), self.until, np.int64)
        form = TextForm(day_first=events.day_first)
        times = parse_times(frame[events.time], events.time_unit, form)
        if events.time_of_day in frame.columns:
            times = with_clock(times, parse_clock(frame[events.time_of_day], form))
        for note in times.notes:
            if note.doubtful:
                warnings.warn(f"the table's column {events.time!r}: {note.what}", stacklevel=2)
        wrong = np.flatnonzero(times.bad | times.missing | times.other_unit | times.excel)
        if len(wrong):
            row = int(wrong[0])
            raise DataError(
                f"the table's row {row + 1}: {events.time} = {frame[events.time][row]!r} is no "
                "time; correct it, or omit the column to score as of the version's end"
            )
        return user, item, times.ms

    def _context(self, frame: pl.DataFrame) -> EventContext | None:
        """The context of every row; None where the table has none of its columns."""
        events = self.config.events
        named = {name: name for name in events.context} | {CITY: events.city or CITY}
        columns = {
            name: Texts.of(id_text(frame[column], "the table", TextForm().missing))
            for name, column in named.items()
            if name in events.request_columns and column in frame.columns
        }
        degrees: list[Any] = [
            number_array(frame[name]).astype(np.float32)
            for name in (events.latitude, events.longitude)
            if name in frame.columns
        ]
        place = degrees if len(degrees) == 2 else [None, None]
        return EventContext(columns, *place) if columns or len(degrees) == 2 else None

    def _queries(
        self,
        user: NDArray[np.int32],
        item: NDArray[np.int32],
        time: NDArray[np.int64],
        context: EventContext | None,
    ) -> tuple[Queries, Candidates, NDArray[np.intp]]:
        """(one query per user, time and context, their candidates, each one's row of the table).

        Without columns of context in the table, it is that of the user's last event.
        """
        order = np.lexsort((time, user))
        new = np.ones(len(order), np.bool_)
        u, t = user[order], time[order]
        new[1:] = (u[1:] != u[:-1]) | (t[1:] != t[:-1])
        if context is not None:
            new[1:] |= context.changes(order)
        first = np.flatnonzero(new)
        indptr = np.append(first, len(order)).astype(np.int64)
        given = (
            context_before(self.data, u[first], t[first])
            if context is None
            else context.at(order[first])
        )
        queries = queries_at(self.histories, u[first], t[first], context=given)
        return queries, Candidates(indptr, item[order]), order

    def _recalled(self, queries: Queries, candidates: Candidates) -> Columns:
        """The recall columns that the ranker reads: each channel's rank and score of candidates.

        As the channels answer now; rank 0 and score NaN where a channel does not find the item.
        """
        names = self.parts.space.recall_columns
        if not names:
            return {}
        retrieval = self.parts.cascade().retrieval
        parts: list[dict[str, NDArray[np.generic]]] = []
        for begin in range(0, len(queries), QUERIES):
            end = min(begin + QUERIES, len(queries))
            found = retrieval.recall(queries.part(begin, end), Guard(), StageTimer())
            a, b = candidates.indptr[begin], candidates.indptr[end]
            query = np.repeat(np.arange(end - begin), np.diff(candidates.indptr[begin : end + 1]))
            parts.append(_looked_up(found, query, candidates.item[a:b], names))
        return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _looked_up(
    found: Candidates, query: NDArray[np.int64], item: NDArray[np.int32], names: tuple[str, ...]
) -> dict[str, NDArray[np.generic]]:
    """The recall columns of the given (query, item) pairs; 0 and NaN for pairs not found."""
    recalled = pl.DataFrame(
        {"query": found.query, "item": found.item, "place": np.arange(len(found))},
        schema={"query": pl.Int64, "item": pl.Int32, "place": pl.Int64},
    )
    pairs = pl.DataFrame(
        {"query": query, "item": item}, schema={"query": pl.Int64, "item": pl.Int32}
    )
    place = pairs.join(recalled, on=["query", "item"], how="left", maintain_order="left")["place"]
    at = place.fill_null(-1).to_numpy()
    out: dict[str, NDArray[np.generic]] = {}
    for name in names:
        column = found.columns.get(name)
        missing = np.int32(0) if name.startswith("rank:") else np.float32(np.nan)
        if column is None or not len(column):
            out[name] = np.full(len(item), missing)
        else:
            out[name] = np.where(at >= 0, column[at], missing)
    return out
