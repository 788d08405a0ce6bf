"""SASRec by RecTools 0.19.0 with its softmax loss: a few batches of its own Lightning training."""

import logging
import time
import warnings

import numpy as np
import pandas as pd
import pytorch_lightning as lightning
import torch
from common import (
    BATCH,
    BLOCKS,
    DIM,
    DROPOUT,
    HEADS,
    LENGTH,
    RATE,
    SKIPPED,
    arguments,
    report,
    sequences,
    targets,
    typical,
)
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

given = arguments()
warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


BATCHES = 10
torch.set_num_threads(given.threads)
torch.manual_seed(given.seed)
item, indptr, _, _ = sequences(given.data)
sizes = np.diff(indptr)
place = np.arange(len(item)) - np.repeat(indptr[:-1], sizes)
frame = pd.DataFrame(
    {
        Columns.User: np.repeat(np.arange(len(sizes)), sizes),
        Columns.Item: item,
        Columns.Weight: 1.0,
        Columns.Datetime: pd.to_datetime(place + 10**9, unit="s"),
    }
)
seconds = []


class Clock(lightning.Callback):
    def on_train_batch_start(self, *_):
        self.began = time.perf_counter()

    def on_train_batch_end(self, *_):
        seconds.append(time.perf_counter() - self.began)


def trainer():
    return lightning.Trainer(
        max_epochs=1,
        limit_train_batches=SKIPPED + BATCHES,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Clock()],
    )


model = SASRecModel(
    n_blocks=BLOCKS,
    n_heads=HEADS,
    n_factors=DIM,
    dropout_rate=DROPOUT,
    session_max_len=LENGTH,
    loss="softmax",
    lr=RATE,
    batch_size=BATCH,
    epochs=1,
    get_trainer_func=trainer,
)
model.fit(Dataset.construct(frame))
speed = BATCH / typical(seconds)
report(speed, speed * float(targets(indptr).mean()), batches=len(seconds) - SKIPPED)
