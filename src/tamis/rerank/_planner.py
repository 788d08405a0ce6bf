"""The planner: one slate that meets what all rules state together.

Its work is done by compiled kernels (`_plan_kernels`); this module writes the statements of the
rules as their arrays, and reads the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Arrangement, Candidates, Constraint
from tamis.rerank._plan_kernels import (
    AS_GIVEN,
    BY_DPP,
    BY_MMR,
    BY_SCORE,
    Draw,
    ExploredPlaces,
    HardRules,
    PlanInputs,
    Planned,
    Values,
    gathered,
    plan_all,
)
from tamis.rerank._statement import (
    Diversity,
    Drawing,
    Exploring,
    FixedPlaces,
    GroupFatigue,
    Hard,
    LeastShare,
    Limit,
    Statement,
)
from tamis.runtime import Bool, Float64, Int32, Int64, read_only
from tamis.schema import StageError

SEARCH = 50_000
"""Kinds of candidates that one search with look-ahead examines (about 5 ns each) before it counts
as finding nothing."""
CONSTRAINTS, CLASSES, QUOTAS = 60, 20, 40
"""Most constraints, rules of fixed places and quotas of a plan."""
UNLIMITED = 1 << 40
_NONE, _NO_NUMBERS = np.zeros(0, np.int64), np.zeros(0)


@dataclass(eq=False)
class _Hard:
    """The hard rules of all statements that are the same at each request, as arrays."""

    names: list[Constraint] = field(default_factory=list[Constraint])
    limits: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    """Most in a window, its length, most in the slate."""
    limit_bits: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Bits of the window and of the slate."""
    places: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])
    class_bits: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    spread: list[bool] = field(default_factory=list[bool])
    quota_bits: list[int] = field(default_factory=list[int])
    pins: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    """Item row, place from 1, bit."""

    def add(self, rule: str, form: _Form) -> None:
        """Gives the constraint the next bits."""
        match form:
            case _LimitForm(in_window, window, in_slate, what):
                slate = near = 0
                if in_slate is not None:
                    slate = self._bit(rule, f"at most {in_slate} of one {what} in the slate")
                if in_window is not None:
                    places = f"{window} adjacent places"
                    near = self._bit(rule, f"at most {in_window} of one {what} in {places}")
                most = [UNLIMITED if x is None else x for x in (in_window, in_slate)]
                self.limits.append((most[0], window, most[1]))
                self.limit_bits.append((near, slate))
            case _FixedForm(places, elsewhere, what):
                must = never = 0
                if places:
                    text = ", ".join(map(str, sorted(places)))
                    must = self._bit(rule, f"{what} at places {text}")
                if not elsewhere:
                    never = self._bit(rule, f"no {what} at other places")
                self.places.append(places)
                self.class_bits.append((must, never))
            case _ShareForm(spread, what):
                kind = "each head of the slate" if spread else "the slate"
                self.spread.append(spread)
                self.quota_bits.append(self._bit(rule, f"a share of {kind} for {what}"))
            case _PinsForm(items, places, what):
                for item, place, name in reversed(list(zip(items, places, what, strict=True))):
                    bit = self._bit(rule, f"{name} at place {place}")
                    self.pins.append((item, place, bit))

    def _bit(self, rule: str, text: str) -> int:
        self.names.append(Constraint(rule, text))
        return 1 << (len(self.names) - 1)

    def check(self) -> None:
        """Raises StageError where there are more constraints than a plan may have."""
        for what, found, most in (
            ("constraints", self.names, CONSTRAINTS),
            ("rules of fixed places", self.places, CLASSES),
            ("quotas", self.quota_bits, QUOTAS),
        ):
            if len(found) > most:
                raise StageError(
                    f"the re-rank rules state {len(found)} {what}; a slate is planned with at "
                    f"most {most}. Declare fewer rules, or groups, in [cascade.rerank]"
                )

    def packed(self, n: int) -> _Packed:
        """The arrays of the kernels, for slates of n places."""
        self.check()
        turns = np.zeros((len(self.places), n), np.int64)
        for r, places in enumerate(self.places):
            inside = [place for place in places if place <= n]
            turns[r, np.array(inside, np.int64) - 1] = np.arange(1, len(inside) + 1)
        return _Packed(
            names=tuple(self.names),
            most=_table(self.limits, 3),
            limit_bits=tuple(self.limit_bits),
            limits=_table(self.limit_bits, 2),
            class_places=turns,
            class_bits=_table(self.class_bits, 2),
            spread=np.array(self.spread, np.bool_),
            quota_bits=np.array(self.quota_bits, np.int64),
            pins=_table(self.pins, 3),
        )


