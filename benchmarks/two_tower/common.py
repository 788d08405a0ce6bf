"""Shared by the runners: the same rows, the same shape, the same measures. numpy, pandas only,
because each runner lives in an environment of its own."""

from __future__ import annotations

import argparse
import json
import resource
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

USER, ITEM = ["user_id", "gender", "age", "occupation", "zip_code"], ["item_id", "release_year"]
DIM, HIDDEN, OUT = 16, (256, 128), 64
POSITIVES, NEGATIVES, RATE, TEMPERATURE = 512, 3, 1e-3, 0.05
K = 50


def arguments() -> argparse.Namespace:
    """The options; the threads of the libraries are set by who started the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="events, items and users.csv")
    parser.add_argument("--work", type=Path, required=True, help="where a peer may write")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    return given


def tables(data: Path):
    """(train, test) positives and the two tables: ratings of 4 and more; 8:1:1 at random of all
    ratings but 3, of which a tenth is left out."""

    text = {"dtype": {"zip_code": str, "genres": str}}
    events, items, users = (
        pd.read_csv(data / f"{name}.csv", **text) for name in ("events", "items", "users")
    )
    events = events[events.rating != 3].reset_index(drop=True)
    n = len(events)
    order, a, b = np.random.RandomState(42).permutation(n), int(n * 0.8), int(n * 0.9)
    liked = (events.rating >= 4).to_numpy()
    train, test = (events.iloc[at[liked[at]]] for at in (order[:a], order[b:]))
    return train, test, items.reset_index(drop=True), users.reset_index(drop=True)


def recall_at_k(user_vectors, item_vectors, train, test, items, users) -> float:
    """Share of each user's test positives among the best K of all items, train masked; the mean."""

    rows = [
        (
            pd.Index(users.user_id).get_indexer(part.user_id),
            pd.Index(items.item_id).get_indexer(part.item_id),
        )
        for part in (train, test)
    ]
    score = user_vectors @ item_vectors.T
    score[rows[0]] = -np.inf
    best = np.argpartition(-score, K, 1)[:, :K]
    wanted = np.zeros(score.shape, bool)
    wanted[rows[1]] = True
    found, there = np.take_along_axis(wanted, best, 1).sum(1), wanted.sum(1)
    return float((found[there > 0] / there[there > 0]).mean())


def report(library: str, given: argparse.Namespace, rows: int, seconds: list[float], recall: float):
    """One line of JSON for the parent process; a row is a user, an item and a label."""
    line = {
        "library": library,
        "seed": given.seed,
        "rows": rows,
        "rows_per_second": rows / median(seconds),
        "epoch_seconds": [round(s, 4) for s in seconds],
        f"recall@{K}": recall,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print("RESULT " + json.dumps(line), flush=True)
