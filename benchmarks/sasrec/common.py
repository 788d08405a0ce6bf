"""Shared by the runners: the same sequences, the same shape. numpy only, because each runner lives
in an environment of its own."""

from __future__ import annotations

import argparse
import json
import os
import resource
from pathlib import Path
from statistics import median

LENGTH, DIM, BLOCKS, HEADS, DROPOUT, RATE, BATCH = 50, 64, 2, 2, 0.2, 1e-3, 128
SKIPPED = 2
"""First batches that do not count."""


def arguments() -> argparse.Namespace:
    """Parses the options and sets the thread counts before any library reads them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder of sequences.npz")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reach", type=float, default=0.0, help="tamis only: NDCG@10 to train to")
    given = parser.parse_args()
    for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        os.environ[f"{name}_NUM_THREADS"] = str(given.threads)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return given


def sequences(folder: Path):
    """(users' items end to end from 0, bounds, number of items, validation items)."""
    import numpy as np

    with np.load(folder / "sequences.npz") as file:
        return file["item"], file["indptr"], int(file["items"]), file["valid"]


def targets(indptr):
    """Target positions of each user: his items but the first, at most LENGTH."""
    import numpy as np

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
