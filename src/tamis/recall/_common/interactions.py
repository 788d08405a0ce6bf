"""Liked items of a log: user-item pairs with their interest value, most recent first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tamis.data import Dataset
from tamis.recall._common.compiled_arguments import ValuedLists
from tamis.runtime import Float32, Int32, Int64
from tamis.runtime.compiled import njit
from tamis.schema import Behaviour, ConfigError

NOT_COUNTED = np.float32(-1)
"""Interest value of behaviours that do not count as a like."""
Combine = Literal["max", "sum"]
"""How the weights of a user's events with one item make the interest value r of the pair."""


@dataclass(frozen=True, eq=False)
class Interests:
    """The interest value r of every user-item pair with a like, by user or by item.

    List x is `[indptr[x], indptr[x + 1])` of the two columns.
    """

    indptr: Int64
    """(X + 1,)"""
    other: Int32
    """(n,) the item of each pair, if grouped by user; else the user."""
    value: Float32
    """(n,) r: the largest weight among the pair's likes, or the sum over their behaviours."""

    def transposed(self, n: int) -> Interests:
        """The same pairs grouped by `other`, whose rows are in [0, n); owners ascending."""
        return Interests(*_transposed(self.indptr, self.other, self.value, n))

    def compiled(self) -> ValuedLists:
        """The same arrays as an argument of compiled code."""
        return ValuedLists(indptr=self.indptr, item=self.other, value=self.value)


def interest_of_behaviour(behaviours: Sequence[Behaviour]) -> Float32:
    """(behaviours,) r of an event of a positive behaviour by its code, else NOT_COUNTED.

    For channels whose training targets are the positive events. `declared_interest` also has the
    other behaviours that declare a weight.
    """
    return np.array([b.interest if b.positive else NOT_COUNTED for b in behaviours], np.float32)


def declared_interest(behaviours: Sequence[Behaviour]) -> Float32:
    """(behaviours,) r of an event by its behaviour code, NOT_COUNTED where it is not a like.

    A like is an event of a positive behaviour, or of one that declares a weight above 0.
    """
    return np.array(
        [b.interest if b.positive or b.interest > 0 else NOT_COUNTED for b in behaviours],
        np.float32,
    )


def places_of_likes(data: Dataset) -> Int64:
    """Places in the log of the events that are likes, see `declared_interest`."""
    counts = declared_interest(data.behaviours) >= 0
    return np.flatnonzero(counts[data.events.behaviour])


def once_per_behaviour(
    owner: Int32 | Int64, item: Int32, behaviour: Any, value: Float32
) -> Float32:
    """(n,) `value` with 0 for all but the last event of each owner, item and behaviour.

    The sums of the result are those of the owner's different behaviours with an item. Negative
    values stay.

    Args:
        owner: (n,) user rows or query numbers. item: (n,) item rows. behaviour: (n,) codes.
        value: (n,) interest values.
    """
    counted = np.flatnonzero(value > 0)
    place = np.lexsort((behaviour[counted], item[counted], owner[counted]))  # stable: last is last
    at = counted[place]
    same = (
        (owner[at[1:]] == owner[at[:-1]])
        & (item[at[1:]] == item[at[:-1]])
        & (behaviour[at[1:]] == behaviour[at[:-1]])
    )
    once = value.copy()
    once[at[:-1][same]] = 0
    return once


def with_positive_behaviours(data: Dataset, names: Sequence[str], channel: str) -> Dataset:
    """The same log in which exactly the behaviours `names` are likes; if empty, unchanged.

    They are positive, with weight 1 if theirs is 0 or omitted; the others have no weight. Raises
    ConfigError if the log lacks one of them.
    """
    known = [b.name for b in data.behaviours]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"channel {channel!r}: behaviours names {name!r}, which the log does not have. "
                f"Use behaviours of the log: {', '.join(known)}"
            )
    if not names:
        return data
    chosen = tuple(
        b.model_copy(
            update={
                "positive": b.name in names,
                "weight": (b.weight or 1.0) if b.name in names else None,
            }
        )
        for b in data.behaviours
    )
    return replace(data, behaviours=chosen)


