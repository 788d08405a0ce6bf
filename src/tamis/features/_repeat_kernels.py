# pyright: basic
# numba compiles these functions for the types they are called with; pyright cannot follow that.
"""Kernels that group the events of histories by item, and sum up each user's events on it."""

from __future__ import annotations

from math import erfc
from typing import Any

import numpy as np

from tamis.runtime.compiled import njit

DAY_MS = 86_400_000.0


@njit(cache=True, nogil=True)
def group_by_item(
    indptr: Any,
    item: Any,
    behaviour: Any,
    time: Any,
    counted: Any,
    n_items: Any,
    visit_ms: Any,
    bounds: Any,
    event: Any,
    out: Any,
) -> int:
    """Groups the counted events of each query by item; returns P, the number of pairs found.

    In: indptr int64 (Q + 1,); item int32, behaviour uint8 and time int64 (ms) of E events; counted
    bool (B,); n_items: events on rows outside [0, n_items) are left out; visit_ms: events of a pair
    less than so many ms apart are one visit.
    Out: bounds int64 (Q + 1,), whose first entry is 0: bounds of the queries' pairs; event int64
    (E,): the counted events pair by pair, in order of time; out: `OwnColumns` of E + 1 places, of
    which the first P (of `start`, P + 1) are filled.
    """
    pairs, placed = 0, 0
    for q in range(len(indptr) - 1):
        n = 0
        low = placed
        rising = True
        for e in range(indptr[q], indptr[q + 1]):
            if counted[behaviour[e]] and 0 <= item[e] < n_items:
                if n and time[e] < time[event[low + n - 1]]:
                    rising = False
                event[low + n] = e
                n += 1
        mine = event[low : low + n]
        if not rising:  # late arrivals
            mine[:] = mine[np.argsort(time[mine], kind="mergesort")]
        if n > 1:
            mine[:] = mine[np.argsort(item[mine], kind="mergesort")]
        placed += n
        for k in range(n):
            e = mine[k]
            if k == 0 or item[e] != out.item[pairs - 1]:
                out.item[pairs], out.start[pairs] = item[e], low + k
                out.visits[pairs], out.log_gaps[pairs] = 1, 0.0
                pairs += 1
            elif time[e] - out.last[pairs - 1] >= visit_ms:
                out.visits[pairs - 1] += 1
                out.log_gaps[pairs - 1] += np.log((time[e] - out.last[pairs - 1]) / DAY_MS)
            out.last[pairs - 1] = time[e]
            out.behaviour[pairs - 1] = behaviour[e]
        bounds[q + 1] = pairs
    out.start[pairs] = placed
    return pairs


@njit(cache=True, nogil=True)
def log_frequencies(
    bounds: Any, start: Any, event: Any, behaviour: Any, time: Any, now: Any, weight: Any,
    half_life: Any, out: Any,
) -> None:  # fmt: skip
    """log2 of `Σ weight · 2^(-age / half_life)` of each pair's events; -inf without weight.

    Sums are relative to each pair's largest term, so that old events do not underflow.

    In: bounds int64 (Q + 1,), start int64 (P + 1,) and event int64 as of `group_by_item`; behaviour
    uint8 and time int64 (ms) of all events; now int64 (Q,) ms; weight float64 (B,); half_life, ms.
    Out: out float64 (P,).
    """
    for q in range(len(bounds) - 1):
        for p in range(bounds[q], bounds[q + 1]):
            top, total = -np.inf, 0.0
            for k in range(start[p], start[p + 1]):
                e = event[k]
                w = weight[behaviour[e]]
                if w <= 0:
                    continue
                halvings = max(now[q] - time[e], 0) / half_life
                if -halvings > top:
                    total = total * 2.0 ** (top + halvings) + w if total > 0 else w
                    top = -halvings
                else:
                    total += w * 2.0 ** (-halvings - top)
            out[p] = top + np.log2(total) if total > 0 else -np.inf


@njit(cache=True, nogil=True)
def log_chances(late: Any, least: Any, out: Any) -> None:
    """log2 of the standard normal distribution function, at least `least`; 0 where it is NaN.

    In: late float64 (P,) standard deviations. Out: out float64 (P,).
    """
    floor = 2.0**least
    for p in range(len(late)):
        if np.isnan(late[p]):
            out[p] = 0.0
        else:
            out[p] = np.log2(max(0.5 * erfc(-late[p] / np.sqrt(2.0)), floor))


@njit(cache=True, nogil=True, inline="always")
def _find(values: Any, low: Any, high: Any, wanted: Any) -> Any:
    """Index of `wanted` in the ascending int32 `values[low:high]`; -1 if it is not there."""
    end = high
    while low < high:
        middle = (low + high) // 2
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < end and values[low] == wanted else -1


@njit(cache=True, nogil=True)
def own_inputs(
    bounds: Any,
    item: Any,
    own: Any,
    pairs: Any,
    event: Any,
    behaviour: Any,
    time: Any,
    now: Any,
    log_gap: Any,
    rate: Any,
    usual: Any,
    place: Any,
    half_lives: Any,
    out: Any,
) -> None:
    """Inputs of candidates that their user has acted on; zeros for others.

    In: bounds int64 (Q + 1,) of the candidates item int32 (n,); own int64 (Q + 1,) bounds of
    `OwnColumns` pairs (P,), ascending items within a query, whose events are event int64; behaviour
    uint8 and time int64 (ms) of all events; now int64 (Q,) ms; log_gap and rate float32 (items,);
    usual, `GapConstants`; place int64 (B,), the number of each counted behaviour, -1 for others;
    half_lives float64 (H,) days.
    Out: out float32 (n, 9 + H + 2 A) with A counted behaviours, in the order of
    `own_items.OwnItemFeatures.names`.
    """
    n_half, acts = len(half_lives), 0
    for number in place:
        acts += number >= 0
    first = 9 + n_half
    for q in range(len(bounds) - 1):
        total = pairs.start[own[q + 1]] - pairs.start[own[q]]
        for k in range(bounds[q], bounds[q + 1]):
            row = out[k]
            row[:] = 0.0
            p = _find(pairs.item, own[q], own[q + 1], item[k])
            if p < 0:
                continue
            events = pairs.start[p + 1] - pairs.start[p]
            elapsed = max(now[q] - pairs.last[p], 0) / DAY_MS
            row[0] = 1.0
            row[1] = np.log1p(events)
            row[2] = np.log1p(pairs.visits[p])
            row[3] = events / total
            row[4] = np.log1p(elapsed)
            gap = pairs.log_gaps[p] + usual.gaps_of_pair * log_gap[item[k]]
            gap /= pairs.visits[p] - 1 + usual.gaps_of_pair
            if not np.isnan(gap):
                late = -np.inf if elapsed == 0 else (np.log(elapsed) - gap) / usual.spread
                row[5] = np.log1p(np.exp(gap))
                row[6] = min(max(late, -usual.latest), usual.latest)
                row[7] = max(0.5 * erfc(-late / np.sqrt(2.0)), usual.least_due)
            row[8] = rate[item[k]]
            for e in event[pairs.start[p] : pairs.start[p + 1]]:
                age = max(now[q] - time[e], 0) / DAY_MS
                for h in range(n_half):
                    row[9 + h] += 2.0 ** (-age / half_lives[h])
                row[first + place[behaviour[e]]] += 1.0
            for at in range(9, first + acts):
                row[at] = np.log1p(row[at])
            row[first + acts + place[pairs.behaviour[p]]] = 1.0
