"""Compiled kernels of the hard rules: what a candidate would break at a place, and whether the
places that are left can be filled.

Bit b of every mask stands for constraint b of the plan, in ascending order of importance.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tamis.runtime import Bool, Int64
from tamis.runtime.compiled import inner_njit, njit

inner = inner_njit(error_model="numpy")
"""For kernels that only kernels call."""

once = njit(inline="always")
"""For kernels with one caller: their code becomes part of its code. A kernel of its own would be
translated once more for each kernel that calls its callers."""


@inner
def copy(source: Any, out: Any) -> None:
    """Copies (n,) numbers. For `out[:] = source` numba compiles the text of an error as well, which
    takes longer than all else."""
    for i in range(len(out)):
        out[i] = source[i]


class Codes(NamedTuple):
    """What the candidates of one query count towards."""

    own: Int64
    """(limits, n + 1): codes of candidate i under limit l are `code[own[l, i] : own[l, i + 1]]`."""
    code: Int64
    """Codes 0 … C − 1; no two limits share one."""
    limit: Int64
    """(C,) the limit of each code."""
    classes: Int64
    """(n,) bit r: the candidate belongs to the r-th rule of fixed places."""
    quotas: Int64
    """(n,) bit k: the candidate counts towards the k-th quota."""
    pin: Int64
    """(n,) the place to which the candidate is pinned; -1 = none."""
    kind: Int64
    """(n,) number of the candidate's kind: candidates of a kind are interchangeable for all hard
    rules."""


class Bounds(NamedTuple):
    """What must hold, at the levels in force."""

    most: Int64
    """(limits, 3): most in a window, its length, most in the slate."""
    limit_bits: Int64
    """(limits, 2): the constraint bits of the window and of the slate."""
    must: Int64
    """(places,) bits of the classes of which the place's item must be one."""
    never: Int64
    """(places,) bits of the classes of which it must not be."""
    class_bits: Int64
    """(classes, 2): the constraint bits of `must` and `never`."""
    least: Int64
    """(quotas, places + 1): members among the first h places without which later heads cannot be
    reached."""
    quota_bits: Int64
    """(quotas,) constraint bits."""
    pinned: Int64
    """(places,) the candidate pinned to each place; -1 = none."""
    pin_bits: Int64
    """(n,) constraint bit of each candidate's pin; 0 where it has none or the pin is given up."""
    hard: int
    """Mask of the constraints that must hold."""


class PlanState(NamedTuple):
    """What the places filled so far have used up."""

    count: Int64
    """(C,) items of each code."""
    at: Int64
    """(C, places): the places of each code's items."""
    members: Int64
    """(quotas,) items of each quota."""
    free: Int64
    """(kinds,) candidates of each kind that are left."""
    left: Int64
    """(C,) candidates of each code that are left."""
    without: Int64
    """(limits,) candidates left that the limit does not count."""


@inner
def broken_limits(i: int, place: int, codes: Codes, bounds: Bounds, state: PlanState) -> int:
    """Mask of the limits that candidate i would break at `place`, the next place to be filled."""
    mask = 0
    for limit in range(len(codes.own)):
        window, length, slate = bounds.most[limit]
        for at in range(codes.own[limit, i], codes.own[limit, i + 1]):
            c = codes.code[at]
            count = state.count[c]
            if count >= slate:
                mask |= bounds.limit_bits[limit, 1]
            if count >= window and place - state.at[c, count - window] < length:
                mask |= bounds.limit_bits[limit, 0]
    return mask


@inner
def broken(i: int, place: int, codes: Codes, bounds: Bounds, state: PlanState) -> int:
    """Mask of all constraints that candidate i would break at `place`, the next to be filled."""
    mask = broken_limits(i, place, codes, bounds, state)
    wrong = bounds.must[place] & ~codes.classes[i]
    extra = bounds.never[place] & codes.classes[i]
    for r in range(len(bounds.class_bits)):
        if wrong >> r & 1:
            mask |= bounds.class_bits[r, 0]
        if extra >> r & 1:
            mask |= bounds.class_bits[r, 1]
    for k in range(len(bounds.quota_bits)):
        if state.members[k] + (codes.quotas[i] >> k & 1) < bounds.least[k, place + 1]:
            mask |= bounds.quota_bits[k]
    reserved = bounds.pinned[place]
    if reserved >= 0 and reserved != i:
        mask |= bounds.pin_bits[reserved]
    if codes.pin[i] != place:
        mask |= bounds.pin_bits[i]
    return mask


class NextPlace(NamedTuple):
    """What is the same for all candidates at the next place to be filled."""

    place: int
    full: Int64
    """(C,) mask of the limits that one more item of each code would break."""
    must: int
    """Bits of the classes of which the item must be one."""
    never: int
    """Bits of the classes of which it must not be."""
    wanting: int
    """Bits of the quotas that break unless the item is a member."""
    always: int
    """Mask of the constraints of quotas that break whatever the item."""
    pinned: int
    """The candidate pinned to the place; -1 = none."""
    masks: Int64
    """(n,) what `broken` says of each candidate, once `ready[0]` is true."""
    ready: Bool


