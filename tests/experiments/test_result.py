"""The state of an experiment in words, case by case."""

import numpy as np
import pytest

from tamis.experiments import ArmMoments, Measure, Metric, read_out
from tamis.schema import ConfigError

NAMES = ("y", "before", "errors")
GOAL = Measure("sales", Metric("y", before="before"), "goal")
GUARD = Measure("errors", Metric("errors"), "guardrail", larger_is_better=False)


def arm(n=2_000, lift=0.0, before=0.0, errors=0.0, seed=0):
    random = np.random.default_rng(seed)
    habit = random.normal(10, 2, n)
    y = habit + lift + random.normal(0, 1, n)
    return ArmMoments.of(
        NAMES, np.stack([y, habit + before, random.normal(1 + errors, 0.5, n)], axis=1)
    )


def state(old, new, **options):
    return read_out({"old": old, "new": new}, "old", [GOAL, GUARD], **options)


def test_a_better_arm_is_shipped():
    found = state(arm(seed=1), arm(lift=0.3, seed=2))
    assert (found.state, found.winner) == ("ship", "new")
    assert "sales +" in found.text
    assert found.users == {"old": 2_000, "new": 2_000}
    assert found.findings[0].effect.variance_kept < 0.4


def test_a_worse_arm_is_rolled_back():
    found = state(arm(seed=1), arm(lift=-0.3, seed=2))
    assert (found.state, found.winner) == ("roll back", None)


def test_a_guardrail_stops_a_better_arm():
    found = state(arm(seed=1), arm(lift=0.3, errors=0.5, seed=2))
    assert (found.state, found.winner) == ("roll back", None)
    assert "guardrail got worse: errors" in found.text


def test_equal_arms():
    found = state(arm(seed=1), arm(seed=2))
    assert (found.state, found.winner) == ("no difference found", None)
    assert "includes 0" in found.text


@pytest.mark.parametrize(
    ("new", "options", "match"),
    [
        ({"n": 1_700, "lift": 1.0}, {}, "sample ratio"),
        ({"before": 1.0, "lift": 1.0}, {}, "before exposure"),
        ({"lift": 1.0}, {"several": 50}, "several arms"),
    ],
)
def test_an_unsound_experiment_has_no_winner(new, options, match):
    found = state(arm(seed=1), arm(seed=2, **new), **options)
    assert (found.state, found.winner) == ("not healthy", None)
    assert match in found.text


def test_declared_shares_are_those_that_are_checked():
    found = state(arm(seed=1), arm(n=500, lift=0.3, seed=2), shares={"old": 0.8, "new": 0.2})
    assert found.state == "ship"


def test_too_few_users_and_too_early():
    assert state(arm(n=20), arm(n=20)).state == "no data yet"
    early = state(arm(seed=1), arm(lift=0.3, seed=2), planned=10_000)
    assert (early.state, early.winner) == ("running", None)
    assert "4,000 of 10,000 users" in early.text
    watched = state(arm(seed=1), arm(lift=0.3, seed=2), planned=10_000, watched=True)
    assert (watched.state, watched.winner) == ("ship", "new")
    assert watched.findings[0].watched.significant


def test_a_null_pair_is_rarely_declared():
    """400 pairs without a difference: fewer than 5 % are shipped or rolled back."""
    declared = 0
    for seed in range(400):
        found = read_out(
            {"old": arm(200, seed=2 * seed), "new": arm(200, seed=2 * seed + 1)}, "old", [GOAL]
        )
        declared += found.state in ("ship", "roll back")
    assert declared / 400 <= 0.07


@pytest.mark.parametrize(
    ("arms", "control", "measures", "options", "match"),
    [
        (("a", "b"), "c", [GOAL], {}, "control = 'c'"),
        (("a",), "a", [GOAL], {}, "two or more"),
        (("a", "b"), "a", [GUARD], {}, "0 goals"),
        (("a", "b"), "a", [GOAL, GOAL], {}, "2 goals"),
        (("a", "b"), "a", [GOAL], {"shares": {"a": 1.0}}, "one per arm"),
        (("a", "b"), "a", [GOAL], {"watched": True}, "needs `planned`"),
    ],
)
def test_wrong_designs_are_refused(arms, control, measures, options, match):
    with pytest.raises(ConfigError, match=match):
        read_out({name: arm(50) for name in arms}, control, measures, **options)
