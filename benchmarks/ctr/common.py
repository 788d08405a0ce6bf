"""Shared by the runners: the same rows, the same measures. numpy, pandas and scipy only, because
each runner lives in an environment of its own."""

from __future__ import annotations

import argparse
import json
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata

SINGLE = ["user_id", "item_id", "gender", "age", "occupation", "zip_code", "release_year"]
DIM, HIDDEN, BATCH, RATE, CROSSES = 16, (256, 128), 2048, 1e-3, 3
BIG_ROWS = 61_440
"""Training rows of a run with a large vocabulary: 30 batches."""


def arguments() -> argparse.Namespace:
    """The options; the threads of the libraries are set by who started the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="deepfm", help="by the name that Tamis gives it")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder of events, items and users.csv, or what `write` made of it",
    )
    parser.add_argument("--work", type=Path, required=True, help="where a peer may write")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--patience", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=0, help="user ids of a large vocabulary")
    parser.add_argument("--bfloat16", default="auto", help="tamis only")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    return given


@dataclass
class Coded:
    """What peers without encoders of their own are given: codes from 1, 0 pads."""

    X: object
    """int32 (n, 7) in the order of SINGLE."""
    vocabulary: list[int]
    G: object
    """int32 (n, 6) genres."""
    genres: int
    y: object
    split: dict[str, object]


def split(n: int) -> dict[str, object]:
    """Random 8:1:1 of the rows kept, the same for everyone."""

    order, a, b = np.random.RandomState(42).permutation(n), int(n * 0.8), int(n * 0.9)
    return {"train": order[:a], "valid": order[a:b], "test": order[b:]}


def tables(data: Path):
    """The raw tables, rating 3 dropped."""

    text = {"dtype": {"zip_code": str, "genres": str}}
    events, items, users = (
        pd.read_csv(data / f"{name}.csv", **text) for name in ("events", "items", "users")
    )
    return events[events.rating != 3].reset_index(drop=True), items, users


def write(data: Path, path: Path) -> None:
    """The coded rows as one file, from which every library can start."""
    c = coded(data)
    np.savez(path, X=c.X, vocabulary=c.vocabulary, G=c.G, genres=c.genres, y=c.y, **c.split)


def coded(data: Path, vocabulary: int = 0) -> Coded:
    """Everything encoded by hand, as these libraries' examples do it."""
    if data.suffix == ".npz":
        z = np.load(data)
        parts = {name: z[name] for name in ("train", "valid", "test")}
        return Coded(z["X"], z["vocabulary"].tolist(), z["G"], int(z["genres"]), z["y"], parts)

    events, items, users = tables(data)
    at_user = pd.Index(users.user_id).get_indexer(events.user_id)
    at_item = pd.Index(items.item_id).get_indexer(events.item_id)
    columns, sizes = [], []
    for name in SINGLE:
        table, at = (users, at_user) if name in users else (items, at_item)
        code = pd.factorize(table[name].astype(str), sort=True)[0].astype(np.int32) + 1
        if vocabulary and name == "user_id":
            code = code * np.int32(vocabulary // (len(users) + 1))
        columns.append(code[at])
        sizes.append(vocabulary if vocabulary and name == "user_id" else int(code.max()) + 1)
    lists = items.genres.fillna("").str.split("|")
    names = {g: k for k, g in enumerate(sorted({g for x in lists for g in x if g}), start=1)}
    G = np.zeros((len(items), max(map(len, lists))), np.int32)
    for k, x in enumerate(lists):
        present = [names[g] for g in x if g]
        G[k, : len(present)] = present
    parts = split(len(events))
    if vocabulary:
        parts["train"] = parts["train"][:BIG_ROWS]
    y = (events.rating.to_numpy() >= 4).astype(np.float32)
    return Coded(np.stack(columns, 1), sizes, G[at_item], len(names) + 1, y, parts)


def auc(y, score) -> float:
    """Ties counted half."""

    y, ranks = np.asarray(y).ravel() > 0.5, rankdata(np.asarray(score).ravel())
    positive = y.sum()
    return float(
        (ranks[y].sum() - positive * (positive + 1) / 2) / (positive * (len(y) - positive))
    )


class Stopwatch:
    """Epoch times, early stopping on validation AUC, and the wall time since the raw tables; where
    a runner says when it is `prepared`, the time until then."""

    def __init__(self, given: argparse.Namespace, rows: int = 0) -> None:
        self.given, self.rows, self.preparation = given, rows, None
        self.began, self.epochs = time.perf_counter(), []
        self.valid, self.test, self.best = -1.0, float("nan"), 0

    def prepared(self, rows: int) -> None:
        """Raw tables have become what the first batch is made of."""
        self.rows, self.preparation = rows, time.perf_counter() - self.began

    def fit(self, one_epoch, valid_auc, test_auc) -> None:
        """Runs epochs until `patience` epochs bring nothing better."""
        for epoch in range(self.given.epochs):
            start = time.perf_counter()
            one_epoch()
            self.epochs.append(time.perf_counter() - start)
            if self.given.vocabulary:
                continue
            value = valid_auc()
            if value > self.valid:
                self.valid, self.best, self.test = value, epoch + 1, test_auc()
            elif epoch + 1 - self.best >= self.given.patience:
                break

    def report(self, library: str, **more) -> None:
        """One line of JSON for the parent process."""
        wall = time.perf_counter() - self.began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        line = {
            "library": library,
            "seed": self.given.seed,
            "rows": self.rows,
            "epoch_seconds": [round(s, 4) for s in self.epochs],
            "best_epoch": self.best,
            "valid_auc": self.valid,
            "test_auc": self.test,
            "preparation_seconds": self.preparation,
            "wall_seconds": wall,
            "peak_mb": peak,
            **more,
        }
        print("RESULT " + json.dumps(line), flush=True)
