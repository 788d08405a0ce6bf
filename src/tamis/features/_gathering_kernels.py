# pyright: basic
# numba compiles these functions for the types they are called with; pyright cannot follow that.
"""Kernels that find, gather and chain the events of users.

A base of E events lies sorted by user, then by arrival; `indptr` int64 (U + 1,) bounds each user's
events in it. Events that arrived later are appended to N rows of other arrays and chained per user:
`head` int32 (users,) is the row of a user's newest event, `previous` int32 (N,) the row before each
event's; -1 ends a chain.
"""

from __future__ import annotations

from typing import Any

from tamis.runtime.compiled import inner_njit, njit


@inner_njit
def _first_at_or_after(arrival: Any, low: Any, high: Any, time: Any) -> Any:
    """First index in [low, high) of `arrival` int64, ascending there, that is not before `time`."""
    while low < high:
        middle = (low + high) // 2
        if arrival[middle] < time:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True)
def find_histories(
    user: Any,
    time: Any,
    limit: Any,
    indptr: Any,
    arrival: Any,
    head: Any,
    previous: Any,
    new_arrival: Any,
    ends: Any,
    newest: Any,
    bounds: Any,
) -> None:
    """Finds the last events, at most `limit` (int), that arrived before each of Q queries.

    In: user int32 (Q,), time int64 (Q,) ms, indptr int64 (U + 1,), arrival int64 (E,) of the base,
    head int32 (users,), previous int32 (N,), new_arrival int64 (N,).
    Out: ends int64 (Q,) the end of the query's events in the base; newest int64 (Q,) its newest
    chained event or -1; bounds int64 (Q + 1,), whose first entry is 0: bounds of the queries' lists
    laid end to end.
    """
    for q in range(len(user)):
        u, t, n = user[q], time[q], 0
        newest[q], ends[q] = -1, 0
        if 0 <= u < len(head):
            at = head[u]
            while at >= 0 and new_arrival[at] >= t:
                at = previous[at]
            newest[q] = at
            while at >= 0 and n < limit:
                n, at = n + 1, previous[at]
        if 0 <= u < len(indptr) - 1:
            ends[q] = _first_at_or_after(arrival, indptr[u], indptr[u + 1], t)
            n = min(limit, n + ends[q] - indptr[u])
        bounds[q + 1] = bounds[q] + n


@njit(cache=True)
def gather_histories(
    bounds: Any,
    ends: Any,
    newest: Any,
    previous: Any,
    base: Any,
    new: Any,
    item: Any,
    behaviour: Any,
    time: Any,
    value: Any,
) -> None:
    """Fills each query's list from its end: chained events first, then those of the base.

    In: bounds, ends and newest as `find_histories` wrote them; previous int32 (N,); base and new,
    named tuples `histories.Columns` of (E,) and (N,).
    Out, of bounds[-1] rows: item int32, behaviour uint8, time int64 (ms), value float32.
    """
    for q in range(len(bounds) - 1):
        at, end = newest[q], ends[q]
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


@njit(cache=True)
def chain_events(user: Any, first: Any, head: Any, previous: Any, arrival: Any, time: Any) -> None:
    """Chains the events of rows first … first + n to their users, each chain by arrival, equal
    arrivals by time, as in a log.

    In: user int32 (n,); first, an int; arrival and time int64 (N,) ms of all rows.
    In and out: head int32 (users,), previous int32 (N,).
    """
    for k in range(len(user)):
        row, u = first + k, user[k]
        after, at = -1, head[u]
        while at >= 0 and (
            arrival[at] > arrival[row] or (arrival[at] == arrival[row] and time[at] > time[row])
        ):
            after, at = at, previous[at]
        previous[row] = at
        if after < 0:
            head[u] = row
        else:
            previous[after] = row


@njit(cache=True)
def sorted_unique(
    indptr: Any, item: Any, behaviour: Any, wanted: Any, out: Any, bounds: Any
) -> int:
    """The distinct items of each query's events of the behaviours `wanted`, ascending.

    In: indptr int64 (Q + 1,), item int32 (E,), behaviour uint8 (E,), wanted bool (B,).
    Out: out int32 (E,), of which the first n entries are filled; bounds int64 (Q + 1,), whose first
    entry is 0. Returns n.
    """
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


@njit(cache=True)
def last_codes(
    bounds: Any, item: Any, behaviour: Any, wanted: Any, codes: Any, pad: Any, out: Any
) -> None:
    """Codes of the items of each query's last events of the behaviours `wanted`.

    Oldest first, then filled up with `pad`.

    In: bounds int64 (Q + 1,), item int32 (E,), behaviour uint8 (E,), wanted bool (B,);
    codes int32 (N + 1, w) of each item, the last row of unknown items; pad, an int.
    Out: out int32 (Q, L).
    """
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


@njit(cache=True)
def select_behaviours(
    bounds: Any, item: Any, behaviour: Any, wanted: Any, out_item: Any, out_bounds: Any
) -> int:
    """The items of each query's events of the behaviours `wanted`, in the same order.

    In: bounds int64 (Q + 1,), item int32 (E,), behaviour uint8 (E,), wanted bool (B,).
    Out: out_item int32 (E,), of which the first n entries are filled; out_bounds int64 (Q + 1,),
    whose first entry is 0. Returns n.
    """
    n = 0
    for q in range(len(bounds) - 1):
        for e in range(bounds[q], bounds[q + 1]):
            if wanted[behaviour[e]]:
                out_item[n] = item[e]
                n += 1
        out_bounds[q + 1] = n
    return n
