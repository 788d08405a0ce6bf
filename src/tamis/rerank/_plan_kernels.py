"""The compiled planner: fills the places of every query's slate, one after another.

Each place takes the candidate with the highest marginal value that breaks no hard constraint. Where
that leads to a place that nothing may fill, the slate is planned anew with look-ahead: a candidate
is placed only if the places after it can be filled (`complete`). Where no slate meets all
constraints, they are taken up from the most important one on, each as far as those before it allow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tamis.rerank._constraint_kernels import (
    Bounds,
    Codes,
    NextPlace,
    PlanState,
    WalkScratch,
    broken,
    broken_here,
    complete,
    copy,
    here_at,
    inner,
    once,
    put,
    take_back,
)
from tamis.rerank._diversity_kernels import (
    LEAST,
    add_to_volume,
    dots,
    forget_oldest,
    overlaps,
    remember_largest,
)
from tamis.runtime import Bool, Float32, Float64, Int32, Int64
from tamis.runtime.compiled import njit

AS_GIVEN, BY_SCORE, BY_MMR, BY_DPP = 0, 1, 2, 3
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class HardRules(NamedTuple):
    """The hard rules as declared. See `Bounds` for what is not explained here."""

    most: Int64
    limit_bits: Int64
    class_places: Int64
    """(classes, places): 1 = the first of the rule's places, 2 = the second …; 0 = none of them."""
    class_bits: Int64
    share: Float64
    """(Q, quotas) least share of the places."""
    spread: Bool
    """(quotas,) whether the share holds in every head of the slate, not only in all of it."""
    quota_bits: Int64
    pin_bits: Int64
    """(n,) constraint bit of each candidate's pin; 0 = none. As declared, empty."""
    constraints: int
    """Number of constraints: bits 0 … constraints − 1."""


class PlanInputs(NamedTuple):
    """The candidates of all queries, and what the hard rules know of them."""

    indptr: Int64
    item: Int32
    own: Int64
    """(limits, n + 1): codes of candidate i under limit l are `code[own[l, i] : own[l, i + 1]]`."""
    code: Int64
    """As the items' table numbers them, in the order of the limits."""
    classes: Bool
    """(classes, n) members of each rule of fixed places."""
    quotas: Bool
    """(quotas, n) members of each quota."""
    pins: Int64
    """(m, 3) item row, place from 1, constraint bit; of two pins of an item the last one holds."""
    value: Float64
    """(n,) the fused value; empty where nothing reads it."""
    terms: Float64
    """(terms, n) added to the scaled value."""


class Values(NamedTuple):
    """What orders the candidates."""

    mode: int
    score: Float64
    """(n,) the scaled value with its terms; −inf without a finite value. As given, empty."""
    alternative: Float64
    """(classes, n) what orders the members of a class at its places."""
    theta: float
    window: int
    """Last places whose similarity counts; 0 = the whole slate."""
    by_vector: bool
    vectors: Float32
    """(n, d) unit vectors of the candidates."""
    bounds: Int64
    codes: Int64
    """Candidate i's categories are `codes[bounds[i] : bounds[i + 1]]`, ascending."""
    tired_of: Int64
    """(n,) number of the group (author) that fatigue counts; -1 = none. As given, these two may be
    empty: no fatigue."""
    shown: Float64
    """(n,) items of that group that the user was shown before."""
    decay: float
    floor: float


class Draw(NamedTuple):
    """How places are drawn."""

    temperature: float
    """0: the best candidate is taken."""
    top: int
    seed: Int64
    """(Q,)."""


class ExploredPlaces(NamedTuple):
    """Places that with some probability hold one of few candidates, whatever their value."""

    weight: Float64
    """(n,) what a candidate is drawn by; 0 = it is not explored."""
    chance: Float64
    """(Q, places) probability with which a place explores."""
    greedy: bool
    """Whether the highest weight is taken, instead of a draw."""
    seed: Int64
    """(Q,)."""


class PlanTask(NamedTuple):
    """One query's candidates, and what orders them."""

    codes: Codes
    values: Values
    draw: Draw
    explore: ExploredPlaces
    soft: int
    """Mask of the limits that are broken, and are broken as seldom as the greedy choice finds."""
    search: int
    """Kinds that one search with look-ahead examines at most."""


class Planned(NamedTuple):
    """The slates, and why they are as they are; (n,) in the order of the given candidates."""

    order: Int64
    """(n,) the permutation within each query."""
    gain: Float64
    """Marginal value when the candidate was placed; NaN for those behind the slate."""
    tiredness: Float64
    """The factor of fatigue at that time."""
    propensity: Float64
    """Probability with which the candidate was drawn at its place."""
    explored: Bool
    """Whether its place explored."""
    broken: Int64
    """Mask of the limits that its place breaks."""
    refused: Int64
    """Mask of the constraints that kept a candidate from places where it had the highest value."""
    lacking: Int64
    """(Q, places) mask of the constraints that are broken at each place."""


