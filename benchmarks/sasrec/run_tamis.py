"""SASRec by tamis: whole epochs of the channel's own fit."""

import time

import numpy as np
import polars as pl
import torch
from common import BATCH, BLOCKS, DIM, DROPOUT, HEADS, LENGTH, RATE, arguments, report, sequences

from tamis.cascade import FitContext, valid_of
from tamis.data import dataset_from_frame
from tamis.recall import SASRec
from tamis.splitting import leave_one_out
from tamis.train import allow_kept_memory

given = arguments()


torch.set_num_threads(given.threads)
allow_kept_memory()
EPOCHS = 4
item, indptr, _, valid = sequences(given.data)
sizes = np.diff(indptr)
user = np.repeat(np.arange(len(sizes)), sizes)
place = np.arange(len(item)) - np.repeat(indptr[:-1], sizes)
shape = {
    "history": LENGTH,
    "embedding_dim": DIM,
    "blocks": BLOCKS,
    "heads": HEADS,
    "learning_rate": RATE,
    "batch_size": BATCH,
    "loss": "full",
}


def log(user, item, place):
    frame = pl.DataFrame({"user": user, "item": item, "place": place}).sort("place", "user")
    return dataset_from_frame(frame, user="user", item="item", time="place")


if given.reach:
    asked = np.flatnonzero(valid >= 0)
    more = [np.concatenate([asked, asked]), np.repeat(valid[None, asked], 2, 0).ravel()]
    places = np.concatenate([np.full(len(asked), 10**6), np.full(len(asked), 10**6 + 1)])
    whole = log(
        np.concatenate([user, more[0]]),
        np.concatenate([item, more[1]]),
        np.concatenate([place, places]),
    )
    question = leave_one_out(whole, "valid")

    class Reached(Exception):  # noqa: N818
        """The fit has got where it should."""

    from tamis.recall.sequence import _network as sequence_model

    judge = sequence_model.NextItem.evaluate

    def evaluate(self, model, held, device):
        found = judge(self, model, held, device)
        if found["ndcg@10"] >= given.reach:
            raise Reached
        return found

    sequence_model.NextItem.evaluate = evaluate
    began, reached = time.perf_counter(), float("inf")
    try:
        SASRec(**shape).fit(question.train, FitContext(seed=given.seed, valid=valid_of(question)))
    except Reached:
        reached = time.perf_counter() - began
    report(0.0, 0.0, reach_seconds=reached)
else:
    channel = SASRec(**shape, dropout=DROPOUT, epochs=EPOCHS, held_out=0)
    channel.fit(log(user, item, place), FitContext(seed=given.seed))
    windows = int((sizes >= 2).sum())
    seconds = float(np.median([epoch.seconds for epoch in channel.result.history[1:]]))
    targets = np.minimum(np.maximum(sizes - 1, 0), LENGTH).sum()
    report(windows / seconds, float(targets) / seconds)
