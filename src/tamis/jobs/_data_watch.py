"""Watches what is new in a project's data: rates, unknown ids, missing values and drift.

New are the events that arrived since the serving version was made. They are compared with the
latest events before, as many of them at most as are new, but at least `LEAST`. The values of
features are those of the tables: of the new events as the tables are now, of the former ones as
the serving version stored them, so that a column that a pipeline broke is noticed. In a log with
impressions, the items of new events are compared with what the serving version stored of the same
items: which items are shown is the choice of the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.cascade import FormerRows
from tamis.data import UNKNOWN, Dataset, Events, Table
from tamis.runtime import Bool, Float64, Int32, Int64
from tamis.schema import DenseFeat, Feature, VarLenSparseFeat
from tamis.service import Parts

LEAST, MOST = 2_000, 200_000
"""Fewest and most former events that new ones are compared with."""
BANDS = 10
"""Bands of the former numbers, with equally many events each."""
VALUES = 20
"""Most frequent former values that are compared one by one; all others are one more."""
HOUR = 3_600_000


@dataclass(frozen=True)
class FeatureWatch:
    """The values of one feature in the new events and in those before."""

    missing: float
    """Share of the new events without a value."""
    missing_before: float
    psi: float | None
    """Population stability index, less what chance explains; None for ids, vectors and texts."""
    how: str
    """The means, or the value that changed most, in words."""


@dataclass(frozen=True)
class DataWatch:
    """What is new, compared with what was before."""

    events: int
    """New events."""
    hours: float
    """Time that they cover."""
    per_hour: float
    per_hour_before: float
    """Of an equally long time before; 0 without events in it."""
    by_behaviour: Mapping[str, tuple[float, float]]
    """{behaviour: (new events per hour, those before)}."""
    unknown_users: float
    """Share of the new events whose user the serving version does not know."""
    unknown_items: float
    late: int
    """New events that happened before the serving version was made and arrived after it."""
    features: Mapping[str, FeatureWatch]

    @classmethod
    def of(cls, parts: Parts, data: Dataset, rows: FormerRows, since: int) -> DataWatch:
        """Of the events of `data` that arrived at `since` (ms) or later.

        Args:
            parts: of the serving version.
            data: the project's tables and events as they are now.
            rows: the serving version's row of each user and item of `data`.
            since: when the serving version was made.
        """
        events = data.events
        new = np.flatnonzero(events.arrival >= since)
        length = max(int(events.arrival.max()) + 1 - since, 1)
        before = (events.arrival >= since - length) & (events.arrival < since)
        hours, counted = length / HOUR, len(data.behaviours)
        codes = np.bincount(events.behaviour[new], minlength=counted) / hours
        old_codes = np.bincount(events.behaviour[before], minlength=counted) / hours
        names = [b.name for b in data.behaviours]
        rates = zip(codes.tolist(), old_codes.tolist(), strict=True)
        return cls(
            events=len(new),
            hours=hours,
            per_hour=len(new) / hours,
            per_hour_before=int(before.sum()) / hours,
            by_behaviour=dict(zip(names, rates, strict=True)),
            unknown_users=_share(rows.users[events.user[new]] == UNKNOWN),
            unknown_items=_share(rows.items[events.item[new]] == UNKNOWN),
            late=int((events.time[new] < since).sum()),
            features=_features(parts, data, rows, since),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def _share(where: Bool) -> float:
    return float(where.mean()) if len(where) else 0.0


def _features(parts: Parts, data: Dataset, rows: FormerRows, since: int) -> dict[str, FeatureWatch]:
    """Each declared feature of the tables and of the request; not ids of rows, nor histories.

    Former events are those before. A log with impressions tells what the service chose to show, and
    another choice would look like a fault of the data. There, the items that the version knows are
    compared with themselves: their attributes in the new events, now and as the version knows them.
    Missing values are counted over all new events.
    """
    events = data.events
    new, former = _compared(events, since)
    found: dict[str, FeatureWatch] = {}
    sizes = effective_size(events.user[former]), effective_size(events.user[new])
    sides: tuple[tuple[Table, Table, Int32, Int32], ...] = (
        (data.users, parts.users, events.user, rows.users),
        (data.items, parts.items, events.item, rows.items),
    )
    for feature in parts.space.features:
        if isinstance(feature, VarLenSparseFeat) and feature.history:
            continue
        texts = None if events.context is None else events.context.columns.get(feature.source)
        for table, old, of_event, row in sides:
            if feature.side is not None and str(feature.side) + "s" != table.name:
                continue
            if feature.source not in old:
                continue
            same = data.has_impressions and table is data.items
            now, then = of_event[new], row[of_event[new if same else former]]
            before = _taken(old, feature.source, then[then != UNKNOWN])
            one = compare(feature, before, _taken(table, feature.source, now), sizes)
            if same:
                known = _taken(table, feature.source, now[then != UNKNOWN])
                one = replace(compare(feature, before, known, sizes), missing=one.missing)
            found[feature.name] = one
            break
        else:
            if texts is not None:
                values = texts.values
                pair = values.gather(former), values.gather(new)
                found[feature.name] = compare(feature, *pair, sizes)
    return found


def _compared(events: Events, since: int) -> tuple[Int64, Int64]:
    """Positions of the new events and of the former ones that they are compared with."""
    new = np.flatnonzero(events.arrival >= since)[-MOST:]
    former = np.flatnonzero(events.arrival < since)
    return new, former[-min(max(len(new), LEAST), MOST) :]


def _taken(table: Table, column: str, rows: NDArray[np.integer]) -> pl.Series:
    """(n,) the values of a column in rows of a table; missing where there is no such column."""
    if column not in table:
        return pl.Series(column, [None] * len(rows), dtype=pl.Null)
    return table.frame[column].gather(rows)


def effective_size(users: NDArray[np.integer]) -> float:
    """To how many independent events those of users (n,) amount, if all of a user's are alike: the
    squared sum ÷ the sum of squares of their numbers (Kish 1965); 0 without events."""
    counts = np.unique(users, return_counts=True)[1].astype(np.float64)
    return float(counts.sum() ** 2 / (counts @ counts)) if len(counts) else 0.0


def compare(
    feature: Feature, former: pl.Series, new: pl.Series, sizes: tuple[float, float]
) -> FeatureWatch:
    """The values of a feature in former and in new events, of effective numbers `sizes`."""
    if isinstance(feature, DenseFeat):
        if feature.width > 1 or isinstance(former.dtype, pl.List | pl.Array):
            return FeatureWatch(_missing(new), _missing(former), None, "vectors are not compared")
        return _numbers(former, new, sizes)
    if isinstance(feature, VarLenSparseFeat):
        if feature.ngrams is not None:
            return FeatureWatch(_missing(new), _missing(former), None, "texts are not compared")
        missing = _missing(new), _missing(former)
        former, new = _elements(feature, former), _elements(feature, new)
        return _values(former, new, missing, sizes)
    return _values(former, new, (_missing(new), _missing(former)), sizes)


def _missing(values: pl.Series) -> float:
    """Share of the values that are null, NaN or empty."""
    if not len(values):
        return 0.0
    empty = values.is_null()
    if values.dtype == pl.String:
        empty |= values.str.strip_chars() == ""
    elif values.dtype.is_float():
        empty |= values.is_nan()
    elif isinstance(values.dtype, pl.List):
        empty |= values.list.len() == 0
    return float(empty.fill_null(True).mean())  # pyright: ignore[reportArgumentType]


def _elements(feature: VarLenSparseFeat, values: pl.Series) -> pl.Series:
    """The elements of all lists, one after another."""
    if values.dtype == pl.String and feature.separator:
        values = values.str.split(feature.separator)
    return values.explode() if isinstance(values.dtype, pl.List) else values


def _numbers(former: pl.Series, new: pl.Series, sizes: tuple[float, float]) -> FeatureWatch:
    """Numbers by bands with equally many former events each."""
    old, now = (s.cast(pl.Float64, strict=False).to_numpy() for s in (former, new))
    missing, before = (float(1 - np.isfinite(x).mean()) if len(x) else 0.0 for x in (now, old))
    old, now = old[np.isfinite(old)], now[np.isfinite(now)]
    if not len(old) or not len(now):
        return FeatureWatch(missing, before, None, "no values to compare")
    edges = np.unique(np.quantile(old, np.arange(1, BANDS) / BANDS))
    counts = [
        np.bincount(np.searchsorted(edges, x, side="left"), minlength=len(edges) + 1)
        for x in (old, now)
    ]
    how = f"mean {now.mean():.4g}, before {old.mean():.4g}"
    return FeatureWatch(missing, before, psi(counts[0], counts[1], sizes), how)


def _values(
    former: pl.Series, new: pl.Series, shares: tuple[float, float], sizes: tuple[float, float]
) -> FeatureWatch:
    """Values by their names: the most frequent former ones, and all others together; `shares` of
    the new and of the former events have none."""
    missing, before = shares
    old, now = (s.cast(pl.String, strict=False).drop_nulls() for s in (former, new))
    if not len(old) or not len(now):
        return FeatureWatch(missing, before, None, "no values to compare")
    top = old.value_counts(sort=True)[old.name][:VALUES].to_list()
    counts = [_counts(s, top) for s in (old, now)]
    parts = [c / c.sum() for c in counts]
    at = int(np.abs(parts[1] - parts[0]).argmax())
    name = repr(top[at]) if at < len(top) else "other values"
    how = f"{name} in {parts[1][at]:.1%} of them, before in {parts[0][at]:.1%}"
    return FeatureWatch(missing, before, psi(counts[0], counts[1], sizes), how)


def _counts(values: pl.Series, names: list[str]) -> Int64:
    """How often each of `names` occurs, and last how often any other value."""
    place = {name: k for k, name in enumerate(names)}
    codes = values.replace_strict(place, default=len(names), return_dtype=pl.Int64).to_numpy()
    return np.bincount(codes, minlength=len(names) + 1)


def psi(former: NDArray[np.integer], new: NDArray[np.integer], sizes: tuple[float, float]) -> float:
    """The population stability index of two lists of counts (k,), less what chance explains.

    Σ (p − q) ln(p / q), with half an event added to each count. Of two samples of one distribution,
    it is (1 / n + 1 / m) χ² on average, of k − 1 degrees of freedom (Yurdakul 2018): the mean of
    this and two standard deviations are subtracted; at least 0. n and m are the effective `sizes`:
    a user who comes often brings the same values each time.
    """
    k = len(former)
    p, q = (
        (counts / max(counts.sum(), 1) * size + 0.5) / (size + 0.5 * k)
        for counts, size in zip((former, new), sizes, strict=True)
    )
    found: Float64 = (p - q) * np.log(p / q)
    chance = (k - 1 + 2 * (2 * (k - 1)) ** 0.5) * sum(1 / max(size, 1.0) for size in sizes)
    return max(0.0, float(found.sum() - chance))
