"""A recall channel judged alone: what it finds, how widely, how popular, how fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tamis.cascade import Channel, Queries, holdout_queries
from tamis.data import UNKNOWN, Dataset, Ragged
from tamis.evaluate.metrics import coverage, hits, mean, popularity
from tamis.runtime import Int32
from tamis.schema import ConfigError
from tamis.splitting import Holdout

WARM = 32
"""Queries asked before the clock runs: compiled kernels and mapped pages are then ready."""


@dataclass(frozen=True, eq=False)
class Judged:
    """One channel (or one merge) under one protocol."""

    metrics: dict[str, float]
    """Means over the queries: hit@k, recall@k, ndcg@k, mrr@k; coverage@k, popularity@k."""
    lists: Int32
    """(Q, k) what was recalled, for the largest k."""
    seconds: float
    """Of recall alone, for all queries."""

    @property
    def users_per_second(self) -> float:
        return len(self.lists) / self.seconds if self.seconds else float("nan")


def judge_channel(
    channel: Channel,
    holdout: Holdout,
    ks: Sequence[int] = (10, 20, 50),
    *,
    exclude_seen: bool = True,
    queries: Queries | None = None,
    block: int = 2048,
) -> Judged:
    """Asks a fitted channel every question of a protocol and looks for the targets.

    The whole catalogue may be found; items that no event of the train part names are targets like
    any other. exclude_seen: seen items are masked (and a target among them is a miss). queries:
    where the questions say more than the protocol does (a place); they replace those made of it.
    block: queries asked at once.

    Raises ConfigError where `ks` is empty or holds a number below 1, or `queries` are not as many.
    """
    if not ks or min(ks) < 1:
        raise ConfigError(f"ks = {list(ks)}: at least one list length, each at least 1")
    asked = holdout_queries(holdout, exclude_seen) if queries is None else queries
    if len(asked) != len(holdout):
        raise ConfigError(f"{len(asked)} queries for the {len(holdout)} users of the protocol")
    lists, seconds = recall_lists(channel, asked, max(ks), block)
    counts = event_counts(holdout.train)
    return Judged(
        {**figures(lists, holdout.targets, ks), **spread(lists, counts, ks)}, lists, seconds
    )


def recall_lists(channel: Channel, queries: Queries, k: int, block: int) -> tuple[Int32, float]:
    """((Q, k) what a channel recalls, the seconds it took), `block` queries at a time."""
    channel.recall(queries.part(0, min(WARM, len(queries))), k)
    lists = np.full((len(queries), k), -1, np.int32)
    seconds = 0.0
    for begin in range(0, len(queries), block):
        part = queries.part(begin, min(begin + block, len(queries)))
        start = perf_counter()
        lists[begin : begin + block] = channel.recall(part, k).item
        seconds += perf_counter() - start
    return lists, seconds


def figures(lists: Int32, targets: Ragged, ks: Sequence[int]) -> dict[str, float]:
    """Means over the queries that have a target; as `hit`, `recall`, `ndcg` and `mrr`, in one pass.

    recall@k = hits ÷ targets; ndcg@k has min(k, targets) hits in front as its ideal.
    """
    found = hits(lists[:, : max(ks)], targets)
    sizes = np.diff(targets.indptr)
    asked = sizes > 0
    discount = 1 / np.log2(np.arange(2, max(ks) + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])
    first = np.where(found.any(1), 1 / (found.argmax(1) + 1.0), 0.0)
    result: dict[str, float] = {}
    for k in ks:
        near = found[:, :k]
        each = {
            "hit": near.any(1).astype(np.float64),
            "recall": near.sum(1) / np.maximum(sizes, 1),
            "ndcg": near @ discount[: near.shape[1]] / ideal[np.clip(sizes, 1, k)],
            "mrr": np.where(near.any(1), first, 0.0),
        }
        result |= {f"{name}@{k}": float(v[asked].mean()) if asked.any() else np.nan
                   for name, v in each.items()}  # fmt: skip
    return result


def spread(lists: Int32, counts: NDArray[np.int64], ks: Sequence[int]) -> dict[str, float]:
    """coverage@k and popularity@k (the mean percentile of what is shown; a random list has .5)."""
    return {f"coverage@{k}": coverage(lists, len(counts), k) for k in ks} | {
        f"popularity@{k}": mean(popularity(lists, counts, k)) for k in ks
    }


def event_counts(data: Dataset) -> NDArray[np.int64]:
    """(items,) events of each item, plain impressions apart: its popularity."""
    item = data.events.item[data.seen]
    return np.bincount(item[item != UNKNOWN], minlength=len(data.items))


def overlap(lists: Mapping[str, Int32], items: int) -> NDArray[np.float64]:
    """(C, C) mean Jaccard similarity of the lists of every two channels over the queries.

    |both| ÷ |either| of each query's two lists; queries where both are empty are left out, and two
    channels that never found anything have 0.
    """
    each = list(lists.values())
    matrix = np.eye(len(each))
    for a in range(len(each)):
        for b in range(a):
            matrix[a, b] = matrix[b, a] = _mean_jaccard(each[a], each[b], items)
    return matrix


@njit(cache=True)
def _mean_jaccard(a: Int32, b: Int32, items: int) -> float:
    stamp = np.zeros(items, np.int64)
    total, queries = 0.0, 0
    for q in range(len(a)):
        either, both = 0, 0
        for item in a[q]:
            if item >= 0:
                stamp[item] = q + 1
                either += 1
        for item in b[q]:
            if item >= 0:
                if stamp[item] == q + 1:
                    both += 1
                else:
                    either += 1
        if either:
            total += both / either
            queries += 1
    return total / queries if queries else 0.0
