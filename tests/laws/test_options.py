"""Every option has an effect: a value other than the default changes what a channel recalls.

An option that is ignored is worse than one that is missing, because its user believes in it.
"""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from tamis.cascade import Context, FitContext, Queries
from tamis.data import Dataset, Events, Ragged, Table
from tamis.features import Histories
from tamis.schema import Behaviour, TableConfig
from tamis.service import registry

CHANNELS = registry.available("recall")
DAY = 86_400_000
START = 1_700_000_000_000
USERS, ITEMS, EVENTS = 60, 48, 1400
CITIES = ("Paris", "Tokyo", "Lima")
CONTEXT = FitContext(
    seed=7,
    items=TableConfig(
        path="items.csv",
        id="id",
        category="category",
        category_separator="|",
        author="author",
        published="published",
        latitude="latitude",
        longitude="longitude",
        city="city",
    ),
    users=TableConfig(path="users.csv", id="id", city="city"),
)


@cache
def shop() -> Dataset:
    """A log of views, likes and follows, with impressions, repeats and taste."""
    draw = np.random.default_rng(5)
    user = draw.integers(0, USERS, EVENTS).astype(np.int32)
    popular = draw.integers(0, ITEMS, (EVENTS, 2)).min(1)
    item = np.where(draw.random(EVENTS) < 0.7, popular // 3 * 3 + user % 3, popular)
    again = np.flatnonzero(draw.random(EVENTS) < 0.3)
    for e in again:  # an item that the user has met before
        before = np.flatnonzero(user[:e] == user[e])
        if len(before):
            item[e] = item[draw.choice(before)]
    time = START + np.sort(draw.integers(0, 90 * DAY, EVENTS))
    item = (item % ITEMS).astype(np.int32)
    kinds = draw.choice(4, EVENTS, p=[0.45, 0.2, 0.1, 0.25]).astype(np.uint8)
    met = np.zeros((USERS, ITEMS), np.bool_)
    met[user, item] = True
    unmet = np.argmin(met, axis=1)  # an item that the user has no event with
    user[-USERS:], item[-USERS:], kinds[-USERS:] = np.arange(USERS), unmet, 4
    events = Events(
        user=user,
        item=item,
        behaviour=kinds,
        time=time,
        arrival=time,
        value=np.full(EVENTS, np.nan, np.float32),
        request=np.full(EVENTS, -1, np.int64),
        position=np.zeros(EVENTS, np.int16),
    )
    behaviours = (
        Behaviour(name="like", positive=True, weight=2.0),
        Behaviour(name="view", weight=0.5),
        Behaviour(name="follow", positive=True, weight=1.0),
        Behaviour(name="show", impression=True),
        Behaviour(name="rejected", weight=0.0),  # by pre-rank: never shown
    )
    return Dataset(users(), items(), events, behaviours)


def users() -> Table:
    row = np.arange(USERS)
    columns = {
        "taste": pl.Series([f"t{u % 3}" for u in row]),
        "age": pl.Series(18 + row % 40),
        "city": pl.Series([CITIES[u % 3] for u in row]),
        "town": pl.Series([CITIES[u % 2] for u in row]),
        "wishes": pl.Series([f"c{u % 3}|c{u % 4};c1" for u in row]),
    }
    return Table("users", pl.Series("id", [f"u{u}" for u in row]), pl.DataFrame(columns))


def items() -> Table:
    draw, row = np.random.default_rng(6), np.arange(ITEMS)
    columns = {
        "category": pl.Series([f"c{i % 3}|c{i % 4};c{i % 5}" for i in row]),
        "kind": pl.Series([f"k{i % 5}" for i in row]),
        "price": pl.Series(draw.random(ITEMS) * 50),
        "author": pl.Series([f"a{i % 7}|b{i % 2}" for i in row]),
        "seller": pl.Series([f"s{i % 4}" for i in row]),
        "published": pl.Series(START + (row * 7 % ITEMS) * 2 * DAY),
        "restocked": pl.Series(START + (row * 5 % ITEMS) * 2 * DAY),
        "latitude": pl.Series(48.85 + row % 12 * 4e-2),
        "longitude": pl.Series(2.35 + row // 12 * 4e-2),
        "city": pl.Series([CITIES[i % 3] + ("|Lima" if i % 4 else "") for i in row]),
        "town": pl.Series([CITIES[i % 2] for i in row]),
    }
    return Table("items", pl.Series("id", [f"i{i}" for i in row]), pl.DataFrame(columns))


@cache
def queries() -> Queries:
    """A query per user at the end, then users without a history, who declare interests."""
    data = shop()
    user = np.array([*range(USERS), -1, -1], np.int32)
    time = np.full(len(user), data.end, np.int64)
    n = len(user)
    context = Context(
        np.full(n, 48.9),
        np.full(n, 2.4),
        tuple(CITIES[q % 3] if q % 5 else None for q in range(n)),
        tuple((f"c{q % 4}", f"k{q % 5}") if q % 3 else () for q in range(n)),
    )
    nothing = Ragged.of([np.zeros(0, np.int32)] * n)
    return Queries(user, time, Histories.of(data).at(user, time), nothing, context)


QUICK: dict[str, dict[str, Any]] = {
    "deep_retrieval": {"epochs": 3, "embedding_dim": 8, "nodes": 4, "beam": 6, "most": 30},
    "demographic": {"min_users": 3},
    "fm": {"epochs": 2, "embedding_dim": 8},
    "gru4rec": {"epochs": 3, "embedding_dim": 8},
    "lookalike": {"most": 25, "embedding_dim": 8},
    "mf": {"embedding_dim": 8},
    "rules": {"rule": [{"name": "near", "same": "category"}]},
    "sasrec": {"epochs": 3, "embedding_dim": 8},
    "two_tower": {"epochs": 2, "embedding_dim": 8, "batch_size": 32},
}
"""Options that a channel needs, or with which its fit takes less time."""
RULES = [{"name": "near", "same": "category"}, {"name": "cheap", "sort": "price asc"}]
VALUES: dict[tuple[str, str], Any] = {
    ("again", "behaviours"): ("like",),
    ("again", "weights"): {"like": 9, "view": 0},
    ("again", "column"): "kind",
    ("again", "separator"): ";",
    ("author", "behaviours"): ("follow",),
    ("author", "column"): "seller",
    ("author", "separator"): "|",
    ("city", "column"): "town",
    ("city", "separator"): "|",
    ("city", "user_column"): "town",
    ("content", "columns"): ("kind", "price"),
    ("declared_interests", "columns"): ("category", "kind"),
    ("declared_interests", "separator"): ";",
    ("declared_interests", "user_column"): "wishes",
    ("declared_interests", "user_separator"): ";",
    ("deep_retrieval", "hidden_units"): (16,),
    ("deep_retrieval", "reassignments"): 0,
    ("deep_retrieval", "epochs"): 5,
    ("demographic", "columns"): ("town",),
    ("demographic", "boundaries"): {"age": (25, 40)},
    ("demographic", "min_users"): 25,
    ("ease", "behaviours"): ("like", "view"),
    ("fresh", "column"): "restocked",
    ("geohash", "precision"): 6,
    ("gru4rec", "behaviours"): ("like", "view"),
    ("gru4rec", "loss"): "sampled",
    ("gru4rec", "epochs"): 1,
    ("hot", "column"): "kind",
    ("hot", "separator"): ";",
    ("hot", "boundaries"): (25, 40),
    ("rules", "rule"): RULES,
    ("rules", "separator"): ";",
    ("sasrec", "embedding_dim"): 4,
    ("sasrec", "heads"): 4,
    ("sasrec", "behaviours"): ("like", "view"),
    ("sasrec", "loss"): "sampled",
    ("sasrec", "epochs"): 1,
    ("two_tower", "user_network"): "mlp",
    ("two_tower", "item_network"): "mlp",
    ("two_tower", "hidden_units"): (12,),
    ("two_tower", "examples"): "pairs",
    ("two_tower", "loss"): "pointwise",
    ("two_tower", "bias"): False,
    ("two_tower", "mix"): {"popular": 1.0},
    ("two_tower", "hard_negatives"): "rejected",
}
"""Values to try where the one made from the option's type does not do."""
WITH: dict[tuple[str, str], dict[str, Any]] = {
    ("again", "column"): {"by": "category"},
    ("again", "separator"): {"by": "category"},
    ("declared_interests", "user_separator"): {"user_column": "wishes"},
    ("deep_retrieval", "reassignments"): {"epochs": 6},
    ("demographic", "boundaries"): {"columns": ("age",)},
    ("demographic", "min_users"): {"columns": ("city", "taste", "town")},
    ("geohash", "coarsest"): {"precision": 6},
    ("gru4rec", "mask_positives"): {"loss": "sampled"},
    ("gru4rec", "windows"): {"history": 4},
    ("hot", "column"): {"by": "category"},
    ("hot", "boundaries"): {"by": "audience", "column": "age"},
    ("hot", "fall_back"): {"by": "city"},
    ("itemcf", "prune"): {"neighbours": 4},
    ("rules", "separator"): {"rule": [{"name": "near", "same": "category"}]},
    ("sasrec", "mask_positives"): {"loss": "sampled"},
    ("sasrec", "windows"): {"history": 4},
    ("swing", "prune"): {"neighbours": 4},
    ("two_tower", "output_dim"): {"network": "mlp"},
}
"""Other options with which the option is tried."""
INDEX = "an approximate index is built for thousands of items only (tests/index)"
NO_EFFECT_HERE: dict[tuple[str, str], str] = {
    ("cached", "size"): "what is recalled depends on earlier requests (tests/recall/test_cached)",
    ("cached", "keep"): "likewise",
    ("cached", "max_age"): "likewise",
    ("cached", "store"): "an address (tests/stores)",
    ("offline", "of"): "the channel is built by the registry (tests/recall/test_offline)",
    ("offline", "settings"): "likewise",
    ("offline", "store"): "an address (tests/stores)",
    **{
        (name, option): "stops a fit of hundreds of steps (tests/recall/test_sequences)"
        for name in ("gru4rec", "sasrec")
        for option in ("patience", "evaluate_every")
    },
    ("two_tower", "online"): "learns between trainings (tests/jobs/test_follow)",
    ("ease", "max_gb"): "a bound at which the fit raises (tests/recall/test_ease)",
    **{
        (name, option): INDEX
        for name, kind in CHANNELS.items()
        for option in ("index_recall", "index_k")
        if option in kind.Config.model_fields
    },
}
"""Options without an effect on this little log, and why."""


@pytest.fixture(autouse=True)
def _without_native_bfloat16(monkeypatch):
    """On every processor: where it is native, "on" is what "auto" chooses."""
    monkeypatch.setenv("TAMIS_BFLOAT16", "0")


def cases():
    for name, kind in CHANNELS.items():
        for option in kind.Config.model_fields:
            if (name, option) not in NO_EFFECT_HERE:
                yield pytest.param(name, option, id=f"{name}.{option}")


def other_value(config, option):
    """A valid value of an option that is not its default."""
    field = config.model_fields[option]
    default = field.get_default(call_default_factory=True)
    schema = config.model_json_schema()["properties"][option]
    for part in schema.get("anyOf", [schema]):
        if part.get("type") == "boolean":
            return not default
        if "enum" in part:
            return next(v for v in part["enum"] if v != default)
        if part.get("type") == "integer":
            low = part.get("minimum", 1)
            return max(low, 3) if default is None or default > 3 else default + 1
        if part.get("type") == "number":
            top = part.get("maximum", part.get("exclusiveMaximum", np.inf))
            start = default if isinstance(default, float | int) and default else 0.3
            return start / 3 if start * 3 >= top else start * 3
    return None


def companions(name, option):
    """The options with which `option` has an effect, by its conditions."""
    config = CHANNELS[name].Config
    found = {}
    for need in config.conditions().get(option, ()):
        if need.one_of:
            found[need.names[0]] = need.one_of[0]
    return {**QUICK.get(name, {}), **found, **WITH.get((name, option), {})}


@cache
def fitted(name, given, warm):
    """A channel of the options `given` (JSON), which starts from another fit if `warm`."""
    options = json.loads(given)
    former = CHANNELS[name](**options).fit(shop(), CONTEXT) if warm else None
    return CHANNELS[name](**options).fit(shop(), replace(CONTEXT, former=former))


def recalled(name, options, *, warm=False):
    found = fitted(name, json.dumps(options, sort_keys=True), warm).recall(queries(), 25)
    return found.item, found.score


@pytest.mark.parametrize(("name", "option"), list(cases()))
def test_another_value_of_an_option_changes_what_is_recalled(name, option):
    base = companions(name, option)
    value = VALUES.get((name, option), other_value(CHANNELS[name].Config, option))
    assert base.get(option) != value
    warm = option == "warm_epochs"
    plain = recalled(name, base, warm=warm)
    changed = recalled(name, base | {option: value}, warm=warm)
    assert any(not np.array_equal(a, b) for a, b in zip(plain, changed, strict=True)), (
        f"{name}: {option} = {value!r} recalls the same as {base.get(option, 'the default')!r}"
    )


def test_every_exception_is_an_option():
    for name, option in [*VALUES, *WITH, *NO_EFFECT_HERE]:
        assert option in CHANNELS[name].Config.model_fields, (name, option)
