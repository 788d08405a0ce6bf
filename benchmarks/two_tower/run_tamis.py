"""DSSM with pointwise loss, 1 positive : 3 uniform negatives, by Tamis."""

from dataclasses import replace

import numpy as np
import polars as pl
import torch
from common import (
    DIM,
    HIDDEN,
    NEGATIVES,
    OUT,
    POSITIVES,
    RATE,
    TEMPERATURE,
    arguments,
    recall_at_k,
    report,
    tables,
)

from tamis import SparseFeat, TwoTower, VarLenSparseFeat
from tamis.cascade import FitContext, at_end
from tamis.data import Table, dataset_from_frame
from tamis.train import allow_kept_memory

given = arguments()


torch.set_num_threads(given.threads)
allow_kept_memory()
train, test, items, users = tables(given.data)
log = dataset_from_frame(pl.from_pandas(train[["user_id", "item_id"]]))
tables_of = {}
for name, frame in (("users", users), ("items", items)):
    ids = pl.Series(frame[f"{name[:-1]}_id"].astype(str).tolist())
    columns = frame.drop(columns=[f"{name[:-1]}_id"])
    text = {c: pl.Series(columns[c].fillna("").astype(str).tolist()) for c in columns}
    tables_of[name] = Table(name, ids, pl.DataFrame(text))
events = replace(
    log.events,
    user=tables_of["users"].rows(train.user_id.astype(str).tolist()),
    item=tables_of["items"].rows(train.item_id.astype(str).tolist()),
)
data = replace(log, users=tables_of["users"], items=tables_of["items"], events=events)
features = (
    *(SparseFeat(name) for name in ("gender", "age", "occupation", "zip_code", "release_year")),
    VarLenSparseFeat("genres", separator="|", max_len=6),
)
channel = TwoTower(
    network="mlp",
    embedding_dim=DIM,
    output_dim=OUT,
    hidden_units=HIDDEN,
    dropout=0.0,
    user_id=True,
    history=0,
    examples="pairs",
    loss="pointwise",
    negatives=NEGATIVES,
    temperature=TEMPERATURE,
    bias=False,
    batch_size=POSITIVES,
    learning_rate=RATE,
    epochs=given.epochs,
)
channel.fit(data, FitContext(seed=given.seed, features=features))
assert channel.training is not None
everyone = np.arange(len(data.users), dtype=np.int32)
vectors = channel.user_vectors(at_end(data, everyone, exclude_seen=False))
recall = recall_at_k(vectors, channel.item_vectors(), train, test, items, users)
pairs = round(channel.training.samples_per_second * np.median(
    [e.seconds for e in channel.training.history]
))  # fmt: skip
report(
    "tamis",
    given,
    pairs * (1 + NEGATIVES),
    [e.seconds for e in channel.training.history],
    recall,
)
