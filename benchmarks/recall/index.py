"""The vector index, tuned by itself, beside faiss with its lists and probes chosen by hand.

DATA: a .npy file of float32 vectors (n, d). Without it, two sets of a million unit vectors of 64
dimensions: clustered (2,000 centres) and soft (no structure at all: the hardest there is).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tamis.index import VectorIndex

PROTOCOL = (
    "1,000 random rows are taken out and asked; the index sees neither them nor their answers, and "
    "is built for recall@100 = .98 with nothing else said. p50 of one query at a time. By hand: "
    "faiss IVF-Flat, 4,096 lists (or 4 √n), the fewest probes, doubled from 1, that reach .98 on "
    "the asked queries themselves"
)
K, ASKED, TARGET = 100, 1000, 0.98
ROWS, DIM, CENTRES = 1_000_000, 64, 2000
Float32 = NDArray[np.float32]


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """recall@100, p50_ms, faiss_p50_ms, build_s …; of the worse set where there are two."""
    if data is not None:
        return measured(data.stem, np.load(data).astype(np.float32), seed, say)
    sets = {name: measured(name, made(name, seed), seed, say) for name in ("clustered", "soft")}
    worst = {key: min(m[key] for m in sets.values()) for key in ("recall@100",)}
    worst |= {key: max(m[key] for m in sets.values()) for key in ("p50_ms", "build_s")}
    return worst | {f"{name}:{key}": m[key] for name, m in sets.items() for key in m}


def made(name: str, seed: int) -> Float32:
    """A synthetic set, with `ASKED` rows more than are indexed."""
    random = np.random.default_rng(seed)
    n = ROWS + ASKED
    x = random.standard_normal((n, DIM), np.float32)
    if name == "clustered":
        centres = random.standard_normal((CENTRES, DIM), np.float32)
        x *= 0.7
        x += centres[random.integers(0, CENTRES, n)]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def measured(
    name: str, vectors: Float32, seed: int, say: Callable[[str], None]
) -> dict[str, float]:
    """One set: the index, and faiss by hand."""
    order = np.random.default_rng(seed).permutation(len(vectors))
    asked = min(ASKED, len(vectors) // 10)
    queries, base = vectors[order[:asked]], vectors[order[asked:]]
    began = time.perf_counter()
    index = VectorIndex.build(base, k=K, target_recall=TARGET, seed=seed)
    seconds = time.perf_counter() - began
    exact = VectorIndex.build(base, k=K, exact_below=len(base) + 1)
    wanted = exact.search(queries, K)[0]
    found = index.search(queries, K)[0]
    result = {
        "recall@100": shared(wanted, found),
        "p50_ms": p50(lambda q: index.search(q, K), queries),
        "build_s": seconds,
        "exact_p50_ms": p50(lambda q: exact.search(q, K), queries[:50]),
        "tuning_recall": index.report.recall,
    }
    result |= by_hand(base, queries, wanted)
    report = index.report
    effort = f"{report.probes} of {report.lists} lists" if report.lists else report.rescored
    say(
        f"{name}: n {len(base):,} × {base.shape[1]}, {report.kind} ({effort}), built in "
        f"{seconds:.1f} s: recall@100 {result['recall@100']:.4f}, p50 {result['p50_ms']:.3f} ms; "
        f"faiss by hand ({result['faiss_probes']:.0f} probes): {result['faiss_recall@100']:.4f}, "
        f"{result['faiss_p50_ms']:.3f} ms; exact {result['exact_p50_ms']:.2f} ms"
    )
    return result


def by_hand(base: Float32, queries: Float32, wanted: NDArray[np.int32]) -> dict[str, float]:
    """faiss as its users call it."""
    import faiss

    n, d = base.shape
    lists = min(4096, int(4 * n**0.5))
    began = time.perf_counter()
    quantizer = faiss.IndexFlatIP(d)
    ivf = faiss.IndexIVFFlat(quantizer, d, lists, faiss.METRIC_INNER_PRODUCT)
    ivf.train(base)
    ivf.add(base)
    seconds = time.perf_counter() - began
    ivf.nprobe, recall = 1, 0.0
    while True:
        recall = shared(wanted, ivf.search(queries, wanted.shape[1])[1])
        if recall >= TARGET or ivf.nprobe >= lists:
            break
        ivf.nprobe = min(2 * ivf.nprobe, lists)
    return {
        "faiss_recall@100": recall,
        "faiss_p50_ms": p50(lambda q: ivf.search(q, wanted.shape[1]), queries),
        "faiss_build_s": seconds,
        "faiss_probes": float(ivf.nprobe),
    }


def shared(wanted: NDArray[np.int32], found: NDArray[np.int32]) -> float:
    """Mean share of each query's wanted rows that were found."""
    hits = [np.isin(w, f).mean() for w, f in zip(wanted, found, strict=True)]
    return float(np.mean(hits))


def p50(search: Callable[[Float32], object], queries: Float32) -> float:
    """Median milliseconds of one query at a time."""
    taken: list[float] = []
    for q in range(min(len(queries), 300)):
        began = time.perf_counter()
        search(queries[q : q + 1])
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) * 1e3
