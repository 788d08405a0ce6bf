"""Every option of a filter or a re-rank rule has an effect: another value changes the answer.

The answer of a filter is what it removes, what it excludes from recall and the reason it gives;
that of a re-rank rule is the order and the notes of the trace.
"""

from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import Histories
from tamis.schema import Behaviour, TableConfig
from tamis.service import registry

STAGES = {kind: registry.available(kind) for kind in ("filters", "rerank")}
DAY = 86_400_000
NOW = 1_700_000_000_000  # in November 2023
USERS, ITEMS, EVENTS = 12, 40, 900
BEHAVIOURS = (
    Behaviour(name="view", impression=True),
    Behaviour(name="click", positive=True),
    Behaviour(name="purchase", positive=True),
    Behaviour(name="dislike"),
    Behaviour(name="block"),
)
CONTEXT = FitContext(
    items=TableConfig(
        path="items.csv", id="id", author="author", category="category", category_separator="|"
    )
)


@cache
def log() -> Dataset:
    """A log of half a year of all behaviours."""
    draw, row = np.random.default_rng(8), np.arange(ITEMS)
    time = NOW - np.sort(draw.integers(1, 180 * DAY, EVENTS))[::-1].astype(np.int64)
    events = Events(
        user=draw.integers(0, USERS, EVENTS).astype(np.int32),
        item=draw.integers(0, ITEMS, EVENTS).astype(np.int32),
        behaviour=draw.choice(5, EVENTS, p=[0.6, 0.2, 0.1, 0.05, 0.05]).astype(np.uint8),
        time=time,
        arrival=time,
        value=np.full(EVENTS, np.nan, np.float32),
        request=np.full(EVENTS, -1, np.int64),
        position=np.zeros(EVENTS, np.int16),
    )
    angle = row * 0.7
    items = {
        "author": [f"a{i % 30}" for i in row],
        "seller": [f"s{i % 25};s{i % 20}" for i in row],
        "category": [f"c{i % 3}|c{i % 4}" for i in row],
        "kind": [f"k{i % 5};k{i % 2}" for i in row],
        "price": [None if i % 7 == 0 else float(i) for i in row],
        "stock": [None if i % 5 == 0 else i % 4 for i in row],
        "shelf": [int(i % 3) for i in row],
        "available": [bool(i % 3) for i in row],
        "open": [bool(i % 2) for i in row],
        "regions": [("FR|BE", "DE", None, "BE;FR")[i % 4] for i in row],
        "zones": [("FR", "DE", "US")[i % 3] for i in row],
        "published": [NOW - (i % 12) * DAY for i in row],
        "issued": [NOW - (i % 9) * DAY for i in row],
        "min_age": [(18, 16, None, 12)[i % 4] for i in row],
        "parental": [(18, 16, None)[i % 3] for i in row],
        "vector": np.stack([np.cos(angle), np.sin(angle)], 1).tolist(),
        "other": np.stack([np.cos(row * 1.9), np.sin(row * 1.9)], 1).tolist(),
    }
    users = {
        "region": [("FR", "DE", None)[u % 3] for u in range(USERS)],
        "home": [("BE", "FR")[u % 2] for u in range(USERS)],
        "age": [(17, None, 40, 14)[u % 4] for u in range(USERS)],
        "years": [(40, 15)[u % 2] for u in range(USERS)],
    }
    return Dataset(
        Table("users", pl.Series("id", [f"u{u}" for u in range(USERS)]), pl.DataFrame(users)),
        Table("items", pl.Series("id", [f"i{i}" for i in row]), pl.DataFrame(items)),
        events,
        BEHAVIOURS,
    )


@cache
def queries() -> Queries:
    """Every user and an unknown one at the end of the log; each request excludes an item."""
    data = log()
    user = np.array([*range(USERS), -1], np.int32)
    time = np.full(len(user), NOW, np.int64)
    excluded = Ragged.of([np.array([q], np.int32) for q in range(len(user))])
    return Queries(user, time, Histories.of(data).at(user, time), excluded)


