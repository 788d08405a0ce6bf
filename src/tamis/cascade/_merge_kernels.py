# pyright: basic
"""Compiled kernels of the merge: number the items of a query, order them, note who found them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.runtime.compiled import inner_njit, njit


@njit(cache=True, nogil=True)
def merge_lists(item: Any, score: Any, value: Any, steps: Any, snake: Any, limit: Any) -> Any:
    """Numbers the distinct items of each query, orders them, writes them with their finders."""
    queries, channels, width = item.shape
    most = channels * width
    capacity = 1
    while capacity < 2 * most:
        capacity *= 2
    table = np.full(capacity, -1, np.int32)
    slot_of = np.empty((channels, width), np.int32)
    slot_item = np.empty(most, np.int32)
    out_item = np.empty(queries * min(most, limit), np.int32)
    rank = np.zeros((len(out_item), channels), np.int32)
    points = np.full((len(out_item), channels), np.nan, np.float32)
    counts = np.zeros(queries, np.int64)
    filled = 0
    for q in range(queries):
        table[:] = -1
        n = _number(item[q], table, slot_of, slot_item)
        if snake:
            order = _snake(slot_of, steps, n)
        else:
            total = np.zeros(n, np.float64)
            for c in range(channels):
                for p in range(width):
                    if slot_of[c, p] >= 0:
                        total[slot_of[c, p]] += value[q, c, p]
            order = np.argsort(-total, kind="mergesort")
        kept = min(len(order), limit)
        place_of = np.full(n, -1, np.int64)
        for place in range(kept):
            out_item[filled + place] = slot_item[order[place]]
            place_of[order[place]] = filled + place
        for c in range(channels):
            for p in range(width):
                slot = slot_of[c, p]
                if slot >= 0 and place_of[slot] >= 0:
                    rank[place_of[slot], c] = p + 1
                    points[place_of[slot], c] = score[q, c, p]
        counts[q] = kept
        filled += kept
    return out_item[:filled].copy(), rank[:filled], points[:filled], counts


@njit(cache=True, nogil=True)
def _number(item, table, slot_of, slot_item):
    """Assigns a slot number per distinct item by an open hash table; returns their number."""
    mask = len(table) - 1
    n = 0
    for c in range(item.shape[0]):
        for p in range(item.shape[1]):
            i = item[c, p]
            slot_of[c, p] = -1
            if i < 0:
                continue
            at = (i * 2654435761) & mask
            while table[at] >= 0 and slot_item[table[at]] != i:
                at = (at + 1) & mask
            if table[at] < 0:
                table[at] = n
                slot_item[n] = i
                n += 1
            slot_of[c, p] = table[at]
    return n


@inner_njit
def _snake(slot_of, steps, n):
    """The slots in the order in which the channels contribute them, round by round."""
    channels, width = slot_of.shape
    order = np.empty(n, np.int64)
    taken = np.zeros(n, np.bool_)
    cursor = np.zeros(channels, np.int64)
    count = 0
    moved = True
    while moved:
        moved = False
        for c in range(channels):
            places = steps[c]
            while places > 0 and cursor[c] < width:
                slot = slot_of[c, cursor[c]]
                cursor[c] += 1
                if slot >= 0 and not taken[slot]:
                    taken[slot] = True
                    order[count] = slot
                    count += 1
                    places -= 1
                    moved = True
    return order[:count]
