"""Deep Retrieval on MovieLens-1M, beside exact search over its own vectors and the two-tower.

DATA: another file of interactions; with ratings, those of 4 and more are liked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.recall import BUILD, MissingDataError, notes

from tamis.cascade import FitContext, Queries
from tamis.cascade.query_batches import at_end
from tamis.data import Dataset
from tamis.datasets import materialise, read_interactions
from tamis.evaluate import hit, ndcg, recall
from tamis.index import VectorIndex
from tamis.recall import DeepRetrieval, TwoTower
from tamis.runtime import Int32
from tamis.schema import ConfigError
from tamis.splitting import Holdout, leave_one_out

PROTOCOL = (
    "leave-one-out, strict, of the ratings of 4 and more; all items ranked, rated ones masked; one "
    "target per user, so recall@50 is hit@50. Exact: a scan of all items' vectors of the same "
    "fitted channel. Both channels at their defaults, which were chosen on the validation items"
)
LIKED = 4.0
K = 50


def run(seed: int, data: Path | None, say: Callable[[str], None]) -> dict[str, float]:
    """recall@50 of Deep Retrieval, of exact search and of the two-tower; items scored."""
    return measured(leave_one_out(ratings(data), "test"), seed, say)


def ratings(data: Path | None) -> Dataset:
    """MovieLens-1M, or another file."""
    if data is not None and not data.exists():
        raise MissingDataError(f"DATA={data}: there is no such file")
    if data is None:
        made = BUILD / "movielens-1m"
        if not (made / "users.csv").exists():
            materialise("movielens-1m", made)
        data = made / "events.csv"
    try:
        return read_interactions(data, min_value=LIKED)
    except ConfigError:  # no ratings
        notes.append(f"{data.name}: every event counts as a like")
        return read_interactions(data)


def measured(split: Holdout, seed: int, say: Callable[[str], None]) -> dict[str, float]:
    """All figures of one split."""
    queries = replace(at_end(split.known, split.users), time=split.time)
    n = len(split.train.items)
    began = time.perf_counter()
    channel = DeepRetrieval().fit(split.train, FitContext(seed=seed))
    fitted = time.perf_counter() - began
    began = time.perf_counter()
    found = channel.recall(queries, K).item
    asked = time.perf_counter() - began
    scored = float(channel.items_scored(queries).mean())
    scan = VectorIndex.build(channel.item_vectors(), exact_below=n + 1)
    exact = scan.search(channel.user_vectors(queries), K, queries.exclude)[0]
    peer = _two_tower(split, queries, seed)
    result = _figures(found, exact, peer, split)
    result |= {
        "items_scored": scored,
        "items": float(n),
        "fewer_times": n / max(scored, 1e-9),
        "fit_s": fitted,
        "users_per_s": len(queries) / asked,
    }
    say(
        f"recall@50 {result['recall@50']:.4f}, exact search over its vectors "
        f"{result['exact_recall@50']:.4f} ({result['of_exact']:.1%}), two-tower "
        f"{result['two_tower_recall@50']:.4f} ({result['of_two_tower']:.1%}); scored "
        f"{scored:.0f} of {n:,} items, {result['fewer_times']:.1f} times fewer; fit {fitted:.0f} s"
    )
    return result


def _two_tower(split: Holdout, queries: Queries, seed: int) -> Int32:
    return TwoTower().fit(split.train, FitContext(seed=seed)).recall(queries, K).item


def _figures(found: Int32, exact: Int32, peer: Int32, split: Holdout) -> dict[str, float]:
    def at_50(item: Int32) -> float:
        return float(np.mean(recall(item, split.targets, K)))

    ours, best, other = at_50(found), at_50(exact), at_50(peer)
    return {
        "recall@50": ours,
        "exact_recall@50": best,
        "of_exact": ours / max(best, 1e-9),
        "two_tower_recall@50": other,
        "of_two_tower": ours / max(other, 1e-9),
        "hit@10": float(np.mean(hit(found, split.targets, 10))),
        "ndcg@10": float(np.mean(ndcg(found, split.targets, 10))),
        "recall@20": float(np.mean(recall(found, split.targets, 20))),
        "ndcg@20": float(np.mean(ndcg(found, split.targets, 20))),
    }
