# pyright: basic
# numba compiles these functions for the types they are called with; pyright cannot follow that.
"""Kernels that find, gather and chain the events of users."""

from __future__ import annotations

from typing import Any

import numba


@numba.njit(cache=True)
def _first_at_or_after(arrival: Any, low: Any, high: Any, time: Any) -> Any:
    """First place in [low, high) whose arrival is not before `time`."""
    while low < high:
        middle = (low + high) // 2
        if arrival[middle] < time:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True)
def count(
    user: Any,
    time: Any,
    last: Any,
    indptr: Any,
    arrival: Any,
    head: Any,
    previous: Any,
    new_arrival: Any,
    ends: Any,
    news: Any,
    out: Any,
) -> None:
    """Per query: the end of its base events, its newest chained event, and its list's bounds."""
    for q in range(len(user)):
        u, t, n = user[q], time[q], 0
        news[q], ends[q] = -1, 0
        if 0 <= u < len(head):
            at = head[u]
            while at >= 0 and new_arrival[at] >= t:
                at = previous[at]
            news[q] = at
            while at >= 0 and n < last:
                n, at = n + 1, previous[at]
        if 0 <= u < len(indptr) - 1:
            ends[q] = _first_at_or_after(arrival, indptr[u], indptr[u + 1], t)
            n = min(last, n + ends[q] - indptr[u])
        out[q + 1] = out[q] + n


@numba.njit(cache=True)
def gather(
    bounds: Any,
    ends: Any,
    news: Any,
    previous: Any,
    base: Any,
    new: Any,
    item: Any,
    behaviour: Any,
    time: Any,
    value: Any,
) -> None:
    """Fills each query's list from its end: chained events first, then the base's."""
    for q in range(len(bounds) - 1):
        at, end = news[q], ends[q]
        for place in range(bounds[q + 1] - 1, bounds[q] - 1, -1):
            if at >= 0:
                source, row, at = new, at, previous[at]
            else:
                end -= 1
                source, row = base, end
            item[place] = source.item[row]
            behaviour[place] = source.behaviour[row]
            time[place] = source.time[row]
            value[place] = source.value[row]


@numba.njit(cache=True)
def link(user: Any, first: Any, head: Any, previous: Any, arrival: Any) -> None:
    """Chains events first … first + len(user) to their users, each chain by arrival."""
    for k in range(len(user)):
        row, u = first + k, user[k]
        after, at = -1, head[u]
        while at >= 0 and arrival[at] > arrival[row]:
            after, at = at, previous[at]
        previous[row] = at
        if after < 0:
            head[u] = row
        else:
            previous[after] = row


@numba.njit(cache=True)
def sorted_unique(
    indptr: Any, item: Any, behaviour: Any, wanted: Any, out: Any, bounds: Any
) -> int:
    n = 0
    for q in range(len(indptr) - 1):
        start = n
        for k in range(indptr[q], indptr[q + 1]):
            if wanted[behaviour[k]]:
                out[n] = item[k]
                n += 1
        out[start:n].sort()
        kept = start
        for k in range(start, n):
            if k == start or out[k] != out[kept - 1]:
                out[kept] = out[k]
                kept += 1
        n = kept
        bounds[q + 1] = n
    return n


@numba.njit(cache=True)
def last(
    bounds: Any, item: Any, behaviour: Any, wanted: Any, codes: Any, pad: Any, out: Any
) -> None:
    """Codes of each query's last wanted events, oldest first, padded at the end."""
    unknown, width = len(codes) - 1, out.shape[1]
    for q in range(len(bounds) - 1):
        n, e = 0, bounds[q + 1] - 1
        while e >= bounds[q] and n < width:
            if wanted[behaviour[e]]:
                j = item[e] if item[e] < unknown else unknown
                for place in range(codes.shape[1] - 1, -1, -1):
                    if codes[j, place] != pad and n < width:
                        n += 1
                        out[q, width - n] = codes[j, place]
            e -= 1
        for place in range(n):
            out[q, place] = out[q, width - n + place]
        for place in range(n, width):
            out[q, place] = pad


@numba.njit(cache=True)
def only_of(
    bounds: Any, item: Any, behaviour: Any, wanted: Any, out_item: Any, out_bounds: Any
) -> int:
    n = 0
    for q in range(len(bounds) - 1):
        for e in range(bounds[q], bounds[q + 1]):
            if wanted[behaviour[e]]:
                out_item[n] = item[e]
                n += 1
        out_bounds[q + 1] = n
    return n
