"""DSSM with pointwise loss, 1 positive : 3 uniform negatives, by Torch-RecHub 0.9.0."""

import time

import numpy as np
import pandas as pd
import torch
from common import (
    DIM,
    HIDDEN,
    ITEM,
    NEGATIVES,
    OUT,
    POSITIVES,
    RATE,
    TEMPERATURE,
    USER,
    arguments,
    recall_at_k,
    report,
    tables,
)
from torch.utils.data import DataLoader
from torch_rechub.basic.features import SequenceFeature, SparseFeature
from torch_rechub.models.matching import DSSM
from torch_rechub.trainers import MatchTrainer
from torch_rechub.utils.data import TorchDataset

given = arguments()


torch.set_num_threads(given.threads)
torch.manual_seed(given.seed)
train, test, items, users = tables(given.data)


def coded(frame, names):
    codes = [pd.factorize(frame[c].astype(str), sort=True)[0].astype(np.int32) + 1 for c in names]
    return np.stack(codes, 1), [int(c.max()) + 1 for c in codes]


U, user_sizes = coded(users, USER)
I, item_sizes = coded(items, ITEM)  # noqa: E741
lists = items.genres.fillna("").str.split("|")
names = {g: k for k, g in enumerate(sorted({g for x in lists for g in x if g}), start=1)}
G = np.zeros((len(items), max(map(len, lists))), np.int32)
for k, x in enumerate(lists):
    present = [names[g] for g in x if g]
    G[k, : len(present)] = present
u = np.repeat(pd.Index(users.user_id).get_indexer(train.user_id), 1 + NEGATIVES)
drawn = np.random.RandomState(given.seed).randint(0, len(items), (len(train), NEGATIVES))
i = np.column_stack([pd.Index(items.item_id).get_indexer(train.item_id), drawn]).ravel()
y = np.tile(np.array([1] + [0] * NEGATIVES, np.float32), len(train))


def of_users(at):
    return {c: U[at, k] for k, c in enumerate(USER)}


def of_items(at):
    return {**{c: I[at, k] for k, c in enumerate(ITEM)}, "genres": G[at]}


rows = TorchDataset({**of_users(u), **of_items(i)}, y)
loader = DataLoader(rows, batch_size=POSITIVES * (1 + NEGATIVES), shuffle=True)
sparse = [
    [SparseFeature(c, vocab_size=n, embed_dim=DIM) for c, n in zip(columns, sizes, strict=True)]
    for columns, sizes in ((USER, user_sizes), (ITEM, item_sizes))
]
genres = SequenceFeature(
    "genres", vocab_size=len(names) + 1, embed_dim=DIM, pooling="mean", padding_idx=0
)
shape = {"dims": [*HIDDEN, OUT], "activation": "relu"}
model = DSSM(sparse[0], [*sparse[1], genres], shape, dict(shape), temperature=TEMPERATURE)
trainer = MatchTrainer(
    model,
    mode=0,
    optimizer_params={"lr": RATE, "weight_decay": 0.0},
    n_epoch=given.epochs,
    model_path=str(given.work),
)
seconds = []
for _ in range(given.epochs):
    began = time.perf_counter()
    trainer.train_one_epoch(loader)
    seconds.append(time.perf_counter() - began)
model.eval()
with torch.no_grad():
    side = {k: torch.from_numpy(v) for k, v in of_users(np.arange(len(users))).items()}
    user_vectors = model.user_tower(side).numpy()
    side = {k: torch.from_numpy(v) for k, v in of_items(np.arange(len(items))).items()}
    item_vectors = model.item_tower(side).numpy()
recall = recall_at_k(user_vectors, item_vectors, train, test, items, users)
report("torch-rechub", given, len(y), seconds, recall)
