"""Base class of the rules that one planner arranges together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Arrangement, Candidates, Queries
from tamis.rerank._statement import Statement
from tamis.schema import Component


class SlateRule(Component, ABC):
    """A re-rank rule that states limits and values; the planner arranges them with those of all
    other such rules. A rule of your own may derive from it, and defines `state`."""

    @property
    def at_request(self) -> frozenset[str]:
        """The options that act at a request, so that the arm of an experiment may change them; the
        others act at the fit."""
        return frozenset()

    @abstractmethod
    def state(self, queries: Queries, candidates: Candidates, n: int) -> Statement:
        """What must hold in the slates of `n` places, and what orders the candidates.

        Args:
            queries: Q queries.
            candidates: their ranked lists, best first by the column `value`.
        """
        ...

    def arrange(
        self, queries: Queries, candidates: Candidates, n: int
    ) -> tuple[NDArray[np.intp], NDArray[np.generic]]:
        """The order by this rule alone: a permutation (n,), and a note on each candidate (n,)."""
        found = self.plan({self.name: self.state(queries, candidates, n)}, candidates, n)
        return found.order, found.notes[self.name]

    def plan(
        self, statements: Mapping[str, Statement], candidates: Candidates, n: int
    ) -> Arrangement:
        """The order that meets the statements of several rules, the least important first."""
        from tamis.rerank._planner import plan  # heavy: numba

        return plan(statements, candidates, n)
