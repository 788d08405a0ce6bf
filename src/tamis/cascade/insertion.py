"""Items that re-rank rules bring along (advertisements, pins): ranked whether recalled or not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tamis.cascade.candidates import Candidates
from tamis.cascade.guard import Guard
from tamis.cascade.protocols import Reranker
from tamis.cascade.query import Queries
from tamis.data import Ragged

INSERTED = "inserted"
"""Column of the candidates (bool): a re-rank rule has brought the item along, so that pre-rank does
not remove it. Absent where no rule brings any."""


def with_inserted(
    rules: Mapping[str, Reranker], queries: Queries, recalled: Candidates, guard: Guard
) -> Candidates:
    """The recalled candidates, and behind them the items that rules bring along.

    Items that the queries exclude are left out; filters still see the others.
    """
    lists: list[Ragged] = []
    for name, rule in rules.items():
        inserted = getattr(rule, "inserted", None)  # of `InsertsItems`, whose isinstance is slow
        if inserted is not None:
            found = guard(f"rerank:{name}", partial(inserted, queries), None, timed=False)
            if found is not None:
                lists.append(found)
    if not any(len(one.values) for one in lists):
        return recalled
    items = Ragged.union(lists)
    free = ~queries.exclude.contains(items.query, items.values)
    wanted = Ragged.from_pairs(items.query[free], items.values[free], len(queries))
    query, item = wanted.query, wanted.values
    known = Ragged.from_pairs(recalled.query, recalled.item, len(queries))
    new = ~known.contains(query, item)
    both = _joined(recalled, query[new], item[new])
    return both.with_columns(**{INSERTED: wanted.contains(both.query, both.item)})


def with_all_inserted(kept: Candidates, index: NDArray[np.intp]) -> NDArray[np.intp]:
    """The indices (m,) of the chosen candidates, and of all that rules have brought along."""
    if INSERTED not in kept.columns:
        return index
    extra = np.setdiff1d(np.flatnonzero(kept.columns[INSERTED]), index)
    whole = np.concatenate([index, extra])
    return whole[np.argsort(kept.query[whole], kind="stable")]


def _joined(
    recalled: Candidates, query: NDArray[np.integer], item: NDArray[np.int32]
) -> Candidates:
    """The candidates with more items (m,) of queries (m,), ascending, at the end of each list."""
    queries = len(recalled.indptr) - 1
    owner = np.concatenate([recalled.query, query])
    order = np.argsort(owner, kind="stable")
    more = np.bincount(query, minlength=queries)
    indptr = recalled.indptr + np.concatenate([[0], np.cumsum(more)])
    columns: dict[str, NDArray[np.generic]] = {}
    for name, column in recalled.columns.items():
        nothing = np.nan if np.issubdtype(column.dtype, np.floating) else 0
        added = np.full(len(item), nothing, column.dtype)
        columns[name] = np.concatenate([column, added])[order]
    place = np.arange(len(order)) - np.repeat(indptr[:-1], np.diff(indptr)) + 1
    columns["recall"] = place.astype(np.int32)
    return Candidates(indptr, np.concatenate([recalled.item, item])[order], columns)
