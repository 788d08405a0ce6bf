"""Compiled kernels of the neighbour channels: keep the best of a row, transpose, sum, select.

A key packs an item and its score into one uint64 that sorts by score, then by lower item row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tamis.runtime import Float32, Int32, Int64
from tamis.runtime.compiled import inner_njit, njit

_LOW = 0xFFFFFFFF
"""Mask of the lower half of a key."""


class SimilarItems(NamedTuple):
    """Rows of similar items, of which the first `size` places are filled, unordered."""

    size: Int32
    """(I,)"""
    item: Int32
    """(I, K) item rows."""
    value: Float32
    """(I, K) similarities."""

    @classmethod
    def empty(cls, items: int, width: int) -> SimilarItems:
        """`items` rows of `width` places, none of them filled."""
        return cls(
            size=np.zeros(items, np.int32),
            item=np.empty((items, width), np.int32),
            value=np.empty((items, width), np.float32),
        )


class TimedEvents(NamedTuple):
    """Events of the queries' histories, (n,) each."""

    item: Int32
    value: Float32
    """Interest value; negative for behaviours that do not count as a like."""
    time: Int64
    """ms"""


@njit(cache=True, nogil=True, inline="always")
def packed(item, score):
    """uint64 key of an item row and a float32 score >= 0; larger keys are better."""
    bits = np.uint64(np.float32(score).view(np.uint32))
    return (bits << np.uint64(32)) | (np.uint64(_LOW) - np.uint64(item))


@njit(cache=True, nogil=True, inline="always")
def unpacked(key):
    """(item int32, score float32) of a uint64 key."""
    score = np.uint32(key >> np.uint64(32)).view(np.float32)
    return np.int32(np.uint64(_LOW) - (key & np.uint64(_LOW))), score


