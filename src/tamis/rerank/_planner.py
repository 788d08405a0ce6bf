"""The planner: one slate that meets what all rules state together.

Its work is done by compiled kernels (`_plan_kernels`); this module writes the statements of the
rules as their arrays, and reads the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Arrangement, Candidates, Constraint
from tamis.rerank._plan_kernels import (
    AS_GIVEN,
    BY_DPP,
    BY_MMR,
    BY_SCORE,
    Draw,
    HardRules,
    Planned,
    Values,
    gathered,
    localised,
    plan_all,
    scaled,
)
from tamis.rerank._statement import (
    Diversity,
    Drawing,
    FixedPlaces,
    GroupFatigue,
    LeastShare,
    Limit,
    PinnedItems,
    Statement,
)
from tamis.runtime import Float64, Int64
from tamis.schema import StageError

SEARCH = 50_000
"""Kinds of candidates that one search with look-ahead examines (about 5 ns each) before it counts
as finding nothing."""
CONSTRAINTS, CLASSES, QUOTAS = 60, 20, 40
"""Most constraints, rules of fixed places and quotas of a plan."""
UNLIMITED = 1 << 40
_NONE = np.zeros(0, np.int64)
T = TypeVar("T")


@dataclass(eq=False)
class _Hard:
    """The hard rules of all statements as lists, which become the arrays of the kernels."""

    candidates: Candidates
    n: int
    names: list[Constraint] = field(default_factory=list[Constraint])
    limits: list[tuple[Limit, int, int]] = field(default_factory=list[tuple[Limit, int, int]])
    """Each with the bits of its window and its slate."""
    fixed: list[tuple[FixedPlaces, int, int]] = field(
        default_factory=list[tuple[FixedPlaces, int, int]]
    )
    quotas: list[tuple[LeastShare, int]] = field(default_factory=list[tuple[LeastShare, int]])
    pins: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    """Item row, place from 1, bit."""

    def add(self, rule: str, one: Limit | FixedPlaces | LeastShare | PinnedItems) -> None:
        """Gives the constraint the next bits."""
        if isinstance(one, Limit):
            slate = window = 0
            if one.in_slate is not None:
                slate = self._bit(rule, f"at most {one.in_slate} of one {one.what} in the slate")
            if one.in_window is not None:
                places = f"{one.window} adjacent places"
                window = self._bit(rule, f"at most {one.in_window} of one {one.what} in {places}")
            self.limits.append((one, window, slate))
        elif isinstance(one, FixedPlaces):
            must = never = 0
            if one.places:
                places = ", ".join(map(str, sorted(one.places)))
                must = self._bit(rule, f"{one.what} at places {places}")
            if not one.elsewhere:
                never = self._bit(rule, f"no {one.what} at other places")
            self.fixed.append((one, must, never))
        elif isinstance(one, LeastShare):
            kind = "each head of the slate" if one.spread else "the slate"
            self.quotas.append((one, self._bit(rule, f"a share of {kind} for {one.what}")))
        else:
            each = zip(one.items.tolist(), one.places.tolist(), one.what, strict=True)
            for item, place, name in reversed(list(each)):
                self.pins.append((item, place, self._bit(rule, f"{name} at place {place}")))

    def _bit(self, rule: str, text: str) -> int:
        self.names.append(Constraint(rule, text))
        return 1 << (len(self.names) - 1)

    def check(self) -> None:
        """Raises StageError where there are more constraints than a plan may have."""
        for what, found, most in (
            ("constraints", self.names, CONSTRAINTS),
            ("rules of fixed places", self.fixed, CLASSES),
            ("quotas", self.quotas, QUOTAS),
        ):
            if len(found) > most:
                raise StageError(
                    f"the re-rank rules state {len(found)} {what}; a slate is planned with at "
                    f"most {most}. Declare fewer rules, or groups, in [cascade.rerank]"
                )

    def codes(self) -> tuple[Int64, Int64, Int64]:
        """The bounds of each candidate's codes (limits, n + 1), the codes, and their limits."""
        item, count = self.candidates.item, len(self.limits)
        own = np.zeros((count, len(item) + 1), np.int64)
        parts, ends, values = [_NONE], [0], 0
        for k, (one, _, _) in enumerate(self.limits):
            own[k, 0] = values
            part, end = localised(item, one.of.indptr, one.of.values, own[k], ends[-1])
            parts.append(part)
            ends.append(end)
            values += len(part)
        return own, np.concatenate(parts), np.repeat(np.arange(count), np.diff(ends))

    def pinned(self) -> tuple[Int64, Int64, Int64]:
        """Each candidate's place from 0 (-1 = none), and the bit of its pin, (n,) each; and the
        mask (Q, n) of the pins that no candidate can hold."""
        size, indptr = len(self.candidates), self.candidates.indptr
        place, bits = np.full(size, -1, np.int64), np.zeros(size, np.int64)
        missing = np.zeros((len(indptr) - 1, self.n), np.int64)
        for item, at, bit in self.pins:
            if at > self.n:
                continue
            found = np.flatnonzero(self.candidates.item == item)
            query = np.searchsorted(indptr, found, side="right") - 1
            fits = indptr[query] + at <= indptr[query + 1]
            place[found[fits]], bits[found[fits]] = at - 1, bit
            missing[:, at - 1] |= bit
            missing[query[fits], at - 1] ^= bit
        return place, bits, missing

    def rules(self, queries: int, bits: Int64) -> HardRules:
        turns = np.zeros((len(self.fixed), self.n), np.int64)
        for r, (one, _, _) in enumerate(self.fixed):
            inside = [place for place in one.places if place <= self.n]
            turns[r, np.array(inside, np.int64) - 1] = np.arange(1, len(inside) + 1)
        limits = [
            (
                UNLIMITED if one.in_window is None else one.in_window,
                one.window,
                UNLIMITED if one.in_slate is None else one.in_slate,
            )
            for one, _, _ in self.limits
        ]
        share = np.zeros((queries, len(self.quotas)))
        for k, (quota, _) in enumerate(self.quotas):
            share[:, k] = quota.share
        return HardRules(
            most=_table(limits, 3),
            limit_bits=_table([(window, slate) for _, window, slate in self.limits], 2),
            class_places=turns,
            class_bits=_table([(must, never) for _, must, never in self.fixed], 2),
            share=share,
            spread=np.array([quota.spread for quota, _ in self.quotas], np.bool_),
            quota_bits=np.array([bit for _, bit in self.quotas], np.int64),
            pin_bits=bits,
            constraints=len(self.names),
        )


