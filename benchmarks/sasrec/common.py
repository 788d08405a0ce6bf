"""Shared by the runners: the same sequences, the same shape. numpy only, because each runner lives
in an environment of its own."""

from __future__ import annotations

import argparse
import json
import resource
from pathlib import Path
from statistics import median

import numpy as np

LENGTH, DIM, BLOCKS, HEADS, DROPOUT, RATE, BATCH = 50, 64, 2, 2, 0.2, 1e-3, 128
SKIPPED = 2
"""First batches that do not count."""


def arguments() -> argparse.Namespace:
    """The options; the threads of the libraries are set by who started the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder of sequences.npz")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reach", type=float, default=0.0, help="tamis only: NDCG@10 to train to")
    return parser.parse_args()


def sequences(folder: Path):
    """(users' items end to end from 0, bounds, number of items, validation items)."""

    with np.load(folder / "sequences.npz") as file:
        return file["item"], file["indptr"], int(file["items"]), file["valid"]


def targets(indptr):
    """Target positions of each user: his items but the first, at most LENGTH."""

    return np.minimum(np.maximum(np.diff(indptr) - 1, 0), LENGTH)


def report(sequences_per_second: float, positions_per_second: float, **more: float) -> None:
    """One line of JSON for the parent process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = {
        "sequences_per_second": sequences_per_second,
        "positions_per_second": positions_per_second,
        "peak_mb": peak,
        **more,
    }
    print("RESULT " + json.dumps(line), flush=True)


def typical(seconds: list[float]) -> float:
    """The median of the batches that count."""
    return median(seconds[SKIPPED:])
