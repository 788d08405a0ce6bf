# pyright: basic
# numba compiles these functions for the types they are called with; pyright cannot follow that.
"""Kernels that compare a candidate with its user's positives.

Candidates lie grouped by query: those of query q are [bounds[q], bounds[q + 1]), bounds int64
(Q + 1,). So do positives: `liked` int64 (Q + 1,) bounds the items `liked_item` int32 (P,), oldest
first. `item` int32 (n,) are the candidates. Per-item arrays have N + 1 rows, the last of unknown
items; candidates are rows of them already, positives beyond N count as unknown.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.runtime.compiled import njit

RECENT = 10
"""Number of the last positives that the `recent` features read."""


@njit(cache=True)
def affinity(
    bounds: Any, item: Any, liked: Any, liked_item: Any, codes: Any, base: Any, out: Any
) -> None:
    """How much the user's positives are of the candidate's categories, averaged over these.

    In: codes int32 (N + 1, w), the categories of each item, 0 = none; base float32 (C,), the share
    of each category in the positives of all users.
    Out: out float32 (n, 3): share of all positives, share of the recent ones, log(1 + lift), where
    lift = share / base. Without categories or positives: 0, 0, log(2), as of a lift of 1.
    """
    unknown, counts = len(codes) - 1, np.zeros((len(base), 2), np.float32)
    for q in range(len(bounds) - 1):
        low, high = liked[q], liked[q + 1]
        positives, recent = high - low, min(high - low, RECENT)
        for e in range(low, high):
            j = liked_item[e] if liked_item[e] < unknown else unknown
            for c in codes[j]:
                if c > 0:
                    counts[c, 0] += 1.0
                    counts[c, 1] += 1.0 if e >= high - RECENT else 0.0
        for k in range(bounds[q], bounds[q + 1]):
            categories, share, late, lift = 0, 0.0, 0.0, 0.0
            for c in codes[item[k]]:
                if c > 0:
                    categories += 1
                    share += counts[c, 0]
                    late += counts[c, 1]
                    lift += counts[c, 0] / base[c]
            if categories and positives:
                out[k, 0] = share / (categories * positives)
                out[k, 1] = late / (categories * recent)
                out[k, 2] = np.log1p(lift / (categories * positives))
            else:
                out[k, 0], out[k, 1], out[k, 2] = 0.0, 0.0, np.log(2.0)
        for e in range(low, high):
            j = liked_item[e] if liked_item[e] < unknown else unknown
            for c in codes[j]:
                counts[c] = 0.0


@njit(cache=True)
def distance(bounds: Any, item: Any, liked: Any, liked_item: Any, values: Any, out: Any) -> None:
    """Distance of the candidate's value from the mean value of the positives.

    In: values float32 (N + 1,), NaN where missing.
    Out: out float32 (n, 3): the signed distance, its absolute value, and the absolute distance from
    the mean of the recent positives; 0 where a value is missing.
    """
    unknown = len(values) - 1
    for q in range(len(bounds) - 1):
        total, n, late, m = 0.0, 0, 0.0, 0
        for e in range(liked[q + 1] - 1, liked[q] - 1, -1):
            v = values[liked_item[e] if liked_item[e] < unknown else unknown]
            if not np.isnan(v):
                total, n = total + v, n + 1
                if e >= liked[q + 1] - RECENT:
                    late, m = late + v, m + 1
        for k in range(bounds[q], bounds[q + 1]):
            v = values[item[k]]
            known = n > 0 and not np.isnan(v)
            difference = v - total / n if known else 0.0
            out[k, 0], out[k, 1] = difference, abs(difference)
            out[k, 2] = abs(v - late / m) if known and m > 0 else abs(difference)


@njit(cache=True)
def standardise_within(bounds: Any, score: Any, out: Any) -> None:
    """z-score among the query's finite scores; 0 for other scores and where all are equal.

    In: score float32 (n,). Out: out float32 (n,).
    """
    for q in range(len(bounds) - 1):
        total, squares, n = 0.0, 0.0, 0
        for k in range(bounds[q], bounds[q + 1]):
            if np.isfinite(score[k]):
                total, n = total + score[k], n + 1
        mean = total / n if n else 0.0
        for k in range(bounds[q], bounds[q + 1]):
            if np.isfinite(score[k]):
                squares += (score[k] - mean) ** 2
        scale = np.sqrt(squares / n) if n else 0.0
        for k in range(bounds[q], bounds[q + 1]):
            usable = np.isfinite(score[k]) and scale > 1e-9 * max(1.0, abs(mean))
            out[k] = (score[k] - mean) / scale if usable else 0.0


@njit(cache=True)
def rank_inputs(rank: Any, limit: Any, out: Any) -> None:
    """Whether a channel found the candidate, how near the top, and the logarithm of its rank.

    In: rank float32 (n,), from 1, 0 = not found; limit float, the rank of those not found.
    Out: out float32 (n, 3): 1 or 0; 10 / (rank + 9), 0 where not found; log(1 + rank) as a share of
    log(1 + limit).
    """
    last = np.log1p(limit)
    for k in range(len(rank)):
        if rank[k] > 0:
            out[k, 0], out[k, 1] = 1.0, 10.0 / (rank[k] + 9.0)
            out[k, 2] = np.log1p(rank[k]) / last
        else:
            out[k, 0], out[k, 1], out[k, 2] = 0.0, 0.0, 1.0


@njit(cache=True)
def scaled(score: Any, mean: Any, std: Any, out: Any) -> None:
    """Scores (n,) float32 as multiples of `std` above `mean`, into out (n,); 0 if not finite."""
    for k in range(len(score)):
        out[k] = (score[k] - mean) / std if np.isfinite(score[k]) else 0.0