@cache
def candidates() -> Candidates:
    """Every item for every query, in a shuffled order, best value first."""
    draw, n = np.random.default_rng(9), len(queries())
    item = np.concatenate([draw.permutation(ITEMS) for _ in range(n)]).astype(np.int32)
    value = np.sort(draw.random((n, ITEMS)).astype(np.float32), axis=1)[:, ::-1].reshape(-1)
    click = draw.random(n * ITEMS).astype(np.float32)
    indptr = np.arange(n + 1, dtype=np.int64) * ITEMS
    return Candidates(indptr, item, {"value": value}, {"click": click})


VALUES: dict[tuple[str, str], Any] = {
    ("ads", "where"): "open",
    ("ads", "places"): (3,),
    ("ads", "value"): "price * click",
    ("ads", "least"): 0.9,
    ("ads", "gap"): 4,
    ("ads", "slate"): 1,
    ("ads", "elsewhere"): True,
    ("dpp", "column"): "other",
    ("dpp", "separator"): "|",
    ("dpp", "window"): 1,
    ("explore", "hours"): 100.0,
    ("explore", "impressions"): 5,
    ("explore", "places"): (3,),
    ("explore", "guarantee"): 0,
    ("explore", "within_hours"): 100.0,
    ("explore", "behaviour"): "purchase",
    ("explore", "prior"): 500.0,
    ("explore", "column"): "issued",
    ("fair", "column"): "regions",
    ("fatigue", "column"): "kind",
    ("fatigue", "hours"): 2400.0,
    ("objective", "terms"): "2 * click",
    ("objective", "column"): "issued",
    ("objective", "coverage"): 0.5,
    ("objective", "exposure"): 0.5,
    ("pins", "items"): ("i4",),
    ("pins", "places"): (3,),
    ("quota", "group"): "tail",
    ("quota", "where"): "price < 25",
    ("quota", "spread"): False,
    ("quota", "column"): "issued",
    ("quota", "author"): "zones",
    ("quota", "popular"): 0.7,
    ("sample", "top"): 3,
    ("age_limit", "column"): "parental",
    ("age_limit", "user_column"): "years",
    ("age_limit", "unknown_age"): 17,
    ("at_most", "column"): "author",
    ("at_most", "separator"): "|",
    ("at_most", "slate"): 1,
    ("at_most", "sets"): (("c0|c0", "c1|c1"),),
    ("at_most", "where"): "price > 30",
    ("attribute", "column"): "stock",
    ("attribute", "value"): 4.0,
    ("attribute", "separator"): "|",
    ("available", "column"): "open",
    ("blocked", "behaviours"): ("dislike",),
    ("blocked", "column"): "seller",
    ("blocked", "separator"): ";",
    ("bought", "behaviours"): ("click",),
    ("bought", "days"): 30,
    ("condition", "where"): "price < 5",
    ("condition", "separator"): ";",
    ("exposed", "behaviours"): ("click",),
    ("exposed", "per_month"): 1,
    ("exposed", "target"): 0.6,
    ("hidden", "behaviours"): ("block",),
    ("hidden", "days"): 30,
    ("mmr", "column"): "other",
    ("mmr", "separator"): "|",
    ("mmr", "window"): 1,
    ("out_of_stock", "column"): "shelf",
    ("out_of_stock", "least"): 2,
    ("region", "column"): "zones",
    ("region", "separator"): ";",
    ("region", "user_column"): "home",
    ("seen", "behaviours"): ("purchase",),
}
"""Values to try where the one made from the option's type does not do."""
NEEDED: dict[str, dict[str, Any]] = {
    "ads": {"where": "available", "places": (2, 5)},
    "attribute": {"column": "price", "op": "<=", "value": 20.0},
    "fair": {"column": "zones"},
    "fatigue": {"column": "zones"},
    "objective": {"freshness": 0.5},
    "pins": {"items": ("i3",), "places": (2,)},
    "quota": {"where": "price < 10", "share": 0.5},
    "condition": {"where": "price <= 20"},
}
"""Options without which a stage cannot be built."""
WITH: dict[tuple[str, str], dict[str, Any]] = {
    ("at_most", "count"): {"separator": "|"},
    ("attribute", "separator"): {
        "column": "kind",
        "op": "contains",
        "value": "k1",
        "separator": ";",
    },
    ("blocked", "separator"): {"column": "seller"},
    ("condition", "separator"): {"where": 'kind contains "k1"', "separator": "|"},
    ("condition", "unknown"): {"where": "price < request.most"},
    ("dpp", "column"): {"similarity": "vector", "column": "vector"},
    ("dpp", "similarity"): {"column": "vector", "similarity": "vector"},
    ("explore", "behaviour"): {"hours": 200.0, "guarantee": 0},
    ("explore", "method"): {"hours": 200.0, "guarantee": 0},
    ("explore", "prior"): {"hours": 200.0, "guarantee": 0},
    ("explore", "within_hours"): {"hours": 200.0},
    ("mmr", "column"): {"similarity": "vector", "column": "vector"},
    ("mmr", "similarity"): {"column": "vector", "similarity": "vector"},
    ("quota", "author"): {"group": "new_authors"},
    ("quota", "column"): {"group": "fresh"},
    ("quota", "days"): {"group": "fresh"},
    ("quota", "popular"): {"group": "tail"},
}
"""Other options with which the option is tried."""
NO_EFFECT_HERE: dict[tuple[str, str], str] = {
    ("ads", "insert"): "inserts candidates (tests/rerank/test_rules)",
    ("ads", "insert_by"): "likewise",
    ("dpp", "channel"): "names a channel of a project (tests/rerank/test_dpp)",
    ("mmr", "channel"): "likewise",
    ("explore", "insert"): "inserts candidates (tests/rerank/test_explore)",
}
"""Options without an effect on this log, and why."""


