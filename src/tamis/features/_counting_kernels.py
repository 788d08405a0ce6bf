# pyright: basic
# numba compiles these functions for the types they are called with; pyright cannot follow that.
"""Kernels that count events per key in time windows, live and as of any time of a log.

Both share `_add` and `read_key`. Arguments that several kernels take:

state: `windows.State`, the counters of K keys (its fields document their shapes and dtypes).
rings: `windows.Rings`, R ring counters with S slots in all, read by W windows.
out: `windows.Counts` of n rows, written.
A key is passed on as int64, whatever the dtype of its array, so that each kernel compiles once.
Times and widths of buckets are int64 ms; a bucket is the number `time // width`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.runtime.compiled import inner_njit, njit

NEVER = np.iinfo(np.int64).min // 2
"""Time of an event that a key does not have."""


@njit(cache=True)
def clear_key(state: Any, k: Any) -> None:
    """Resets the counters of key k."""
    state.ring[k] = 0
    state.newest[k] = NEVER
    state.summed_at[k] = NEVER
    state.total[k] = 0
    state.valued[k] = 0
    state.value[k] = 0.0
    state.first[k] = NEVER
    state.latest[k] = NEVER


@inner_njit
def _add(
    state: Any, k: Any, rings: Any, behaviour: Any, time: Any, arrival: Any, value: Any
) -> None:
    """Counts one event of key k: behaviour uint8, time and arrival int64 ms, value float32 or NaN.

    An event older than a ring's newest bucket by all its slots is not counted in that ring.
    """
    moment = min(time, arrival)
    for r in range(len(rings.width)):
        bucket, slots = moment // rings.width[r], rings.slots[r]
        state.summed_at[k, r] = NEVER
        newest = state.newest[k, r]
        if bucket > newest:
            if newest != NEVER:  # explicit loops: slices would build views, which is slower
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


@inner_njit
def _sum_slots(ring: Any, k: Any, behaviour: Any, start: Any, stop: Any) -> Any:
    """Sum of the slots [start, stop) of `ring` int32 (K, B, S), of one key and behaviour."""
    total = 0
    for slot in range(start, stop):
        total += ring[k, behaviour, slot]
    return total


@inner_njit
def _sum_windows(state: Any, k: Any, rings: Any, r: Any, now: Any) -> None:
    """Sums the windows of ring r of key k as of bucket `now`.

    The sums stay valid until the bucket or the counts change. Windows are in ascending order of
    length, so that a longer window of the same ring only adds its older buckets.
    """
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
                total += _sum_slots(state.ring, k, b, start, stop)
            elif low <= high:
                total += _sum_slots(state.ring, k, b, start, end)
                total += _sum_slots(state.ring, k, b, begin, stop)
            state.summed[k, w, b] = total
        previous = w
    state.summed_at[k, r] = now


@inner_njit
def read_windows(state: Any, k: Any, rings: Any, time: Any, row: Any, out: Any) -> None:
    """Writes the window and total counts of key k as of `time` into row `row` of `out`."""
    behaviours = state.total.shape[1]
    for r in range(len(rings.width)):
        if state.summed_at[k, r] != time // rings.width[r]:
            _sum_windows(state, k, rings, r, time // rings.width[r])
    for w in range(len(rings.ring)):
        everything = rings.ring[w] < 0
        for b in range(behaviours):
            out.windowed[row, w, b] = state.total[k, b] if everything else state.summed[k, w, b]
    for b in range(behaviours):  # a slice assignment would build views, which is slower
        out.total[row, b] = state.total[k, b]


@inner_njit
def read_values(state: Any, k: Any, row: Any, out: Any) -> None:
    """Writes the number and the sum of the values of key k into row `row` of `out`."""
    for b in range(state.total.shape[1]):
        out.valued[row, b] = state.valued[k, b]
        out.value[row, b] = state.value[k, b]


@inner_njit
def read_moments(state: Any, k: Any, row: Any, out: Any) -> None:
    """Writes the times of the first and the last event of key k into row `row` of `out`."""
    out.first[row] = state.first[k]
    out.latest[row] = state.latest[k]


@inner_njit
def read_key(state: Any, k: Any, rings: Any, time: Any, row: Any, out: Any) -> None:
    """Writes all counters of key k as of `time` into row `row` of `out`."""
    read_windows(state, k, rings, time, row, out)
    read_values(state, k, row, out)
    read_moments(state, k, row, out)


@njit(cache=True)
def add_events(
    state: Any, rings: Any, key: Any, behaviour: Any, time: Any, arrival: Any, value: Any
) -> None:
    """Counts n events: key int32 (n,), behaviour uint8, time and arrival int64, value float32.

    Events of keys outside 0 … K − 1 are not counted.
    """
    for e in range(len(key)):
        k = np.int64(key[e])
        if 0 <= k < len(state.first):
            _add(state, k, rings, behaviour[e], time[e], arrival[e], value[e])


@njit(cache=True)
def read_counts(state: Any, rings: Any, key: Any, time: Any, out: Any) -> None:
    """Reads n rows: key int32 (n,), time int64 (n,). Rows of other keys are left as they are."""
    for row in range(len(key)):
        k = np.int64(key[row])
        if 0 <= k < len(state.first):
            read_key(state, k, rings, time[row], row, out)


@inner_njit
def replay_until(state: Any, rings: Any, events: Any, e: Any, end: Any, time: Any) -> Any:
    """Counts the events [e, end) that arrived before `time` for key 0; returns the first that did
    not."""
    while e < end and events.arrival[e] < time:
        behaviour, value = events.behaviour[e], events.value[e]
        _add(state, 0, rings, behaviour, events.time[e], events.arrival[e], value)
        e += 1
    return e


@njit(cache=True)
def replay_counts(
    state: Any, rings: Any, indptr: Any, events: Any, order: Any, key: Any, time: Any, out: Any
) -> None:
    """Reads n rows as of their own times, by a merge of each key's events with its rows.

    state: counters of one key (K = 1), used for each key in turn.
    indptr: int64 (K + 1,), bounds of each key's events.
    events: `windows.KeyEvents`, by key, then by arrival.
    key, time: int32 and int64 (n,).
    order: int64 (n,), the rows by key, then by time.
    """
    current, e = -1, 0
    for row in order:
        k = np.int64(key[row])
        if not 0 <= k < len(indptr) - 1:
            continue
        if k != current:
            clear_key(state, 0)
            current, e = k, indptr[k]
        e = replay_until(state, rings, events, e, indptr[k + 1], time[row])
        read_key(state, 0, rings, time[row], row, out)
