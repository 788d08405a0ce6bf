"""SASRec by RecBole 1.2.1 with cross entropy over all items: a few batches of its own Trainer.

It makes one row of every prefix, so its target positions are its rows, and a sequence is as many
rows as an average user has.
"""

import itertools
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from common import (
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
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer

warnings.filterwarnings("ignore")
given = arguments()
sys.argv = sys.argv[:1]  # RecBole reads the command line itself


BATCHES, ROWS = 4, 2048
item, indptr, _, _ = sequences(given.data)
sizes = np.diff(indptr)
folder = given.data / "recbole" / "sequences"
folder.mkdir(parents=True, exist_ok=True)
last = np.repeat(indptr[1:] - 1, 2)  # its split takes the last two of each user: give it two more
frame = pd.DataFrame(
    {
        "user_id:token": np.concatenate(
            [np.repeat(np.arange(len(sizes)), sizes), np.repeat(np.arange(len(sizes)), 2)]
        ),
        "item_id:token": np.concatenate([item, item[last]]),
        "timestamp:float": np.concatenate(
            [np.arange(len(item)) - np.repeat(indptr[:-1], sizes), np.repeat(sizes, 2) + 1]
        ),
    }
)
frame.to_csv(folder / "sequences.inter", sep="\t", index=False)
config = Config(
    model="SASRec",
    dataset="sequences",
    config_dict={
        "data_path": str(folder.parent),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": LENGTH,
        "hidden_size": DIM,
        "inner_size": 4 * DIM,
        "n_layers": BLOCKS,
        "n_heads": HEADS,
        "hidden_dropout_prob": DROPOUT,
        "attn_dropout_prob": DROPOUT,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "learning_rate": RATE,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "train_batch_size": ROWS,
        "epochs": 1,
        "device": "cpu",
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "checkpoint_dir": str(given.data),
        "reproducibility": False,
        "seed": given.seed,
    },
)
torch.set_num_threads(given.threads)
dataset = create_dataset(config)
loader = data_preparation(config, dataset)[0]
model = SASRec(config, loader.dataset)
trainer = Trainer(config, model)
times = []


def some():
    """The loader's first batches, noting when each is asked for."""
    for batch in itertools.islice(loader, SKIPPED + BATCHES):
        times.append(time.perf_counter())
        yield batch
    times.append(time.perf_counter())


trainer._train_epoch(some(), 0)
rows = ROWS / typical([b - a for a, b in itertools.pairwise(times)])
report(rows / float(targets(indptr).mean()), rows, batches=BATCHES)
