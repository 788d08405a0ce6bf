"""What a request says of its moment: read into a Context, refused with a cure, noted if unread."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tamis.schema import ConfigError
from tamis.service.recommender import Recommender, _context


def test_a_request_that_says_nothing_has_no_context() -> None:
    assert _context((), None, None, None) is None
    assert _context((), None, None, "") is None


def test_what_is_said_is_kept_and_the_rest_unknown() -> None:
    context = _context(["Drama", "War"], None, None, "Paris")
    assert context.interests == (("Drama", "War"),)
    assert context.city == ("Paris",)
    assert np.isnan(context.latitude).all()
    assert np.isnan(context.longitude).all()
    place = _context((), 48.85, 2.35, None)
    assert (place.latitude.tolist(), place.longitude.tolist()) == ([48.85], [2.35])
    assert (place.city, place.interests) == ((None,), ((),))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (((), 1.0, None, None), "latitude is given without longitude"),
        (((), None, 1.0, None), "longitude is given without latitude"),
        (((), 91.0, 0.0, None), "latitude is 91.0: give degrees from -90 to 90"),
        (((), 0.0, math.nan, None), "longitude is nan"),
        (("Drama", None, None, None), "give a list"),
    ],
)
def test_a_place_that_is_none_is_refused(given, said) -> None:
    with pytest.raises(ConfigError, match=said):
        _context(*given)


def test_what_no_stage_reads_is_told() -> None:
    recommender = object.__new__(Recommender)
    context = _context(["Drama"], 1.0, 2.0, "Paris")

    def told(*channels: tuple[str, ...], filters: tuple[str, ...] = ()) -> list[str]:
        recommender.parts = SimpleNamespace(
            channels={str(n): SimpleNamespace(reads=reads) for n, reads in enumerate(channels)},
            filters={"region": SimpleNamespace(reads=filters), "own": SimpleNamespace()},
        )
        return list(recommender._unread(context))

    assert told(()) == [
        "interests: no channel of this version reads declared interests",
        "place: no channel of this version reads latitude, longitude",
        "city: no channel or filter of this version reads the request's city",
    ]
    assert told(("interests", "place")) == [
        "city: no channel or filter of this version reads the request's city"
    ]
    assert told(("interests",), ("place",), filters=("city",)) == []
    assert list(recommender._unread(None)) == []
