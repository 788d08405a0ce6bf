"""Two-tower with sampled negatives beside Torch-RecHub 0.9.0, in one run, on the same rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import peers
from benchmarks.recall import BUILD, ROOT, movielens_1m

PROTOCOL = (
    "MovieLens-1M positives (rating >= 4) of a random 8:1:1 split; DSSM 256-128-64 of dim 16 on "
    "the same user and item features, cross entropy on scaled cosines, one positive to three "
    "uniform negatives, 2,048 rows a batch; rows/s of the median epoch; the libraries take turns"
)
TURNS, EPOCHS = 2, 2


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """Rows/s of both libraries, how many times as fast Tamis is, recall@50."""
    folder = data or BUILD / "movielens-1m"
    if not (folder / "events.csv").exists():
        movielens_1m(None)
    runs: dict[str, list[dict[str, Any]]] = {"tamis": [], "rechub": []}
    for _ in range(TURNS):
        for library, each in runs.items():
            each.append(_one(library, folder, seed))
            line = each[-1]
            say(
                f"{line['library']:12} {line['rows_per_second']:>9,.0f} rows/s  "
                f"recall@50 {line['recall@50']:.4f}  peak {line['peak_mb']:,.0f} MB"
            )
    speed = {name: median(r["rows_per_second"] for r in each) for name, each in runs.items()}
    say(f"tamis is {speed['tamis'] / speed['rechub']:.2f}x as fast")
    return {
        "rows/s": speed["tamis"],
        "rows/s torch-rechub": speed["rechub"],
        "times as fast": speed["tamis"] / speed["rechub"],
        "recall@50": runs["tamis"][-1]["recall@50"],
        "recall@50 torch-rechub": runs["rechub"][-1]["recall@50"],
    }


def _one(library: str, folder: Path, seed: int) -> dict[str, Any]:
    """One process of one library."""
    words = ["--data", folder, "--work", BUILD / "work", "--seed", seed, "--epochs", EPOCHS]
    words += ["--threads", peers.given_threads()]
    script = ROOT / "benchmarks" / "two_tower" / f"run_{library}.py"
    return peers.run(library, script, words, cwd=BUILD)
