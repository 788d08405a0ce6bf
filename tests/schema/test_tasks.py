"""Tasks of `tamis.toml`: names with conditions, chains, and faults with how to fix them."""

from __future__ import annotations

import tomllib

import pytest

from tamis.schema import ConfigError, TaskConfig, chain, dump_config, parse_config, prediction_names

PROJECT = {
    "name": "shop",
    "events": {"path": "e.csv", "behaviour": "behaviour", "value": "value"},
    "items": {"path": "i.csv", "id": "item_id"},
    "behaviours": {
        "click": {"positive": True}, "like": {}, "cart": {}, "purchase": {}, "watch": {},
    },
    "cascade": {"channels": {"hot": {}}, "rank": {"use": "mmoe"}},
}  # fmt: skip


def project(**tasks: dict[str, object]):
    return parse_config({**PROJECT, "tasks": tasks})


def test_a_name_holds_behaviour_and_condition() -> None:
    tasks = list(
        project(
            **{"click": {}, "like|click": {}, "cart|click": {}, "purchase|cart": {}}
        ).tasks.values()
    )
    assert [t.behaviour for t in tasks] == [("click",), ("like",), ("cart",), ("purchase",)]
    assert [t.given for t in tasks] == [None, "click", "click", "cart"]
    assert [t.name for t in chain(tasks[3], tasks) or ()] == [
        "click",
        "cart|click",
        "purchase|cart",
    ]
    assert prediction_names(tasks)[4:] == ["like", "cart", "purchase"]


def test_a_declaration_is_written_and_read_again() -> None:
    config = project(**{"click": {}, "like|click": {"esmm": True}})
    again = parse_config(tomllib.loads(dump_config(config)))
    assert again.tasks == config.tasks


def test_names_of_derived_predictions() -> None:
    tasks = [
        TaskConfig(name="watch|click", kind="watch_time"),
        TaskConfig(name="done", kind="completion"),
        TaskConfig(name="stars", kind="multiclass", classes=(-1, 0.5)),
        TaskConfig(name="deed", behaviour=("a", "b"), kind="multiclass", value="behaviour"),
        TaskConfig(name="like|gone"),
    ]
    assert prediction_names(tasks)[5:] == [
        "watch_seconds", "done_share", "stars_minus_1", "stars_0_5", "deed_0", "deed_1", "deed_2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"like|clik": {}}, r'"clik" is neither a task nor a behaviour. Did you mean `click`\?'),
        ({"lke|click": {}}, r'`tasks.lke\|click.behaviour`: "lke" is not declared'),
        ({"like|click": {"given": "cart"}}, 'given = "cart" differs from that in the name'),
        ({"like|click": {"esmm": True}}, r"esmm = true needs its condition as a task: add"),
        ({"a|b": {"behaviour": ["like"]}, "b|a": {"behaviour": ["like"]}}, "form a cycle"),
        ({"watch": {"kind": "completion"}}, 'items\' duration: duration = "duration"'),
        (
            {"watch": {"scale": 3}},
            r"scale does not apply to a binary task \(only watch_time\): remove it",
        ),
        ({"like": {"value": "count"}}, 'value = "count" is for regression tasks'),
        ({"watch": {"kind": "watch_time"}, "like|watch": {}}, "must be binary"),
    ],
)
def test_faults_are_reported_with_how_to_fix_them(
    tasks: dict[str, dict[str, object]], message: str
):
    with pytest.raises(ConfigError, match=message):
        project(**tasks)


def test_a_value_needs_its_column() -> None:
    bare = {**PROJECT, "events": {"path": "e.csv", "behaviour": "behaviour"}}
    with pytest.raises(ConfigError, match=r"no column holds it: set `events.value`"):
        parse_config({**bare, "tasks": {"watch": {"kind": "watch_time"}}})
