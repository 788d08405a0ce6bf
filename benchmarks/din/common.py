"""Shared by the runners: the same rows, the same histories, the same measures. numpy, pandas and
scipy only, because each runner lives in an environment of its own."""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

SINGLE = ["user_id", "item_id", "gender", "age", "occupation", "zip_code", "release_year"]
DIM, HIDDEN, ATTENTION, BATCH, RATE, LAST = 16, (256, 128), (64, 32), 2048, 1e-3, 50


def arguments() -> argparse.Namespace:
    """Parses the options and sets the thread counts before any library reads them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="events, items and users.csv")
    parser.add_argument("--work", type=Path, required=True, help="where a peer may write")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10, help="most epochs; AUC stops earlier")
    parser.add_argument("--patience", type=int, default=1)
    parser.add_argument("--bfloat16", default="auto", help="tamis only")
    given = parser.parse_args()
    for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        os.environ[f"{name}_NUM_THREADS"] = str(given.threads)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    given.work.mkdir(parents=True, exist_ok=True)
    return given


def split(n: int) -> dict[str, object]:
    """Random 8:1:1 of the rows kept, the same for everyone."""
    import numpy as np

    order, a, b = np.random.RandomState(42).permutation(n), int(n * 0.8), int(n * 0.9)
    return {"train": order[:a], "valid": order[a:b], "test": order[b:]}


def tables(data: Path):
    """The raw tables, rating 3 dropped."""
    import pandas as pd

    text = {"dtype": {"zip_code": str, "genres": str}}
    events, items, users = (
        pd.read_csv(data / f"{name}.csv", **text) for name in ("events", "items", "users")
    )
    return events[events.rating != 3].reset_index(drop=True), items, users


def past(user, time):
    """Which of the rows, sorted by (user, time), are each row's past: its user's last LAST rows of
    a strictly earlier time. Returns (order, first, length): row `order[k]` has the past
    `order[first[k]:first[k] + length[k]]`, oldest first."""
    import numpy as np

    n = len(user)
    order = np.lexsort((np.arange(n), time, user))
    own, when = user[order], time[order]
    new_user = np.r_[True, own[1:] != own[:-1]]
    new_time = new_user | np.r_[True, when[1:] != when[:-1]]
    place = np.arange(n)
    begins = np.maximum.accumulate(np.where(new_user, place, 0))
    before = np.maximum.accumulate(np.where(new_time, place, 0))
    length = np.minimum(before - begins, LAST)
    return order, before - length, length


@dataclass
class Coded:
    """What peers without encoders of their own are given: codes from 1, 0 pads."""

    X: object
    """int32 (n, 7) in the order of SINGLE."""
    vocabulary: list[int]
    G: object
    """int32 (n, 6) genres."""
    genres: int
    H: object
    """int32 (n, LAST) items of the past, oldest first, padded at the end."""
    lengths: object
    y: object
    split: dict[str, object]


def coded(data: Path) -> Coded:
    """Everything encoded by hand, as these libraries' examples do it."""
    import numpy as np
    import pandas as pd

    events, items, users = tables(data)
    at_user = pd.Index(users.user_id).get_indexer(events.user_id)
    at_item = pd.Index(items.item_id).get_indexer(events.item_id)
    columns, sizes = [], []
    for name in SINGLE:
        table, at = (users, at_user) if name in users else (items, at_item)
        code = pd.factorize(table[name].astype(str), sort=True)[0].astype(np.int32) + 1
        columns.append(code[at])
        sizes.append(int(code.max()) + 1)
    lists = items.genres.fillna("").str.split("|")
    names = {g: k for k, g in enumerate(sorted({g for x in lists for g in x if g}), start=1)}
    G = np.zeros((len(items), max(map(len, lists))), np.int32)
    for k, x in enumerate(lists):
        present = [names[g] for g in x if g]
        G[k, : len(present)] = present
    X = np.stack(columns, 1)
    order, first, length = past(at_user, events.timestamp.to_numpy())
    place = np.arange(LAST)
    at = np.minimum(first[:, None] + place, len(order) - 1)
    H = np.empty((len(order), LAST), np.int32)
    H[order] = np.where(place < length[:, None], X[order, 1][at], 0)
    lengths = np.empty(len(order), np.int32)
    lengths[order] = length
    y = (events.rating.to_numpy() >= 4).astype(np.float32)
    return Coded(X, sizes, G[at_item], len(names) + 1, H, lengths, y, split(len(events)))


def auc(y, score) -> float:
    """Ties counted half."""
    import numpy as np
    from scipy.stats import rankdata

    y, ranks = np.asarray(y).ravel() > 0.5, rankdata(np.asarray(score).ravel())
    positive = y.sum()
    return float(
        (ranks[y].sum() - positive * (positive + 1) / 2) / (positive * (len(y) - positive))
    )


class Stopwatch:
    """Preparation, epoch times, early stopping on validation AUC."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.rows, self.preparation = given, 0, float("nan")
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
            value = valid_auc()
            if value > self.valid:
                self.valid, self.best, self.test = value, epoch + 1, test_auc()
            elif epoch + 1 - self.best >= self.given.patience:
                break

    def report(self, library: str, **more) -> None:
        """One line of JSON for the parent process."""
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
            "wall_seconds": time.perf_counter() - self.began,
            "peak_mb": peak,
            **more,
        }
        print("RESULT " + json.dumps(line), flush=True)
