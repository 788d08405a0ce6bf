"""Full-rank evaluation of given vectors on Gowalla, beside what Torch-RecHub 0.9.0 asks for.

Random vectors of width 64 for all users and items; training items masked; recall and NDCG at 20.
Each library runs in a process and an environment of its own, in turns, on as many threads. Both
must find the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from benchmarks import peers
from benchmarks.recall import ROOT, gowalla

from tamis.cascade import holdout_queries
from tamis.runtime import threads

HERE = ROOT / "benchmarks" / "full_rank"
PROTOCOL = (
    "random vectors of width 64 for every user and item of the given split, training items masked, "
    "recall@20 and NDCG@20 of all test users; in turns with Torch-RecHub 0.9.0 (torch.topk of "
    "256 users at a time and its topk_metrics) on as many threads; median time"
)
WIDTH = 64
TURNS = 3
REPEATS = 3


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """Seconds, memory and metrics of both; `faster` is the peer's time over tamis's."""
    with tempfile.TemporaryDirectory() as place:
        vectors = Path(place) / "vectors.npz"
        _write(seed, data, vectors)
        runs: dict[str, list[dict[str, Any]]] = {"tamis": [], "rechub": []}
        for _ in range(TURNS):
            for library, its in runs.items():
                its.append(_one(library, vectors))
                taken = median(its[-1]["seconds"])
                say(f"{library:7} {taken:.2f} s, peak {its[-1]['peak_mb']:,.0f} MB")
    own, peer = (_summary(runs[library]) for library in ("tamis", "rechub"))
    return {
        **own,
        **{f"rechub_{name}": value for name, value in peer.items()},
        "faster": peer["seconds"] / own["seconds"],
    }


def _write(seed: int, data: Path | None, out: Path) -> None:
    split = gowalla(data)
    queries = holdout_queries(split)
    random = np.random.default_rng(seed)
    np.savez(
        out,
        users=random.standard_normal((len(split), WIDTH), np.float32),
        items=random.standard_normal((len(split.train.items), WIDTH), np.float32),
        seen_indptr=queries.exclude.indptr,
        seen_values=queries.exclude.values,
        target_indptr=split.targets.indptr,
        target_values=split.targets.values,
    )


def _one(library: str, vectors: Path) -> dict[str, Any]:
    """One process of one library."""
    words = [vectors, REPEATS, threads()]
    return peers.run(library, HERE / f"run_{library}.py", words, threads=threads())


def _summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    return {
        "seconds": median(s for one in runs for s in one["seconds"]),
        "recall@20": runs[0]["recall@20"],
        "ndcg@20": runs[0]["ndcg@20"],
        "peak_mb": max(one["peak_mb"] for one in runs),
    }
