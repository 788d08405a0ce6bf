"""Models of RecBole 1.2.1: its files, its Trainer, the same rows by `benchmark_filename`."""

import sys
import warnings

import numpy as np
import pandas as pd
import torch
from common import (
    BATCH,
    BIG_ROWS,
    CROSSES,
    DIM,
    HIDDEN,
    RATE,
    SINGLE,
    Stopwatch,
    arguments,
    coded,
    split,
    tables,
)
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.context_aware_recommender import DCN, DCNV2, DeepFM, WideDeep
from recbole.trainer import Trainer
from recbole.utils import init_seed

warnings.filterwarnings("ignore")
given = arguments()
sys.argv = sys.argv[:1]  # RecBole reads the command line itself

USER = {"user_id": "token", "gender": "token", "age": "token", "occupation": "token"}
USER["zip_code"] = "token"
ITEM = {"item_id": "token", "release_year": "token", "genres": "token_seq"}


def decoded():
    """(events with a label, items, users, parts) of the coded rows, codes as names."""
    data = coded(given.data)
    rows = pd.DataFrame(data.X, columns=SINGLE).assign(label=data.y)
    rows["genres"] = ["|".join(str(g) for g in codes if g) for codes in data.G]
    users, items = (
        rows[[key, *(k for k in kinds if k != key)]].drop_duplicates(key)
        for key, kinds in (("user_id", USER), ("item_id", ITEM))
    )
    return rows, items.copy(), users, data.split


def read():
    """The same of the raw tables."""
    events, items, users = tables(given.data)
    events["label"] = (events.rating >= 4).astype("float32")
    return events, items, users, split(len(events))


def convert(folder) -> None:
    """RecBole's atomic files."""
    folder.mkdir(parents=True, exist_ok=True)
    events, items, users, parts = decoded() if given.data.suffix == ".npz" else read()
    kinds = {"user_id": "token", "item_id": "token", "label": "float"}
    for name, at in parts.items():
        if given.vocabulary and name == "train":
            at = at[:BIG_ROWS]
        write(events.iloc[at], kinds, folder / f"ml1m.{name}.inter")
    if given.vocabulary:
        first = int(users.user_id.max()) + 1
        more = np.arange(first, first + given.vocabulary - len(users))
        others = users.iloc[np.zeros(len(more), int)].assign(user_id=more)
        users = pd.concat([users, others], ignore_index=True)
    write(users, USER, folder / "ml1m.user")
    items["genres"] = items.genres.fillna("").str.replace(" ", "_").str.replace("|", " ")
    write(items, ITEM, folder / "ml1m.item")


def write(frame, kinds, path) -> None:
    named = {name: f"{name}:{kind}" for name, kind in kinds.items()}
    frame[list(kinds)].rename(columns=named).to_csv(path, sep="\t", index=False)


MODELS = {"deepfm": DeepFM, "wide_deep": WideDeep, "dcn": DCN, "dcnv2": DCNV2}
kind = MODELS[given.model]
watch = Stopwatch(given)
root = given.work / f"recbole{given.vocabulary}"
convert(root / "ml1m")
config = Config(
    model=kind.__name__,
    dataset="ml1m",
    config_dict={
        "data_path": str(root),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {
            "inter": ["user_id", "item_id", "label"],
            "user": list(USER),
            "item": list(ITEM),
        },
        "LABEL_FIELD": "label",
        "train_neg_sample_args": None,
        "eval_args": {"split": None, "group_by": None, "order": "RO", "mode": "labeled"},
        "metrics": ["AUC", "LogLoss"],
        "valid_metric": "AUC",
        "metric_decimal_place": 6,
        "embedding_size": DIM,
        "mlp_hidden_size": list(HIDDEN),
        "dropout_prob": 0.0,
        "cross_layer_num": CROSSES,
        "structure": "parallel",
        "mixed": False,
        "reg_weight": 0.0,
        "learning_rate": RATE,
        "weight_decay": 0.0,
        "train_batch_size": BATCH,
        "eval_batch_size": BATCH,
        "epochs": given.epochs,
        "use_gpu": False,
        "device": "cpu",
        "seed": given.seed,
        "reproducibility": False,
        "show_progress": False,
        "state": "ERROR",
        "checkpoint_dir": str(given.work),
        "worker": 0,
    },
)
torch.set_num_threads(given.threads)
init_seed(given.seed, False)
dataset = create_dataset(config)
train, valid, test = data_preparation(config, dataset)
model = kind(config, train.dataset)
trainer = Trainer(config, model)
watch.rows = len(train.dataset)
watch.fit(
    lambda: trainer._train_epoch(train, 0),
    lambda: float(trainer._valid_epoch(valid)[0]),
    lambda: float(trainer.evaluate(test, load_best_model=False)["auc"]),
)
watch.report("recbole")
