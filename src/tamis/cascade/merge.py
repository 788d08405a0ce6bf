"""Merge: the lists of several channels become one list per query; each item keeps its finders."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tamis.cascade._merge_kernels import merge_lists
from tamis.cascade.candidates import Candidates
from tamis.cascade.query import Recalled
from tamis.runtime import Bool, Float32, Int32, Int64
from tamis.schema import ConfigError

Normalise = Literal["rank", "minmax", "zscore"]


def merge(
    recalled: Mapping[str, Recalled],
    quotas: Mapping[str, int],
    weights: Mapping[str, float] | None = None,
    method: Literal["snake", "score"] = "snake",
    normalise: Normalise = "rank",
    limit: int = 10_000,
    fallback: Collection[str] = (),
    queries: int | None = None,
) -> Candidates:
    """One list of at most `limit` items per query, best first, each item once.

    recalled: by channel name, for the same Q queries; a channel that failed is absent.
    quotas: largest number of items of each channel, in the cascade's order; only a channel's first
    `quota` items take part. weights: by channel, 1 where absent. fallback: channels that take part
    only in queries where no other channel found an item. queries: Q, needed where all channels may
    have failed.

    snake: in every round each channel in turn contributes its best ceil(weight) items that are not
    in the list yet, until all are empty; a channel of weight 0 contributes none.
    score: by `Σ weight · normalised score`, ties in the order of a first snake pass
    (channel by channel, best first). Normalised over the channel's items of the query:
    rank = 1 - (rank - 1) / n; minmax = (s - min) / (max - min), 1 where all are equal;
    zscore = (s - min) / standard deviation, 0 where all are equal (measured from the
    channel's last item, so that a found item never scores below one not found).

    Columns: `rank:NAME` int32 (1 = best, 0 = not found by it), `score:NAME` float32 (NaN where not
    found) for every channel of `quotas`, failed ones too, and `recall` int32, the place from 1.
    Raises ConfigError for a channel without a quota, or lists of unequal Q.
    """
    names = list(quotas)
    queries = _query_count(recalled, names, queries)
    width = max((min(quotas[name], r.item.shape[1]) for name, r in recalled.items()), default=1)
    item = np.full((queries, len(names), width), -1, np.int32)
    score = np.full((queries, len(names), width), -np.inf, np.float32)
    for place, name in enumerate(names):
        if name in recalled:
            k = min(quotas[name], recalled[name].item.shape[1])
            item[:, place, :k] = recalled[name].item[:, :k]
            score[:, place, :k] = recalled[name].score[:, :k]
    _silence_fallbacks(item, np.array([name in fallback for name in names]))
    weight = np.array([(weights or {}).get(name, 1.0) for name in names], np.float64)
    steps = np.array([ceil(w) for w in weight], np.int64)
    value = _comparable(item >= 0, score, normalise) * weight[None, :, None]
    return Candidates(*_merged(names, item, score, value, steps, method == "snake", limit))


def _query_count(recalled: Mapping[str, Recalled], names: list[str], queries: int | None) -> int:
    """Number of queries, which must be the same in all lists."""
    for name in recalled:
        if name not in names:
            raise ConfigError(f"channel {name!r} has no quota; quotas are given for {names}")
    sizes = {name: len(r.item) for name, r in recalled.items()}
    if queries is not None:
        sizes["queries"] = queries
    if not sizes:
        raise ConfigError(
            "nothing to merge: every channel failed; pass `queries`, their number, for empty lists"
        )
    if len(set(sizes.values())) > 1:
        raise ConfigError(f"channels answered different numbers of queries: {sizes}")
    return next(iter(sizes.values()))


def _silence_fallbacks(item: Int32, fallback: Bool) -> None:
    """Empties the lists of fallback channels, in place, where another channel found an item."""
    answered = (item[:, ~fallback] >= 0).any(axis=(1, 2))
    item[np.ix_(answered, fallback)] = -1


def _comparable(found: Bool, score: Float32, how: Normalise) -> NDArray[np.float64]:
    """(Q, C, k) scores made comparable between channels; 0 where no item was found."""
    n = np.maximum(found.sum(axis=2, keepdims=True), 1)
    value: NDArray[np.float64]
    if how == "rank":
        place: NDArray[np.float64] = np.arange(score.shape[2], dtype=np.float64)
        value = 1 - place / n
        return np.where(found, value, 0.0)
    s = np.where(found, score, 0.0).astype(np.float64)
    low = np.where(found, s, np.inf).min(axis=2, keepdims=True)
    high = np.where(found, s, -np.inf).max(axis=2, keepdims=True)
    low, high = np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)
    flat = high <= low
    if how == "minmax":
        value = np.where(flat, 1.0, (s - low) / np.where(flat, 1.0, high - low))
    else:
        mean = s.sum(axis=2, keepdims=True) / n
        variance = (np.where(found, s - mean, 0.0) ** 2).sum(axis=2, keepdims=True) / n
        value = np.where(flat, 0.0, (s - low) / np.where(flat, 1.0, np.sqrt(variance)))
    return np.where(found, value, 0.0)


def _merged(
    names: list[str],
    item: Int32,
    score: Float32,
    value: NDArray[np.float64],
    steps: Int64,
    snake: bool,
    limit: int,
) -> tuple[Int64, Int32, dict[str, NDArray[np.generic]]]:
    out_item, rank, points, counts = merge_lists(item, score, value, steps, snake, limit)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    columns: dict[str, NDArray[np.generic]] = {}
    for place, name in enumerate(names):
        columns[f"rank:{name}"] = np.ascontiguousarray(rank[:, place])
        columns[f"score:{name}"] = np.ascontiguousarray(points[:, place])
    within = np.arange(len(out_item)) - np.repeat(indptr[:-1], counts) + 1
    columns["recall"] = within.astype(np.int32)
    return indptr, out_item, columns