@inner
def _mixed(value: np.uint64) -> np.uint64:
    """A hash of 64 bits (the finaliser of splitmix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True)
def numbered(values: Int64) -> tuple[Int64, int]:
    """Numbers of the distinct values (n,) in the order of their first appearance, and how many."""
    size = 16
    while size < 2 * len(values):
        size *= 2
    table, out, found = np.full(size, -1, np.int64), np.empty(len(values), np.int64), 0
    first = np.empty(len(values), np.int64)
    for i in range(len(values)):
        slot = np.int64(_mixed(np.uint64(values[i]) + GOLDEN) & np.uint64(size - 1))
        while table[slot] >= 0 and first[table[slot]] != values[i]:
            slot = (slot + 1) & (size - 1)
        if table[slot] < 0:
            table[slot], first[found] = found, values[i]
            found += 1
        out[i] = table[slot]
    return out, found


@inner
def _scores(given: PlanInputs) -> Float64:
    """(n,) the values, min-max to [0, 1] within each query over the finite ones, with the terms.

    −inf where the value is not finite, 0 where all are equal or none is given.
    """
    indptr, value = given.indptr, given.value
    out = np.zeros(len(given.item))
    if len(value) == 0:
        return out
    for q in range(len(indptr) - 1):
        low, high = np.inf, -np.inf
        for i in range(indptr[q], indptr[q + 1]):
            if np.isfinite(value[i]):
                low, high = min(low, value[i]), max(high, value[i])
        for i in range(indptr[q], indptr[q + 1]):
            if not np.isfinite(value[i]):
                out[i] = -np.inf
            else:
                out[i] = (value[i] - low) / (high - low) if high > low else 0.0
    for t in range(len(given.terms)):
        for i in range(len(out)):
            out[i] += given.terms[t, i]
    return out


@njit(cache=True)
def gathered(item: Int32, indptr: Int64, values: Int32, own: Int64, first: int) -> Int64:
    """The values of the ragged rows of `item` (n,).

    own: (n + 1,) receives their bounds, the first of which is `first`.
    """
    own[0] = first
    for i in range(len(item)):
        own[i + 1] = own[i] + indptr[item[i] + 1] - indptr[item[i]]
    out = np.empty(own[-1] - first, np.int64)
    for i in range(len(item)):
        start, at = indptr[item[i]], own[i] - first
        for k in range(own[i + 1] - own[i]):
            out[at + k] = values[start + k]
    return out


@inner
def _localised(given: PlanInputs) -> tuple[Int64, Int64]:
    """The codes of all limits numbered from 0, no two limits sharing one, and each one's limit."""
    code, limit = np.empty(len(given.code), np.int64), np.empty(len(given.code), np.int64)
    first = 0
    for k in range(len(given.own)):
        a, b = given.own[k, 0], given.own[k, -1]
        numbers, found = numbered(given.code[a:b])
        for at in range(a, b):
            code[at] = numbers[at - a] + first
        limit[first : first + found] = k
        first += found
    return code, limit[:first]


@inner
def _bits_of(members: Bool, n: int) -> Int64:
    """(n,) bit k where row k of `members` holds."""
    bits = np.zeros(n, np.int64)
    for k in range(len(members)):
        for i in range(n):
            bits[i] |= np.int64(members[k, i]) << k
    return bits


@inner
def _pinned(given: PlanInputs, n: int, lacking: Int64) -> tuple[Int64, Int64]:
    """(n,) each candidate's place from 0 (-1 = none), and the bit of its pin.

    lacking: (Q, places) receives the bits of the pins that no candidate can hold.
    """
    indptr, item = given.indptr, given.item
    pin, bits = np.full(len(item), -1, np.int64), np.zeros(len(item), np.int64)
    for p in range(len(given.pins)):
        row, place, bit = given.pins[p]
        if place > n:
            continue
        for q in range(len(indptr) - 1):
            lacking[q, place - 1] |= bit
            if indptr[q] + place > indptr[q + 1]:
                continue
            for i in range(indptr[q], indptr[q + 1]):
                if item[i] == row:
                    pin[i], bits[i] = place - 1, bit
                    lacking[q, place - 1] &= ~bit
    return pin, bits


@once
def _kinds(own: Int64, code: Int64, classes: Int64, quotas: Int64, pin: Int64) -> Int64:
    """(n,) a hash of all that hard rules know of each candidate."""
    out = np.empty(len(classes), np.int64)
    for i in range(len(classes)):
        value = _mixed(np.uint64(classes[i]) * GOLDEN)
        value = _mixed(value ^ np.uint64(quotas[i]))
        value = _mixed(value ^ np.uint64(pin[i] + 1))
        for limit in range(len(own)):
            for at in range(own[limit, i], own[limit, i + 1]):
                value += _mixed((np.uint64(code[at]) + np.uint64(1)) * GOLDEN)
        out[i] = np.int64(value)
    return out


