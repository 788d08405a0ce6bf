"""What collaborative channels read of a log: who liked what, how much, most recent first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tamis.cascade import at_end
from tamis.events import Dataset
from tamis.schema import Behaviour

__all__ = [
    "NOT_POSITIVE",
    "Interests",
    "at_end",
    "distinct",
    "distinct_lists",
    "grouped",
    "interest_of_behaviour",
    "interests",
]

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]

NOT_POSITIVE = np.float32(-1)
"""In an array of interest values by behaviour code: this behaviour is no sign of interest."""


@dataclass(frozen=True, eq=False)
class Interests:
    """The value r of every user–item pair with a positive event, grouped by user or by item.

    List x is `[indptr[x], indptr[x + 1])`; `other` holds the item (user) of each pair and `value`
    its r: the largest weight among the pair's positive events.
    """

    indptr: Int64
    other: Int32
    value: Float32

    def transposed(self, n: int) -> Interests:
        """The same pairs grouped by `other`, of which there are n."""
        owner = np.repeat(np.arange(len(self.indptr) - 1, dtype=np.int32), np.diff(self.indptr))
        indptr, order = grouped(self.other, n)
        return Interests(indptr, owner[order], self.value[order])


def interest_of_behaviour(behaviours: Sequence[Behaviour]) -> Float32:
    """(behaviours,) r of one event by its code: the weight, or NOT_POSITIVE."""
    return np.array([b.weight if b.positive else NOT_POSITIVE for b in behaviours], np.float32)


def interests(data: Dataset, last: int | None = None) -> Interests:
    """Each user's distinct positive items, most recent first, at most `last` per user."""
    r_of = interest_of_behaviour(data.behaviours)
    positive = np.flatnonzero(data.positive)
    users = data.events.user[positive]
    indptr, order = grouped(users, len(data.users))
    at = positive[order]
    limit = len(at) + 1 if last is None else last
    return Interests(
        *distinct_lists(indptr, data.events.item[at], r_of[data.events.behaviour[at]], limit,
                        len(data.items))
    )  # fmt: skip


@njit(cache=True, nogil=True)
def grouped(key: Int32, n: int) -> tuple[Int64, Int64]:
    """Counting sort: (indptr (n + 1,), stable order) that brings equal keys in [0, n) together."""
    indptr = np.zeros(n + 1, np.int64)
    for k in key:
        indptr[k + 1] += 1
    for k in range(n):
        indptr[k + 1] += indptr[k]
    place = indptr[:-1].copy()
    order = np.empty(len(key), np.int64)
    for e in range(len(key)):
        order[place[key[e]]] = e
        place[key[e]] += 1
    return indptr, order


@njit(cache=True, nogil=True)
def distinct(item, value, begin, end, limit, slot, out_item, out_value):
    """The `limit` most recent distinct items of events [begin, end), most recent first.

    A value is the largest of the item's repeats; negative values mark events that do not count.
    `slot` is (items,) of zeros and is zeroed again before returning. Returns how many were found.
    """
    found = 0
    for e in range(end - 1, begin - 1, -1):
        i = item[e]
        if value[e] < 0 or i < 0 or i >= len(slot):
            continue
        if slot[i]:
            at = slot[i] - 1
            out_value[at] = max(out_value[at], value[e])
        elif found < limit:
            out_item[found] = i
            out_value[found] = value[e]
            found += 1
            slot[i] = found
    for s in range(found):
        slot[out_item[s]] = 0
    return found


@njit(cache=True, nogil=True)
def distinct_lists(indptr, item, value, limit, n_items):
    """`distinct` of every list of a CSR, as a CSR."""
    slot = np.zeros(n_items, np.int32)
    out_indptr = np.zeros(len(indptr), np.int64)
    out_item = np.empty(len(item), np.int32)
    out_value = np.empty(len(item), np.float32)
    at = 0
    for u in range(len(indptr) - 1):
        at += distinct(
            item, value, indptr[u], indptr[u + 1], limit, slot, out_item[at:], out_value[at:]
        )
        out_indptr[u + 1] = at
    return out_indptr, out_item[:at].copy(), out_value[:at].copy()