class _Packed(NamedTuple):
    """What a plan knows of its hard rules before it knows the request; see `HardRules`."""

    names: tuple[Constraint, ...]
    most: Int64
    limit_bits: tuple[tuple[int, int], ...]
    limits: Int64
    """The same as an array."""
    class_places: Int64
    class_bits: Int64
    spread: Bool
    quota_bits: Int64
    pins: Int64
    """(m, 3), see `PlanInputs`."""

    def rules(self, share: Float64) -> HardRules:
        """The hard rules with the shares of a request's quotas (Q, quotas)."""
        return HardRules(
            most=self.most,
            limit_bits=self.limits,
            class_places=self.class_places,
            class_bits=self.class_bits,
            share=share,
            spread=self.spread,
            quota_bits=self.quota_bits,
            pin_bits=_NONE,
            constraints=len(self.names),
        )


class _LimitForm(NamedTuple):
    """What a limit states whatever the request."""

    in_window: int | None
    window: int
    in_slate: int | None
    what: str


class _FixedForm(NamedTuple):
    """What a rule of fixed places states whatever the request."""

    places: tuple[int, ...]
    elsewhere: bool
    what: str


class _ShareForm(NamedTuple):
    """What a quota states whatever the request."""

    spread: bool
    what: str


class _PinsForm(NamedTuple):
    """What pins state whatever the request."""

    items: tuple[int, ...]
    places: tuple[int, ...]
    what: tuple[str, ...]


_Form = _LimitForm | _FixedForm | _ShareForm | _PinsForm


def _form(one: Hard) -> _Form:
    if isinstance(one, Limit):
        return _LimitForm(one.in_window, one.window, one.in_slate, one.what)
    if isinstance(one, FixedPlaces):
        return _FixedForm(tuple(one.places), bool(one.elsewhere), one.what)
    if isinstance(one, LeastShare):
        return _ShareForm(bool(one.spread), one.what)
    return _PinsForm(tuple(one.items.tolist()), tuple(one.places.tolist()), tuple(one.what))


@lru_cache(maxsize=256)
def _packed(forms: tuple[tuple[str, _Form], ...], n: int) -> _Packed:
    """The hard rules packed; kept, because they are the same at each request of a version."""
    hard = _Hard()
    for rule, form in forms:
        hard.add(rule, form)
    return hard.packed(n)


def _table(rows: Sequence[tuple[int, ...]], width: int) -> Int64:
    return np.array(rows, np.int64).reshape(len(rows), width)


@dataclass(eq=False)
class _Stated:
    """What all rules state, by kind."""

    forms: list[tuple[str, _Form]] = field(default_factory=list[tuple[str, _Form]])
    """The hard rules, in ascending order of importance, as these lists of each kind are."""
    limits: list[Limit] = field(default_factory=list[Limit])
    fixed: list[FixedPlaces] = field(default_factory=list[FixedPlaces])
    quotas: list[LeastShare] = field(default_factory=list[LeastShare])
    terms: list[Float64] = field(default_factory=list[Float64])
    diversity: Diversity | None = None
    """Of this kind and of the next three, what the last rule states that has it."""
    fatigue: GroupFatigue | None = None
    drawing: Drawing | None = None
    exploring: Exploring | None = None

    @classmethod
    def of(cls, statements: Mapping[str, Statement]) -> Self:
        found = cls()
        for rule, statement in statements.items():
            for one in statement.hard:
                found.forms.append((rule, _form(one)))
                if isinstance(one, Limit):
                    found.limits.append(one)
                elif isinstance(one, FixedPlaces):
                    found.fixed.append(one)
                elif isinstance(one, LeastShare):
                    found.quotas.append(one)
            if statement.terms is not None:
                found.terms.append(statement.terms)
            found.diversity = statement.diversity or found.diversity
            found.fatigue = statement.fatigue or found.fatigue
            found.drawing = statement.drawing or found.drawing
            found.exploring = statement.exploring or found.exploring
        return found

    @property
    def draws(self) -> bool:
        """Whether places are drawn, so that items have propensities."""
        return self.drawing is not None or self.exploring is not None

    @property
    def mode(self) -> int:
        """What orders the candidates."""
        if self.diversity is not None:
            return BY_MMR if self.diversity.method == "mmr" else BY_DPP
        by_score = self.terms or self.fatigue is not None or self.drawing is not None
        return BY_SCORE if by_score else AS_GIVEN

    def codes(self, item: Int32) -> tuple[Int64, Int64]:
        """The bounds of each candidate's codes (limits, n + 1), and the codes."""
        own, first = np.empty((len(self.limits), len(item) + 1), np.int64), 0
        parts: list[Int64] = []
        for k, limit in enumerate(self.limits):
            lists = read_only(limit.of.indptr), read_only(limit.of.values)
            parts.append(gathered(item, *lists, own[k], first))
            first += len(parts[-1])
        return own, np.concatenate(parts) if parts else _NONE

    def shares(self, queries: int) -> Float64:
        """(Q, quotas)"""
        share = np.empty((queries, len(self.quotas)))
        for k, quota in enumerate(self.quotas):
            share[:, k] = quota.share
        return share