@inner
def _state(codes: Codes, first: Int64, places: int, quotas: int) -> PlanState:
    """Nothing placed yet."""
    codes_in_all, limits = len(codes.limit), len(codes.own)
    left, without = np.zeros(codes_in_all, np.int64), np.zeros(limits, np.int64)
    free = np.zeros(len(first), np.int64)
    for i in range(len(codes.classes)):
        free[codes.kind[i]] += 1
        for limit in range(limits):
            if codes.own[limit, i] == codes.own[limit, i + 1]:
                without[limit] += 1
            for at in range(codes.own[limit, i], codes.own[limit, i + 1]):
                left[codes.code[at]] += 1
    return PlanState(
        np.zeros(codes_in_all, np.int64),
        np.empty((codes_in_all, places), np.int64),
        np.zeros(quotas, np.int64),
        free,
        left,
        without,
    )


@inner
def _needed(share: float, spread: bool, head: int, places: int) -> int:
    """Members of a quota that the first `head` places must hold."""
    return int(share * head + 1e-9) if spread or head == places else 0


@once
def _full_levels(q: int, places: int, rules: HardRules, codes: Codes) -> Int64:
    """(constraints,) the highest level of each constraint that the candidates' numbers allow.

    Of fixed places, how many of them hold; of a quota, how many members; of others 1.
    """
    level = np.ones(rules.constraints, np.int64)
    for r in range(len(rules.class_places)):
        members, wanted = 0, 0
        for i in range(len(codes.classes)):
            members += codes.classes[i] >> r & 1
        for place in range(places):
            wanted += rules.class_places[r, place] > 0
        if rules.class_bits[r, 0]:
            level[_bit(rules.class_bits[r, 0])] = min(members, wanted)
    for k in range(rules.share.shape[1]):
        members = 0
        for i in range(len(codes.quotas)):
            members += codes.quotas[i] >> k & 1
        wanted = _needed(rules.share[q, k], rules.spread[k], places, places)
        level[_bit(rules.quota_bits[k])] = min(members, wanted)
    return level


@inner
def _bit(mask: int) -> int:
    """The position of the only bit of a mask."""
    b = 0
    while mask >> b > 1:
        b += 1
    return b


@inner
def _bounds(q: int, places: int, rules: HardRules, codes: Codes, level: Int64) -> Bounds:
    """What must hold at these levels. Constraints of level 0 are not hard."""
    hard, n = 0, len(codes.classes)
    for b in range(len(level)):
        if level[b] > 0:
            hard |= 1 << b
    must, never = np.zeros(places, np.int64), np.zeros(places, np.int64)
    barred = np.zeros(places, np.int64)
    for r in range(len(rules.class_places)):
        for place in range(places):
            turn = rules.class_places[r, place]
            if turn == 0 and rules.class_bits[r, 1]:
                never[place] |= 1 << r
                if rules.class_bits[r, 1] & hard:
                    barred[place] |= 1 << r
            elif 0 < turn <= level[_bit(rules.class_bits[r, 0])]:
                must[place] |= 1 << r
    pinned, pin_bits = np.full(places, -1, np.int64), np.zeros(n, np.int64)
    for i in range(n):
        if codes.pin[i] >= 0 and level[_bit(rules.pin_bits[i])] > 0:
            pinned[codes.pin[i]], pin_bits[i] = i, rules.pin_bits[i]
    quotas = rules.share.shape[1]
    least = np.zeros((quotas, places + 1), np.int64)
    for k in range(quotas):
        top = level[_bit(rules.quota_bits[k])]
        for head in range(places, 0, -1):
            wanted = _needed(rules.share[q, k], rules.spread[k], head, places)
            least[k, head] = max(least[k, head], min(wanted, top))
            place = head - 1
            least[k, head - 1] = least[k, head] - _may_hold(k, place, codes, must, barred, pinned)
    return Bounds(
        rules.most,
        rules.limit_bits,
        must,
        never,
        rules.class_bits,
        least,
        rules.quota_bits,
        pinned,
        pin_bits,
        hard,
    )


@once
def _may_hold(k: int, place: int, codes: Codes, must: Int64, never: Int64, pinned: Int64) -> int:
    """1 where a member of quota k can be at `place`, else 0."""
    if pinned[place] >= 0:
        return int(codes.quotas[pinned[place]] >> k & 1)
    for i in range(len(codes.quotas)):
        fits = must[place] & ~codes.classes[i] == 0 and never[place] & codes.classes[i] == 0
        if codes.quotas[i] >> k & 1 and fits:
            return 1
    return 0


