"""The search of `at_most`: the longest head of a slate that satisfies the limits.

Candidates with the same set of categories are interchangeable for the limits, so at each place only
the first unused candidate of each group is tried: the search stays small, better items stay first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tamis.data import Ragged
from tamis.runtime import Int32, Int64
from tamis.runtime.compiled import njit


def arrange(
    indptr: Int64,
    item: Int32,
    categories: Ragged,
    groups: Int64,
    limits: tuple[int, int, int],
    effort: tuple[int, int, int],
) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Permutation (n,) of every query's candidates, and which limit each place breaks (n,).

    Args:
        indptr: (Q + 1,) query q's candidates are `[indptr[q], indptr[q + 1])`.
        item: (n,) item rows.
        categories: category codes per item row.
        groups: (items,) number of each item's set of categories.
        limits: (most in a window, window, most in the slate).
        effort: (n, depth, search): places wanted, places planned, candidates examined.
    """
    local_group = np.unique(groups[item], return_inverse=True)[1].astype(np.int64)
    sizes = np.diff(categories.indptr)[item]
    own = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    within = np.arange(own[-1]) - np.repeat(own[:-1], sizes)
    codes = categories.values[np.repeat(categories.indptr[item], sizes) + within]
    local_code = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return _arrange(indptr, local_group, own, local_code, limits, effort)


@njit(cache=True)
def _arrange(
    indptr: Int64,
    group: Int64,
    own: Int64,
    code: Int64,
    limits: tuple[int, int, int],
    effort: tuple[int, int, int],
) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    order = np.empty(len(group), np.intp)
    broken = np.zeros(len(group), np.uint8)
    groups = group.max() + 1 if len(group) else 0
    codes = code.max() + 1 if len(code) else 0
    used = np.zeros(groups, np.int64)
    counts = np.zeros((2, codes), np.int64)  # 0 in the window, 1 in the slate
    n, depth, search = effort
    for q in range(len(indptr) - 1):
        start, size = indptr[q], indptr[q + 1] - indptr[q]
        its_group, its_own = group[start : start + size], own[start : start + size + 1]
        used[:], counts[:] = 0, 0
        rank = _rank_in_group(its_group, used)
        plan = _longest_plan(its_group, rank, its_own, code, used, counts, limits, depth, search)
        used[:], counts[:] = 0, 0
        places, flags = _fill(plan, its_own, code, counts, limits, min(max(n, depth), size))
        for place in range(size):
            order[start + place] = start + places[place]
        broken[start : start + size] = flags
    return order, broken


@njit(cache=True)
def _rank_in_group(group: Int64, used: Int64) -> Int64:
    """(size,) number of earlier candidates of the same group; `used` is zero again afterwards."""
    rank = np.empty(len(group), np.int64)
    for i in range(len(group)):
        rank[i] = used[group[i]]
        used[group[i]] += 1
    used[:] = 0
    return rank


@njit(cache=True)
def _fits(i: int, own: Int64, code: Int64, counts: Int64, in_window: int, in_slate: int) -> int:
    """Limits that placing i next would break. 0: none, 1: the slate's, 2: the window's, 3: both."""
    broken = 0
    for c in code[own[i] : own[i + 1]]:
        if counts[1, c] >= in_slate:
            broken |= 1
        if counts[0, c] >= in_window:
            broken |= 2
    return broken


@njit(cache=True)
def _count(
    plan: Int64, place: int, step: int, window: int, own: Int64, code: Int64, counts: Int64
) -> None:
    """Adds (step 1) or removes (step −1) the candidate at `place`, and moves the window."""
    for c in code[own[plan[place]] : own[plan[place] + 1]]:
        counts[0, c] += step
        counts[1, c] += step
    # The window of the next place covers window − 1 earlier places: this one leaves it.
    leaving = place - window + 1
    if leaving >= 0:
        for c in code[own[plan[leaving]] : own[plan[leaving] + 1]]:
            counts[0, c] -= step


