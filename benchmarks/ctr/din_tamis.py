"""DIN by tamis: the features of a project, histories by pointer, no batch of its own."""

from dataclasses import replace

import numpy as np
import polars as pl
import torch
from common import BATCH, DIM, HIDDEN, RATE, SINGLE, Stopwatch, arguments, auc, split
from histories import ATTENTION, LAST

from tamis.data import Table, dataset_from_frame
from tamis.features import Block, FeatureSpace, Histories, Layout, Rows
from tamis.rank import DIN
from tamis.schema import SparseFeat, VarLenSparseFeat

given = arguments()
torch.set_num_threads(given.threads)
FEATURES = [
    *(SparseFeat(name) for name in SINGLE),
    VarLenSparseFeat("genres", separator="|", max_len=6),
    VarLenSparseFeat("history", history=("positive",), shares="item_id", max_len=LAST),
]


def with_columns(table: Table, columns: pl.DataFrame, key: str) -> Table:
    """The table with what is known of its ids."""
    ids = pl.DataFrame({key: table.ids})
    known = columns.with_columns(pl.col(key).cast(table.ids.dtype))
    frame = ids.join(known, key, how="left", maintain_order="left").drop(key)
    return replace(table, frame=frame)


def prepare() -> dict[str, Rows]:
    """Rows of train, valid and test: users at their moments, with items; no dense inputs."""
    events, items, users = (
        pl.read_csv(given.data / f"{name}.csv", schema_overrides={"zip_code": pl.String})
        for name in ("events", "items", "users")
    )
    kept = events.filter(pl.col("rating") != 3)
    data = dataset_from_frame(kept, time="timestamp")
    data = replace(
        data,
        users=with_columns(data.users, users, "user_id"),
        items=with_columns(data.items, items, "item_id"),
    )
    space = FeatureSpace.fit(data, FEATURES, windows=())
    user = data.users.rows(kept["user_id"].cast(data.users.ids.dtype))
    item = data.items.rows(kept["item_id"].cast(data.items.ids.dtype))
    time = kept["timestamp"].to_numpy() * 1000
    label = (kept["rating"].to_numpy() >= 4).astype(np.float32)[:, None]
    moments, query = np.unique(user.astype(np.int64) << 44 | time, return_inverse=True)
    who, when = (moments >> 44).astype(np.int32), moments & ((1 << 44) - 1)
    users_at = space.user_rows(who, when, Histories.of(data).at(who, when, LAST))
    layout = side_by_side(space.user_layout, space.item_layout)
    catalogue = space.item_rows().blocks[0].ids
    pointers = query.astype(np.int32), item
    blocks = [
        Block(ids, np.empty((len(ids), 0), np.float32), pointer)
        for ids, pointer in zip((users_at.blocks[0].ids, catalogue), pointers, strict=True)
    ]
    rows = Rows(layout, blocks, len(kept), label)
    return {name: rows.select(at) for name, at in split(len(kept)).items()}


def side_by_side(left: Layout, right: Layout) -> Layout:
    """The ids of both; they have the same tables."""
    shifted = [replace(c, first=c.first + left.id_width) for c in right.ids]
    return Layout(left.tables, (*left.ids, *shifted), ())


watch = Stopwatch(given)
parts = prepare()
watch.prepared(len(parts["train"]))
model = DIN(
    embedding_dim=DIM,
    hidden_units=HIDDEN,
    attention_units=ATTENTION,
    batch_size=BATCH,
    learning_rate=RATE,
    epochs=given.epochs,
    patience=given.patience,
    bfloat16=given.bfloat16,
    seed=given.seed,
).fit(parts["train"], parts["valid"])
watch.epochs = [epoch.seconds for epoch in model.history]
watch.best, watch.valid = model.best_epoch, model.best["auc"]
watch.test = auc(parts["test"].labels, model.probabilities(parts["test"]))
curve = [round(epoch.metrics["auc"], 5) for epoch in model.history]
watch.report("tamis", bfloat16=model.result.bfloat16, valid_aucs=curve)
