"""Expressions of metrics, and the metrics that experiments name in tamis.toml."""

import copy

import pytest

from tamis.schema import (
    Behaviour,
    ConfigError,
    MetricConfig,
    find_metric,
    metric_terms,
    parse_config,
)

BEHAVIOURS = (
    Behaviour(name="click", label="1"),
    Behaviour(name="show"),
    Behaviour(name="watch"),
    Behaviour(name="like", label="1"),
)
METRICS = {
    "ctr": MetricConfig(value="click / show"),
    "latency": MetricConfig(value="took_ms / answers", lower_is_better=True),
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("click", [("events", "click", ("click",))]),
        (" click /show ", [("events", "click", ("click",)), ("events", "show", ("show",))]),
        ("1", [("events", "1", ("click", "like"))]),
        ("sum( watch )", [("values", "sum(watch)", ("watch",))]),
        ("took_ms / answers", [("took_ms", "took_ms", ()), ("answers", "answers", ())]),
        ("degraded/shown", [("degraded", "degraded", ()), ("shown", "shown", ())]),
        ("active_days", [("active_days", "active_days", ())]),
    ],
)
def test_expressions(text, found):
    terms = metric_terms(text, BEHAVIOURS)
    assert [(one.kind, one.text, one.behaviours) for one in terms] == found


def test_arguments():
    returned, observed = metric_terms("returned(7) / observed( 0.5 )", BEHAVIOURS)
    assert (returned.kind, returned.days, observed.kind, observed.days) == (
        "returned",
        7.0,
        "observed",
        0.5,
    )
    assert not returned.has_before
    (distinct,) = metric_terms("distinct(genre)", BEHAVIOURS)
    assert (distinct.kind, distinct.column, distinct.of_answers) == ("distinct", "genre", True)


def test_a_behaviour_comes_before_a_term_of_its_name():
    (term,) = metric_terms("shown", (*BEHAVIOURS, Behaviour(name="shown")))
    assert term.kind == "events"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("klick", r"no behaviour 'klick'.*click, show, watch, like, answers.*Did you mean `click`"),
        ("click / show / watch", "has 3 parts"),
        ("sum(wach)", r"no behaviour 'wach'.*Did you mean `watch`"),
        ("sum", r"no behaviour 'sum'.*sum\(behaviour\)"),
        ("avg(watch)", r"no behaviour 'avg\(watch\)'"),
        ("returned(0)", r"returned\(0\) needs a number of days above 0"),
        ("observed(week)", r"observed\(week\) needs a number of days"),
        ("distinct()", "name a column of the items"),
        ("click /", "no behaviour ''"),
    ],
)
def test_wrong_expressions_are_refused(text, match):
    with pytest.raises(ConfigError, match=match):
        metric_terms(text, BEHAVIOURS)


def test_metrics_by_name_and_inline():
    ctr = find_metric("ctr", METRICS, BEHAVIOURS)
    assert (ctr.name, [t.text for t in ctr.terms]) == ("ctr", ["click", "show"])
    assert ctr.larger_is_better
    assert not find_metric("latency", METRICS, BEHAVIOURS).larger_is_better
    assert find_metric(" sum(watch)", METRICS, BEHAVIOURS).name == "sum(watch)"
    with pytest.raises(ConfigError, match=r"metrics\] are ctr, latency\. Did you mean `latency`"):
        find_metric("latncy", METRICS, BEHAVIOURS)


DECLARED = {
    "name": "shop",
    "events": {"path": "events.csv", "behaviour": "what"},
    "behaviours": {"click": {"positive": True}, "show": {"impression": True}},
    "cascade": {"channels": {"hot": {}}, "rank": {"use": "lr"}},
    "metrics": {"ctr": {"value": "click / show"}},
    "experiments": {
        "new": {
            "control": "a",
            "arms": {"a": {}, "b": {}},
            "goal": "ctr",
            "secondary": ["click"],
            "guardrails": ["took_ms / answers"],
        }
    },
}


def changed(path, value):
    """`DECLARED` with another value at a path."""
    data = copy.deepcopy(DECLARED)
    at = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return data


def test_a_sound_declaration_is_read():
    assert parse_config(DECLARED).experiments["new"].goal == "ctr"


@pytest.mark.parametrize(
    ("path", "match"),
    [
        (("metrics", "ctr", "valu"), r"`metrics\.ctr\.valu` is not a key\. Did you mean `value`"),
        (("experiments", "new", "gaol"), r"new\.gaol` is not a key\. Did you mean `goal`"),
        (("experiments", "new", "arms", "a", "wight"), r"wight` is not a key.*weight, version"),
    ],
)
def test_unknown_keys_are_faults_with_the_keys_of_their_table(path, match):
    with pytest.raises(ConfigError, match=match):
        parse_config(changed(path, 1))


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        (
            ("metrics", "ctr", "value"),
            "clik / show",
            r"`metrics\.ctr\.value`: metric 'clik / show'",
        ),
        (("experiments", "new", "goal"), "crt", r"`experiments\.new\.goal`.*Did you mean `ctr`"),
        (("experiments", "new", "secondary"), ["likes"], r"new\.secondary`.*no behaviour 'likes'"),
        (("experiments", "new", "guardrails"), ["ctr"], r"'ctr' is in `goal` already"),
    ],
)
def test_wrong_metrics_are_faults_of_tamis_toml(path, value, match):
    with pytest.raises(ConfigError, match=match) as caught:
        parse_config(changed(path, value))
    assert "1 problem" in str(caught.value)
