# pyright: basic
# numba compiles these functions for the types they are called with; pyright cannot follow that.
"""Kernels of windowed counts: one inner `_add` and `_read`, live and over a log."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

NEVER = np.iinfo(np.int64).min // 2
"""The time of something that has not happened."""


@numba.njit(cache=True)
def _clear(state: Any, k: Any) -> None:
    state.ring[k] = 0
    state.newest[k] = NEVER
    state.summed_at[k] = NEVER
    state.total[k] = 0
    state.valued[k] = 0
    state.value[k] = 0.0
    state.first[k] = NEVER
    state.latest[k] = NEVER


@numba.njit(cache=True)
def _add(
    state: Any, k: Any, rings: Any, behaviour: Any, time: Any, arrival: Any, value: Any
) -> None:
    """Counts one event of key k."""
    moment = min(time, arrival)
    for r in range(len(rings.width)):
        bucket, slots = moment // rings.width[r], rings.slots[r]
        state.summed_at[k, r] = NEVER
        newest = state.newest[k, r]
        if bucket > newest:
            if newest != NEVER:  # explicit loops: slices would build views, several times dearer
                for passed in range(max(newest + 1, bucket - slots + 1), bucket + 1):
                    slot = rings.offset[r] + passed % slots
                    for b in range(state.ring.shape[1]):
                        state.ring[k, b, slot] = 0
            state.newest[k, r] = bucket
        elif bucket <= newest - slots:
            continue
        state.ring[k, behaviour, rings.offset[r] + bucket % slots] += 1
    state.total[k, behaviour] += 1
    if not np.isnan(value):
        state.valued[k, behaviour] += 1
        state.value[k, behaviour] += value
    if state.first[k] == NEVER or moment < state.first[k]:
        state.first[k] = moment
    state.latest[k] = max(state.latest[k], moment)


@numba.njit(cache=True)
def _between(ring: Any, k: Any, behaviour: Any, start: Any, stop: Any) -> Any:
    total = 0
    for slot in range(start, stop):
        total += ring[k, behaviour, slot]
    return total


@numba.njit(cache=True)
def _sum_windows(state: Any, k: Any, rings: Any, r: Any, now: Any) -> None:
    """Sums ring r's windows as of bucket `now`; they hold until the bucket or the counts change."""
    newest, slots = state.newest[k, r], rings.slots[r]
    begin, end = rings.offset[r], rings.offset[r] + slots
    previous = -1
    for w in range(len(rings.ring)):
        if rings.ring[w] != r:
            continue
        high = min(now, newest)
        longer = previous >= 0 and rings.length[previous] <= rings.length[w]
        if longer:
            high = min(high, now - rings.length[previous])
        low = max(now - rings.length[w], newest - slots) + 1
        start, stop = begin + low % slots, begin + high % slots + 1
        for b in range(state.total.shape[1]):
            total = state.summed[k, previous, b] if longer else 0
            if low <= high and start < stop:
                total += _between(state.ring, k, b, start, stop)
            elif low <= high:
                total += _between(state.ring, k, b, start, end)
                total += _between(state.ring, k, b, begin, stop)
            state.summed[k, w, b] = total
        previous = w
    state.summed_at[k, r] = now


@numba.njit(cache=True)
def _read(
    state: Any,
    k: Any,
    rings: Any,
    time: Any,
    row: Any,
    count: Any,
    total: Any,
    valued: Any,
    value: Any,
    first: Any,
    latest: Any,
) -> None:
    """Writes the counters of key k as of `time` into row `row` of the outputs."""
    behaviours = state.total.shape[1]
    for r in range(len(rings.width)):
        if state.summed_at[k, r] != time // rings.width[r]:
            _sum_windows(state, k, rings, r, time // rings.width[r])
    for w in range(len(rings.ring)):
        for b in range(behaviours):
            count[row, w, b] = state.total[k, b] if rings.ring[w] < 0 else state.summed[k, w, b]
    for b in range(behaviours):  # a slice assignment would build views, several times dearer
        total[row, b] = state.total[k, b]
        valued[row, b] = state.valued[k, b]
        value[row, b] = state.value[k, b]
    first[row] = state.first[k]
    latest[row] = state.latest[k]


@numba.njit(cache=True)
def add_all(
    state: Any, rings: Any, key: Any, behaviour: Any, time: Any, arrival: Any, value: Any
) -> None:
    for e in range(len(key)):
        if 0 <= key[e] < len(state.first):
            _add(state, key[e], rings, behaviour[e], time[e], arrival[e], value[e])


@numba.njit(cache=True)
def read_all(
    state: Any,
    rings: Any,
    key: Any,
    time: Any,
    count: Any,
    total: Any,
    valued: Any,
    value: Any,
    first: Any,
    latest: Any,
) -> None:
    for row in range(len(key)):
        if 0 <= key[row] < len(state.first):
            _read(
                state, key[row], rings, time[row], row, count, total, valued, value, first, latest
            )


@numba.njit(cache=True)
def replay(
    state: Any,
    rings: Any,
    indptr: Any,
    events: Any,
    order: Any,
    key: Any,
    time: Any,
    count: Any,
    total: Any,
    valued: Any,
    value: Any,
    first: Any,
    latest: Any,
) -> None:
    """Merges each key's events (by arrival) with its questions (by time, in `order`)."""
    behaviour, event_time, arrival, event_value = events
    current, e = -1, 0
    for row in order:
        k = key[row]
        if not 0 <= k < len(indptr) - 1:
            continue
        if k != current:
            _clear(state, 0)
            current, e = k, indptr[k]
        while e < indptr[k + 1] and arrival[e] < time[row]:
            _add(state, 0, rings, behaviour[e], event_time[e], arrival[e], event_value[e])
            e += 1
        _read(state, 0, rings, time[row], row, count, total, valued, value, first, latest)
