"""SASRec with full softmax on Amazon Beauty beside RecTools 0.19.0 and RecBole 1.2.1, in one run.

The same train part (all but each user's last two items), length 50, dim 64, 2 blocks, 2 heads,
dropout .2, on as many threads. Each library runs in a process and an environment of its own, in
turns. An epoch of the others takes minutes, so each of theirs is measured over a few batches after
two that do not count; Tamis's over whole epochs. RecTools pads every sequence to 50 and scores
all places; RecBole makes a row of every prefix; a sequence is a user's, a target position one that
is no pad.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from benchmarks import peers
from benchmarks.recall import ROOT, beauty, leave_out

from tamis.splitting import Holdout

HERE = ROOT / "benchmarks" / "sasrec"
PROTOCOL = (
    "train part of strict leave-one-out; full softmax, length 50, dim 64, 2 blocks, 2 heads, "
    "batches of 128 sequences (RecBole: 2,048 prefixes, its default); in turns with RecTools "
    "0.19.0 (10 batches a turn) and RecBole 1.2.1 (4) after 2 that do not count, Tamis over whole "
    "epochs; then Tamis's seconds, validation included, to NDCG@10 .045 of the validation items"
)
TURNS = 2
REACH = 0.045


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """Sequences/s and target positions/s of all three, and how many times as fast Tamis is."""
    valid, _ = leave_out(beauty(data))
    speeds: dict[str, list[dict[str, float]]] = {"tamis": [], "rectools": [], "recbole": []}
    with tempfile.TemporaryDirectory() as folder:
        _write(valid, Path(folder) / "sequences.npz")
        for _ in range(TURNS):
            for library, its in speeds.items():
                its.append(one(library, Path(folder), seed))
                say(
                    f"{library:9} {its[-1]['sequences_per_second']:>8,.0f} sequences/s "
                    f"{its[-1]['positions_per_second']:>9,.0f} target positions/s "
                    f"peak {its[-1]['peak_mb']:,.0f} MB"
                )
        reached = one("tamis", Path(folder), seed, "--reach", str(REACH))
    say(f"tamis: {reached['reach_seconds']:.0f} s to a validation NDCG@10 of {REACH}")
    result = {"seconds_to_ndcg@10_.045": reached["reach_seconds"]}
    for library, its in speeds.items():
        for name in ("sequences_per_second", "positions_per_second", "peak_mb"):
            result[f"{library}_{name}"] = median(run[name] for run in its)
    for library in ("rectools", "recbole"):
        for name in ("sequences", "positions"):
            key = f"{name}_per_second"
            result[f"{name}_times_{library}"] = result[f"tamis_{key}"] / result[f"{library}_{key}"]
    return result


def one(library: str, folder: Path, seed: int, *options: str) -> dict[str, Any]:
    """One process of one library."""
    words = ["--data", folder, "--threads", peers.given_threads(), "--seed", seed, *options]
    return peers.run(library, HERE / f"run_{library}.py", words, cwd=folder)


def _write(valid: Holdout, path: Path) -> None:
    """Every user's training items in order (`item`, `indptr`) and his validation item (or -1)."""
    events, n = valid.train.events, len(valid.train.users)
    order = np.argsort(events.user, kind="stable")
    sizes = np.bincount(events.user, minlength=n)
    target = np.full(n, -1, np.int64)
    target[valid.users] = valid.targets.values
    np.savez(
        path,
        item=events.item[order].astype(np.int64),
        indptr=np.concatenate([[0], np.cumsum(sizes)]),
        items=len(valid.train.items),
        valid=target,
    )