def interests(data: Dataset, last: int | None = None, combine: Combine = "max") -> Interests:
    """Each user's distinct liked items, most recent first; at most `last`, None: all."""
    events = data.events
    indptr, order = grouped(events.user, len(data.users))
    value = declared_interest(data.behaviours)[events.behaviour]
    if combine == "sum":
        value = once_per_behaviour(events.user, events.item, events.behaviour, value)
    limit = len(order) + 1 if last is None else last
    lists = _latest_lists(
        indptr, order, events.item, value, limit, len(data.items), combine == "sum"
    )
    return Interests(*lists)


@njit(cache=True, nogil=True)
def grouped(key: Int32, n: int) -> tuple[Int64, Int64]:
    """Counting sort of keys in [0, n): `order[indptr[k]:indptr[k + 1]]` are the places of key k.

    Args:
        key: (m,) int32.

    Returns indptr int64 (n + 1,) and the stable order int64 (m,).
    """
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
def distinct(item, value, begin, end, limit, slot, out_item, out_value, add=False):
    """The `limit` most recent distinct items of events [begin, end), most recent first.

    Args:
        item, value: int32 and float32 columns of the events in order of time. Events with a
            negative value, or an item outside `slot`, are skipped.
        slot: (items,) int32 scratch, zero before and after.
        out_item, out_value: int32 and float32 of at least `limit` (or end - begin) places.
        add: whether an item's value is the sum of its events' values, else the largest of them.

    Returns the number of items found.
    """
    found = 0
    for e in range(end - 1, begin - 1, -1):
        i = item[e]
        if value[e] < 0 or i < 0 or i >= len(slot):
            continue
        if slot[i]:
            at = slot[i] - 1
            out_value[at] = out_value[at] + value[e] if add else max(out_value[at], value[e])
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
    """`distinct` of every list of a CSR, as a CSR: (indptr, item, value).

    indptr int64 (X + 1,); item int32 (n,) and value float32 (n,) in order of time.
    """
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


@njit(cache=True, nogil=True)
def _latest_lists(indptr, order, item, value, limit, n_items, add):
    """`distinct_lists` of the events `order[indptr[u]:indptr[u + 1]]`, without copying them.

    indptr int64 (U + 1,), order int64 (m,); item int32 and value float32 of all events; add: as in
    `distinct`.
    """
    slot = np.zeros(n_items, np.int32)
    out_indptr = np.zeros(len(indptr), np.int64)
    out_item = np.empty(len(order), np.int32)
    out_value = np.empty(len(order), np.float32)
    at = 0
    for u in range(len(indptr) - 1):
        begin = at
        for o in range(indptr[u + 1] - 1, indptr[u] - 1, -1):
            e = order[o]
            i = item[e]
            if value[e] < 0 or i < 0:
                continue
            if slot[i]:
                place = begin + slot[i] - 1
                more = out_value[place] + value[e]
                out_value[place] = more if add else max(out_value[place], value[e])
            elif at - begin < limit:
                out_item[at], out_value[at] = i, value[e]
                at += 1
                slot[i] = at - begin
        for s in range(begin, at):
            slot[out_item[s]] = 0
        out_indptr[u + 1] = at
    if at > 0.9 * len(order):  # a copy would need more memory than it frees
        return out_indptr, out_item[:at], out_value[:at]
    return out_indptr, out_item[:at].copy(), out_value[:at].copy()


@njit(cache=True, nogil=True)
def _transposed(indptr, other, value, n):
    """The transpose of a CSR (indptr (U + 1,), other int32 (m,), value float32 (m,)) to n rows."""
    out_indptr = np.zeros(n + 1, np.int64)
    for j in other:
        out_indptr[j + 1] += 1
    for j in range(n):
        out_indptr[j + 1] += out_indptr[j]
    place = out_indptr[:-1].copy()
    out_owner, out_value = np.empty(len(other), np.int32), np.empty(len(other), np.float32)
    for u in range(len(indptr) - 1):
        for e in range(indptr[u], indptr[u + 1]):
            j = other[e]
            out_owner[place[j]], out_value[place[j]] = u, value[e]
            place[j] += 1
    return out_indptr, out_owner, out_value
