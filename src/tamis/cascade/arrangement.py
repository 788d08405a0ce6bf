"""What re-rank made of the ranked lists: the slates, and why they are as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tamis.cascade.candidates import Candidates
from tamis.runtime import Int32, Int64


@dataclass(frozen=True)
class Constraint:
    """A hard rule of the slate."""

    rule: str
    """Name of the re-rank rule that states it."""
    text: str
    """What must hold, in words: "at most 2 of one category in 5 adjacent places"."""


@dataclass(frozen=True)
class BrokenRule:
    """A hard rule that does not hold at some places of a slate."""

    rule: str
    text: str
    places: tuple[int, ...]
    """From 1."""

    def __str__(self) -> str:
        places = ", ".join(map(str, self.places))
        return f"{self.rule} is broken at place{'s'[: len(self.places) > 1]} {places}: {self.text}"


@dataclass(frozen=True, eq=False)
class Arrangement:
    """The order that re-rank rules make together."""

    order: NDArray[np.intp]
    """(n,) the permutation within each query; the first places are the slate."""
    notes: Mapping[str, NDArray[np.generic]] = field(default_factory=dict[str, NDArray[np.generic]])
    """Rule → one number for each given candidate (n,), for the trace."""
    constraints: tuple[Constraint, ...] = ()
    """Bit b of the masks stands for constraint b."""
    lacking: Int64 | None = None
    """(Q, places) mask of the constraints that are broken at each place."""
    refused: Int64 | None = None
    """(n,) mask of the constraints that kept a candidate from places at which it had the highest
    value."""
    propensity: NDArray[np.float64] | None = None
    """(n,) probability with which a candidate was drawn at its place, NaN behind the slate; None
    where nothing is drawn."""


@dataclass(frozen=True, eq=False)
class Slates:
    """The slates of Q queries."""

    candidates: Candidates
    """The first n of each query, with the rules' notes as the columns `rerank:NAME`, and the column
    `propensity` where places are drawn."""
    item: Int32
    """(m,) the candidates that were planned, in their order before it."""
    plan: Arrangement | None = None
    """The plan of the rules that are arranged together; None without any."""

    def broken(self, query: int = 0) -> tuple[BrokenRule, ...]:
        """The hard rules that are broken in the slate of one query, the most important first."""
        plan = self.plan
        if plan is None or plan.lacking is None:
            return ()
        lacking = plan.lacking[query]
        found: list[BrokenRule] = []
        for bit in reversed(range(len(plan.constraints))):
            places = np.flatnonzero(lacking >> bit & 1) + 1
            if len(places):
                one = plan.constraints[bit]
                found.append(BrokenRule(one.rule, one.text, tuple(places.tolist())))
        return tuple(found)

    def kept_by(self, item: int) -> tuple[Constraint, ...]:
        """The hard rules that kept an item row from places of the single query's slate at which
        it had the highest value; the most important first."""
        plan = self.plan
        at = np.flatnonzero(self.item == item)
        if plan is None or plan.refused is None or not len(at):
            return ()
        return tuple(plan.constraints[bit] for bit in _bits(int(plan.refused[at[0]])))


def _bits(mask: int) -> Iterator[int]:
    """The positions of the bits that are set, the highest first."""
    yield from (bit for bit in reversed(range(mask.bit_length())) if mask >> bit & 1)