@inner
def _pins_collide(places: int, rules: HardRules, codes: Codes, level: Int64) -> bool:
    """Whether two pins in force have the same place."""
    at = np.zeros(places, np.int64)
    for i in range(len(codes.pin)):
        if codes.pin[i] >= 0 and level[_bit(rules.pin_bits[i])] > 0:
            at[codes.pin[i]] += 1
            if at[codes.pin[i]] > 1:
                return True
    return False


@inner
def _possible(
    q: int,
    places: int,
    rules: HardRules,
    codes: Codes,
    first: Int64,
    level: Int64,
    plan: Int64,
    search: int,
) -> bool:
    """Whether some slate holds everything at these levels; `plan` then receives the kinds."""
    if _pins_collide(places, rules, codes, level):
        return False
    bounds = _bounds(q, places, rules, codes, level)
    state = _state(codes, first, places, len(rules.quota_bits))
    return complete(np.int64(0), places, first, codes, bounds, state, plan, search)


@once
def _highest_levels(
    q: int,
    places: int,
    rules: HardRules,
    codes: Codes,
    first: Int64,
    full: Int64,
    plan: Int64,
    search: int,
) -> Int64:
    """(constraints,) each as high as those that are more important allow; `plan` meets them."""
    trial = np.zeros(places, np.int64)
    level = full.copy()
    if _possible(q, places, rules, codes, first, level, plan, search):
        return level
    level[:] = 0
    _possible(q, places, rules, codes, first, level, plan, search)
    for b in range(len(full) - 1, -1, -1):
        for wanted in range(full[b], 0, -1):
            level[b] = wanted
            if _possible(q, places, rules, codes, first, level, trial, search):
                copy(trial, plan)
                break
            level[b] = 0
    return level


@inner
def _next_uniform(seed: Int64) -> float:
    """A number in (0, 1); `seed` (1,) moves on (splitmix64)."""
    state = np.uint64(seed[0]) + GOLDEN
    seed[0] = np.int64(state)
    return (np.float64(_mixed(state) >> np.uint64(11)) + 0.5) / 9007199254740992.0


@inner
def _tired(count: float, values: Values) -> float:
    """The factor after `count` items of the same group."""
    return (1.0 - values.floor) * values.decay**count + values.floor


@inner
def _scored(i: int, count: float, values: Values) -> float:
    """The score after fatigue, which lowers positive scores only."""
    score = values.score[i]
    return score * _tired(count, values) if values.tired_of[i] >= 0 and score > 0.0 else score


@inner
def _weight(score: float, values: Values) -> float:
    """q² of a DPP."""
    return np.exp(values.theta * score) if score > -np.inf else 0.0


@once
def _keys(
    score: Float64, weight: Float64, like: Float64, volume: Float64, values: Values, out: Float64
) -> None:
    """(n,) what the next place is chosen by."""
    if values.mode == BY_DPP:
        for i in range(len(out)):
            out[i] = weight[i] * max(volume[i], LEAST)
    elif values.mode == BY_MMR:
        theta = values.theta
        for i in range(len(out)):
            out[i] = theta * score[i] - (1.0 - theta) * like[i] if score[i] > -np.inf else -np.inf
    elif values.mode == BY_SCORE:
        copy(score, out)
    else:
        for i in range(len(out)):
            out[i] = -i


@once
def _highest(key: Float64, taken: Bool, skip: Bool, kind: Int64) -> int:
    """The candidate with the highest key, whatever it breaks; -1 where none is left."""
    best, high = -1, -np.inf
    for i in range(len(key)):
        if best >= 0 and not key[i] > high:
            continue
        if not taken[i] and not skip[kind[i]]:
            best, high = i, key[i]
    return best


@inner
def _best(
    key: Float64,
    taken: Bool,
    skip: Bool,
    soft: int,
    here: NextPlace,
    codes: Codes,
    bounds: Bounds,
    state: PlanState,
) -> int:
    """The candidate that breaks the least important constraints, and of those the highest key.

    skip: (kinds,) kinds that are left out. Returns -1 where nothing may be placed.
    """
    best, least, high, settled = _highest(key, taken, skip, codes.kind), 0, -np.inf, False
    if best < 0:
        return -1
    hard, kind = bounds.hard, codes.kind
    if broken(best, here.place, codes, bounds, state) & (hard | soft) == 0:
        return best
    best, masks = -1, broken_here(here, codes, bounds)
    for i in range(len(key)):
        if settled and not key[i] > high:
            continue
        mask = masks[i]
        if mask & hard or taken[i] or skip[kind[i]]:
            continue
        if best < 0 or mask & soft < least or (mask & soft == least and key[i] > high):
            best, least, high = i, mask & soft, key[i]
            settled = least == 0
    return best