def cases():
    for kind, stages in STAGES.items():
        for name, stage in stages.items():
            for option in stage.Config.model_fields:
                if (name, option) not in NO_EFFECT_HERE:
                    yield pytest.param(kind, name, option, id=f"{name}.{option}")


def other_value(config, option, now):
    """A valid value of an option that is not `now`."""
    schema = config.model_json_schema()["properties"][option]
    for part in schema.get("anyOf", [schema]):
        if "enum" in part:
            return next(v for v in part["enum"] if v != now)
        if part.get("type") == "integer":
            return 1 if now is None else now + 1
        if part.get("type") == "number":
            return now / 2
        if part.get("type") == "string":
            return f"{now}, as we say"
    raise AssertionError(f"no other value of {option} than {now!r}: add one to VALUES")


def answer(kind, name, options):
    """What the stage answers with these options: arrays and texts."""
    stage = STAGES[kind][name](**options).fit(log(), CONTEXT)
    if kind == "rerank":
        return [*stage.arrange(queries(), candidates(), 15)]
    listed = stage.excluded(queries())
    exclude = [] if listed is None else [listed.indptr, listed.values]
    return [stage.keep(queries(), candidates()), *exclude, np.array([stage.reason])]


def same(one, other):
    return len(one) == len(other) and all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(("kind", "name", "option"), list(cases()))
def test_another_value_of_an_option_changes_the_answer(kind, name, option):
    config = STAGES[kind][name].Config
    base = {**NEEDED.get(name, {}), **WITH.get((name, option), {})}
    now = base.get(option, config.model_fields[option].get_default(call_default_factory=True))
    value = VALUES.get((name, option))
    value = other_value(config, option, now) if value is None else value
    assert value != now
    plain, changed = answer(kind, name, base), answer(kind, name, base | {option: value})
    assert not same(plain, changed), f"{name}: {option} = {value!r} answers the same as {now!r}"


def test_every_exception_is_an_option():
    known = {name: stage for stages in STAGES.values() for name, stage in stages.items()}
    for name, option in [*VALUES, *WITH, *NO_EFFECT_HERE]:
        assert option in known[name].Config.model_fields, (name, option)
