"""Ranking metrics of slates: one number per query, over the whole batch at once.

A slate matrix is int32 (Q, k): item rows, best first, padded at the end by −1. Positives are a
`Ragged` of the item rows that each query's user chose afterwards. Metrics are per query (Q,),
NaN where a query has no positives (there is nothing to find), so that means and paired intervals
are taken over the same users; `mean` leaves the NaN out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tamis.data import Ragged
from tamis.index import jaccard
from tamis.runtime import Bool, Float64, Int32, Int64
from tamis.runtime.compiled import njit
from tamis.schema import StageError


def hits(slates: Int32, positives: Ragged) -> Bool:
    """(Q, k) whether the place holds one of the query's positives.

    Raises StageError where a slate holds an item twice: it would be counted twice.
    """
    if len(slates) != len(positives):
        raise StageError(
            f"{len(slates)} slates are measured against positives of {len(positives)} queries; "
            f"give one list of positives per slate"
        )
    items = 1 + max(int(slates.max(initial=0)), int(positives.values.max(initial=0)))
    found = np.zeros(slates.shape, np.bool_)
    q, place = _mark_hits(slates, positives.indptr, positives.values, items, found)
    if q >= 0:
        raise StageError(
            f"the slate of query {q} holds item row {slates[q, place]} twice; "
            f"a stage behind it added a duplicate"
        )
    return found


@njit(cache=True)
def _mark_hits(
    slates: Int32, indptr: Int64, values: Int32, items: int, found: Bool
) -> tuple[int, int]:
    """Fills `found`; returns query and place of the first item that comes twice, or (-1, -1)."""
    wanted, shown = np.zeros(items, np.int64), np.zeros(items, np.int64)  # stamps: query + 1
    for q in range(len(slates)):
        for at in range(indptr[q], indptr[q + 1]):
            wanted[values[at]] = q + 1
        for place in range(slates.shape[1]):
            item = slates[q, place]
            if item < 0:
                continue
            if shown[item] == q + 1:
                return q, place
            shown[item] = q + 1
            found[q, place] = wanted[item] == q + 1
    return -1, -1


def ndcg(slates: Int32, positives: Ragged, k: int) -> Float64:
    """(Q,) in [0, 1]: `DCG@k / ideal DCG@k` with gain 1 and discount `1/log2(place + 1)`.

    The ideal has min(k, positives) hits in front (Järvelin & Kekäläinen 2002).
    """
    found = hits(slates[:, :k], positives)
    gains = (found / np.log2(np.arange(2, found.shape[1] + 2))).sum(1)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    return _divide(gains, ideal[np.minimum(_sizes(positives), k)])


def hit(slates: Int32, positives: Ragged, k: int) -> Float64:
    """(Q,) 1 where at least one of the first k places is a positive, else 0."""
    found = hits(slates[:, :k], positives).any(1).astype(np.float64)
    return np.where(_sizes(positives) > 0, found, np.nan)


def recall(slates: Int32, positives: Ragged, k: int) -> Float64:
    """(Q,) in [0, 1]: the share of the positives that are in the first k places."""
    return _divide(hits(slates[:, :k], positives).sum(1), _sizes(positives))


def precision(slates: Int32, positives: Ragged, k: int) -> Float64:
    """(Q,) in [0, 1]: the share of the k places that are positives; empty places are misses."""
    return _divide(
        hits(slates[:, :k], positives).sum(1), np.where(_sizes(positives) > 0, float(k), 0.0)
    )


def mrr(slates: Int32, positives: Ragged, k: int) -> Float64:
    """(Q,) in [0, 1]: 1 ÷ the place of the first positive among the first k; 0 where none is."""
    found = hits(slates[:, :k], positives)
    first = (
        np.where(found.any(1), 1.0 / (found.argmax(1) + 1.0), 0.0) if k else np.zeros(len(found))
    )
    return np.where(_sizes(positives) > 0, first, np.nan)


def average_precision(slates: Int32, positives: Ragged, k: int) -> Float64:
    """(Q,) in [0, 1]: the mean over the positives of the precision at their places (MAP@k's parts).

    Normalised by min(k, positives), so that a perfect slate has 1.
    """
    found = hits(slates[:, :k], positives)
    at_place = np.cumsum(found, 1) / np.arange(1, found.shape[1] + 1)
    return _divide((at_place * found).sum(1), np.minimum(_sizes(positives), k))


def mean(per_query: Float64) -> float:
    """The mean over the queries that have a value; NaN where none has."""
    valid = per_query[~np.isnan(per_query)]
    return float(valid.mean()) if len(valid) else float("nan")


def mean_accuracy(found: Bool, targets: Int64, ks: Sequence[int]) -> dict[str, float]:
    """hit@k, recall@k, ndcg@k and mrr@k in one pass: means over the queries that have a target.

    Args:
        found: (Q, K) whether the place holds a target, as `hits` returns it.
        targets: (Q,) number of targets of each query.
        ks: list lengths; places beyond K are empty.

    recall@k = hits ÷ targets; the ideal of ndcg@k has min(k, targets) hits first. All are NaN if no
    query has a target.
    """
    some = targets > 0
    found, targets = found[some], targets[some]
    discount = 1 / np.log2(np.arange(2, max(ks) + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])
    reciprocal = np.where(found.any(1), 1 / (found.argmax(1) + 1.0), 0.0)
    result: dict[str, float] = {}
    for k in ks:
        first = found[:, :k]
        values = {
            "hit": first.any(1),
            "recall": first.sum(1) / targets,
            "ndcg": first @ discount[: first.shape[1]] / ideal[np.minimum(targets, k)],
            "mrr": np.where(first.any(1), reciprocal, 0.0),
        }
        result |= {f"{name}@{k}": mean(each.astype(float)) for name, each in values.items()}
    return result


def coverage(slates: Int32, items: int, k: int) -> float:
    """In [0, 1]: the share of the catalogue that appears in some slate's first k places."""
    shown = slates[:, :k]
    return len(np.unique(shown[shown >= 0])) / items if items else 0.0


def gini(slates: Int32, items: int, k: int) -> float:
    """In [0, 1]: how unequally the shown places are spread over the catalogue; 0 = evenly."""
    shown = slates[:, :k]
    counts = np.sort(np.bincount(shown[shown >= 0], minlength=items)).astype(np.float64)
    if counts.sum() == 0:
        return 0.0
    rank = np.arange(1, len(counts) + 1)
    return float(((2 * rank - len(counts) - 1) * counts).sum() / (len(counts) * counts.sum()))


def popularity(slates: Int32, counts: NDArray[np.generic], k: int) -> Float64:
    """(Q,) in [0, 1]: the slate's mean popularity percentile (popularity bias).

    An item's percentile is the share of the catalogue with fewer events (`counts`, (items,)) plus
    half of those with as many; a random slate has .5. NaN where the slate is empty.
    """
    ordered = np.sort(counts)
    below = np.searchsorted(ordered, counts, side="left")
    upto = np.searchsorted(ordered, counts, side="right")
    percentile = (below + upto) / (2.0 * max(len(counts), 1))
    shown = slates[:, :k]
    filled = shown >= 0
    return _divide(np.where(filled, percentile[shown], 0.0).sum(1), filled.sum(1))


def diversity(slates: Int32, categories: Ragged, k: int) -> Float64:
    """(Q,) in [0, 1]: 1 − the mean Jaccard similarity of all pairs in the first k places.

    `categories` holds every item's category codes (by item row). The similarity of two items
    without categories is 0. NaN where a slate has fewer than two items (Ziegler et al. 2005).
    """
    row = np.repeat(np.arange(len(categories)), np.diff(categories.indptr))
    codes = categories.values[np.lexsort((categories.values, row))]
    return _diversity(np.ascontiguousarray(slates[:, :k]), categories.indptr, codes)


@njit(cache=True)
def _diversity(slates: Int32, indptr: Int64, codes: Int32) -> Float64:
    result = np.full(len(slates), np.nan)
    for q in range(len(slates)):
        total, pairs = 0.0, 0
        for a in range(slates.shape[1]):
            for b in range(a):
                i, j = slates[q, a], slates[q, b]
                if i >= 0 and j >= 0:
                    pairs += 1
                    total += jaccard(
                        codes[indptr[i] : indptr[i + 1]], codes[indptr[j] : indptr[j + 1]]
                    )
        if pairs:
            result[q] = 1.0 - total / pairs
    return result


def _sizes(lists: Ragged) -> Int64:
    return np.diff(lists.indptr)


def _divide(above: NDArray[np.generic], below: NDArray[np.generic]) -> Float64:
    """Element by element, NaN where the divisor is 0."""
    result = np.full(len(above), np.nan)
    np.divide(above, below, out=result, where=np.asarray(below, np.float64) > 0)
    return result
