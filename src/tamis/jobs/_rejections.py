"""Candidates that pre-rank and rank rejected in replays: hard negatives of recall.

    windows … ── validation window ──|── test cut
    fit scorers   score its candidates ──> rejections ──> channels of the published versions

What is rejected: see `tamis.cascade.rejected`. What the user chose in the window is no rejection.
Everything that the rejections rest on was known before the end of the window, so their time is that
of the last event before it: a fit on the data known then reads them, one on earlier data does not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.cascade import (
    REJECTING_STAGES,
    LearnsFromRejections,
    rejected_by_rank,
)
from tamis.data import Dataset, Table
from tamis.jobs._order_choice import Judged
from tamis.schema import ProjectConfig
from tamis.service import ProjectFolder, registry
from tamis.splitting import Window

FILE = "rejected.parquet"
"""File of the project in which a training writes its rejections."""
QUERIES = 5_000
"""Most queries of the validation window whose candidates are scored."""
PER_QUERY = 100
"""Most rejections of a query, drawn at random."""


def rejections(
    judged: Judged, time: int, slate: int, users: Table, items: Table, seed: int
) -> pl.DataFrame:
    """The rejected candidates of the validation window's queries.

    Returns columns user_id, item_id (external ids), time (ms) and stage ("prerank" or "rank").

    Args:
        judged: the candidates and the values of the scorers.
        time: when they were rejected; see `time_of`.
        slate: places that are never rejected by rank.
        users, items: tables of the row numbers.
        seed: of the draw of `PER_QUERY` candidates.
    """
    candidates = judged.candidates
    stage = rejecting_stage(judged, slate)
    chosen = judged.positives
    key = candidates.query.astype(np.int64) * (len(items) + 1) + candidates.item
    liked = chosen.query * (len(items) + 1) + chosen.values
    found = np.flatnonzero((stage >= 0) & ~np.isin(key, liked))
    drawn = np.random.default_rng(seed).random(len(found))
    order = found[np.lexsort((drawn, candidates.query[found]))]
    query = candidates.query[order]
    place = np.arange(len(order)) - np.searchsorted(query, query)
    rows = np.sort(order[place < PER_QUERY])
    return pl.DataFrame(
        {
            "user_id": users.ids.gather(judged.queries.user[candidates.query[rows]]),
            "item_id": items.ids.gather(candidates.item[rows]),
            "time": np.full(len(rows), time, np.int64),
            "stage": pl.Series(np.array(REJECTING_STAGES)[stage[rows]], dtype=pl.String),
        }
    )


def time_of(window: Window, data: Dataset) -> int:
    """The time (ms) of the rejections of a window: before the end of the data known at its end."""
    return min(window.end, data.as_of(window.end).end) - 1


def rejecting_stage(judged: Judged, slate: int) -> NDArray[np.int8]:
    """(n,) index in `REJECTING_STAGES` of the stage that rejected each candidate; -1: none."""
    candidates = judged.candidates
    stage = np.full(len(candidates), -1, np.int8)
    kept = np.arange(len(candidates))
    if judged.prerank is not None:
        scored = candidates.with_columns(prerank=judged.prerank)
        kept = np.sort(scored.best("prerank", judged.keep))
        stage[:] = REJECTING_STAGES.index("prerank")
        stage[kept] = -1
    ranked = candidates.take(kept).with_columns(value=judged.value[kept])
    order = ranked.best("value", len(ranked))
    lower = rejected_by_rank(ranked.take(order), slate)
    stage[kept[order[lower]]] = REJECTING_STAGES.index("rank")
    return stage


def none_yet(config: ProjectConfig) -> pl.DataFrame | None:
    """No rejections; None if no channel of the project learns from them."""
    for name, declared in config.cascade.channels.items():
        channel = registry.build("recall", name, declared)
        if isinstance(channel, LearnsFromRejections) and channel.learns_from_rejections:
            schema = dict.fromkeys(("user_id", "item_id"), pl.String)
            return pl.DataFrame(schema={**schema, "time": pl.Int64, "stage": pl.String})
    return None


def collect(judged: Judged, window: Window, project: ProjectFolder) -> tuple[pl.DataFrame, str]:
    """Writes the rejections into the project; returns them, and a note for the report."""
    config, data = project.config, project.data
    slate, time = config.cascade.slate, time_of(window, data)
    found = rejections(judged, time, slate, data.users, data.items, config.seed)
    found.write_parquet(project.root / FILE)
    return found, (
        f"{len(found):,} candidates that pre-rank and rank rejected for "
        f"{found['user_id'].n_unique():,} users are hard negatives of the published versions' "
        f"channels ({FILE})"
    )


def read_rejections(project: Path) -> pl.DataFrame | None:
    """The rejections of the project's last training that wrote some; None: there are none."""
    file = project / FILE
    return pl.read_parquet(file) if file.exists() else None