@njit(cache=True)
def _capacity(
    group: Int64, rank: Int64, used: Int64, own: Int64, code: Int64, counts: Int64, in_slate: int
) -> int:
    """Upper bound of the number of remaining candidates that the slate's limit still allows."""
    free, bound, capacity = 0, 0, 0
    left = np.zeros(counts.shape[1], np.int64)
    for i in range(len(group)):
        if rank[i] < used[group[i]]:
            continue
        if own[i] == own[i + 1]:
            free += 1
            continue
        fits = True
        for c in code[own[i] : own[i + 1]]:
            fits = fits and counts[1, c] < in_slate
        if fits:
            bound += 1
            for c in code[own[i] : own[i + 1]]:
                left[c] += 1
    for c in range(len(left)):
        capacity += min(left[c], in_slate - counts[1, c])
    return free + min(bound, capacity)


@njit(cache=True)
def _longest_plan(
    group: Int64,
    rank: Int64,
    own: Int64,
    code: Int64,
    used: Int64,
    counts: Int64,
    limits: tuple[int, int, int],
    depth: int,
    search: int,
) -> Int64:
    """The first (by place) of the longest plans that satisfy the limits, up to `depth` places."""
    in_window, window, in_slate = limits
    size = len(group)
    target = min(depth, size)
    plan, best = np.empty(target, np.int64), np.empty(target, np.int64)
    cursor = np.zeros(target + 1, np.int64)
    place, longest, looked = 0, 0, 0
    target = min(target, _capacity(group, rank, used, own, code, counts, in_slate))
    while longest < target:
        i = cursor[place]
        while i < size and (
            rank[i] != used[group[i]] or _fits(i, own, code, counts, in_window, in_slate) != 0
        ):
            i += 1
        looked += i - cursor[place] + 1
        if i < size:
            plan[place], cursor[place] = i, i + 1
            used[group[i]] += 1
            _count(plan, place, 1, window, own, code, counts)
            place += 1
            if place > longest:
                longest = place
                best[:place] = plan[:place]
                cursor[place] = 0
                continue
            looked += size
            if place + _capacity(group, rank, used, own, code, counts, in_slate) > longest:
                cursor[place] = 0
                continue
        elif place == 0:
            break
        if looked > search:
            break
        place -= 1
        _count(plan, place, -1, window, own, code, counts)
        used[group[plan[place]]] -= 1
    return best[:longest]


@njit(cache=True)
def _fill(
    plan: Int64, own: Int64, code: Int64, counts: Int64, limits: tuple[int, int, int], head: int
) -> tuple[Int64, NDArray[np.uint8]]:
    """The plan, then for each place the candidate that breaks least, then the rest in order."""
    in_window, window, in_slate = limits
    size = len(own) - 1
    places, flags = np.empty(size, np.int64), np.zeros(size, np.uint8)
    taken = np.zeros(size, np.bool_)
    for place in range(size):
        chosen = -1
        if place < len(plan):
            chosen = plan[place]
        elif place < head:
            chosen, flags_here = _least_broken(taken, own, code, counts, in_window, in_slate)
            flags[chosen] = flags_here
        else:
            break
        places[place], taken[chosen] = chosen, True
        _count(places, place, 1, window, own, code, counts)
    filled = max(len(plan), head)
    for i in range(size):
        if not taken[i]:
            places[filled] = i
            filled += 1
    return places, flags


@njit(cache=True)
def _least_broken(
    taken: NDArray[np.bool_],
    own: Int64,
    code: Int64,
    counts: Int64,
    in_window: int,
    in_slate: int,
) -> tuple[int, int]:
    """The first unused candidate with the smallest flag (the window's limit weighs more)."""
    chosen, least = -1, 4
    for i in range(len(taken)):
        if not taken[i]:
            broken = _fits(i, own, code, counts, in_window, in_slate)
            if broken < least:
                chosen, least = i, broken
                if broken == 0:
                    break
    return chosen, least
