"""Geohashes against known ones, and the grid's edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.data import geohash_around, geohash_cells, geohash_text
from tamis.schema import ConfigError


@pytest.mark.parametrize(
    ("latitude", "longitude", "text"),
    [  # geohash.org, Wikipedia, and the Redis and Elasticsearch documentation
        (57.64911, 10.40744, "u4pruydqqvj"),
        (42.6, -5.6, "ezs42"),
        (-25.382708, -49.265506, "6gkzwgjzn820"),
        (38.115556, 13.361389, "sqc8b49rny"),
        (37.502669, 15.087269, "sqdtr74hyu"),
        (48.8583, 2.2945, "u09tun"),
        (0.0, 0.0, "s000"),
        (-90.0, -180.0, "000"),
        (90.0, 179.9999, "zzz"),
    ],
)
def test_known_geohashes(latitude, longitude, text):
    cells = geohash_cells([latitude], [longitude], len(text))
    assert geohash_text(cells, len(text)).to_list() == [text]


def test_known_neighbours():
    around = geohash_around(geohash_cells([42.6], [-5.6], 5), 5)
    assert geohash_text(around[0], 5).to_list() == [
        "ezefp", "ezs40", "ezs41", "ezefr", "ezs42", "ezs43", "ezefx", "ezs48", "ezs49",
    ]  # fmt: skip


def test_neighbours_wrap_at_the_date_line_and_end_at_the_poles():
    east, west = geohash_cells([0.1, 0.1], [179.99, -179.99], 5)
    assert west in geohash_around(np.array([east]), 5)[0]
    assert east in geohash_around(np.array([west]), 5)[0]
    assert geohash_cells([1.0], [180.0], 6) == geohash_cells([1.0], [-180.0], 6)
    pole = geohash_around(geohash_cells([90.0], [10.0], 4), 4)[0]
    assert (pole[:6] >= 0).all()
    assert (pole[6:] == -1).all()


def test_an_unknown_place_has_no_cell():
    cells = geohash_cells([np.nan, 91.0, 0.0, 1.0], [0.0, 0.0, -181.0, 1.0], 5)
    assert cells[:3].tolist() == [-1, -1, -1]
    assert (geohash_around(cells[:3], 5) == -1).all()
    assert geohash_text(cells, 5).to_list()[:3] == [None, None, None]


def test_a_precision_out_of_range_is_an_error():
    with pytest.raises(ConfigError, match="of 13 characters: choose 1 to 12"):
        geohash_cells([0.0], [0.0], 13)


@given(st.floats(-90, 90), st.floats(-180, 180), st.integers(1, 11))
def test_a_finer_geohash_begins_with_the_coarser(latitude, longitude, precision):
    short = geohash_text(geohash_cells([latitude], [longitude], precision), precision)[0]
    long = geohash_text(geohash_cells([latitude], [longitude], precision + 1), precision + 1)[0]
    assert long.startswith(short)
