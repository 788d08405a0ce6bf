"""Re-rank: the slates that rules make of the ranked lists."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.cascade.arrangement import Arrangement, Slates
from tamis.cascade.candidates import Candidates
from tamis.cascade.guard import Guard
from tamis.cascade.known_rows import KnownRows
from tamis.cascade.protocols import Reranker
from tamis.cascade.query import Queries
from tamis.schema import StageError


def arrange(
    rules: Mapping[str, Reranker],
    queries: Queries,
    ranked: Candidates,
    n: int,
    guard: Guard | None = None,
    known: KnownRows | None = None,
) -> Slates:
    """The slates: the first `n` candidates of each query after the re-rank rules.

    Rules that state limits and values (`StatesRules`) are arranged by one plan, at the place of the
    last of them; other rules reorder the list in their order, before it or after it. `ranked` holds
    the candidates best first, with the column `value`. A rule that fails, or adds, drops or repeats
    candidates (StageError), is left out where `guard` lets it.
    """
    guard = guard or Guard()
    planned = {name: rule for name, rule in rules.items() if _states(rule)}
    slate, item, plan, cut = ranked, ranked.item, None, False
    for name, rule in rules.items():
        if name not in planned:
            asked = queries if known is None else known.for_stage(rule, queries)
            work = partial(_arranged, name, rule, asked, slate, n)
            slate = guard(f"rerank:{name}", work, slate)
            cut = False
        elif name == list(planned)[-1]:
            item = slate.item
            plan = _planned(planned, queries, slate, n, guard, known)
            if plan is not None:
                cut = name == list(rules)[-1]
                slate = _as_planned(slate, plan, n if cut else None)
    return Slates(slate if cut else slate.take(_first_places(slate, n)), item, plan)


def _states(rule: Reranker) -> bool:
    """Whether a rule is one of `StatesRules`; isinstance would take ten times as long."""
    return hasattr(rule, "state") and hasattr(rule, "plan")


def _as_planned(ranked: Candidates, plan: Arrangement, n: int | None) -> Candidates:
    """The candidates in the order of the plan, with its notes; only the first `n` of each query."""
    columns = {f"rerank:{rule}": note for rule, note in plan.notes.items()}
    if plan.propensity is not None:
        columns["propensity"] = plan.propensity
    planned = ranked.with_columns(**columns)
    if n is None:
        return planned.take(plan.order)
    if len(ranked.indptr) == 2:
        return planned.take(plan.order[:n])
    return planned.take(plan.order[_first_places(ranked, n)])


def _planned(
    rules: Mapping[str, Any],
    queries: Queries,
    candidates: Candidates,
    n: int,
    guard: Guard,
    known: KnownRows | None,
) -> Arrangement | None:
    """The plan of the rules that are arranged together; None where it fails."""
    statements: dict[str, Any] = {}
    for name, rule in rules.items():
        asked = queries if known is None else known.for_stage(rule, queries)
        stated = guard(f"rerank:{name}", partial(rule.state, asked, candidates, n), None)
        if stated is not None:
            statements[name] = stated
    if not statements:
        return None
    plan = list(rules.values())[-1].plan
    return guard("rerank", partial(plan, statements, candidates, n), None)


def _first_places(slate: Candidates, n: int) -> NDArray[np.intp]:
    """The candidates at the first `n` places of each query."""
    if len(slate.indptr) == 2:
        return np.arange(min(n, len(slate)))
    place = np.arange(len(slate)) - np.repeat(slate.indptr[:-1], np.diff(slate.indptr))
    return np.flatnonzero(place < n)


def _arranged(name: str, rule: Reranker, queries: Queries, slate: Candidates, n: int) -> Candidates:
    """The candidates as one rule orders them, with its note."""
    order, note = rule.arrange(queries, slate, n)
    if not np.array_equal(np.sort(order), np.arange(len(slate))):
        raise StageError(f"re-rank rule {name} must return a permutation of its candidates")
    if len(queries) > 1 and not np.array_equal(slate.query[order], slate.query):
        raise StageError(f"re-rank rule {name} moved candidates from one query to another")
    return slate.with_columns(**{f"rerank:{name}": note}).take(order)
