"""Geohash cells: a grid over the earth whose cells have text names; longer names, smaller cells."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from tamis.runtime import Float64, Int64
from tamis.schema import ConfigError

_ALPHABET = np.array(list("0123456789bcdefghjkmnpqrstuvwxyz"))
FINEST = 12
"""Most characters of a geohash; such a cell is 4 cm wide."""
NOWHERE = -1
"""The cell of an unknown place."""
EARTH_KM = 6371.0
"""Mean radius of the earth."""
_LONGITUDES = 2**30
"""A cell is the integer `row * 2^30 + column`, which fits int64 for every precision."""


def bits(precision: int) -> tuple[int, int]:
    """Bits of latitude and of longitude in a geohash of `precision` characters.

    Raises:
        ConfigError: `precision` is not in [1, 12].
    """
    if not 1 <= precision <= FINEST:
        raise ConfigError(f"a geohash of {precision} characters: choose 1 to {FINEST}")
    return 5 * precision // 2, (5 * precision + 1) // 2


def geohash_cells(latitude: ArrayLike, longitude: ArrayLike, precision: int) -> Int64:
    """(n,) cells of places given in degrees; NOWHERE for NaN and coordinates out of range.

    Cells of one precision are equal if and only if their geohashes are; `geohash_text` gives these.
    Longitude 180 equals -180; the north pole belongs to the northernmost row. Raises ConfigError if
    `precision` is not in [1, 12].
    """
    rows, columns = _row_column(latitude, longitude, precision)
    return np.where(rows < 0, NOWHERE, rows * _LONGITUDES + columns)


def geohash_around(cells: Int64, precision: int) -> Int64:
    """(n, 9) each cell (n,) and its 8 neighbours, row by row from the south-west.

    The grid wraps around at the date line; neighbours beyond a pole are NOWHERE.
    """
    latitude_bits, longitude_bits = bits(precision)
    rows, columns = np.divmod(cells, _LONGITUDES)
    step = np.array([-1, 0, 1])
    near_rows = rows[:, None] + np.repeat(step, 3)
    near_columns = (columns[:, None] + np.tile(step, 3)) % 2**longitude_bits
    inside = (near_rows >= 0) & (near_rows < 2**latitude_bits) & (cells >= 0)[:, None]
    return np.where(inside, near_rows * _LONGITUDES + near_columns, NOWHERE)


def geohash_text(cells: Int64, precision: int) -> pl.Series:
    """(n,) geohashes of cells (Niemeyer 2008, geohash.org); null for NOWHERE."""
    latitude_bits, longitude_bits = bits(precision)
    rows, columns = np.divmod(np.maximum(cells, 0), _LONGITUDES)
    code = np.zeros(len(cells), np.int64)
    for bit in range(latitude_bits + longitude_bits):  # from the left: longitude, latitude, …
        if bit % 2 == 0:
            part = columns >> (longitude_bits - 1 - bit // 2)
        else:
            part = rows >> (latitude_bits - 1 - bit // 2)
        code = code << 1 | part & 1
    letters = [
        _ALPHABET[code >> 5 * (precision - 1 - place) & 31].tolist() for place in range(precision)
    ]
    text = pl.DataFrame({str(n): column for n, column in enumerate(letters)})
    joined = text.select(pl.concat_str(pl.all())).to_series()
    return pl.DataFrame({"geohash": joined, "known": cells >= 0}).select(
        pl.when(pl.col("known")).then(pl.col("geohash")).alias("geohash")
    )["geohash"]


def kilometres(
    latitude: ArrayLike, longitude: ArrayLike, other_latitude: ArrayLike, other_longitude: ArrayLike
) -> Float64:
    """(n,) great-circle distances of places given in degrees, by the haversine formula."""
    south, north = np.radians(latitude), np.radians(other_latitude)
    up = np.sin((north - south) / 2)
    across = np.sin((np.radians(other_longitude) - np.radians(longitude)) / 2)
    root = np.sqrt(np.minimum(1.0, up * up + np.cos(south) * np.cos(north) * across * across))
    return np.asarray(2 * EARTH_KM * np.arcsin(root), np.float64)


def _row_column(latitude: ArrayLike, longitude: ArrayLike, precision: int) -> tuple[Int64, Int64]:
    """(n,) rows from the south and (n,) columns from the date line; -1 for unknown places."""
    latitude_bits, longitude_bits = bits(precision)
    north = np.asarray(latitude, np.float64)
    east = np.asarray(longitude, np.float64)
    with np.errstate(invalid="ignore"):
        known = (np.abs(north) <= 90) & (np.abs(east) <= 180)
    north, east = np.where(known, north, 0.0), np.where(known, east, 0.0)
    row = np.floor((north + 90) / 180 * 2**latitude_bits).astype(np.int64)
    column = np.floor((east + 180) / 360 * 2**longitude_bits).astype(np.int64)
    row = np.minimum(row, 2**latitude_bits - 1)
    return np.where(known, row, -1), np.where(known, column % 2**longitude_bits, -1)