def _table(rows: Sequence[tuple[int, ...]], width: int) -> Int64:
    return np.array(rows, np.int64).reshape(len(rows), width)


def _member_bits(members: Sequence[NDArray[np.bool_]], size: int) -> Int64:
    """(n,) bit k where `members[k]` holds."""
    bits = np.zeros(size, np.int64)
    for k, member in enumerate(members):
        bits[member] |= 1 << k
    return bits


def plan(
    statements: Mapping[str, Statement], candidates: Candidates, n: int, search: int = SEARCH
) -> Arrangement:
    """The order of all candidates whose first `n` places of each query meet the statements.

    Args:
        statements: rule → what it states, the least important first.
        candidates: best first by the column `value`.
        n: places of a slate.
        search: see `SEARCH`.

    Raises StageError where the rules state more constraints than a plan may have.
    """
    hard = _Hard(candidates, n)
    for rule, statement in statements.items():
        for one in statement.hard:
            hard.add(rule, one)
    hard.check()
    size, queries = len(candidates), len(candidates.indptr) - 1
    own, code, limit = hard.codes()
    place, bits, missing = hard.pinned()
    drawing = _one(statements, lambda s: s.drawing)
    planned = plan_all(
        candidates.indptr,
        n,
        own,
        code,
        limit,
        _member_bits([fixed.member for fixed, _, _ in hard.fixed], size),
        _member_bits([quota.member for quota, _ in hard.quotas], size),
        place,
        hard.rules(queries, bits),
        _values(statements, candidates, [fixed.value for fixed, _, _ in hard.fixed]),
        _draw(drawing, queries),
        search,
    )
    return Arrangement(
        order=planned.order,
        notes=_notes(statements, hard, planned),
        constraints=tuple(hard.names),
        lacking=planned.lacking | missing if hard.pins else planned.lacking,
        refused=planned.refused,
        propensity=None if drawing is None else planned.propensity,
    )


