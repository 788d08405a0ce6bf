"""Hydration: model inputs of candidates, gathered for a batch of queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.cascade.candidates import Candidates
from tamis.cascade.query import Queries
from tamis.cascade.value import tasks_of
from tamis.data import Table
from tamis.features import FeatureSpace, GrowingRows, Rows, Statistics
from tamis.runtime import Int32
from tamis.schema import ConfigError, ProjectConfig


@dataclass(eq=False)
class Hydrate:
    """Builds model inputs of candidates from the features and statistics that training used."""

    space: FeatureSpace
    statistics: Statistics
    raw: Mapping[str, NDArray[np.float32]] = field(default_factory=dict[str, NDArray[np.float32]])
    """Item columns (N + 1) that tasks read unscaled, last an unknown item; see `raw_numbers`."""
    lazy: bool = False
    """Whether rows gather their blocks when a stage reads them, as requests do."""

    def __post_init__(self) -> None:
        self._growing: dict[str, GrowingRows] = {}

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up the raw numbers of new and changed items; see `FollowsItems`. The space takes
        up their features by itself."""
        part, raw = items.part(rows), dict(self.raw)
        for name, column in self.raw.items():
            growing = self._growing.setdefault(name, GrowingRows(column))
            numbers = part.frame[name].cast(pl.Float32, strict=False).fill_null(float("nan"))
            raw[name] = growing.put(rows, numbers.to_numpy(), len(items))
        self.raw = raw

    def __call__(self, queries: Queries, candidates: Candidates) -> Rows:
        rows = self.space.rows(
            queries.user,
            queries.time,
            queries.history,
            query=candidates.query,
            item=candidates.item,
            columns=candidates.columns,
            statistics=self.statistics,
            context=queries.context,
            lazy=self.lazy,
        )
        if not self.raw:
            return rows
        return replace(rows, raw={k: column[candidates.item] for k, column in self.raw.items()})


def raw_numbers(config: ProjectConfig, items: Table) -> dict[str, NDArray[np.float32]]:
    """The items' columns that tasks read unscaled (durations): (N + 1) each, NaN last."""
    durations = {t.duration: t.name for t in tasks_of(config) if t.duration is not None}
    return {column: item_numbers(items, column, task) for column, task in durations.items()}


def item_numbers(items: Table, column: str, task: str) -> NDArray[np.float32]:
    """(N + 1) numbers of an item column; NaN where missing, and last for unknown items.

    Raises ConfigError where the column does not exist or holds no numbers.
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
