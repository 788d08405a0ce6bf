"""What a version holds, saved and opened: stages are found by the names in its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.bundle import Draft, Version
from tamis.cascade import registry
from tamis.cascade.candidates import Candidates
from tamis.cascade.protocols import Channel, Filter, Reranker, Scorer
from tamis.cascade.query import Queries, Ragged
from tamis.cascade.runner import Cascade, Retrieval
from tamis.cascade.value import DEFAULT_TASK, value_of
from tamis.cascade.vectors import vectors_for
from tamis.events import Table
from tamis.features import FeatureSpace, Histories, OnlineStatistics, Rows, Statistics
from tamis.schema import (
    ConfigError,
    ProjectConfig,
    StageConfig,
    TaskConfig,
)

CONFIG = "config.json"


@dataclass(frozen=True, eq=False)
class Hydrate:
    """Model inputs of candidates, from the features and statistics that training used."""

    space: FeatureSpace
    statistics: Statistics
    raw: Mapping[str, NDArray[np.float32]] = field(default_factory=dict[str, NDArray[np.float32]])
    """Numbers of the items (N + 1), the last one of an unknown item, that tasks read as they are;
    see `raw_numbers`."""

    def __call__(self, queries: Queries, candidates: Candidates) -> Rows:
        rows = self.space.rows(
            queries.user,
            queries.time,
            queries.history,
            query=candidates.query,
            item=candidates.item,
            columns=candidates.columns,
            statistics=self.statistics,
        )
        if not self.raw:
            return rows
        return replace(rows, raw={k: column[candidates.item] for k, column in self.raw.items()})


@dataclass(eq=False)
class Parts:
    """Everything that answering needs."""

    config: ProjectConfig
    users: Table
    items: Table
    space: FeatureSpace
    statistics: OnlineStatistics
    histories: Histories
    channels: Mapping[str, Channel]
    filters: Mapping[str, Filter]
    prerank: Scorer | None
    rank: Scorer
    rerank: Mapping[str, Reranker]

    def cascade(self) -> Cascade:
        """The stages, ready to run."""
        return Cascade(
            retrieval=Retrieval(self.config.cascade, self.channels, self.filters),
            hydrate=Hydrate(self.space, self.statistics, raw_numbers(self.config, self.items)),
            prerank=self.prerank,
            rank=self.rank,
            fusion=value_of(self.config, self.items),
            rerank=self.rerank,
            widen=vectors_for(self.prerank, self.channels),
        )

    def queries(self, user: NDArray[np.int32], time: NDArray[np.int64]) -> Queries:
        """Queries of those users, each with the history that had arrived before its time."""
        return queries_at(self.histories, user, time)

    def save(self, draft: Draft) -> None:
        (draft.path / CONFIG).write_text(self.config.model_dump_json(indent=1), "utf-8")
        self.users.write(draft.room("tables") / "users.parquet")
        self.items.write(draft.room("tables") / "items.parquet")
        self.space.save(draft.room("features"))
        self.statistics.save(draft.room("state", "statistics"))
        self.histories.save(draft.room("state", "histories"))
        for room, stages in (
            ("channels", self.channels),
            ("filters", self.filters),
            ("rerank", self.rerank),
        ):
            for name, stage in stages.items():
                stage.save(draft.room(room, name))
        if self.prerank is not None:
            self.prerank.save(draft.room("prerank"))
        self.rank.save(draft.room("rank"))

    @classmethod
    def open(cls, version: Version) -> Parts:
        """Memory-mapped where it is large; raises VersionError where the version is damaged."""
        path = version.path
        config = ProjectConfig.model_validate_json((path / CONFIG).read_text("utf-8"))
        cascade = config.cascade
        return cls(
            config=config,
            users=Table.read("users", path / "tables" / "users.parquet"),
            items=Table.read("items", path / "tables" / "items.parquet"),
            space=FeatureSpace.load(path / "features"),
            statistics=OnlineStatistics.load(path / "state" / "statistics"),
            histories=Histories.load(path / "state" / "histories"),
            channels=_load_all("recall", cascade.channels, path / "channels"),
            filters=_load_all("filters", cascade.filters, path / "filters"),
            prerank=registry.load("prerank", "prerank", cascade.prerank, path / "prerank")
            if cascade.prerank
            else None,
            rank=registry.load("rank", "rank", cascade.rank, path / "rank"),
            rerank=_load_all("rerank", cascade.rerank, path / "rerank"),
        )


def queries_at(
    histories: Histories,
    user: NDArray[np.int32],
    time: NDArray[np.int64],
    exclude: Ragged | None = None,
) -> Queries:
    """Queries with each user's history as of its time."""
    return Queries(user, time, histories.at(user, time), exclude or Ragged.empty(len(user)))


def tasks_of(config: ProjectConfig) -> tuple[TaskConfig, ...]:
    """What the ranker predicts; one task of all positive behaviours where none is declared."""
    positive = tuple(name for name, b in config.behaviours.items() if b.positive)
    return tuple(config.tasks.values()) or (TaskConfig(name=DEFAULT_TASK, behaviour=positive),)


def task_names(config: ProjectConfig) -> Sequence[str]:
    """The names of `tasks_of`."""
    return [task.name for task in tasks_of(config)]


def raw_numbers(config: ProjectConfig, items: Table) -> dict[str, NDArray[np.float32]]:
    """The items' columns that tasks read as they are (durations): (N + 1) each, NaN last."""
    durations = {t.duration: t.name for t in tasks_of(config) if t.duration is not None}
    return {column: item_numbers(items, column, task) for column, task in durations.items()}


def item_numbers(items: Table, column: str, task: str) -> NDArray[np.float32]:
    """(N + 1) numbers of a column of the items' table, NaN where missing and of unknown items.

    Raises ConfigError where there is no such column of numbers.
    """
    if column not in items.frame.columns:
        raise ConfigError(
            f"[tasks.{task}] duration = {column!r}: the items' table has no such column; it has "
            f"{', '.join(items.frame.columns) or 'none'}"
        )
    numbers = items.frame[column].cast(pl.Float32, strict=False)
    if numbers.null_count() == len(numbers) and len(numbers):
        raise ConfigError(f"[tasks.{task}] duration = {column!r}: that column holds no numbers")
    values = numbers.fill_null(float("nan")).to_numpy()
    return np.append(values, np.float32(np.nan))


def _load_all(room: str, stages: Mapping[str, StageConfig], path: Path) -> dict[str, Any]:
    return {name: registry.load(room, name, config, path / name) for name, config in stages.items()}