@once
def _note_refused(
    chosen: int,
    key: Float64,
    taken: Bool,
    here: NextPlace,
    codes: Codes,
    bounds: Bounds,
    refused: Int64,
) -> None:
    """Notes what kept candidates with a higher key from the place."""
    own, higher = key[chosen], 0
    for i in range(len(key)):
        higher += key[i] > own
    if higher == 0:
        return
    masks = broken_here(here, codes, bounds)
    for i in range(len(key)):
        if key[i] > own and not taken[i]:
            refused[i] |= masks[i]


@once
def _shortlist(
    here: NextPlace,
    places: int,
    key: Float64,
    taken: Bool,
    first: Int64,
    plan: PlanTask,
    bounds: Bounds,
    state: PlanState,
    most: int,
    witness: Int64,
) -> Int64:
    """The best `most` candidates, best first, that leave the rest of the slate possible.

    witness: (places,) kinds that may fill the rest; receives the last ones that do.
    """
    codes, place = plan.codes, here.place
    skip, known = np.zeros(len(first), np.bool_), np.zeros(len(first), np.bool_)
    hidden = taken.copy()
    chosen, size, least = np.empty(min(most, len(key)), np.int64), 0, 0
    while size < len(chosen):
        i = _best(key, hidden, skip, plan.soft, here, codes, bounds, state)
        if i < 0:
            break
        mask = broken(i, place, codes, bounds, state) & plan.soft
        if size > 0 and mask != least:
            break
        kind = codes.kind[i]
        if bounds.hard and not known[kind]:
            put(i, place, codes, state)
            known[kind] = complete(
                place + 1, places, first, codes, bounds, state, witness, plan.search
            )
            take_back(i, codes, state)
            if not known[kind]:
                skip[kind] = True
                continue
        chosen[size], hidden[i], least = i, True, mask
        size += 1
    return chosen[:size]


@once
def _softmax(chosen: Int64, key: Float64, mode: int, temperature: float, out: Float64) -> None:
    """Writes the probabilities of `chosen` by their marginal values into `out` (n,)."""
    total, best = 0.0, key[chosen[0]]
    if not best > -np.inf or (mode == BY_DPP and best <= 0.0):
        out[chosen[0]] = 1.0
        return
    for i in chosen:
        if mode == BY_DPP:
            out[i] = (key[i] / best) ** (1.0 / temperature)
        else:
            out[i] = np.exp((key[i] - best) / temperature)
        total += out[i]
    for i in chosen:
        out[i] /= total


@inner
def _drawn(chosen: Int64, odds: Float64, seed: Int64) -> int:
    """One of `chosen`, whose probabilities are `odds` (n,)."""
    left = _next_uniform(seed)
    for i in chosen:
        left -= odds[i]
        if left < 0.0:
            return i
    return chosen[0]


@once
def _explorable(
    place: int,
    places: int,
    instead: int,
    taken: Bool,
    first: Int64,
    plan: PlanTask,
    bounds: Bounds,
    state: PlanState,
    witness: Int64,
    out: Float64,
) -> float:
    """Writes the weights (n,) of the candidates that may be explored at `place`; their sum.

    They break no hard constraint, none that `instead` does not break, and leave the rest of the
    slate possible. With `plan.explore.greedy` only the first of the highest weight has any.
    """
    codes, weight = plan.codes, plan.explore.weight
    known = np.zeros(len(first), np.int64)
    allowed = broken(instead, place, codes, bounds, state) & plan.soft
    total, best = 0.0, -1
    out[:] = 0.0
    for i in range(len(out)):
        if taken[i] or not weight[i] > 0.0 or (best >= 0 and not weight[i] > weight[best]):
            continue
        mask = broken(i, place, codes, bounds, state)
        if mask & bounds.hard or mask & plan.soft & ~allowed:
            continue
        kind = codes.kind[i]
        if bounds.hard and known[kind] == 0:
            trial = witness.copy()
            put(i, place, codes, state)
            possible = complete(place + 1, places, first, codes, bounds, state, trial, plan.search)
            take_back(i, codes, state)
            known[kind] = 1 if possible else -1
        if known[kind] < 0:
            continue
        if plan.explore.greedy:
            best = i
        else:
            out[i] = weight[i]
            total += weight[i]
    if best >= 0:
        out[best] = 1.0
        total = 1.0
    return total


@once
def _explored(
    place: int,
    places: int,
    instead: int,
    chance: float,
    taken: Bool,
    first: Int64,
    plan: PlanTask,
    bounds: Bounds,
    state: PlanState,
    witness: Int64,
    odds: Float64,
    seed: Int64,
) -> int:
    """The candidate that is explored at `place` with probability `chance`; -1: none.

    Args:
        instead: the candidate that stands there otherwise.
        odds: (n,) the probabilities of the candidates; receives those with exploration.
        witness: kinds that may fill the rest; empty for a plan without look-ahead.
    """
    weight = np.zeros(len(odds))
    total = _explorable(place, places, instead, taken, first, plan, bounds, state, witness, weight)
    if total == 0.0:
        return -1
    for i in range(len(odds)):
        weight[i] /= total
        odds[i] = (1.0 - chance) * odds[i] + chance * weight[i]
    if not _next_uniform(seed) < chance:
        return -1
    i = _drawn(np.flatnonzero(weight), weight, seed)
    codes = plan.codes
    if len(witness) > 0 and codes.kind[i] != witness[place]:
        put(i, place, codes, state)
        complete(place + 1, places, first, codes, bounds, state, witness, plan.search)
        take_back(i, codes, state)
    return i