class WalkScratch(NamedTuple):
    """Arrays that the places of a walk reuse."""

    full: Int64
    """(C,) zeros before the first place."""
    masks: Int64
    """(n,)"""
    ready: Bool
    """(1,)"""


@inner
def here_at(
    place: int, chosen: Int64, scratch: WalkScratch, codes: Codes, bounds: Bounds, state: PlanState
) -> NextPlace:
    """What holds at `place`, the next to be filled, after the candidates `chosen[:place]`."""
    full = scratch.full
    for before in range(place):
        i = chosen[before]
        for limit in range(len(codes.own)):
            window, length, slate = bounds.most[limit]
            for at in range(codes.own[limit, i], codes.own[limit, i + 1]):
                c, mask = codes.code[at], 0
                count = state.count[c]
                if count >= slate:
                    mask |= bounds.limit_bits[limit, 1]
                if count >= window and place - state.at[c, count - window] < length:
                    mask |= bounds.limit_bits[limit, 0]
                full[c] = mask
    wanting, always = 0, 0
    for k in range(len(bounds.quota_bits)):
        lack = bounds.least[k, place + 1] - state.members[k]
        if lack > 1:
            always |= bounds.quota_bits[k]
        elif lack > 0:
            wanting |= 1 << k
    must, never = bounds.must[place], bounds.never[place]
    scratch.ready[0] = False
    pinned = bounds.pinned[place]
    masks, ready = scratch.masks, scratch.ready
    return NextPlace(place, full, must, never, wanting, always, pinned, masks, ready)


@inner
def broken_here(here: NextPlace, codes: Codes, bounds: Bounds) -> Int64:
    """(n,) what `broken` says of every candidate at this place."""
    masks = here.masks
    if here.ready[0]:
        return masks
    here.ready[0] = True
    n = len(masks)
    masks[:] = here.always
    own, code, full = codes.own, codes.code, here.full
    for limit in range(len(own)):
        for i in range(n):
            for at in range(own[limit, i], own[limit, i + 1]):
                masks[i] |= full[code[at]]
    classes, class_bits, must, never = codes.classes, bounds.class_bits, here.must, here.never
    for r in range(len(class_bits)):
        if must >> r & 1:
            for i in range(n):
                masks[i] |= class_bits[r, 0] * (1 - (classes[i] >> r & 1))
        if never >> r & 1:
            for i in range(n):
                masks[i] |= class_bits[r, 1] * (classes[i] >> r & 1)
    quotas, quota_bits = codes.quotas, bounds.quota_bits
    for k in range(len(quota_bits)):
        if here.wanting >> k & 1:
            for i in range(n):
                masks[i] |= quota_bits[k] * (1 - (quotas[i] >> k & 1))
    pin, pin_bits, place = codes.pin, bounds.pin_bits, here.place
    for i in range(n):
        if pin[i] != place:
            masks[i] |= pin_bits[i]
    if here.pinned >= 0:
        for i in range(n):
            if i != here.pinned:
                masks[i] |= pin_bits[here.pinned]
    return masks


@inner
def put(i: int, place: int, codes: Codes, state: PlanState) -> None:
    """Places candidate i."""
    for limit in range(len(codes.own)):
        if codes.own[limit, i] == codes.own[limit, i + 1]:
            state.without[limit] -= 1
        for at in range(codes.own[limit, i], codes.own[limit, i + 1]):
            c = codes.code[at]
            state.at[c, state.count[c]] = place
            state.count[c] += 1
            state.left[c] -= 1
    for k in range(len(state.members)):
        state.members[k] += codes.quotas[i] >> k & 1
    state.free[codes.kind[i]] -= 1


@inner
def take_back(i: int, codes: Codes, state: PlanState) -> None:
    """Undoes the latest `put`."""
    for limit in range(len(codes.own)):
        if codes.own[limit, i] == codes.own[limit, i + 1]:
            state.without[limit] += 1
        for at in range(codes.own[limit, i], codes.own[limit, i + 1]):
            c = codes.code[at]
            state.count[c] -= 1
            state.left[c] += 1
    for k in range(len(state.members)):
        state.members[k] -= codes.quotas[i] >> k & 1
    state.free[codes.kind[i]] += 1


