"""DIN with histories of 50 on MovieLens-1M beside Torch-RecHub and DeepCTR-Torch, in one run.

The others take most of the time, and run with the first seed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import peers
from benchmarks.rank import BUILD, ROOT, there

from tamis.datasets import materialise

EPOCHS = 10
PROTOCOL = (
    "MovieLens-1M without rating 3, >= 4 is 1, random 8:1:1 (RandomState(42).permutation); "
    "history: the user's last 50 rows kept, of either label, of a strictly earlier time; 7 id "
    "features and the genres of dim 16, attention 64-32 on [q, k, q-k, q*k] with raw weights, "
    "hidden layers 256-128, 2,048 rows a batch, Adam 1e-3 for the dense weights; each library in "
    "a process and environment of its own (Torch-RecHub 0.9.0, DeepCTR-Torch 0.3.0: with the first "
    f"seed alone), at most {EPOCHS} epochs, stopped by one without a better validation AUC, test "
    "AUC of the best; samples/s of the median epoch; preparation: raw tables to the first batch; "
    "peak memory of the whole process"
)
OTHERS = ("rechub", "deepctr")
FIGURES = ("samples_per_second", "preparation_seconds", "peak_mb", "test_auc", "best_epoch")


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """Speed, preparation, peak memory and test AUC; with seed 0, of each, and how many times as
    fast Tamis is."""
    folder = there(data) or BUILD / "movielens-1m"
    if not (folder / "users.csv").exists():
        materialise("movielens-1m", folder)
    result: dict[str, float] = {}
    others = () if seed else OTHERS
    for library in (peers.OWN, *others):
        one = _one(library, folder, seed)
        say(
            f"{library:8} {one['samples_per_second']:>8,.0f} samples/s  test AUC "
            f"{one['test_auc']:.4f} of epoch {one['best_epoch']}  prepared in "
            f"{one['preparation_seconds']:.1f} s  peak {one['peak_mb']:,.0f} MB"
        )
        prefix = "" if library == peers.OWN else f"{library}_"
        result |= {f"{prefix}{name}": float(one[name]) for name in FIGURES}
    for library in others:
        theirs = result[f"{library}_samples_per_second"]
        result[f"times_{library}"] = result["samples_per_second"] / theirs
    return result


def _one(library: str, folder: Path, seed: int) -> dict[str, Any]:
    words = ["--data", folder.resolve(), "--work", BUILD / "work", "--seed", seed]
    words += ["--epochs", EPOCHS, "--patience", 1, "--threads", peers.given_threads()]
    script = ROOT / "benchmarks" / "ctr" / f"din_{library}.py"
    one = peers.run(library, script, words, cwd=BUILD)
    return {**one, "samples_per_second": one["rows"] / median(one["epoch_seconds"])}
