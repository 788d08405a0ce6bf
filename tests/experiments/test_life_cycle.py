"""The life of experiments: what steps make of them, and who is in which arm."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tamis.experiments import Experiments
from tamis.journal import ExperimentStep
from tamis.schema import ConfigError

USERS = [f"u{k}" for k in range(4_000)]


def design(layer: str = "rank", **fields: Any) -> dict[str, Any]:
    arms = fields.pop("arms", {"a": {}, "b": {}})
    return {"layer": layer, "control": "a", "arms": arms, "goal": "click", **fields}


def step(name: str, kind: str = "start", **fields: Any) -> ExperimentStep:
    if kind == "start":
        fields = {"traffic": 0.2, "design": design(), **fields}
    return ExperimentStep(experiment=name, step=kind, time=1, by="ann", **fields)  # type: ignore[arg-type]


def arms(state: Experiments, name: str) -> dict[str, str]:
    """Unit → arm, of those that take part."""
    found = {user: state.assigned({"user": user, "session": None}) for user in USERS}
    return {user: given[name] for user, given in found.items() if name in given}


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5))
def test_nobody_changes_arm_when_the_traffic_changes(ramps: list[float]) -> None:
    state = Experiments.of([step("e", traffic=ramps[0])])
    before = arms(state, "e")
    for traffic in ramps[1:]:
        state = state.after(step("e", "ramp", traffic=traffic))
        now = arms(state, "e")
        assert len(now) == pytest.approx(traffic * len(USERS), abs=5 * len(USERS) ** 0.5)
        assert all(now[user] == before[user] for user in now.keys() & before.keys())
        smaller, larger = sorted((before, now), key=len)
        assert smaller.keys() <= larger.keys()
        before = now


def test_experiments_of_a_layer_exclude_one_another_and_its_holdout() -> None:
    state = Experiments.of(
        [step("e", traffic=0.5, holdout=0.1), step("f", traffic=0.4, holdout=0.1)]
    )
    first, second = arms(state, "e"), arms(state, "f")
    assert not first.keys() & second.keys()
    assert len(USERS) - len(first) - len(second) == pytest.approx(400, abs=100)
    with pytest.raises(ConfigError, match=r"0\.00% is free"):
        state.after(step("g", traffic=0.01, holdout=0.1))
    with pytest.raises(ConfigError, match="holdout of layer 'rank' cannot grow"):
        state.after(step("g", traffic=0.01, holdout=0.3))
    freed = state.after(step("e", "close")).after(step("g", traffic=0.5, holdout=0.1))
    assert not arms(freed, "e")
    assert arms(freed, "f") == second
    assert len(arms(freed, "g")) == pytest.approx(2_000, abs=200)


def test_a_holdout_of_all_layers_is_in_no_experiment() -> None:
    state = Experiments.of(
        [
            step("e", traffic=1.0, outside=0.25),
            step("f", traffic=1.0, outside=0.25, design=design("rerank")),
        ]
    )
    first, second = arms(state, "e"), arms(state, "f")
    assert first.keys() == second.keys()
    assert len(first) == pytest.approx(3_000, abs=150)


def test_eight_layers_are_independent_of_one_another() -> None:
    layers = [f"layer-{k}" for k in range(8)]
    state = Experiments.of([step(name, traffic=1.0, design=design(name)) for name in layers])
    given = [state.assigned({"user": user, "session": None}) for user in USERS]
    tests = []
    for one, other in combinations(layers, 2):
        table = np.zeros((2, 2))
        for each in given:
            table["ab".index(each[one]), "ab".index(each[other])] += 1
        tests.append(stats.chi2_contingency(table, correction=False).pvalue)
    # 28 tests: by chance 1.4 are below .05; the smallest is below .05 / 28 once in twenty
    assert min(tests) > 0.001
    assert np.mean(np.array(tests) < 0.05) < 0.2


def test_a_full_rollout_keeps_a_reverse_bucket_at_the_control() -> None:
    state = Experiments.of([step("e", traffic=0.3)])
    state = state.after(step("e", "full", arm="b", reverse=0.1))
    found = arms(state, "e")
    assert state.find("e").stage == "full"
    assert len(found) == len(USERS)
    assert state.find("e").traffic == 1.0
    assert sum(arm == "a" for arm in found.values()) == pytest.approx(400, abs=100)
    with pytest.raises(ConfigError, match="rolled out fully"):
        state.after(step("e", "ramp", traffic=0.5))
    closed = state.after(step("e", "close"))
    assert not arms(closed, "e")
    assert closed.find("e").closed == 1


def test_sessions_stand_for_users_without_id() -> None:
    state = Experiments.of([step("e", traffic=1.0, design=design(unit="session"))])
    assert state.assigned({"user": "u1", "session": None}) == {}
    assert set(state.assigned({"user": None, "session": "s1"})) == {"e"}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([step("e"), step("e")], "was started before"),
        ([step("e", "ramp", traffic=0.5)], "'e' was not started; those that were: none"),
        ([step("e"), step("e", "close"), step("e", "ramp", traffic=0.5)], "was closed"),
        ([step("e", traffic=0.0)], "one of 10,000 buckets"),
        ([step("e"), step("e", "full", arm="c")], "has the arms a, b"),
        ([step("e"), step("e", "full", arm="b", reverse=0.7)], "reverse = 0.7"),
        ([step("e"), step("f"), step("e", "full", arm="b")], "f run in the layer 'rank'"),
        ([step("e", traffic=0.6), step("f", traffic=0.6)], "40.00% is free"),
        ([step("e", traffic=0.00004)], "one of 10,000 buckets"),
        ([step("e"), step("f", design=design(unit="session"))], "a layer has one unit"),
        ([step("e"), step("f", outside=0.3)], "users would leave running experiments"),
        ([step("e", design=design(interleaving=True)), step("e", "full", arm="b")], "interleaves"),
    ],
)
def test_impossible_steps_are_refused(steps: list[ExperimentStep], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Experiments.of(steps)