@once
def _firsts(codes: Codes) -> Int64:
    """(kinds,) the first candidate of each kind."""
    kinds = 0
    for i in range(len(codes.kind)):
        kinds = max(kinds, codes.kind[i] + 1)
    first = np.full(kinds, -1, np.int64)
    for i in range(len(codes.kind)):
        if first[codes.kind[i]] < 0:
            first[codes.kind[i]] = i
    return first


class Volume(NamedTuple):
    """What diversity knows of the items placed so far."""

    like: Float64
    """(n,) MMR: the largest similarity to a placed item within the window."""
    volume: Float64
    """(n,) DPP: the share of each item that the placed ones do not explain."""
    factor: Float64
    """(rows, n) MMR: similarities to the last places. DPP: the Cholesky factor."""
    placed: Int64
    """(rows,) DPP: the item of each row of the factor."""
    near: Float64
    """(n,) scratch."""


@once
def _no_volume(values: Values, places: int) -> Volume:
    n, rows = len(values.score), 0
    window = values.window if 0 < values.window < places else 0
    if values.mode == BY_MMR:
        rows = window
    elif values.mode == BY_DPP:
        rows = window + 1 if window else places
    size = n if values.mode >= BY_MMR else 0
    return Volume(
        np.zeros(n),
        np.ones(size),
        np.zeros((rows, size)),
        np.empty(rows, np.int64),
        np.empty(size),
    )


@inner
def _similar(i: int, values: Values, out: Float64) -> None:
    """Similarities of all candidates to candidate i."""
    if values.by_vector:
        dots(values.vectors, values.vectors[i], out)
    else:
        overlaps(i, values.bounds, values.codes, out)


@once
def _follow(place: int, chosen: Int64, rows: int, values: Values, volume: Volume) -> int:
    """Takes up the item at `place`; returns the rows of the factor in use."""
    i = chosen[place]
    if values.mode == BY_MMR:
        _similar(i, values, volume.near)
        remember_largest(volume.factor, place, volume.near, volume.like)
        return 0
    window = values.window
    if window == 0 or place < window:
        _similar(i, values, volume.near)
        return _add(i, rows, volume)
    if rows == window:
        forget_oldest(volume.factor, volume.near, volume.placed, rows, volume.volume)
        _similar(i, values, volume.near)
        return _add(i, rows - 1, volume)
    # An item of the window was explained by others, which may leave: begin anew.
    volume.volume[:] = 1.0
    rows -= rows
    for at in range(place - window + 1, place + 1):
        _similar(chosen[at], values, volume.near)
        rows = _add(chosen[at], rows, volume)
    return rows


@inner
def _add(i: int, rows: int, volume: Volume) -> int:
    more = add_to_volume(volume.factor, rows, i, volume.near, volume.volume)
    if more > rows:
        volume.placed[rows] = i
    return more


