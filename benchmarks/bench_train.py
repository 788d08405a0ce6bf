"""DeepFM on MovieLens-1M, side by side with RecBole, DeepCTR-Torch and Torch-RecHub.

    python -m benchmarks.bench_train [--seeds 3] [--epochs 30] [--threads 2] [--quick]

Every library trains in an environment of its own (built under build/bench on the first run), on
the same rows, with the same shape: dim 16, MLP 256-128, batch 2048, Adam 1e-3 for the dense
weights. The runs alternate: seed 0 of everyone, then seed 1 of everyone …, so that a busy minute
hits all alike.
Prints a table and writes build/bench/deepfm.json.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks import peers
from benchmarks.places import BUILD, ROOT
from rich.console import Console
from rich.table import Table

from tamis.datasets import materialise

PEERS = ("recbole", "deepctr", "rechub")
LARGE = 2_000_000
"""User ids of the large vocabulary."""

Run = dict[str, Any]


def run(library: str, given: argparse.Namespace, *options: str) -> Run:
    """One process of one library."""
    words = ["--data", BUILD / "movielens-1m", "--work", BUILD / "work"]
    words += ["--threads", given.threads, *options]
    script = ROOT / "benchmarks" / "ctr" / f"run_{library}.py"
    return peers.run(library, script, words, threads=given.threads, cwd=BUILD)


def compare(given: argparse.Namespace, libraries: list[str]) -> dict[str, list[Run]]:
    """Alternating runs: each seed of every library."""
    runs: dict[str, list[Run]] = {library: [] for library in libraries}
    for seed in range(given.seeds):
        for library in libraries:
            options = ["--seed", str(seed), "--epochs", str(given.epochs)]
            runs[library].append(run(library, given, *options))
            one = runs[library][-1]
            print(
                f"  seed {seed} {library:8} {speed([one]):>9,.0f} samples/s"
                f"  AUC {one['test_auc']:.4f} after epoch {one['best_epoch']}"
                f"  wall {one['wall_seconds']:.1f} s",
                flush=True,
            )
    return runs


def vocabulary(given: argparse.Namespace, libraries: list[str]) -> dict[str, dict[str, float]]:
    """Samples/s with the table's usual size and with LARGE user ids, on the same 30 batches."""
    out: dict[str, dict[str, float]] = {}
    for library in libraries:
        out[library] = {}
        for label, size in (("small", 6_041), ("large", LARGE)):
            epochs = "8" if library == "tamis" else "3"
            one = run(library, given, "--vocabulary", str(size), "--epochs", epochs)
            out[library][label] = speed([one])
    return out


def speed(runs: list[Run]) -> float:
    """Samples/s of the median epoch of all runs."""
    return runs[0]["rows"] / median(s for one in runs for s in one["epoch_seconds"])


def summary(runs: list[Run]) -> dict[str, float]:
    return {
        "samples_per_second": speed(runs),
        "test_auc": mean(one["test_auc"] for one in runs),
        "epochs_to_best": mean(one["best_epoch"] for one in runs),
        "wall_seconds": median(one["wall_seconds"] for one in runs),
        "peak_mb": max(one["peak_mb"] for one in runs),
    }


def show(rows: dict[str, dict[str, float]], large: dict[str, dict[str, float]]) -> Table:
    table = Table(title="DeepFM, MovieLens-1M (591 k training rows)")
    for name in ("library", "samples/s", "tamis is", "test AUC", "best epoch", "raw → AUC", "peak"):
        table.add_column(name, justify="left" if name == "library" else "right")
    table.add_column("2 M ids, samples/s", justify="right")
    own = rows["tamis"]
    for library, row in rows.items():
        ratio = own["samples_per_second"] / row["samples_per_second"]
        sizes = large.get(library)
        table.add_row(
            library,
            f"{row['samples_per_second']:,.0f}",
            f"{ratio:.2f}×",
            f"{row['test_auc']:.4f}",
            f"{row['epochs_to_best']:.1f}",
            f"{row['wall_seconds']:.1f} s",
            f"{row['peak_mb']:,.0f} MB",
            f"{sizes['large']:,.0f} ({sizes['large'] / sizes['small']:.0%})" if sizes else "–",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30, help="most epochs; AUC stops earlier")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=PEERS, help="of the peers")
    parser.add_argument("--no-large", action="store_true", help="leave the 2 M ids out")
    parser.add_argument("--quick", action="store_true", help="one seed, 3 epochs, speed only")
    given = parser.parse_args()
    if given.quick:
        given.seeds, given.epochs = 1, 3
    BUILD.mkdir(parents=True, exist_ok=True)
    if not (BUILD / "movielens-1m" / "users.csv").exists():
        materialise("movielens-1m", BUILD / "movielens-1m", progress=print)
    libraries = ["tamis", *(given.only if given.only is not None else PEERS)]
    for library in libraries[1:]:
        peers.environment(library)
    runs = compare(given, libraries)
    large = {} if given.no_large else vocabulary(given, libraries)
    rows = {library: summary(each) for library, each in runs.items()}
    report = {
        "machine": {"cpu": _cpu(), "threads": given.threads, "python": platform.python_version()},
        "summary": rows,
        "large_vocabulary": large,
        "runs": runs,
    }
    (BUILD / "deepfm.json").write_text(json.dumps(report, indent=1))
    Console(width=120).print(show(rows, large))
    print(f"bfloat16 in tamis: {runs['tamis'][0]['bfloat16']}; details in build/bench/deepfm.json")


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
