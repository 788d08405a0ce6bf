"""Events as clients send them: what is accepted, what is refused, and how it is said."""

import math

import pytest

from tamis.journal import Event
from tamis.schema import ProjectConfig, RequestError
from tamis.service import EventRow, Intake

NOW = 1_700_000_000_000
CASCADE = {"channels": {"hot": {"type": "hot"}}, "rank": {"type": "lr"}}


def intake(**events: object) -> Intake:
    config = ProjectConfig.model_validate(
        {
            "name": "shop",
            "events": {"path": "events.csv", "context": ["device"], **events},
            "behaviours": {
                "like": {"min_value": 4, "positive": True, "label": "L"},
                "meh": {"max_value": 3},
                "view": {"impression": True},
            },
            "cascade": CASCADE,
        }
    )
    return Intake(config, lambda: NOW)


def read(**fields: object) -> Event | RequestError:
    (one,) = intake().read([fields])
    return one


def test_a_whole_event() -> None:
    found = read(
        user_id=12,
        item_id=" i1 ",
        behaviour="L",
        time=NOW - 5_000,
        value=4.5,
        context={"device": "ios"},
        event_id=7,
        recommendation_id="r1",
        position=3,
    )
    assert found == Event(
        event_id="7",
        user_id="12",
        item_id="i1",
        behaviour="like",
        time=NOW - 5_000,
        arrival=NOW,
        value=4.5,
        context={"device": "ios"},
        recommendation_id="r1",
        position=3,
    )


def test_what_is_left_out() -> None:
    first, second = intake().read([{"user_id": "u", "item_id": "i", "value": 2}] * 2)
    assert isinstance(first, Event)
    assert isinstance(second, Event)
    assert (first.behaviour, first.time, first.arrival) == ("meh", NOW, NOW)
    assert first.event_id != second.event_id


def test_one_wrong_event_does_not_hold_up_the_others() -> None:
    good = {"user_id": "u", "item_id": "i", "behaviour": "view"}
    read = intake().read([good, {**good, "user_id": ""}, 3, good])
    assert [isinstance(one, Event) for one in read] == [True, False, False, True]


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"user_id": None}, "user_id", "user_id"),
        ({"user_id": "  "}, "user_id", "an id is not blank"),
        ({"user_id": math.nan}, "user_id", "not an id"),
        ({"item_id": "x" * 1025}, "item_id", "<= 1024"),
        ({"item_id": "\ud800"}, "item_id", "surrogate"),
        ({"behaviour": "liek"}, "behaviour", "give one of like, meh, view. Did you mean `like`"),
        ({"behaviour": None}, "behaviour", "behaviour is missing: give one of like, meh, view"),
        ({"behaviour": "like", "value": 2}, "value", "value = 2 is outside of the bounds"),
        ({"behaviour": "meh", "value": 5}, "value", "at most 3"),
        ({"time": 1_700_000_000}, "time", "it looks like seconds: send 1700000000000"),
        ({"time": NOW + 86_400_001}, "time", "more than a day after"),
        ({"time": "2023-11-14"}, "time", "1699920000000"),
        ({"value": "four"}, "value", "expected `float | null`"),
        ({"value": math.inf}, "value", "finite"),
        ({"value": 1e39}, "value", "at most 3.4"),
        ({"position": 0}, "position", ">= 1"),
        ({"context": {"os": "linux"}}, "context", "the project declares device"),
        ({"context": {"device": ["a"]}}, "context", "expected"),
        ({"event_id": ""}, "event_id", "length >= 1"),
        ({"usr": "u"}, "usr", "Did you mean `user_id`"),
    ],
)
def test_what_is_refused_names_field_and_cure(
    changed: dict[str, object], field: str, words: str
) -> None:
    found = read(**{"user_id": "u", "item_id": "i", "behaviour": "view", **changed})
    assert isinstance(found, RequestError), found
    assert words in str(found)
    assert found.field == field


def test_an_event_of_a_project_with_one_behaviour_needs_no_name() -> None:
    config = ProjectConfig.model_validate(
        {
            "name": "s",
            "events": {"path": "e.csv"},
            "behaviours": {"buy": {"positive": True}},
            "cascade": CASCADE,
        }
    )
    (found,) = Intake(config, lambda: NOW).read([{"user_id": "u", "item_id": "i"}])
    assert isinstance(found, Event)
    assert found.behaviour == "buy"


def test_the_fields_are_those_of_the_journal() -> None:
    assert set(EventRow.__struct_fields__) == set(Event.__struct_fields__) - {"arrival"}


def intake_of(behaviours: dict[str, dict[str, object]]) -> Intake:
    config = ProjectConfig.model_validate(
        {
            "name": "s",
            "events": {"path": "e.csv"},
            "behaviours": behaviours,
            "cascade": CASCADE,
        }
    )
    return Intake(config, lambda: NOW)


def test_a_value_outside_of_the_only_behaviour_is_refused() -> None:
    only = intake_of({"like": {"min_value": 4, "positive": True}})
    low, high, none = only.read(
        [{"user_id": "u", "item_id": "i", "value": v} for v in (1, 4, None)]
    )
    assert isinstance(low, RequestError)
    assert "none has bounds that hold 1" in str(low)
    assert isinstance(high, Event)
    assert isinstance(none, Event)


def test_behaviours_of_one_label_are_chosen_by_the_value() -> None:
    two = intake_of(
        {
            "like": {"label": "rating", "min_value": 4, "positive": True},
            "dislike": {"label": "rating", "max_value": 2},
        }
    )
    rows = [{"user_id": "u", "item_id": "i", "behaviour": "rating", "value": v} for v in (5, 1, 3)]
    like, dislike, neither = two.read(rows)
    assert isinstance(like, Event)
    assert isinstance(dislike, Event)
    assert (like.behaviour, dislike.behaviour) == ("like", "dislike")
    assert isinstance(neither, RequestError)
    assert "like: at least 4; dislike: at most 2" in str(neither)