@inner
def _walk(
    q: int,
    places: int,
    plan: PlanTask,
    bounds: Bounds,
    first: Int64,
    witness: Int64,
    state: PlanState,
    out: Planned,
) -> tuple[Int64, bool]:
    """Fills the places; returns the candidates and whether none was left empty.

    witness: (places,) kinds that fill all places, for a plan with look-ahead; else empty.
    """
    careful = len(witness) > 0
    codes, values, draw = plan.codes, plan.values, plan.draw
    n = len(codes.kind)
    chosen, taken = np.empty(places, np.int64), np.zeros(n, np.bool_)
    volume, rows = _no_volume(values, places), np.int64(0)
    count, score, weight = np.zeros(n), np.empty(n), np.empty(n)
    for i in range(n):
        count[i] = values.shown[i]
        score[i] = _scored(i, count[i], values)
        weight[i] = _weight(score[i], values) if values.mode == BY_DPP else 0.0
    key, own_key, seed = np.empty(n), np.empty(n), np.array([draw.seed[q]])
    odds, luck = np.zeros(n), np.array([plan.explore.seed[q]])
    skip = np.zeros(len(first), np.bool_)
    scratch = WalkScratch(
        np.zeros(len(codes.limit), np.int64), np.empty(n, np.int64), np.zeros(1, np.bool_)
    )
    for place in range(places):
        here = here_at(place, chosen, scratch, codes, bounds, state)
        _keys(score, weight, volume.like, volume.volume, values, own_key)
        copy(own_key, key)
        turn = _first_class(bounds.must[place])
        if turn >= 0:
            copy(values.alternative[turn], key)
        odds[:] = 0.0
        if draw.temperature > 0.0 and turn < 0:
            listed = _shortlist(
                here, places, key, taken, first, plan, bounds, state, draw.top, witness
            )
            i = -1
            if len(listed):
                _softmax(listed, key, values.mode, draw.temperature, odds)
                i = _drawn(listed, odds, seed)
        else:
            i = _next(here, places, key, taken, first, witness, plan, bounds, state, skip)
        if i < 0 and careful:  # the search gave up: the known way is taken
            i = _of_kind(witness[place], key, taken, codes)
        if i < 0:
            return chosen, False
        if odds[i] == 0.0:
            odds[i] = 1.0
        chance = plan.explore.chance[q, place] if turn < 0 else 0.0
        if chance > 0.0:
            other = _explored(
                place, places, i, chance, taken, first, plan, bounds, state, witness, odds, luck
            )
            out.explored[i if other < 0 else other] = other >= 0
            i = i if other < 0 else other
        if draw.temperature == 0.0 and not out.explored[i]:
            _note_refused(i, key, taken, here, codes, bounds, out.refused)
        out.propensity[i] = odds[i]
        out.broken[i] = broken(i, place, codes, bounds, state) & plan.soft
        out.gain[i] = _gain(own_key[i], values.mode)
        out.tiredness[i] = _tired(count[i], values) if values.tired_of[i] >= 0 else 1.0
        put(i, place, codes, state)
        chosen[place], taken[i] = i, True
        if values.mode >= BY_MMR and place + 1 < places:
            rows = _follow(place, chosen, rows, values, volume)
        if values.tired_of[i] >= 0 and values.mode > AS_GIVEN:
            for j in range(n):
                if values.tired_of[j] == values.tired_of[i]:
                    count[j] += 1.0
                    score[j] = _scored(j, count[j], values)
                    weight[j] = _weight(score[j], values) if values.mode == BY_DPP else 0.0
    return chosen, True


@once
def _gain(key: float, mode: int) -> float:
    """The marginal value that the trace shows; of a DPP the logarithm of the volumes' ratio."""
    if mode == BY_DPP:
        return np.log(key) if key > 0.0 else -np.inf
    return key


@once
def _first_class(must: int) -> int:
    """The lowest bit that is set; -1 = none."""
    for r in range(63):
        if must >> r & 1:
            return r
    return -1


@once
def _of_kind(kind: int, key: Float64, taken: Bool, codes: Codes) -> int:
    """The best candidate of a kind."""
    best = -1
    for i in range(len(key)):
        if codes.kind[i] == kind and not taken[i] and (best < 0 or key[i] > key[best]):
            best = i
    return best


@once
def _next(
    here: NextPlace,
    places: int,
    key: Float64,
    taken: Bool,
    first: Int64,
    witness: Int64,
    plan: PlanTask,
    bounds: Bounds,
    state: PlanState,
    skip: Bool,
) -> int:
    """The best candidate for the place; with a `witness`, of those that leave the rest possible.

    `witness` is replaced where the search finds another way to fill the rest.
    """
    codes, place = plan.codes, here.place
    skip[:] = False
    while True:
        i = _best(key, taken, skip, plan.soft, here, codes, bounds, state)
        if i < 0 or len(witness) == 0 or codes.kind[i] == witness[place]:
            return i
        trial = witness.copy()
        trial[place] = codes.kind[i]
        put(i, place, codes, state)
        possible = complete(place + 1, places, first, codes, bounds, state, trial, plan.search)
        take_back(i, codes, state)
        if possible:
            copy(trial, witness)
            return i
        skip[codes.kind[i]] = True


@once
def _lacking(
    q: int, places: int, chosen: Int64, rules: HardRules, codes: Codes, out: Planned
) -> None:
    """Notes which constraints are broken at each place, by the rules as declared."""
    for r in range(len(rules.class_places)):
        for place in range(places):
            due = rules.class_places[r, place] > 0
            if due and not codes.classes[chosen[place]] >> r & 1:
                out.lacking[q, place] |= rules.class_bits[r, 0]
    for k in range(rules.share.shape[1]):
        members = 0
        for place in range(places):
            members += codes.quotas[chosen[place]] >> k & 1
            if members < _needed(rules.share[q, k], rules.spread[k], place + 1, places):
                out.lacking[q, place] |= rules.quota_bits[k]
    for i in range(len(codes.pin)):
        if codes.pin[i] >= 0 and chosen[codes.pin[i]] != i:
            out.lacking[q, codes.pin[i]] |= rules.pin_bits[i]
    for place in range(places):
        out.lacking[q, place] |= out.broken[chosen[place]]