@inner
def _allowance(c: int, places: int, codes: Codes, bounds: Bounds, state: PlanState) -> int:
    """Most items of code c that the next `places` places may still take."""
    limit = codes.limit[c]
    window, length, slate = bounds.most[limit]
    allowed = places
    if bounds.limit_bits[limit, 1] & bounds.hard:
        allowed = min(allowed, slate - state.count[c])
    if bounds.limit_bits[limit, 0] & bounds.hard:
        allowed = min(allowed, window * (places // length) + min(window, places % length))
    return max(allowed, 0)


@inner
def _can_be_filled(places: int, codes: Codes, bounds: Bounds, state: PlanState) -> bool:
    """False where the limits leave fewer than `places` of the candidates: a bound, not exact."""
    capacity = state.without.copy()
    for c in range(len(codes.limit)):
        if state.left[c] > 0:
            allowed = _allowance(c, places, codes, bounds, state)
            capacity[codes.limit[c]] += min(state.left[c], allowed)
    for limit in range(len(capacity)):  # noqa: SIM110 (numba)
        if capacity[limit] < places:
            return False
    return True


@inner
def _quotas_can_be_met(
    filled: int, places: int, first: Int64, codes: Codes, bounds: Bounds, state: PlanState
) -> bool:
    """False where the limits leave too few members of a quota, or the quotas together want more
    places than there are: bounds, not exact."""
    wanted, most = 0, 1
    for k in range(len(state.members)):
        lack = bounds.least[k, places] - state.members[k]
        if lack <= 0 or not bounds.quota_bits[k] & bounds.hard:
            continue
        wanted += lack
        for limit in range(len(codes.own)):
            if not _members_left(k, limit, places - filled, first, codes, bounds, state) >= lack:
                return False
        if len(codes.own) == 0:
            members = 0
            for kind in range(len(first)):
                members += state.free[kind] * (codes.quotas[first[kind]] >> k & 1)
            if members < lack:
                return False
    for kind in range(len(first)):
        if state.free[kind] > 0:
            useful = 0
            for k in range(len(state.members)):
                lack = bounds.least[k, places] - state.members[k]
                hard = bounds.quota_bits[k] & bounds.hard
                if lack > 0 and hard and codes.quotas[first[kind]] >> k & 1:
                    useful += 1
            most = max(most, useful)
    return wanted <= most * (places - filled)


@inner
def _members_left(
    k: int, limit: int, places: int, first: Int64, codes: Codes, bounds: Bounds, state: PlanState
) -> int:
    """Upper bound of the members of quota k that one limit lets the next `places` places take."""
    members = 0
    left = np.zeros(len(codes.limit), np.int64)
    for kind in range(len(first)):
        i, free = first[kind], state.free[kind]
        if free == 0 or not codes.quotas[i] >> k & 1:
            continue
        if codes.own[limit, i] == codes.own[limit, i + 1]:
            members += free
        for at in range(codes.own[limit, i], codes.own[limit, i + 1]):
            left[codes.code[at]] += free
    for c in range(len(left)):
        if left[c] > 0:
            members += min(left[c], _allowance(c, places, codes, bounds, state))
    return members


@inner
def _fills(
    filled: int,
    places: int,
    first: Int64,
    codes: Codes,
    bounds: Bounds,
    state: PlanState,
    plan: Int64,
) -> bool:
    """Whether the kinds of `plan` fill the places from `filled` on; `state` stays as it was."""
    place = filled
    while place < places:
        kind = plan[place]
        if state.free[kind] == 0:
            break
        if broken(first[kind], place, codes, bounds, state) & bounds.hard:
            break
        put(first[kind], place, codes, state)
        place += 1
    for at in range(place - 1, filled - 1, -1):
        take_back(first[plan[at]], codes, state)
    return place == places


@inner
def complete(
    filled: int,
    places: int,
    first: Int64,
    codes: Codes,
    bounds: Bounds,
    state: PlanState,
    plan: Int64,
    search: int,
) -> bool:
    """Whether the places from `filled` on can be filled so that the hard constraints hold.

    The kinds that `plan` holds are tried first. Then depth-first search over kinds of candidates,
    the most frequent ones first, with bounds. It leaves `state` as it was.

    Args:
        first: (kinds,) a candidate of each kind.
        plan: (places,) kinds that may do; receives those of each place where the answer is True.
        search: kinds that are examined before the search gives up and answers False.
    """
    if _fills(filled, places, first, codes, bounds, state, plan):
        return True
    kinds = len(first)
    tried = np.zeros((places + 1, kinds), np.bool_)
    place, looked = filled, 0
    while place < places:
        best = -1
        if looked <= search:
            for kind in range(kinds):
                fewer = best >= 0 and state.free[kind] <= state.free[best]
                if tried[place, kind] or state.free[kind] == 0 or fewer:
                    continue
                if broken(first[kind], place, codes, bounds, state) & bounds.hard:
                    tried[place, kind] = True
                else:
                    best = kind
            looked += kinds
        if best >= 0:
            tried[place, best] = True
            put(first[best], place, codes, state)
            plan[place] = best
            place += 1
            tried[place, :] = False
            possible = _can_be_filled(places - place, codes, bounds, state)
            if possible and len(state.members):
                possible = _quotas_can_be_met(place, places, first, codes, bounds, state)
            if possible or place == places:
                continue
        elif place == filled:
            return False
        place -= 1
        take_back(first[plan[place]], codes, state)
    for at in range(places - 1, filled - 1, -1):
        take_back(first[plan[at]], codes, state)
    return True
