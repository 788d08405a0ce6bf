"""Inputs of a request's place: its geohash cell, and the distance to each candidate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import (
    Context,
    Dataset,
    Texts,
    geohash_cells,
    geohash_text,
    is_number,
    kilometres,
    number_array,
)
from tamis.runtime import Float32
from tamis.schema import ProjectConfig

GEOHASH = "geohash"
"""Name of the context feature of the request's cell."""
PRECISION = 5
"""Characters of a cell where the feature declares no precision."""
DISTANCE = "distance"
"""Name of the inputs of the distance between request and candidate."""


def cells_of(
    latitude: NDArray[np.floating], longitude: NDArray[np.floating], precision: int | None
) -> Texts:
    """The geohashes of places given in degrees (n,), missing where a place is NaN."""
    north, east = np.asarray(latitude, np.float32), np.asarray(longitude, np.float32)
    length = precision or PRECISION
    cells, code = np.unique(geohash_cells(north, east, length), return_inverse=True)
    names = geohash_text(cells, length)
    unknown = int(names.null_count())  # at most one, the first: cells are not negative
    return Texts(names.drop_nulls(), code.astype(np.int32) + np.int32(1 - unknown))


@dataclass(frozen=True, eq=False)
class Distance:
    """log(1 + km) between request and candidate as a z-score, and whether it is unknown."""

    places: Float32
    """(N + 1, 2) latitude and longitude of each item in degrees, NaN where unknown; last NaN."""
    mean: float
    std: float
    columns: tuple[str, str] | None = None
    """The items' columns of latitude and longitude; None in versions of earlier releases."""

    @classmethod
    def fit(cls, data: Dataset, config: ProjectConfig | None) -> Distance | None:
        """Of the places of the items; None where requests or items have none.

        The scale is that of the events of `data`: each one's request and its item.
        """
        context, frame = data.events.context, data.items.frame
        if config is None or context is None or context.latitude is None:
            return None
        names = (config.items.latitude, config.items.longitude)
        columns = [frame[name] for name in names if name is not None and name in frame.columns]
        if len(columns) < 2 or not all(is_number(column.dtype) for column in columns):
            return None
        places = np.full((len(data.items) + 1, 2), np.nan, np.float32)
        places[:-1] = np.stack([number_array(column) for column in columns], axis=1)
        assert context.longitude is not None
        item = places[data.events.item]
        logs = np.log1p(kilometres(context.latitude, context.longitude, item[:, 0], item[:, 1]))
        known = logs[np.isfinite(logs)]
        if not len(known):
            return None
        names = (columns[0].name, columns[1].name)
        return cls(places, float(known.mean()), float(known.std()) or 1.0, names)

    def __call__(
        self, context: Context | None, query: NDArray[np.integer], place: NDArray[np.integer]
    ) -> Float32:
        """(n, 2) the inputs of candidates of `query` (n,); `place` (n,) are rows of `places`."""
        out = np.zeros((len(place), 2), np.float32)
        out[:, 1] = 1.0
        if context is None:
            return out
        here = np.stack([context.latitude, context.longitude], axis=1).astype(np.float32)[query]
        there = self.places[place]
        logs = np.log1p(kilometres(here[:, 0], here[:, 1], there[:, 0], there[:, 1]))
        known = np.isfinite(logs)
        out[known, 0] = (logs[known] - self.mean) / self.std
        out[known, 1] = 0.0
        return out


def cell_values(data: Dataset, precision: int | None) -> pl.Series:
    """The geohash of each event's request; null where it is unknown."""
    context = data.events.context
    assert context is not None
    assert context.latitude is not None
    assert context.longitude is not None
    return cells_of(context.latitude, context.longitude, precision).values
