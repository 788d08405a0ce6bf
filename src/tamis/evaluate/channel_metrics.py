"""Metrics of one recall channel: accuracy, coverage, popularity and speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Channel, Queries, holdout_queries
from tamis.data import UNKNOWN, Dataset, Ragged
from tamis.evaluate.metrics import coverage, hits, mean, mean_accuracy, popularity
from tamis.runtime import Int32
from tamis.runtime.compiled import njit
from tamis.schema import ConfigError
from tamis.splitting import Holdout

WARM = 32
"""Queries of the warm-up, which is not timed: it compiles kernels and reads mapped pages."""


@dataclass(frozen=True, eq=False)
class ChannelMetrics:
    """The result of one channel, or of one merge, under one protocol."""

    metrics: dict[str, float]
    """Means over the queries: hit@k, recall@k, ndcg@k, mrr@k; coverage@k, popularity@k."""
    lists: Int32
    """(Q, k) the recalled item rows for the largest k, padded by -1."""
    seconds: float
    """Seconds of recall for all queries, without the metrics."""

    @property
    def users_per_second(self) -> float:
        return len(self.lists) / self.seconds if self.seconds else float("nan")


def evaluate_channel(
    channel: Channel,
    holdout: Holdout,
    ks: Sequence[int] = (10, 20, 50),
    *,
    exclude_seen: bool = True,
    queries: Queries | None = None,
    block: int = 2048,
) -> ChannelMetrics:
    """Evaluates a fitted channel on every query of a protocol.

    The whole catalogue can be recalled; items without an event in the train part are targets like
    any other.

    Args:
        ks: list lengths.
        exclude_seen: whether seen items are masked; a target among them is then a miss.
        queries: replace the queries of the protocol, for instance to add a place.
        block: number of queries per call of `recall`.

    Raises ConfigError if `ks` is empty or holds a number below 1, or if `queries` has another
    length than the protocol.
    """
    if not ks or min(ks) < 1:
        raise ConfigError(f"ks = {list(ks)}: at least one list length, each at least 1")
    if queries is None:
        queries = holdout_queries(holdout, exclude_seen)
    if len(queries) != len(holdout):
        raise ConfigError(f"{len(queries)} queries for the {len(holdout)} users of the protocol")
    lists, seconds = recall_lists(channel, queries, max(ks), block)
    counts = event_counts(holdout.train)
    return ChannelMetrics(
        {**accuracy(lists, holdout.targets, ks), **catalogue_metrics(lists, counts, ks)},
        lists,
        seconds,
    )


def recall_lists(channel: Channel, queries: Queries, k: int, block: int) -> tuple[Int32, float]:
    """(Q, k) recalled item rows and the seconds of recall; `block` queries per call."""
    channel.recall(queries.part(0, min(WARM, len(queries))), k)
    lists = np.full((len(queries), k), -1, np.int32)
    seconds = 0.0
    for begin in range(0, len(queries), block):
        part = queries.part(begin, min(begin + block, len(queries)))
        start = perf_counter()
        lists[begin : begin + block] = channel.recall(part, k).item
        seconds += perf_counter() - start
    return lists, seconds


def accuracy(lists: Int32, targets: Ragged, ks: Sequence[int]) -> dict[str, float]:
    """hit@k, recall@k, ndcg@k and mrr@k as in `mean_accuracy`, of lists (Q, k) of item rows."""
    return mean_accuracy(hits(lists[:, : max(ks)], targets), np.diff(targets.indptr), ks)


def catalogue_metrics(
    lists: Int32, counts: NDArray[np.int64], ks: Sequence[int]
) -> dict[str, float]:
    """coverage@k, and popularity@k: the mean popularity percentile (.5 for a random list)."""
    return {f"coverage@{k}": coverage(lists, len(counts), k) for k in ks} | {
        f"popularity@{k}": mean(popularity(lists, counts, k)) for k in ks
    }


def event_counts(data: Dataset) -> NDArray[np.int64]:
    """(items,) number of events of each item without impressions: its popularity."""
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