@inner_njit
def best_to_front(keys, n, k):
    """Moves the k largest of distinct uint64 `keys[:n]` to the front, unordered (quickselect)."""
    low, high = 0, n - 1
    while low < high and k < n:
        middle = (low + high) // 2
        a, b, c = keys[low], keys[middle], keys[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while keys[i] > pivot:
                i += 1
            while keys[j] < pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            return


@inner_njit
def keep_row(keys, n, out_item, out_value):
    """Writes the best of `keys[:n]` into a row of (K,) int32 and float32; returns how many."""
    k = min(n, len(out_item))
    best_to_front(keys, n, k)
    for t in range(k):
        out_item[t], out_value[t] = unpacked(keys[t])
    return k


@njit(cache=True, nogil=True)
def lists_by_liked_item(size, item, value):
    """The columns of SimilarItems as a CSR: indptr int64 (I + 1,), item int32, value float32."""
    n = len(size)
    indptr = np.zeros(n + 1, np.int64)
    for i in range(n):
        indptr[i + 1] = indptr[i] + size[i]
    out_item, out_value = np.empty(indptr[n], np.int32), np.empty(indptr[n], np.float32)
    for i in range(n):
        out_item[indptr[i] : indptr[i + 1]] = item[i, : size[i]]
        out_value[indptr[i] : indptr[i + 1]] = value[i, : size[i]]
    return indptr, out_item, out_value


@njit(cache=True, nogil=True)
def candidate_starts(size, seen):
    """int64 (I + 1,) starts of each liked item's list of candidates.

    size int32 (I,), seen int32 (I, K): row i holds the liked items of candidate i.
    """
    n = len(size)
    indptr = np.zeros(n + 1, np.int64)
    for i in range(n):
        for t in range(size[i]):
            indptr[seen[i, t] + 1] += 1
    for i in range(n):
        indptr[i + 1] += indptr[i]
    return indptr


@njit(cache=True, nogil=True)
def candidate_values(indptr, size, seen, value):
    """float32 (n,) the similarities `value` (I, K) ordered by liked item, then by candidate."""
    place = indptr[:-1].copy()
    out = np.empty(indptr[-1], np.float32)
    for i in range(len(size)):
        for t in range(size[i]):
            out[place[seen[i, t]]] = value[i, t]
            place[seen[i, t]] += 1
    return out


@njit(cache=True, nogil=True)
def candidate_items(indptr, size, seen):
    """int32 (n,) the candidates in the order of `candidate_values`."""
    place = indptr[:-1].copy()
    out = np.empty(indptr[-1], np.int32)
    for i in range(len(size)):
        for t in range(size[i]):
            out[place[seen[i, t]]] = i
            place[seen[i, t]] += 1
    return out


@njit(cache=True, nogil=True)
def truncate_lists(indptr, item, value, longest):
    """A CSR (int64 (I + 1,), int32, float32) with only the `longest` best entries of each list.

    Overwrites `item` and `value` if a list is longer.
    """
    n = len(indptr) - 1
    most = 0
    for i in range(n):
        most = max(most, indptr[i + 1] - indptr[i])
    if most <= longest:
        return indptr, item, value
    out = np.zeros(n + 1, np.int64)
    keys = np.empty(most, np.uint64)
    for i in range(n):
        begin, count = indptr[i], indptr[i + 1] - indptr[i]
        for t in range(count):
            keys[t] = packed(item[begin + t], value[begin + t])
        kept = min(count, longest)
        best_to_front(keys, count, kept)
        for t in range(kept):  # in place: writing never overtakes reading
            item[out[i] + t], value[out[i] + t] = unpacked(keys[t])
        out[i + 1] = out[i] + kept
    return out, item[: out[n]].copy(), value[: out[n]].copy()


@njit(cache=True, nogil=True)
def vote_weights(history, begin, end, fade, add, slot, item, vote, age):
    """The most recent distinct liked items of one query and their weights; returns how many.

    A weight is r · fade[age], where age is the number of liked items with a later time, so items
    with the same time have the same age. At most len(fade) items.

    Args:
        history: TimedEvents, of which [begin, end) are the query's, in order of time.
        fade: (L,) float32 weight by age.
        add: whether an item's r is the sum of its events' values, else the largest of them.
        slot: (I,) int32 scratch, zero before and after.
        item, vote, age: int32, float32 and int32 of at least L places, the result.
    """
    history_item, history_value, history_time = history.item, history.value, history.time
    found, newest = 0, np.int64(0)
    for e in range(end - 1, begin - 1, -1):
        i, r = history_item[e], history_value[e]
        if r < 0 or i < 0 or i >= len(slot):
            continue
        if slot[i]:
            at = slot[i] - 1
            vote[at] = vote[at] + r if add else max(vote[at], r)
        elif found < len(fade):
            same = found > 0 and history_time[e] == newest
            age[found] = age[found - 1] if same else found
            newest = history_time[e]
            item[found], vote[found] = i, r
            found += 1
            slot[i] = found
    for s in range(found):
        slot[item[s]] = 0
        vote[s] *= fade[age[s]]
    return found


@inner_njit
def mark_excluded(excluded, begin, end, refused, mark):
    """Sets `refused` (I,) bool to `mark` at the rows of int32 `excluded[begin:end]` it has."""
    for e in range(begin, end):
        if 0 <= excluded[e] < len(refused):
            refused[excluded[e]] = mark


@inner_njit
def write_best(total, touched, n, refused, keys, out_item, out_score):
    """Writes the best of `total[touched[:n]]` into a row (k,), best first; zeroes `total` again.

    Args:
        total: (I,) float32 sums. touched: int32 distinct item rows. refused: (I,) bool.
        keys: (I,) uint64 scratch. out_item, out_score: (k,) int32 and float32.
    """
    m = 0
    for t in range(n):
        i = touched[t]
        if not refused[i]:
            keys[m] = packed(i, total[i])
            m += 1
        total[i] = 0
    k = min(m, len(out_item))
    best_to_front(keys, m, k)
    keys[:k].sort()
    for t in range(k):
        out_item[t], out_score[t] = unpacked(keys[k - 1 - t])


@njit(cache=True, nogil=True)
def recall_block(
    begin, end, similar, indptr, history, exclude, fade, add, total, refused, slot, keys,
    out_item, out_score,
):  # fmt: skip
    """Queries [begin, end): sums the similarities of the liked items, keeps the best candidates.

    Args:
        similar: ValuedLists, the candidates and similarities of each liked item.
        indptr: (Q + 1,) int64 bounds of the queries' events. history: TimedEvents.
        exclude: Excluded. fade: (L,) float32 and add: see `vote_weights`.
        total: (I,) float32, refused: (I,) bool and slot: (I,) int32 scratch, zero before and after.
        keys: (I,) uint64 scratch.
        out_item, out_score: (Q, k) int32 and float32, filled with -1 and -inf.
    """
    starts, neighbour, similarity = similar.indptr, similar.item, similar.value
    exclude_at, excluded = exclude.indptr, exclude.item
    liked, vote = np.empty(len(fade), np.int32), np.empty(len(fade), np.float32)
    age = np.empty(len(fade), np.int32)
    touched = np.empty(len(total) + 1, np.int32)
    for q in range(begin, end):
        count = vote_weights(history, indptr[q], indptr[q + 1], fade, add, slot, liked, vote, age)
        n = 0
        for s in range(count):
            j, r = liked[s], vote[s]
            for e in range(starts[j], starts[j + 1]):
                i = neighbour[e]
                before = total[i]
                after = before + r * similarity[e]
                total[i] = after
                touched[n] = i
                n += (before == 0) & (after != 0)
        mark_excluded(excluded, exclude_at[q], exclude_at[q + 1], refused, True)
        write_best(total, touched, n, refused, keys, out_item[q], out_score[q])
        mark_excluded(excluded, exclude_at[q], exclude_at[q + 1], refused, False)
