"""Geohash: what is worth it around here."""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, geohash_around, geohash_cells
from tamis.index import best_first, offer
from tamis.recall._common.channel import BaseChannel, nothing
from tamis.recall._common.popularity import (
    births,
    column_of,
    floored,
    last_event,
    log_worth,
    role_of,
)
from tamis.recall._common.postings import Postings, listed
from tamis.runtime import in_blocks, scratch
from tamis.schema import ComponentConfig, ConfigError

_QUERIES_PER_BLOCK = 64
_EARTH_KM = 6371.0


class GeohashConfig(ComponentConfig):
    """Options of the geohash channel."""

    precision: Annotated[int, Field(ge=1, le=12)] = 4
    """Characters of the cell: 4 = 39 km wide at the equator, 5 = 4.9 km, 6 = 1.2 km, 7 = 150 m.
    Wide cells find more (distance is weighed by `near` and `falloff`), fine ones stay close."""
    coarsest: Annotated[int, Field(ge=1, le=12)] | None = None
    """Where the 9 cells hold fewer than k items, the 9 of a character less follow, down to this;
    None = the 9 cells are all."""
    near: Annotated[float, Field(ge=0)] = 1.0
    """Kilometres from which distance tells; 0 = within the cells it does not matter."""
    falloff: Annotated[float, Field(gt=0)] = 1.0
    """How fast worth falls with distance: by `(1 + distance / near)^-falloff`."""
    half_life: Annotated[float, Field(gt=0)] = 30.0
    """Days after which an event, or an item's birth, counts half; inf = all count alike."""
    newborn: Annotated[float, Field(ge=0)] = 1.0
    """What being published counts, in events of weight 1: newest and best stand together."""
    longest: Annotated[int, Field(ge=1)] = 1000
    """Best items of a cell that are looked at."""

    @model_validator(mode="after")
    def _outward(self) -> Self:
        if self.coarsest is not None and self.coarsest > self.precision:
            raise ValueError(
                f"coarsest = {self.coarsest} is finer than precision = {self.precision}"
            )
        return self

    @property
    def levels(self) -> tuple[int, ...]:
        """Precisions from the finest outward."""
        return tuple(range(self.precision, (self.coarsest or self.precision) - 1, -1))


