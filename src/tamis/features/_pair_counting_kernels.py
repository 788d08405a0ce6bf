# pyright: basic
# numba compiles these functions for the types they are called with; pyright cannot follow that.
"""Kernels of counts by groups of items, and of pairs such as users and groups of items.

Pairs of two codes are one int64 key. A table of counts has a base of P keys, ascending, and keys
that were added later: `slot` int32 (C,) is a hash table of their rows, -1 where empty, C a power of
two larger than their number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tamis.runtime.compiled import inner_njit, njit

_MIX = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True)
def count_before(indptr: Any, moments: Any, key: Any, time: Any, out: Any) -> None:
    """How many moments of each key lie before a time.

    In: indptr int64 (K + 1,), bounds of the keys' moments; moments int64 (P,) ms, ascending per
    key; key int (n,), -1 for none; time int64 (n,). Out: out int64 (n,).
    """
    for row in range(len(key)):
        out[row] = 0
        if not 0 <= key[row] < len(indptr) - 1:
            continue
        low, high = indptr[key[row]], indptr[key[row] + 1]
        while low < high:
            middle = (low + high) // 2
            if moments[middle] < time[row]:
                low = middle + 1
            else:
                high = middle
        out[row] = low - indptr[key[row]]


@njit(cache=True)
def mean_rows(table: Any, bounds: Any, out: Any) -> None:
    """Means of rows of a table: row r of `out` is that of the rows bounds[r] to bounds[r + 1].

    In: table float32 (T, S), bounds int64 (n + 1,). Out: out float32 (n, S).
    """
    for row in range(len(out)):
        first, last = bounds[row], bounds[row + 1]
        for column in range(out.shape[1]):
            out[row, column] = table[first, column]
        for p in range(first + 1, last):
            for column in range(out.shape[1]):
                out[row, column] += table[p, column]
        if last - first > 1:
            share = np.float32(1.0) / np.float32(last - first)
            for column in range(out.shape[1]):
                out[row, column] *= share


@njit(cache=True)
def mean_of_sets(
    table: Any,
    stride: Any,
    none: Any,
    first: Any,
    sets: Any,
    indptr: Any,
    code: Any,
    out: Any,
) -> None:
    """Means of the rows of the codes of sets: that of code c is row first[r] + stride * c.

    In: table float32 (T, S); stride and none, ints; first int64 (n,); sets int32 (n,); indptr int64
    (M + 1,), bounds of the sets' codes; code int32, -1 for the code `none`.
    Out: out float32 (n, S).
    """
    for row in range(len(out)):
        begin, end = indptr[sets[row]], indptr[sets[row] + 1]
        for p in range(begin, end):
            c = code[p] if code[p] >= 0 else none
            at = first[row] + stride * c
            if p == begin:
                for column in range(out.shape[1]):
                    out[row, column] = table[at, column]
            else:
                for column in range(out.shape[1]):
                    out[row, column] += table[at, column]
        if end - begin > 1:
            share = np.float32(1.0) / np.float32(end - begin)
            for column in range(out.shape[1]):
                out[row, column] *= share


@njit(cache=True)
def set_sizes(indptr: Any, sets: Any, bounds: Any) -> None:
    """Bounds of the codes of sets int32 (n,) laid end to end. Out: bounds int64 (n + 1,)."""
    bounds[0] = 0
    for row in range(len(sets)):
        bounds[row + 1] = bounds[row] + indptr[sets[row] + 1] - indptr[sets[row]]


@njit(cache=True)
def expand_sets(indptr: Any, code: Any, sets: Any, bounds: Any, owner: Any, out: Any) -> None:
    """The codes of sets laid end to end, and the position of the set of each.

    In: as `set_sizes`, which wrote bounds. Out: owner int64 (p,), out int32 (p,).
    """
    for row in range(len(sets)):
        begin = indptr[sets[row]]
        for at in range(bounds[row], bounds[row + 1]):
            owner[at] = row
            out[at] = code[begin + at - bounds[row]]


@inner_njit
def base_row(keys: Any, key: Any) -> Any:
    """The row of `key` in `keys`, ascending; -1 where it is not there."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < len(keys) and keys[low] == key else -1


@inner_njit
def slot_of(slot: Any, added: Any, key: Any) -> Any:
    """The place of `key` in the hash table, or the empty place where it belongs."""
    mask = len(slot) - 1
    mixed = np.uint64(key) * _MIX
    place = np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(mask))
    while slot[place] >= 0 and added[slot[place]] != key:
        place = (place + 1) & mask
    return place


@njit(cache=True)
def rebuild_slots(slot: Any, added: Any, n: Any) -> None:
    """Enters the first n keys of added int64 into an empty hash table."""
    for row in range(n):
        slot[slot_of(slot, added, added[row])] = row


@njit(cache=True)
def add_pairs(
    keys: Any,
    total: Any,
    slot: Any,
    added: Any,
    more: Any,
    n: Any,
    key: Any,
    column: Any,
    new: Any,
    touched: Any,
) -> int:
    """Counts events of pairs; returns the number of added keys.

    In: key int64 (m,), column int (m,) of each event; n, the number of added keys before.
    In and out: keys int64 (P,), total int32 (P, B) of the base; slot, added int64 and more int32
    (·, B) of the keys added later, with space for m more. Out: new bool (m,), the pair's first
    event; touched bool (P,), true where a pair of the base was counted.
    """
    for e in range(len(key)):
        row = base_row(keys, key[e])
        new[e] = False
        if row >= 0:
            total[row, column[e]] += 1
            touched[row] = True
            continue
        place = slot_of(slot, added, key[e])
        if slot[place] < 0:
            slot[place], added[n], new[e] = n, key[e], True
            n += 1
        more[slot[place], column[e]] += 1
    return n


@njit(cache=True)
def read_pairs(keys: Any, total: Any, slot: Any, added: Any, more: Any, key: Any, out: Any) -> None:
    """The counts of n pairs: key int64 (n,), -1 for none. Out: out int32 (n, B).

    Neighbours with one key are looked up once.
    """
    for row in range(len(key)):
        for b in range(out.shape[1]):
            out[row, b] = 0
        if key[row] < 0:
            continue
        found = base_row(keys, key[row])
        if found >= 0:
            for b in range(out.shape[1]):
                out[row, b] = total[found, b]
            continue
        found = slot[slot_of(slot, added, key[row])]
        if found >= 0:
            for b in range(out.shape[1]):
                out[row, b] = more[found, b]


@njit(cache=True)
def read_dense(total: Any, key: Any, out: Any) -> None:
    """The counts of n pairs in total int32 (N, V, B): key int64 (n,), -1 for none; the first code
    in the upper 32 bits. Out: out int32 (n, B)."""
    for row in range(len(key)):
        known = key[row] >= 0
        first = key[row] >> 32 if known else 0
        second = key[row] & 0xFFFFFFFF if known else 0
        for b in range(out.shape[1]):
            out[row, b] = total[first, second, b] if known else 0
