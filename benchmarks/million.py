"""A project of a million items whose training is short: what serving costs depends on the items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from tamis.bundle import Kind, Versions
from tamis.jobs import train

_TOML = """name = "million"
clock = "data"

[events]
path = "events.parquet"
time = "timestamp"
value = "rating"

[items]
path = "items.parquet"
title = "title"
category = "genres"
category_separator = "|"

[users]
path = "users.parquet"

[behaviours.like]
min_value = 4.0
positive = true

[behaviours.rate]
weight = 0.0

[[features]]
kind = "sparse"
name = "age"
side = "user"

[[features]]
kind = "varlen"
name = "genres"
side = "item"
max_len = 2
separator = "|"

[split]
max_rows = 200000

[cascade]
prerank_keep = 300
slate = 20

[cascade.channels.itemcf]
quota = 300

[cascade.channels.mf]
quota = 300
embedding_dim = 32
epochs = 3

[cascade.channels.hot]
quota = 300

[cascade.filters.seen]

[cascade.prerank]
use = "lr"
loss = "listwise"
metric = "ndcg"
epochs = 1

[cascade.rank]
use = "deepfm"
loss = "listwise"
metric = "ndcg"
epochs = 1
embedding_dim = 8
hidden_units = [128, 64]

[cascade.rerank.mmr]
column = "genres"
separator = "|"
"""


def million(project: Path, items: int = 1_000_000, users: int = 20_000, each: int = 30) -> Path:
    """Makes and trains the project where it is missing; only its serving version.

    Popularity falls as one over the rank; every item has a title and two of 40 genres.
    """
    if not list(Versions(project)):
        print(
            f"making a project of {items:,} items in {project} (some minutes, once) …", flush=True
        )
        _write(project, items, users, each)
        train(project, only=Kind.SERVING)
    return project


def _write(project: Path, items: int, users: int, each: int) -> None:
    random = np.random.default_rng(0)
    project.mkdir(parents=True, exist_ok=True)
    names = [f"genre {k}" for k in range(40)]
    genres = np.array([f"{a}|{b}" for a in names for b in names])
    number = np.arange(items)
    pl.DataFrame(
        {
            "item_id": pl.Series(number).cast(pl.String),
            "title": "Item number " + pl.Series(number).cast(pl.String),
            "genres": genres[random.integers(0, len(genres), items)],
        }
    ).write_parquet(project / "items.parquet")
    pl.DataFrame(
        {"user_id": np.arange(users), "age": random.integers(18, 70, users)}
    ).write_parquet(project / "users.parquet")
    rank = np.exp(random.random(users * each) * np.log(items)).astype(np.int64) - 1
    place = random.permutation(items)
    events = pl.DataFrame(
        {
            "user_id": np.repeat(np.arange(users), each),
            "item_id": pl.Series(place[rank]).cast(pl.String),
            "rating": random.integers(1, 6, users * each),
            "timestamp": 1_600_000_000 + random.integers(0, 100 * 86_400, users * each),
        }
    )
    events.sort("timestamp").write_parquet(project / "events.parquet")
    (project / "tamis.toml").write_text(_TOML, "utf-8")
