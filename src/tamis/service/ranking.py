"""The answer to a request to order given items."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tamis.cascade import GivenOrder
from tamis.data import Table


@dataclass(frozen=True)
class RankedItem:
    """One of the given items, with its place."""

    item_id: str
    """External item id."""
    title: str
    place: int
    """From 1."""
    score: float
    """The fused value, with the request's boost; comparable within one answer."""
    predictions: dict[str, float]
    """The ranker's prediction of each task."""


@dataclass(frozen=True)
class RemovedItem:
    """One of the given items that filters remove."""

    item_id: str
    title: str
    filters: tuple[str, ...]
    """Names of the filters."""
    reasons: tuple[str, ...]
    """Why, in words; as many as `filters`."""


@dataclass(frozen=True)
class Ranking:
    """Given items in the order of the ranker and the fusion."""

    version: str
    user_id: str | None
    known: bool
    """Whether this version, or an event since, knows the user."""
    time: int
    """The time that was answered for, in ms since 1970 UTC."""
    clock: Literal["request", "now", "data"]
    """Source of that time: the request, the clock, or the end of the data."""
    items: tuple[RankedItem, ...]
    """Best first."""
    removed: tuple[RemovedItem, ...]
    """In the order of the request."""
    unknown: tuple[str, ...]
    """Ids that are not those of an item, in the order of the request."""
    took_ms: float
    degraded: tuple[str, ...] = ()
    """What failed or was left out."""
    lag: int = 0
    """Entries of the journal that this answer does not take into account yet."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def ranked_items(order: GivenOrder, items: Table, titles: list[str]) -> tuple[RankedItem, ...]:
    """The ordered items as external ids. titles: one for each of `order.ranked`."""
    ranked = order.ranked
    ids = items.ids.gather(ranked.item).to_list()
    values = np.asarray(ranked.columns["value"], np.float64).tolist()
    tasks = {task: scores.tolist() for task, scores in ranked.predictions.items()}
    rows = zip(ids, titles, values, strict=True)
    return tuple(
        RankedItem(item, title, k + 1, value, {task: p[k] for task, p in tasks.items()})
        for k, (item, title, value) in enumerate(rows)
    )
