"""Orders given items by the ranker and the fusion, without recall, pre-rank and re-rank."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from tamis.cascade.candidates import Candidates
from tamis.cascade.guard import Guard
from tamis.cascade.query import Queries
from tamis.cascade.runner import Cascade, Factors, boosted
from tamis.runtime import Bool, Float32, Int32

HIDDEN = "hidden"
"""Name under which items that the caller hides are removed."""


@dataclass(frozen=True, eq=False)
class GivenOrder:
    """Given items of one query, in the order of the ranker."""

    ranked: Candidates
    """Best first by `value`, with the predictions of the tasks."""
    given: Candidates
    removed: dict[str, Bool]
    """For each filter: (n,) True where it removes the candidate of `given`."""
    degraded: list[str]


def rank_given(
    cascade: Cascade,
    queries: Queries,
    items: Int32,
    boost: Factors | None = None,
    hidden: Int32 | None = None,
) -> GivenOrder:
    """The items (n,), distinct rows, that the filters keep, ordered for the one query.

    hidden: rows (m,) that are removed before the filters, under the name `HIDDEN`.

    Recall channels take no part in the order, also where `[cascade] order` combines them with the
    ranker. A filter that fails removes nothing; where the features or the ranker fail, the items
    keep the given order, with the value 1 / place. Both are named in `degraded`.
    """
    guard = Guard(degrade=True, budgets=cascade.budgets)
    given = Candidates(np.array([0, len(items)], np.int64), items)
    removed = {} if hidden is None else {HIDDEN: np.isin(items, hidden)}
    # hidden ones first: they may have come after the version, where its own filters know no row
    shown = np.flatnonzero(~removed.get(HIDDEN, np.zeros(len(items), np.bool_)))
    for name, mask in _removed(cascade, queries, given.take(shown), guard).items():
        removed[name] = np.zeros(len(items), np.bool_)
        removed[name][shown] = mask
    left = ~np.logical_or.reduce([np.zeros(len(items), np.bool_), *removed.values()])
    kept = given.take(np.flatnonzero(left))
    ranked = guard("rank", partial(_ranked, cascade, queries, kept, guard.notes), None)
    if ranked is None:
        place = np.arange(1, len(kept) + 1, dtype=np.float32)
        ranked = kept.with_columns(value=(1 / place).astype(np.float32))
    if boost is not None:
        ranked = boosted(ranked, boost(queries, ranked))
    return GivenOrder(ranked, given, removed, guard.notes)


def _removed(
    cascade: Cascade, queries: Queries, given: Candidates, guard: Guard
) -> dict[str, Bool]:
    """What each filter removes, by its list in advance and by its test of the candidates."""
    removed: dict[str, Bool] = {}
    for name, rule in cascade.retrieval.filters.items():
        known = cascade.retrieval.asked(rule, queries)
        listed = guard(f"filter:{name}", partial(rule.excluded, known), None, timed=False)
        found = np.zeros(len(given), np.bool_)
        if listed is not None:
            found |= np.isin(given.item, listed[0])
        stays = guard(f"filter:{name}", partial(rule.keep, known, given), None, timed=False)
        if stays is not None:
            found |= ~stays
        removed[name] = found
    return removed


def _ranked(
    cascade: Cascade, queries: Queries, kept: Candidates, degraded: list[str]
) -> Candidates:
    predictions = cascade.rank.score_rows(cascade.hydrate(queries, kept))
    value: Float32 = cascade.fusion(kept, predictions)
    broken = int((~np.isfinite(value)).sum())
    if broken:
        degraded.append(f"rank: {broken} items have no finite score and rank last")
        value = np.where(np.isfinite(value), value, -np.inf).astype(np.float32)
    ranked = kept.with_predictions(predictions).with_columns(value=value)
    return ranked.take(ranked.best("value", len(ranked)))
