"""Every option of a ranker or pre-ranker has an effect: another value changes its predictions.

Options that many scorers share are tested with one of them, unless a scorer changes their default.
"""

import json
from functools import cache
from typing import Any

import numpy as np
import pytest

from tamis.features import Rows
from tamis.service import registry
from tamis.testing import candidate_rows

SHARED = {"rank": "deepfm", "prerank": "inner_product"}
"""The scorer with which the options of several scorers of its kind are tested."""
QUICK = {
    "epochs": 3,
    "patience": 3,
    "batch_size": 64,
    "embedding_dim": 4,
    "hidden_units": (8, 6),
    "user_units": (8, 4),
    "item_units": (8, 4),
    "trees": 30,
    "min_leaf": 8,
    "threads": 1,
    "engine": "torch",
}
VALUES: dict[str, Any] = {
    "activation": "tanh",
    "attention_activation": "tanh",
    "attention_units": (6,),
    "calibrate": "platt",
    "categories": 0,
    "channel": "other",
    "cross_units": (5,),
    "crosses": (("taste", "kind"),),
    "embedding_optimiser": "adam",
    "hidden_units": (7,),
    "init_std": 0.3,
    "item_units": (6, 4),
    "lhuc": ("taste",),
    "loss": "listwise",
    "metric": "ndcg",
    "heads": 1,
    "leaves": 4,
    "top_units": (5,),
    "tower_units": (5,),
    "user_units": (6, 4),
}
"""Values to try where the one made from the option's type does not do."""
STOPS = {"epochs": 16, "learning_rate": 0.1, "embedding_learning_rate": 0.3}
WITH: dict[str, dict[str, Any]] = {
    "interaction": {},
    "l2_rows": {"l2": 0.01},
    "metric": {**STOPS, "patience": 1},
    "reduction": {"senet": "sigmoid", "init_std": 0.3},
    "senet": {"init_std": 0.3},
    "structure": {},
    "cross_buckets": {"crosses": (("taste", "kind"), ("user", "item"))},
    "lhuc_gradient": {"lhuc": True, "reads": "all"},
    "gate_units": {"lhuc": True},
}
"""Other options with which the option is tried."""
SPEED = "changes how fast the scorer is, not what it predicts"
NO_EFFECT_HERE: dict[str, str] = {
    "bfloat16": SPEED + ", except by rounding on hardware that has bfloat16",
    "channel": "names a channel of a project (tests/journeys/test_prerankers)",
    "decay_on_plateau": "on few rows the best epoch comes first (tests/train/test_loop_options)",
    "engine": SPEED,
    "engine_threads": SPEED,
    "patience": "likewise (tests/train/test_loop, tests/rank/test_gbdt)",
    "sequence": "has one value in a scorer that is defined by it",
    "teacher": "needs a fitted ranker (tests/prerank/test_teacher)",
    "threads": SPEED,
}
NEED_VECTORS = {("stored", "hidden_units"), ("stored", "learning_rate")}
"""Options of a pre-ranker that reads the vectors of a project's channel (tests/prerank)."""
"""Options without an effect on these rows, and why."""


def all_options():
    """(kind, name, option) of every scorer, shared options once."""
    for kind, representative in SHARED.items():
        scorers = registry.available(kind)
        shared = scorers[representative].Config.model_fields
        for name, scorer in scorers.items():
            for option, field in scorer.Config.model_fields.items():
                same = option in shared and shared[option].default == field.default
                if not same or name == representative:
                    yield kind, name, option


CASES = [
    pytest.param(*case, id=".".join(case))
    for case in all_options()
    if (case[2] not in NO_EFFECT_HERE or case[1:] == ("deepfm", "sequence"))
    and case[1:] not in NEED_VECTORS
]


def other_value(config, option):
    """A valid value of an option that is not its default."""
    if option in VALUES:
        return VALUES[option]
    default = config.model_fields[option].default
    schema = config.model_json_schema()["properties"][option]
    for part in schema.get("anyOf", [schema]):
        if part.get("type") == "boolean":
            return not default
        if "enum" in part:
            return next(v for v in part["enum"] if v != default)
        if part.get("type") == "integer":
            return 1 if default is None or default > 2 else default + 1
        if part.get("type") == "number":
            return default / 3 if default else 0.3
    raise AssertionError(f"give VALUES a value of {config.__name__}.{option}: {schema}")


def companions(config, name, option):
    base = {k: v for k, v in QUICK.items() if k in config.model_fields}
    for need in config.conditions().get(option, ()):
        if need.one_of:
            base[need.names[0]] = need.one_of[0]
    return base | {k: v for k, v in WITH.get(option, {}).items() if k in config.model_fields}


@cache
def noisy(queries, seed) -> Rows:
    """Rows of which a tenth of the labels are wrong, so that validation metrics differ."""
    rows = candidate_rows(queries, seed)
    draw = np.random.default_rng(seed + 9)
    wrong = draw.random(rows.labels.shape) < 0.1
    rows.labels[wrong] = 1 - rows.labels[wrong]
    return rows


@cache
def predicted(kind, name, given):
    scorer = registry.available(kind)[name](**json.loads(given))
    scorer.fit(noisy(60, 1), noisy(30, 2), tasks=["click", "like"])
    return scorer.score_rows(noisy(30, 3))


@pytest.mark.parametrize(("kind", "name", "option"), CASES)
def test_another_value_of_an_option_changes_the_predictions(kind, name, option):
    config = registry.available(kind)[name].Config
    base, value = companions(config, name, option), other_value(config, option)
    if base.get(option) == value:
        base.pop(option)
    plain = predicted(kind, name, json.dumps(base, sort_keys=True))
    changed = predicted(kind, name, json.dumps(base | {option: value}, sort_keys=True))
    assert any(not np.array_equal(plain[task], changed[task]) for task in plain), (
        f"{name}: {option} = {value!r} predicts the same as {base.get(option, 'the default')!r}"
    )


def test_every_exception_is_an_option():
    known = {option for _, _, option in all_options()}
    assert known.issuperset([*VALUES, *WITH, *NO_EFFECT_HERE])
