"""Geohash: popular and new items near a place."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Table, geohash_around, geohash_cells, is_number, number_array
from tamis.index import best_first, offer
from tamis.recall._common.channel import nothing
from tamis.recall._common.compiled_arguments import excluded
from tamis.recall._common.following import FollowingChannel
from tamis.recall._common.history_events import last_event
from tamis.recall._common.item_columns import (
    column_of,
    publication_column,
    publication_of,
    role_of,
)
from tamis.recall._common.item_popularity import ItemPopularity
from tamis.recall._common.postings import Postings, in_sorted
from tamis.runtime import Int32, grown, in_blocks, scratch
from tamis.runtime.compiled import inner_njit, njit
from tamis.schema import ComponentConfig, Conditions, ConfigError, Needs

_QUERIES_PER_BLOCK = 64
_EARTH_KM = 6371.0


class GeohashConfig(ComponentConfig):
    """Options of the geohash channel."""

    only_with: ClassVar[Conditions] = {"falloff": (Needs("near", none_of=(0,)),)}

    precision: Annotated[int, Field(ge=1, le=12)] = 4
    """Characters of a geohash cell: 4 = 39 km wide at the equator, 5 = 4.9 km, 6 = 1.2 km, 7 =
    150 m. Wide cells find more items (`near` and `falloff` weigh their distance), narrow ones only
    close ones."""
    coarsest: Annotated[int, Field(ge=1, le=12)] | None = None
    """Smallest number of characters to which the search widens while the 9 cells hold fewer than k
    items. If omitted: it does not widen."""
    near: Annotated[float, Field(ge=0)] = 1.0
    """Distance in kilometres at which the factor `(1 + distance / near)^-falloff` starts to matter;
    0: distance within the cells is ignored."""
    falloff: Annotated[float, Field(gt=0)] = 1.0
    """Exponent with which the score falls with distance: `(1 + distance / near)^-falloff`."""
    half_life: Annotated[float, Field(gt=0)] = 30.0
    """Days after which an event, or an item's publication, counts half; inf: all count the same."""
    new_item_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of an item's publication, in events of weight 1; 0: publication does not count."""
    longest: Annotated[int, Field(ge=1)] = 1000
    """Number of a cell's most popular items that are scored."""

    @model_validator(mode="after")
    def _outward(self) -> Self:
        """Refuses a `coarsest` that is finer than `precision`."""
        if self.coarsest is not None and self.coarsest > self.precision:
            raise ValueError(
                f"coarsest = {self.coarsest} is finer than precision = {self.precision}"
            )
        return self

    @property
    def levels(self) -> tuple[int, ...]:
        """Precisions that are searched, the finest first."""
        return tuple(range(self.precision, (self.coarsest or self.precision) - 1, -1))