class Geohash(BaseChannel):
    """Items in the geohash cell of a place and in its 8 neighbours, newest and best first.

    The place is the request's; where it names none, that of the item of the user's last positive
    event. `score(i) = (newborn · 2^(-age / half_life) + Σ r · 2^(-(end - t) / half_life)) ·
    (1 + distance / near)^-falloff`: time-decayed likes, birth counting like one of them. Items
    without events and birth come last; those without a place never do. Queries without a place get
    nothing. Items of a wider ring (`coarsest`) stand behind all of the closer one.

    When to use: shops, restaurants, events, classified advertisements: whatever one has to go to.
    Cost: fit one sort per precision; recall reads at most 9 · `longest` items, under 1 ms; memory 8
    bytes an item and precision.
    Source: Niemeyer 2008, geohash.org; distance decay of check-ins: Ye et al. 2011, Exploiting
    Geographical Influence for Collaborative Point-of-Interest Recommendation.
    """

    name = "geohash"
    Config = GeohashConfig
    config: GeohashConfig
    reads = ("place",)

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        latitude = self._degrees(data, context, "latitude")
        longitude = self._degrees(data, context, "longitude")
        born = births(self.name, data, context)
        worth = floored(log_worth(data, self.config.half_life, born, self.config.newborn))
        self._arrays = {
            "latitude": latitude,
            "longitude": longitude,
            "born": born,
            "positive": np.array([b.positive for b in data.behaviours], dtype=np.bool_),
        }
        cells, lists, item = [], [], []
        for level in self.config.levels:
            cell = geohash_cells(latitude, longitude, level)
            placed = np.flatnonzero(cell >= 0)
            names, at = np.unique(cell[placed], return_inverse=True)
            lists.append(at + sum(map(len, cells)))
            cells.append(names)
            item.append(placed)
            self._arrays[f"cells{level}"] = names
        items, total = np.concatenate(item), sum(map(len, cells))
        postings = Postings.of(np.concatenate(lists), items, worth[items], total)
        self._arrays |= postings.arrays()
        return {}

    def _degrees(self, data: Dataset, context: FitContext, role: str) -> NDArray[np.float64]:
        """(items,) the column of a role, NaN where missing."""
        name = role_of(self.name, context.items, role, "", f'declare [items] {role} = "COLUMN"')
        column = column_of(self.name, data.items, name)
        if not column.dtype.is_numeric():
            raise ConfigError(
                f"channel {self.name!r}: {role} column {name!r} holds {column.dtype}, like "
                f"{column.drop_nulls().head(1).to_list()}; it must hold degrees as numbers"
            )
        return column.cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float64)

    def _recall(self, queries: Queries, k: int) -> Recalled:
        found = nothing(len(queries), k)
        latitude, longitude, _ = self._where(queries)
        arrays, config = self._arrays, self.config
        near = self._near(latitude, longitude)

        def block(begin: int, end: int) -> None:
            _search(
                (begin, end),
                (arrays["posting_indptr"], arrays["posting_item"], arrays["posting_key"]),
                near,
                (latitude, longitude, arrays["latitude"], arrays["longitude"]),
                (config.near, config.falloff, config.longest),
                (queries.exclude.indptr, queries.exclude.values),
                (arrays["born"], queries.time),
                scratch("geohash met", self._n_items, np.bool_),
                found.item,
                found.score,
            )

        in_blocks(block, len(queries), _QUERIES_PER_BLOCK)
        return found

    def because(self, queries: Queries, item: int) -> int | None:
        """The item of the user's last positive event, where the place is that one's."""
        _, _, source = self._where(queries)
        return int(source[0]) if source[0] >= 0 and source[0] != item else None

    def _where(
        self, queries: Queries
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """(Q,) latitude, longitude (NaN = no place), and the item whose place it is (-1 = none)."""
        latitude, longitude = np.full((2, len(queries)), np.nan)
        if queries.context is not None:
            latitude, longitude = queries.context.latitude, queries.context.longitude
        said = np.isfinite(latitude) & np.isfinite(longitude)
        last = last_event(queries.history, self._arrays["positive"], self._n_items)
        source = np.full(len(queries), -1, np.int64)
        old = ~said & (last >= 0)
        source[old] = queries.history.item[last[old]]
        here = np.maximum(source, 0)
        latitude = np.where(old, self._arrays["latitude"][here], latitude)
        longitude = np.where(old, self._arrays["longitude"][here], longitude)
        return latitude, longitude, source

    def _near(
        self, latitude: NDArray[np.float64], longitude: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """(Q, levels, 9) the posting lists of the cells around each place, -1 where empty."""
        near, before = [], 0
        for level in self.config.levels:
            cells = geohash_around(geohash_cells(latitude, longitude, level), level)
            names = self._arrays[f"cells{level}"]
            at = np.minimum(np.searchsorted(names, cells), max(len(names) - 1, 0))
            there = names[at] == cells if len(names) else np.zeros(cells.shape, np.bool_)
            near.append(np.where(there, at + before, -1))
            before += len(names)
        return np.stack(near, axis=1).astype(np.int64)


@njit(cache=True, nogil=True)
def _log_nearness(north_a, east_a, north_b, east_b, near, falloff):
    """log2 of `(1 + d / near)^-falloff`, d the great-circle distance (haversine)."""
    if near == 0:
        return 0.0
    a, b = np.radians(north_a), np.radians(north_b)
    across = np.sin(np.radians(east_b - east_a) / 2)
    up = np.sin((b - a) / 2)
    root = np.sqrt(min(1.0, up * up + np.cos(a) * np.cos(b) * across * across))
    return -falloff * np.log2(1 + 2 * _EARTH_KM * np.arcsin(root) / near)


@njit(cache=True, nogil=True)
def _search(span, postings, near, places, how, exclude, births, met, out_item, out_score):
    indptr, item, key = postings
    latitude, longitude, item_latitude, item_longitude = places
    half_at, falloff, longest = how
    born, time = births
    levels, k = near.shape[1], out_item.shape[1]
    for q in range(span[0], span[1]):
        found, ceiling = 0, np.inf
        for level in range(levels):
            if found == k:
                break
            heap, size = out_item[q, found:], 0
            score = np.full(k - found, -np.inf, np.float32)
            for list_at in near[q, level]:
                if list_at < 0:
                    continue
                stop = min(indptr[list_at + 1], indptr[list_at] + longest)
                for at in range(indptr[list_at], stop):
                    i = item[at]
                    if met[i]:
                        continue
                    met[i] = True
                    if len(born) and born[i] >= time[q]:
                        continue
                    if listed(exclude[1], exclude[0][q], exclude[0][q + 1], i):
                        continue
                    close = _log_nearness(
                        latitude[q], longitude[q], item_latitude[i], item_longitude[i],
                        half_at, falloff,
                    )  # fmt: skip
                    size = offer(heap, score, size, i, np.float32(key[at] + close))
            best_first(heap, score, size)
            # a wider ring stands behind the closer one: its scores begin where those end
            shift = min(0.0, ceiling - score[0]) if size else 0.0
            for place in range(size):
                ceiling = score[place] + shift
                out_score[q, found + place] = 2.0**ceiling
            found += size
        for level in range(levels):
            for list_at in near[q, level]:
                if list_at >= 0:
                    stop = min(indptr[list_at + 1], indptr[list_at] + longest)
                    for at in range(indptr[list_at], stop):
                        met[item[at]] = False
