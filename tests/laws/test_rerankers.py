"""Every re-rank rule passes the contract suite of re-rank rules."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tamis.schema import Behaviour, StageConfig
from tamis.service import registry
from tamis.testing import check_reranker, queries_of, ranked_lists, two_clans

RULES = registry.available("rerank")
OPTIONS = {
    "ads": (
        {"where": "price > 5", "places": [2, 5], "value": "price * click"},
        {"where": "price > 5", "gap": 2, "slate": 3},
    ),
    "at_most": (
        {},
        {"limit": 1, "window": 2, "slate": 3},
        {"column": "author", "count": "primary", "where": "price > 3"},
    ),
    "dpp": (
        {"theta": 2},
        {"theta": 0.5, "window": 3, "similarity": "vector", "column": "vector"},
    ),
    "explore": (
        {"hours": 720, "places": [2, 5], "budget": 0.4},
        {"hours": 0, "places": [1], "budget": 0.1, "guarantee": 0},
    ),
    "fair": ({"column": "category", "strength": 1.0},),
    "fatigue": ({}, {"column": "category", "hours": 1000}),
    "mmr": (
        {},
        {"theta": 0.2, "window": 2},
        {"similarity": "vector", "column": "vector"},
    ),
    "objective": (
        {"freshness": 0.5, "coverage": 0.5, "exposure": 0.1},
        {"terms": "2 * click + price / 10"},
    ),
    "pins": ({"items": ["i3", "i8"], "places": [1, 4]},),
    "quota": (
        {"group": "fresh", "days": 30, "share": 0.5},
        {"group": "new_authors", "days": 32, "share": 0.5},
        {"group": "tail", "share": 0.9},
        {"where": "price > 12", "share": 0.5, "spread": False},
    ),
}
"""Options with which a rule is tested; {} are the defaults, for rules not listed."""


def data():
    """Two clans whose items also have a vector of two numbers, and whose dismissals count as
    impressions."""
    made = two_clans()
    shown = (made.behaviours[0], Behaviour(name="click", impression=True, weight=0.0))
    made = replace(made, behaviours=shown)
    angle = np.arange(len(made.items)) * 0.7
    vectors = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    frame = made.items.frame.with_columns(vector=pl.Series(vectors.tolist()))
    return replace(made, items=made.items.with_frame(frame))


def cases():
    """(name, options) of every rule under each of its options."""
    for name in RULES:
        for options in OPTIONS.get(name, ({},)):
            text = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
            yield pytest.param(name, options, id=text)


def test_the_documented_rules_exist():
    documented = "ads at_most dpp explore fair fatigue mmr objective pins quota sample"
    assert set(documented.split()) <= set(RULES)


@pytest.mark.parametrize(("name", "options"), list(cases()))
def test_contract(name, options):
    declared = StageConfig(**options)
    prefix = name in ("dpp", "fatigue", "mmr", "objective", "sample")  # others may look ahead
    check_reranker(lambda: registry.build("rerank", name, declared), data(), prefix=prefix)
    known = data()
    queries = queries_of(known)
    given = ranked_lists(len(queries), len(known.items))
    order, _ = registry.build("rerank", name, declared).fit(known).arrange(queries, given, 9)
    assert (order != np.arange(len(given))).any()  # it was given something to do


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_documented(name):
    text = RULES[name].__doc__
    assert all(word in text for word in ("When to use:", "Cost:", "Source:"))
    assert RULES[name].Config.__doc__