@inner
def _explores(q: int, places: int, explore: ExploredPlaces) -> bool:
    """Whether any place of the query may hold an explored candidate."""
    some = False
    for place in range(places):
        some |= explore.chance[q, place] > 0.0
    return some and explore.weight.max() > 0.0


@once
def _plan_query(
    q: int,
    places: int,
    rules: HardRules,
    codes: Codes,
    values: Values,
    draw: Draw,
    explore: ExploredPlaces,
    search: int,
    out: Planned,
) -> Int64:
    """(places,) the candidates of one query's slate."""
    first, quotas = _firsts(codes), len(rules.quota_bits)
    level, witness = _full_levels(q, places, rules, codes), np.zeros(places, np.int64)
    nothing = len(witness) - places  # 0: for a literal numba would compile a second version
    problem = PlanTask(codes, values, draw, explore, nothing, search)
    drawing = rules.constraints > 0 and (draw.temperature > 0.0 or _explores(q, places, explore))
    if not drawing and not _pins_collide(places, rules, codes, level):
        bounds = _bounds(q, places, rules, codes, level)
        state = _state(codes, first, places, quotas)
        chosen, filled = _walk(q, places, problem, bounds, first, witness[:0], state, out)
        if filled:
            return chosen
    out.refused[:] = 0
    out.propensity[:] = np.nan
    out.explored[:] = False
    out.gain[:] = np.nan
    out.tiredness[:] = 1.0
    level = _highest_levels(q, places, rules, codes, first, level, witness, search)
    bounds = _bounds(q, places, rules, codes, level)
    soft = ((1 << rules.constraints) - 1) & ~bounds.hard
    problem = PlanTask(codes, values, draw, explore, soft, search)
    state = _state(codes, first, places, quotas)
    return _walk(q, places, problem, bounds, first, witness, state, out)[0]


@njit(cache=True)
def plan_all(
    given: PlanInputs,
    n: int,
    rules: HardRules,
    values: Values,
    draw: Draw,
    explore: ExploredPlaces,
    search: int,
) -> Planned:
    """Plans the first `n` places of every query.

    rules, values: as declared; what they hold of each candidate is made here of `given`.
    """
    indptr, size = given.indptr, len(given.item)
    total = Planned(
        np.empty(size, np.int64),
        np.full(size, np.nan),
        np.ones(size),
        np.full(size, np.nan),
        np.zeros(size, np.bool_),
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        np.zeros((len(indptr) - 1, n), np.int64),
    )
    pin, pin_bits = _pinned(given, n, total.lacking)
    code, limit = _localised(given)
    classes, quotas = _bits_of(given.classes, size), _bits_of(given.quotas, size)
    score = _scores(given)
    tired_of, shown = values.tired_of, values.shown
    if len(tired_of) < size:
        tired_of, shown = np.full(size, -1, np.int64), np.zeros(size)
    hashes = _kinds(given.own, code, classes, quotas, pin)
    for q in range(len(indptr) - 1):
        a, b = indptr[q], indptr[q + 1]
        if a == b:
            continue
        places = min(n, b - a)
        codes = Codes(
            given.own[:, a : b + 1],
            code,
            limit,
            classes[a:b],
            quotas[a:b],
            pin[a:b],
            numbered(hashes[a:b])[0],
        )
        own_rules = HardRules(
            rules.most,
            rules.limit_bits,
            rules.class_places,
            rules.class_bits,
            rules.share,
            rules.spread,
            rules.quota_bits,
            pin_bits[a:b],
            rules.constraints,
        )
        part = Values(
            values.mode,
            score[a:b],
            values.alternative[:, a:b],
            values.theta,
            values.window,
            values.by_vector,
            values.vectors[a:b],
            values.bounds[a : b + 1],
            values.codes,
            tired_of[a:b],
            shown[a:b],
            values.decay,
            values.floor,
        )
        out = Planned(
            total.order[a:b],
            total.gain[a:b],
            total.tiredness[a:b],
            total.propensity[a:b],
            total.explored[a:b],
            total.broken[a:b],
            total.refused[a:b],
            total.lacking,
        )
        own_explore = ExploredPlaces(
            explore.weight[a:b], explore.chance, explore.greedy, explore.seed
        )
        chosen = _plan_query(q, places, own_rules, codes, part, draw, own_explore, search, out)
        _lacking(q, places, chosen, own_rules, codes, out)
        _write_order(a, chosen, out.order)
    return total


@once
def _write_order(start: int, chosen: Int64, order: Int64) -> None:
    """The slate, then the candidates behind it in their order."""
    taken = np.zeros(len(order), np.bool_)
    for place in range(len(chosen)):
        order[place], taken[chosen[place]] = start + chosen[place], True
    at = len(chosen)
    for i in range(len(order)):
        if not taken[i]:
            order[at] = start + i
            at += 1