class Geohash(FollowingChannel):
    """Items in the geohash cell of a place and in its 8 neighbours.

    `score(i) = (new_item_weight · 2^(-age / half_life) + Σ r · 2^(-(end - t) / half_life)) ·
    (1 + distance / near)^-falloff`: time-decayed popularity, weighted by distance. The place is
    that of the request; if it names none, that of the item of the user's last positive event;
    queries without a place get nothing. Items without events and publication time rank last; items
    without coordinates are never returned. Items of wider cells (`coarsest`) rank after all items
    of narrower ones.

    When to use: shops, restaurants, events, classified advertisements: items that users visit.
    Cost: fit: one sort per precision. Recall: reads at most 9 · `longest` items per precision,
    under 1 ms. Memory: 12 bytes per item and precision.
    Source: Niemeyer 2008, geohash.org; distance decay of check-ins: Ye et al. 2011, Exploiting
    Geographical Influence for Collaborative Point-of-Interest Recommendation.
    """

    name = "geohash"
    Config = GeohashConfig
    config: GeohashConfig
    reads = ("place",)

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        c = self.config
        reading = {
            "latitude": self._column(context, "latitude"),
            "longitude": self._column(context, "longitude"),
            "published": publication_column(context),
        }
        latitude, longitude = self._places(data.items, reading)
        published = publication_of(self.name, data.items, reading["published"])
        popularity = ItemPopularity.fit(data, published, c.half_life, c.new_item_weight)
        self._arrays = {
            "latitude": latitude,
            "longitude": longitude,
            **popularity.arrays(),
            "positive": np.array([b.positive for b in data.behaviours], dtype=np.bool_),
        }
        for level in c.levels:
            cell = geohash_cells(latitude, longitude, level)
            self._arrays[f"cells{level}"] = np.unique(cell[cell >= 0])
        lists, items = self._cells(self._arrays, latitude, longitude)
        total = sum(len(self._arrays[f"cells{level}"]) for level in c.levels)
        self._arrays |= Postings.of(lists, items, popularity.keys(items), total).arrays()
        return {"reading": reading, **popularity.facts()}

    def _column(self, context: FitContext, role: str) -> str:
        """The items' column of a role."""
        return role_of(self.name, context.items, role, "", f'declare [items] {role} = "COLUMN"')

    def _places(
        self, items: Table, reading: dict[str, Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(items,) latitude and longitude in degrees, NaN where missing."""
        latitude = self._degrees(items, "latitude", reading["latitude"])
        return latitude, self._degrees(items, "longitude", reading["longitude"])

    def _degrees(self, items: Table, role: str, name: str) -> NDArray[np.float64]:
        """(items,) degrees in the column of a role, NaN where missing."""
        column = column_of(self.name, items, name)
        if not is_number(column.dtype):
            raise ConfigError(
                f"channel {self.name!r}: {role} column {name!r} holds {column.dtype}, like "
                f"{column.drop_nulls().head(1).to_list()}; it must hold degrees as numbers"
            )
        return number_array(column)

    def _cells(
        self,
        arrays: dict[str, NDArray[Any]],
        latitude: NDArray[np.float64],
        longitude: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(list, place) pairs (n,) of the cells of places, at every precision."""
        lists, place, before = [], [], 0
        for level in self.config.levels:
            cell, names = geohash_cells(latitude, longitude, level), arrays[f"cells{level}"]
            there = np.flatnonzero(cell >= 0)
            lists.append(np.searchsorted(names, cell[there]) + before)
            place.append(there)
            before += len(names)
        return np.concatenate(lists), np.concatenate(place)

    def _of_items(self, items: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        reading, c = self._reading, self.config
        if reading is None:
            return None
        part, arrays = items.part(rows), dict(self._arrays)
        popularity = ItemPopularity.within(
            arrays, self._facts or {}, c.half_life, c.new_item_weight
        )
        published = publication_of(self.name, part, reading["published"])
        popularity = popularity.replaced(rows, published, len(items))
        north, east = self._places(part, reading)
        number, before = [], 0
        for level in c.levels:
            cell, names = geohash_cells(north, east, level), arrays[f"cells{level}"]
            every = np.union1d(names, cell[cell >= 0])
            number.append(np.searchsorted(every, names) + before)
            arrays[f"cells{level}"] = every
            before += len(every)
        lists, place = self._cells(arrays, north, east)
        postings = Postings.within(arrays).renumbered(np.concatenate(number), before)
        row = rows[place]
        postings = postings.replaced(rows, lists, row, popularity.keys(row))
        for name, degrees in (("latitude", north), ("longitude", east)):
            arrays[name] = grown(arrays[name], len(items), np.nan)
            arrays[name][rows] = degrees
        return arrays | postings.arrays() | popularity.arrays()

    def _recall(self, queries: Queries, k: int) -> Recalled:
        found = nothing(len(queries), k)
        latitude, longitude, _ = self._where(queries)
        arrays, config = self._arrays, self.config
        near = self._near(latitude, longitude)

        def block(begin: int, end: int) -> None:
            _search(
                begin=begin,
                end=end,
                postings=Postings.within(arrays).compiled(),
                near=near,
                places=_Places(latitude, longitude, arrays["latitude"], arrays["longitude"]),
                half_at=config.near,
                falloff=config.falloff,
                longest=config.longest,
                exclude=excluded(queries.exclude),
                published=arrays["published"],
                time=queries.time,
                met=scratch("geohash met", self._n_items, np.bool_),
                out_item=found.item,
                out_score=found.score,
            )

        in_blocks(block, len(queries), _QUERIES_PER_BLOCK)
        return found

    def because(self, queries: Queries, item: int) -> int | None:
        """The item of the user's last positive event, if the place was taken from it."""
        _, _, source = self._where(queries)
        return int(source[0]) if source[0] >= 0 and source[0] != item else None

    def _where(
        self, queries: Queries
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """(Q,) latitude and longitude in degrees (NaN if there is no place), and the item row from
        which the place was taken (-1 if none)."""
        latitude, longitude = np.full((2, len(queries)), np.nan)
        if queries.context is not None:
            latitude, longitude = queries.context.latitude, queries.context.longitude
        given = np.isfinite(latitude) & np.isfinite(longitude)
        last = last_event(queries.history, self._arrays["positive"], self._n_items)
        source = np.full(len(queries), -1, np.int64)
        from_history = ~given & (last >= 0)
        source[from_history] = queries.history.item[last[from_history]]
        here = np.maximum(source, 0)
        latitude = np.where(from_history, self._arrays["latitude"][here], latitude)
        longitude = np.where(from_history, self._arrays["longitude"][here], longitude)
        return latitude, longitude, source

    def _near(
        self, latitude: NDArray[np.float64], longitude: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """(Q, levels, 9) posting lists of the cells around each place; -1 for empty cells."""
        near, before = [], 0
        for level in self.config.levels:
            cells = geohash_around(geohash_cells(latitude, longitude, level), level)
            names = self._arrays[f"cells{level}"]
            at = np.minimum(np.searchsorted(names, cells), max(len(names) - 1, 0))
            there = names[at] == cells if len(names) else np.zeros(cells.shape, np.bool_)
            near.append(np.where(there, at + before, -1))
            before += len(names)
        return np.stack(near, axis=1).astype(np.int64)


class _Places(NamedTuple):
    """Degrees of the queries' places (Q,) and of the items (items,), NaN where missing."""

    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    item_latitude: NDArray[np.float64]
    item_longitude: NDArray[np.float64]


@inner_njit
def _log_nearness(north_a, east_a, north_b, east_b, near, falloff):
    """log2 of `(1 + d / near)^-falloff`, d the great-circle distance in km (haversine).

    north_*, east_*: latitude and longitude of the two places in degrees. near: km.
    """
    if near == 0:
        return 0.0
    a, b = np.radians(north_a), np.radians(north_b)
    across = np.sin(np.radians(east_b - east_a) / 2)
    up = np.sin((b - a) / 2)
    root = np.sqrt(min(1.0, up * up + np.cos(a) * np.cos(b) * across * across))
    return -falloff * np.log2(1 + 2 * _EARTH_KM * np.arcsin(root) / near)


@njit(cache=True, nogil=True)
def _search(
    begin, end, postings, near, places, half_at, falloff, longest, exclude, published, time, met,
    out_item, out_score,
):  # fmt: skip
    """Queries [begin, end): the best items of the cells around each place.

    Args:
        postings: PostingLists of the cells. near: (Q, levels, 9) int64 lists, -1 for none.
        places: _Places. half_at, falloff: km and exponent of `_log_nearness`.
        longest: most items read of a list. exclude: Excluded.
        published: (items,) or (0,) int64 ms. time: (Q,) int64 ms.
        met: (items,) bool scratch, all False before and after.
        out_item, out_score: (Q, k) int32 and float32, filled with -1 and -inf.
    """
    indptr, item, key = postings.indptr, postings.item, postings.key
    latitude, longitude = places.latitude, places.longitude
    item_latitude, item_longitude = places.item_latitude, places.item_longitude
    levels, k = near.shape[1], out_item.shape[1]
    for q in range(begin, end):
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
                    if len(published) and published[i] >= time[q]:
                        continue
                    if in_sorted(exclude.item, exclude.indptr[q], exclude.indptr[q + 1], i):
                        continue
                    close = _log_nearness(
                        latitude[q], longitude[q], item_latitude[i], item_longitude[i],
                        half_at, falloff,
                    )  # fmt: skip
                    size = offer(heap, score, size, i, np.float32(key[at] + close))
            best_first(heap, score, size)
            # wider cells rank after narrower ones: shift their scores below the lowest so far
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
