"""ItemCF beside implicit 0.7.3 on Gowalla: both keep 100 neighbours and recommend 20 to everybody.

Each library runs in a process and an environment of its own (implicit's is built on the first run),
in turns, on the same threads. Compiling is not counted: tamis's kernels are compiled by a first
process and opened from numba's cache by the measured ones.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from benchmarks import peers
from benchmarks.recall import ROOT, gowalla
from benchmarks.recall._neighbours import chosen
from benchmarks.recall.gowalla_itemcf import SIMILARITY

from tamis.evaluate import accuracy
from tamis.recall import ItemCF
from tamis.splitting import Holdout

HERE = ROOT / "benchmarks" / "itemcf"
PROTOCOL = (
    "given train and test files; fit with 100 neighbours, then 20 items for every user, training "
    "items masked; tamis's options chosen on a tenth of every user's training items; in turns with "
    "implicit 0.7.3's CosineRecommender on as many threads; compiling not counted; memory is the "
    "peak above what importing took (once ready: above importing and opening compiled code, or "
    "importing and reading the data)"
)
TURNS = 3
REPEATS = 3


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """Seconds, memory and recall of both; `faster` and `smaller` are implicit's over tamis's."""
    split = gowalla(data)
    turns = [[{"neighbours": 100}], *SIMILARITY]
    options = chosen(ItemCF, split.train, turns, seed, say)
    say(f"chosen: {options}")
    with tempfile.TemporaryDirectory() as folder:
        _write(split, Path(folder) / "pairs.npz")
        one("tamis", Path(folder), options, 1)  # compiles
        runs: dict[str, list[dict[str, float]]] = {"tamis": [], "implicit": []}
        for _ in range(TURNS):
            for library, its in runs.items():
                its.append(one(library, Path(folder), options))
        own, peer = (_summary(runs[library], library, Path(folder), split) for library in runs)
    for name, result in (("tamis", own), ("implicit", peer)):
        say(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in result.items()))
    return {
        **own,
        **{f"implicit_{key}": value for key, value in peer.items()},
        "faster": peer["seconds"] / own["seconds"],
        "smaller": peer["memory_mb"] / own["memory_mb"],
    }


def one(
    library: str, folder: Path, options: dict[str, object], repeats: int = REPEATS
) -> dict[str, float]:
    """One process of one library."""
    words = [folder / "pairs.npz", folder / f"{library}.npy", repeats, json.dumps(options)]
    return peers.run(library, HERE / f"run_{library}.py", words)


def _write(split: Holdout, path: Path) -> None:
    events = split.train.events
    order = np.lexsort((events.item, events.user))
    np.savez(
        path,
        user=events.user[order],
        item=events.item[order],
        users=len(split.train.users),
        items=len(split.train.items),
    )


def _summary(
    runs: list[dict[str, float]], library: str, folder: Path, split: Holdout
) -> dict[str, float]:
    found = np.load(folder / f"{library}.npy")[split.users].astype(np.int32)
    metrics = accuracy(found, split.targets, (20,))
    return {
        "recall@20": metrics["recall@20"],
        "ndcg@20": metrics["ndcg@20"],
        "seconds": median(run["fit_seconds"] + run["recommend_seconds"] for run in runs),
        "fit_seconds": median(run["fit_seconds"] for run in runs),
        "recommend_seconds": median(run["recommend_seconds"] for run in runs),
        "memory_mb": max(run["peak_mb"] - run["imported_mb"] for run in runs),
        "memory_once_ready_mb": max(run["peak_mb"] - run["ready_mb"] for run in runs),
    }