def _rows(arrays: Sequence[NDArray[Any]], n: int, kind: Any) -> NDArray[Any]:
    """(len(arrays), n)"""
    return np.array(arrays, kind) if arrays else np.empty((0, n), kind)


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
    size, queries = len(candidates), len(candidates.indptr) - 1
    stated = _Stated.of(statements)
    packed = _packed(tuple(stated.forms), n)
    own, code = stated.codes(candidates.item)
    by_value = stated.mode != AS_GIVEN
    given = PlanInputs(
        candidates.indptr,
        candidates.item,
        own,
        code,
        _rows([fixed.member for fixed in stated.fixed], size, np.bool_),
        _rows([quota.member for quota in stated.quotas], size, np.bool_),
        packed.pins,
        np.asarray(candidates.columns["value"], np.float64) if by_value else _NO_NUMBERS,
        _rows(stated.terms, size, np.float64),
    )
    rules = packed.rules(stated.shares(queries))
    values, draw = _values(stated, candidates), _draw(stated.drawing, queries)
    explore = _explore(stated.exploring, size, queries, n)
    planned = plan_all(given, n, rules, values, draw, explore, search)
    return Arrangement(
        order=planned.order,
        notes=_notes(statements, stated, packed, planned),
        constraints=packed.names,
        lacking=planned.lacking,
        refused=planned.refused,
        propensity=planned.propensity if stated.draws else None,
    )


def _values(stated: _Stated, candidates: Candidates) -> Values:
    """What orders the candidates, without their scores."""
    size, diversity, fatigue = len(candidates), stated.diversity, stated.fatigue
    vectors, bounds, codes = np.empty((size, 0), np.float32), _NONE, _NONE
    categories = None if diversity is None else diversity.categories
    if categories is not None:
        bounds = np.empty(size + 1, np.int64)
        lists = read_only(categories.indptr), read_only(categories.values)
        codes = gathered(candidates.item, *lists, bounds, 0)
    elif diversity is not None and diversity.vectors is not None:
        vectors = diversity.vectors
    return Values(
        mode=stated.mode,
        score=_NO_NUMBERS,
        alternative=_rows([fixed.value for fixed in stated.fixed], size, np.float64),
        theta=1.0 if diversity is None else diversity.theta,
        window=0 if diversity is None else diversity.window or 0,
        by_vector=categories is None,
        vectors=vectors,
        bounds=bounds,
        codes=codes,
        tired_of=_NONE if fatigue is None else fatigue.group,
        shown=_NO_NUMBERS if fatigue is None else fatigue.shown,
        decay=1.0 if fatigue is None else fatigue.decay,
        floor=0.0 if fatigue is None else fatigue.floor,
    )


def _draw(drawing: Drawing | None, queries: int) -> Draw:
    if drawing is None:
        return Draw(0.0, 1, np.zeros(queries, np.int64))
    return Draw(drawing.temperature, drawing.top, drawing.seed)


def _explore(exploring: Exploring | None, size: int, queries: int, n: int) -> ExploredPlaces:
    if exploring is None:
        nothing, seed = np.zeros((queries, n)), np.zeros(queries, np.int64)
        return ExploredPlaces(np.zeros(size), nothing, False, seed)
    return ExploredPlaces(exploring.weight, exploring.chance, exploring.greedy, exploring.seed)


def _notes(
    statements: Mapping[str, Statement], stated: _Stated, packed: _Packed, planned: Planned
) -> dict[str, NDArray[np.generic]]:
    """Rule → the number that the trace shows for each candidate."""
    notes: dict[str, NDArray[np.generic]] = {}
    some_lack = bool(planned.lacking.any())
    for rule, statement in statements.items():
        if statement.note is not None:
            notes[rule] = statement.note
        elif statement.diversity is not None:
            notes[rule] = planned.gain.astype(np.float32)
        elif statement.fatigue is not None:
            notes[rule] = planned.tiredness.astype(np.float32)
        elif statement.drawing is not None:
            notes[rule] = planned.propensity.astype(np.float32)
        elif statement.exploring is not None:
            notes[rule] = planned.explored.astype(np.float32)
        else:
            notes[rule] = np.zeros(len(planned.broken), np.uint8)
            if some_lack:
                notes[rule] = _flags(statement, stated, packed, planned)
    return notes


def _flags(
    statement: Statement, stated: _Stated, packed: _Packed, planned: Planned
) -> NDArray[np.uint8]:
    """1 where a candidate's place breaks a slate limit of the rule, plus 2 for a window's."""
    flags = np.zeros(len(planned.broken), np.uint8)
    for limit, (window, slate) in zip(stated.limits, packed.limit_bits, strict=True):
        if any(limit is one for one in statement.hard):
            flags |= (planned.broken & slate > 0).astype(np.uint8)
            flags |= (planned.broken & window > 0).astype(np.uint8) << np.uint8(1)
    return flags
