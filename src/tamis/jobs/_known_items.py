"""Items that evaluated users know already: which of them are masked, and which are targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tamis.cascade import Filter, Queries
from tamis.data import Dataset, Ragged
from tamis.splitting import Holdout


def known_items(queries: Queries, data: Dataset) -> Ragged:
    """Each query's items with an event before its time, impressions left out."""
    history = queries.history
    acted = np.array([not b.impression for b in data.behaviours], np.bool_)[history.behaviour]
    acted &= history.item >= 0
    owner = np.repeat(np.arange(len(queries)), np.diff(history.indptr))
    return Ragged.from_pairs(owner[acted], history.item[acted], len(queries))


def listing(filters: Mapping[str, Filter], queries: Queries) -> list[str]:
    """Names of the filters that list the items which they remove for `queries`."""
    return [name for name, rule in filters.items() if rule.excluded(queries) is not None]


def masking(known: Ragged, exclude: Ragged, names: Sequence[str]) -> dict[str, Any]:
    """Keys of a report's protocol: `masked` in words, `seen_masked` whether that is all `known`.

    names: the filters that list the items of `exclude`; empty: none does.
    """
    everything = len(known.values) > 0 and exclude.contains(known.query, known.values).all()
    return {
        "masked": _removed_by(names),
        "seen_masked": bool(everything),
    }


def _removed_by(names: Sequence[str]) -> str:
    """What filters remove, in words."""
    if not names:
        return "nothing"
    if len(names) == 1:
        return f"what the filter {names[0]} removes"
    return f"what the filters {', '.join(names)} remove"


def known_share(known: Ragged, targets: Ragged) -> float:
    """Share of the targets that their user knew before; 0 without targets."""
    if not len(targets.values):
        return 0.0
    return float(known.contains(targets.query, targets.values).mean())


def without_masked(holdout: Holdout, exclude: Ragged) -> Holdout:
    """The holdout without targets that `exclude` lists, and without queries that have no other.

    `protocol` mentions it where targets are left out.
    """
    query, item = holdout.targets.query, holdout.targets.values
    kept = ~exclude.contains(query, item)
    if kept.all():
        return holdout
    left = np.bincount(query[kept], minlength=len(holdout)) > 0
    number = np.cumsum(left) - 1
    n = int(left.sum())
    return replace(
        holdout,
        users=holdout.users[left],
        time=holdout.time[left],
        targets=Ragged.from_pairs(number[query[kept]], item[kept], n),
        protocol=f"{holdout.protocol}; {n:,} of them with a target that no filter removes",
    )