def _one(statements: Mapping[str, Statement], part: Callable[[Statement], T | None]) -> T | None:
    """The part of the last statement that has it."""
    found = None
    for statement in statements.values():
        value = part(statement)
        found = found if value is None else value
    return found


def _values(
    statements: Mapping[str, Statement], candidates: Candidates, alternatives: Sequence[Float64]
) -> Values:
    size = len(candidates)
    diversity = _one(statements, lambda s: s.diversity)
    fatigue = _one(statements, lambda s: s.fatigue)
    drawing = _one(statements, lambda s: s.drawing)
    terms = [s.terms for s in statements.values() if s.terms is not None]
    mode = _mode(diversity, bool(terms) or fatigue is not None or drawing is not None)
    if mode != AS_GIVEN:
        value = np.asarray(candidates.columns["value"], np.float64)
        score = scaled(candidates.indptr, value)
        for term in terms:
            score = score + term
    else:
        score = np.zeros(size)
    return Values(
        mode=mode,
        score=score,
        alternative=np.array(alternatives, np.float64).reshape(len(alternatives), size),
        theta=1.0 if diversity is None else diversity.theta,
        window=0 if diversity is None else diversity.window or 0,
        **_similarity(diversity, candidates),
        **_fatigue(fatigue, size),
    )


def _mode(diversity: Diversity | None, by_score: bool) -> int:
    if diversity is not None:
        return BY_MMR if diversity.method == "mmr" else BY_DPP
    return BY_SCORE if by_score else AS_GIVEN


def _similarity(diversity: Diversity | None, candidates: Candidates) -> dict[str, Any]:
    size = len(candidates)
    vectors = np.empty((size, 0), np.float32)
    bounds, codes = np.zeros(size + 1, np.int64), np.zeros(0, np.int64)
    categories = None if diversity is None else diversity.categories
    if categories is not None:
        bounds, codes = gathered(candidates.item, categories.indptr, categories.values)
    elif diversity is not None and diversity.vectors is not None:
        vectors = diversity.vectors
    return {
        "by_vector": categories is None,
        "vectors": vectors,
        "bounds": bounds,
        "codes": codes,
    }


def _fatigue(fatigue: GroupFatigue | None, size: int) -> dict[str, Any]:
    if fatigue is None:
        nothing = {"tired_of": np.full(size, -1, np.int64), "shown": np.zeros(size)}
        return {**nothing, "decay": 1.0, "floor": 0.0}
    return {
        "tired_of": fatigue.group,
        "shown": fatigue.shown,
        "decay": fatigue.decay,
        "floor": fatigue.floor,
    }


def _draw(drawing: Drawing | None, queries: int) -> Draw:
    if drawing is None:
        return Draw(0.0, 1, np.zeros(queries, np.int64))
    return Draw(drawing.temperature, drawing.top, drawing.seed)


def _notes(
    statements: Mapping[str, Statement], hard: _Hard, planned: Planned
) -> dict[str, NDArray[np.generic]]:
    """Rule → the number that the trace shows for each candidate."""
    notes: dict[str, NDArray[np.generic]] = {}
    for rule, statement in statements.items():
        if statement.note is not None:
            notes[rule] = statement.note
        elif statement.diversity is not None:
            notes[rule] = planned.gain.astype(np.float32)
        elif statement.fatigue is not None:
            notes[rule] = planned.tiredness.astype(np.float32)
        elif statement.drawing is not None:
            notes[rule] = planned.propensity.astype(np.float32)
        else:
            notes[rule] = _flags(statement, hard, planned)
    return notes


def _flags(statement: Statement, hard: _Hard, planned: Planned) -> NDArray[np.uint8]:
    """1 where a candidate's place breaks a slate limit of the rule, plus 2 for a window's."""
    flags = np.zeros(len(planned.broken), np.uint8)
    if not planned.lacking.any():
        return flags
    for limit, window, slate in hard.limits:
        if any(limit is one for one in statement.hard):
            flags |= (planned.broken & slate > 0).astype(np.uint8)
            flags |= (planned.broken & window > 0).astype(np.uint8) << np.uint8(1)
    return flags
