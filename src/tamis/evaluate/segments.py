"""Segments of rows (new users, new items, activity) and buckets of features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import UNKNOWN, Dataset, Table, is_number, number_array
from tamis.runtime import Bool, Int64
from tamis.schema import Feature, Side

VALUES = 8
"""Number of an id feature's most frequent values that have their own bucket; others share one."""
PARTS = 4
"""Number of buckets of a numeric feature, with about equally many users or items."""
FEATURES = 12
"""Largest number of features with buckets, in the order of their declaration."""


@dataclass(frozen=True, eq=False)
class Known:
    """Number of events of users and items before the cut: (N + 1,), the last for unknown ones."""

    user_events: Int64
    """Events of each user, impressions left out."""
    item_events: Int64
    """Events of each item, impressions too: one that was shown is not new."""

    @classmethod
    def at(cls, data: Dataset, cut: int) -> Known:
        """Counts of the events that had happened and arrived before `cut` (ms)."""
        events = data.events
        before = (events.time < cut) & (events.arrival < cut)
        users, items = events.user[before & data.seen], events.item[before]
        return cls(
            np.append(np.bincount(users[users != UNKNOWN], minlength=len(data.users)), 0),
            np.append(np.bincount(items[items != UNKNOWN], minlength=len(data.items)), 0),
        )

    def segments(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> dict[str, Bool]:
        """{segment: (n,) whether the row belongs to it}, without empty segments.

        Users with a history fall into thirds by their number of events.
        """
        activity, old = self.user_events[users], self.item_events[items] > 0
        found = {
            "new users": activity == 0,
            "known users": activity > 0,
            "new items": ~old,
            "known items": old,
        }
        counts = self.user_events[np.unique(users)]
        counts = counts[counts > 0]
        if len(counts):
            low, high = (int(v) for v in np.quantile(counts, [1 / 3, 2 / 3]))
            found[f"light users (1–{low} events)"] = (activity > 0) & (activity <= low)
            if high > low:
                name = f"medium users ({low + 1}–{high} events)"
                found[name] = (activity > low) & (activity <= high)
            found[f"heavy users (over {high} events)"] = activity > high
        return {name: rows for name, rows in found.items() if rows.any()}


@dataclass(frozen=True, eq=False)
class Bucketing:
    """The buckets of a feature of users or items."""

    feature: str
    of_user: bool
    code: NDArray[np.int64]
    """(N + 1,) bucket of each user or item; the last is that of unknown ones."""
    names: tuple[str, ...]

    def rows(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.int64]:
        """(n,) the rows' buckets."""
        return self.code[users if self.of_user else items]


def bucketings(
    features: Sequence[Feature], users: Table, items: Table, known: Known
) -> list[Bucketing]:
    """Bucketings of the single-valued attributes among `features`, and of the number of events."""
    found = [
        _numbers("user's events", True, known.user_events.astype(np.float64)[:-1]),
        _numbers("item's events", False, known.item_events.astype(np.float64)[:-1]),
        *_attributes(features, users, items),
    ]
    return [b for b in found if len(b.names) > 1][:FEATURES]


def _attributes(features: Sequence[Feature], users: Table, items: Table) -> Iterator[Bucketing]:
    for feature in features:
        if feature.kind == "varlen" or feature.side is Side.CONTEXT:
            continue
        for table, side in ((users, Side.USER), (items, Side.ITEM)):
            if feature.side not in (None, side) or feature.source not in table.frame.columns:
                continue
            column = table.frame[feature.source]
            if column.dtype.is_nested():
                continue
            of_user = side is Side.USER
            if feature.kind == "dense" and is_number(column.dtype):
                values = number_array(column)
                yield _numbers(feature.name, of_user, values)
            else:
                yield _values(feature.name, of_user, column)
            break


def _numbers(feature: str, of_user: bool, values: NDArray[np.float64]) -> Bucketing:
    """Buckets of about equally many entities, and one for those without a number."""
    finite = values[np.isfinite(values)]
    edges = (
        np.unique(np.quantile(finite, np.linspace(0, 1, PARTS + 1)[1:-1])) if len(finite) else []
    )
    code = np.searchsorted(edges, values, side="left")  # a bucket includes its upper edge
    missing = ~np.isfinite(values)
    code[missing] = len(edges) + 1
    bounds = [f"{edge:.4g}" for edge in edges]
    names = [f"up to {b}" for b in bounds[:1]]
    names += [f"over {a}, up to {b}" for a, b in pairwise(bounds)]
    names += [f"over {bounds[-1]}" if bounds else "all", "missing"]
    return Bucketing(feature, of_user, np.append(code, len(edges) + 1), tuple(names))


def _values(feature: str, of_user: bool, column: pl.Series) -> Bucketing:
    """A bucket for each of the most frequent values, one for all others, one for missing values."""
    text = column.cast(pl.String)
    counts = (
        text.drop_nulls().value_counts(name="n").sort(["n", text.name], descending=[True, False])
    )
    top = counts[text.name].head(VALUES).to_list()
    place = {value: k for k, value in enumerate(top)}
    names = (*top, "other", "missing")
    code = text.replace_strict(place, default=len(top), return_dtype=pl.Int64).to_numpy().copy()
    code[text.is_null().to_numpy()] = len(top) + 1
    return Bucketing(feature, of_user, np.append(code, len(top) + 1), names)
