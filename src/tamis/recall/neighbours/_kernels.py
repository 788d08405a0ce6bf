"""Kernels of lists of similar items: the best of each row kept, turned round, voted with."""

from __future__ import annotations

import numpy as np
from numba import njit

_LOW = 0xFFFFFFFF
"""The lower half of a key."""


@njit(cache=True, nogil=True, inline="always")
def packed(item, score):
    """One number that sorts as (score, then the lower row first); score >= 0."""
    bits = np.uint64(np.float32(score).view(np.uint32))
    return (bits << np.uint64(32)) | (np.uint64(_LOW) - np.uint64(item))


@njit(cache=True, nogil=True, inline="always")
def unpacked(key):
    """(item, score) of a key."""
    score = np.uint32(key >> np.uint64(32)).view(np.float32)
    return np.int32(np.uint64(_LOW) - (key & np.uint64(_LOW))), score


@njit(cache=True, nogil=True)
def best_to_front(keys, n, k):
    """Brings the k largest of `keys[:n]` (all different) to its front, in no order: quickselect."""
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


@njit(cache=True, nogil=True)
def keep_row(keys, n, out_item, out_value):
    """Writes the best of `keys[:n]` into a row of (K,) arrays; returns how many there are."""
    k = min(n, len(out_item))
    best_to_front(keys, n, k)
    for t in range(k):
        out_item[t], out_value[t] = unpacked(keys[t])
    return k


@njit(cache=True, nogil=True)
def lists_by_liked_item(size, item, value):
    """Rows (N, K), of which `size` (N,) places are filled, as a CSR."""
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
    """(N + 1,) where each liked item's list of candidates starts, of candidates' rows (N, K)."""
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
    """The similarities (N, K) in the order of liked item, then candidate."""
    place = indptr[:-1].copy()
    out = np.empty(indptr[-1], np.float32)
    for i in range(len(size)):
        for t in range(size[i]):
            out[place[seen[i, t]]] = value[i, t]
            place[seen[i, t]] += 1
    return out


@njit(cache=True, nogil=True)
def candidate_items(indptr, size, seen):
    """The candidates in the same order."""
    place = indptr[:-1].copy()
    out = np.empty(indptr[-1], np.int32)
    for i in range(len(size)):
        for t in range(size[i]):
            out[place[seen[i, t]]] = i
            place[seen[i, t]] += 1
    return out


@njit(cache=True, nogil=True)
def truncate_lists(indptr, item, value, longest):
    """A CSR whose lists are truncate_lists to their `longest` best."""
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
        for t in range(kept):  # never behind what is still to be read
            item[out[i] + t], value[out[i] + t] = unpacked(keys[t])
        out[i + 1] = out[i] + kept
    return out, item[: out[n]].copy(), value[: out[n]].copy()


@njit(cache=True, nogil=True)
def vote_weights(history, begin, end, fade, slot, item, vote, age):
    """The latest liked items of one query and what each one's vote counts; returns how many.

    A vote is r · fade[age], age = the number of liked items with a later time, so items of one time
    are of one age; at most len(fade) items. `slot` is (items,) of zeros, and zeros afterwards.
    """
    history_item, history_value, history_time = history
    found, newest = 0, np.int64(0)
    for e in range(end - 1, begin - 1, -1):
        i, r = history_item[e], history_value[e]
        if r < 0 or i < 0 or i >= len(slot):
            continue
        if slot[i]:
            at = slot[i] - 1
            vote[at] = max(vote[at], r)
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


@njit(cache=True, nogil=True)
def mark_excluded(excluded, begin, end, refused, mark):
    """Sets `refused` (items,) to `mark` for the known ones of `excluded[begin:end]`."""
    for e in range(begin, end):
        if 0 <= excluded[e] < len(refused):
            refused[excluded[e]] = mark


@njit(cache=True, nogil=True)
def write_best(total, touched, n, refused, keys, out_item, out_score):
    """The best of `total[touched[:n]]` into `out_*` (k,), best first; `total` is zeroed again."""
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
def recall_block(begin, end, lists, history, exclude, fade, total, refused, slot, keys, out):
    """Queries [begin, end): the neighbours of the liked items, their votes summed."""
    indptr, neighbour, similarity = lists
    bounds, history = history[0], history[1:]
    exclude_at, excluded = exclude
    liked, vote = np.empty(len(fade), np.int32), np.empty(len(fade), np.float32)
    age = np.empty(len(fade), np.int32)
    touched = np.empty(len(total) + 1, np.int32)
    for q in range(begin, end):
        count = vote_weights(history, bounds[q], bounds[q + 1], fade, slot, liked, vote, age)
        n = 0
        for s in range(count):
            j, r = liked[s], vote[s]
            for e in range(indptr[j], indptr[j + 1]):
                i = neighbour[e]
                before = total[i]
                after = before + r * similarity[e]
                total[i] = after
                touched[n] = i
                n += (before == 0) & (after != 0)
        mark_excluded(excluded, exclude_at[q], exclude_at[q + 1], refused, True)
        write_best(total, touched, n, refused, keys, out[0][q], out[1][q])
        mark_excluded(excluded, exclude_at[q], exclude_at[q + 1], refused, False)
