"""Requests: fields are checked where they enter, and reported where no stage reads them."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tamis.schema import RequestError
from tamis.service import Recommender, Request


def test_a_request_without_place_city_or_interests_has_no_context() -> None:
    assert Request.of().context_for(()) is None
    assert Request.of(city="").context_for(()) is None


def test_given_context_is_kept_and_the_rest_unknown() -> None:
    context = Request.of(interests=["Drama", "War"], city="Paris").context_for(())
    assert context.interests == (("Drama", "War"),)
    assert context.city == ("Paris",)
    assert np.isnan(context.latitude).all()
    assert np.isnan(context.longitude).all()
    place = Request.of(latitude=48.85, longitude=2.35).context_for(())
    assert (place.latitude.tolist(), place.longitude.tolist()) == ([48.85], [2.35])
    assert (place.city, place.interests) == ((None,), ((),))


def test_texts_for_a_missing_value_are_missing_as_in_the_log() -> None:
    """`"NULL"` was a value that training had never seen, not a missing one."""
    for text in ("NULL", " NA ", "—"):
        assert Request.of(context={"app": text}).context_for(("app",)) is None
        assert Request.of(city=text).context_for(()) is None
    context = Request.of(context={"app": "NA"}).context_for(("app",), missing=("?",))
    assert context is not None
    assert context.columns["app"].values.to_list() == ["NA"]


def test_declared_columns_of_context_are_texts() -> None:
    request = Request.of(context={"device": "ios", "version": np.int64(14), "app": None})
    context = request.context_for(("device", "version", "app", "os"))
    assert {name: texts.values.to_list() for name, texts in context.columns.items()} == {
        "device": ["ios"],
        "version": ["14"],
        "app": [None],
    }
    assert Request.of(context={"app": None}).context_for(("app",)) is None
    with pytest.raises(
        RequestError, match=r"no column 'devise'.*device, os.*Did you mean `device`"
    ):
        Request.of(context={"devise": "ios"}).context_for(("device", "os"))
    with pytest.raises(RequestError, match="declares none"):
        Request.of(context={"device": "ios"}).context_for(())
    with pytest.raises(RequestError, match=r"context = .*: expected .*got `array`"):
        Request.of(context={"device": ["ios"]})


def test_the_city_is_a_field_and_a_column() -> None:
    one, other = ({"city": "Paris"}, {"context": {"city": "Paris"}})
    for given in (one, other, {**one, **other}):
        context = Request.of(**given).context_for(("city",))
        assert context.city == ("Paris",)
        assert context.columns["city"].values.to_list() == ["Paris"]
    assert Request.of(**one).context_for(()).columns == {}
    with pytest.raises(RequestError, match="context: city is a field of its own"):
        Request.of(**other).context_for(())
    with pytest.raises(RequestError, match="city = 'Rome', but context holds city = 'Paris'"):
        Request.of(city="Rome", **other).context_for(("city",))


def test_ids_of_any_type_are_their_text() -> None:
    assert Request.of(user_id=np.int64(7)).user_id == Request.of(user_id="7").user_id == "7"
    assert Request.of(exclude_item_ids=[np.int32(1), "b"]).exclude_item_ids == (1, "b")


@pytest.mark.parametrize(
    ("fields", "message", "field"),
    [
        ({"latitude": 1.0}, "latitude is given without longitude", "latitude"),
        ({"longitude": 1.0}, "longitude is given without latitude", "longitude"),
        ({"latitude": 91.0, "longitude": 0.0}, r"latitude = 91.0: .*<= 90", "latitude"),
        ({"latitude": 0.0, "longitude": math.nan}, "longitude = nan", "longitude"),
        ({"interests": "Drama"}, "interests is the text 'Drama': give a list", "interests"),
        ({"exclude_item_ids": "m1"}, "exclude_item_ids is the text 'm1': give", "exclude_item_ids"),
        ({"n": 0}, r"n = 0: .*>= 1", "n"),
        ({"n": "ten"}, "n = 'ten'", "n"),
        ({"user_id": ""}, r"user_id = ''.*length >= 1", "user_id"),
        ({"usr": 7}, "usr: a request has no such field. Did you mean `user_id`", "usr"),
        ({"time": 1_700_000_000}, "looks like seconds: send 1700000000000", "time"),
        ({"time": 1_700_000_000_000_000}, "looks like microseconds: send 1700000000000", "time"),
        ({"time": 5}, "not within the years 2000 to 2100", "time"),
    ],
)
def test_a_wrong_field_is_refused_by_name(fields, message, field) -> None:
    with pytest.raises(RequestError, match=message) as error:
        Request.of(**fields)
    assert error.value.field == field


def test_fields_that_no_stage_reads_are_reported() -> None:
    recommender = object.__new__(Recommender)
    space = SimpleNamespace(context_columns=(), reads_place=False)
    context = Request.of(
        interests=["Drama"], latitude=1.0, longitude=2.0, city="Paris"
    ).context_for(())

    def unread(*channels: tuple[str, ...], filters: tuple[str, ...] = ()) -> list[str]:
        recommender.parts = SimpleNamespace(
            space=space,
            channels={str(n): SimpleNamespace(reads=reads) for n, reads in enumerate(channels)},
            filters={"region": SimpleNamespace(reads=filters), "own": SimpleNamespace()},
        )
        return list(recommender._unread(context))

    assert unread(()) == [
        "interests: no channel of this version reads declared interests",
        "place: no channel of this version reads latitude, longitude",
        "city: no channel or filter of this version reads the request's city",
    ]
    assert unread(("interests", "place")) == [
        "city: no channel or filter of this version reads the request's city"
    ]
    assert unread(("interests",), ("place",), filters=("city",)) == []
    space.context_columns, space.reads_place = ("city",), True
    assert unread(("interests",)) == []
    assert list(recommender._unread(None)) == []
