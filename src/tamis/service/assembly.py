"""The parts of a version: saved, opened, and assembled into a cascade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.bundle import Draft, Version
from tamis.cascade import (
    Cascade,
    Channel,
    Context,
    Filter,
    Hydrate,
    Queries,
    Reranker,
    Retrieval,
    Scorer,
    queries_at,
    raw_numbers,
    value_of,
    vectors_for,
)
from tamis.data import Table
from tamis.features import FeatureSpace, Histories, OnlineStatistics
from tamis.schema import ProjectConfig, StageConfig
from tamis.service import registry

STORED_CONFIG = "config.json"


@dataclass(eq=False)
class Parts:
    """Everything that answers need: configuration, tables, features, state and stages."""

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
        """The assembled cascade."""
        return Cascade(
            retrieval=Retrieval(self.config.cascade, self.channels, self.filters),
            hydrate=Hydrate(self.space, self.statistics, raw_numbers(self.config, self.items)),
            prerank=self.prerank,
            rank=self.rank,
            fusion=value_of(self.config, self.items),
            rerank=self.rerank,
            widen=vectors_for(self.prerank, self.channels),
        )

    def queries(
        self, user: NDArray[np.int32], time: NDArray[np.int64], context: Context | None = None
    ) -> Queries:
        """Queries of user rows (Q,) at times (Q,) in ms, each with its history before that time."""
        return replace(queries_at(self.histories, user, time), context=context)

    def save(self, draft: Draft) -> None:
        (draft.path / STORED_CONFIG).write_text(self.config.model_dump_json(indent=1), "utf-8")
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
        """Opens a version, large arrays memory-mapped. Raises VersionError where it is damaged."""
        path = version.path
        config = ProjectConfig.model_validate_json((path / STORED_CONFIG).read_text("utf-8"))
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


def _load_all(room: str, stages: Mapping[str, StageConfig], path: Path) -> dict[str, Any]:
    return {name: registry.load(room, name, config, path / name) for name, config in stages.items()}
