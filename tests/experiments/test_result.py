"""The state of an experiment in words, case by case."""

import numpy as np
import pytest

from tamis.experiments import ArmMoments, ExperimentRun, Measure, Metric, read_out
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


def test_a_guardrail_alone_rolls_back():
    found = state(arm(seed=1), arm(errors=0.5, seed=2))
    assert (found.state, found.winner) == ("roll back", None)
    assert found.text.startswith("guardrail: errors +")


def test_of_several_arms_the_sound_one_is_shipped():
    arms = {
        "old": arm(seed=1),
        "good": arm(lift=0.3, seed=2),
        "slow": arm(lift=0.6, errors=0.5, seed=3),
        "bad": arm(lift=-0.3, seed=4),
    }
    found = read_out(arms, "old", [GOAL, GUARD])
    assert (found.state, found.winner) == ("ship", "good")
    del arms["good"], arms["slow"]
    found = read_out({**arms, "same": arm(seed=5)}, "old", [GOAL])
    assert (found.state, found.winner) == ("no difference found", None)
    assert "sales of arm 'same'" in found.text
    assert "in arm 'bad'" in found.text, "and what got worse is said, too"


def test_both_effects_are_reported_with_and_without_the_days_before():
    found = state(arm(seed=1), arm(lift=0.3, seed=2)).findings
    plain = found[0].without_before
    assert plain.high - plain.low > 1.5 * (found[0].effect.high - found[0].effect.low)
    assert found[1].without_before is None


@pytest.mark.parametrize(
    ("run", "options", "text"),
    [
        (ExperimentRun(3.0, 7), {}, "3.0 of at least 7 days; no number of users was planned"),
        (ExperimentRun(9.0, 7), {}, "No number of users was planned"),
        (ExperimentRun(9.0, 7, per_day=500), {"planned": 6_000}, "About 4 days left: 4,000 of"),
        (ExperimentRun(2.0, 7, per_day=9_000), {"planned": 5_000}, "About 5 days left: 2.0 of"),
        (ExperimentRun(9.0, 7), {"planned": 6_000}, "4,000 of 6,000 users so far"),
        (ExperimentRun(2.0, 7), {"planned": 4_000, "watched": True}, "2.0 of at least 7 days"),
    ],
)
def test_a_running_experiment_names_no_winner(run, options, text):
    found = state(arm(seed=1), arm(lift=0.3, seed=2), run=run, **options)
    assert (found.state, found.winner) == ("running", None)
    assert text in found.text
    left = run.days_left(4_000, options.get("planned"))
    assert found.days_left == left


def test_a_running_experiment_has_its_result_when_the_design_allows_it():
    arms = arm(seed=1), arm(lift=0.3, seed=2)
    reached = ExperimentRun(8.0, 7.0)
    assert state(*arms, run=reached, planned=4_000).state == "ship"
    assert state(*arms, run=reached, planned=9_000, watched=True).state == "ship"
    assert state(*arms, run=ExperimentRun(8.0, 7.0, ended=True)).state == "ship"
    early = ExperimentRun(1.0, 7.0)
    harm = state(arm(seed=1), arm(errors=0.5, seed=2), run=early, planned=9_000, watched=True)
    assert harm.state == "roll back", "harm beyond chance at every look is reported at once"


@pytest.mark.parametrize(
    ("run", "planned", "match"),
    [
        (ExperimentRun(3.0, 7.0, ended=True), None, "run time: 3.0 of at least 7 days"),
        (ExperimentRun(8.0, 7.0, ended=True), 9_000, "4,000 of 9,000 planned users at its end"),
    ],
)
def test_an_experiment_that_was_stopped_early_has_no_winner(run, planned, match):
    found = state(arm(seed=1), arm(lift=0.3, seed=2), run=run, planned=planned)
    assert (found.state, found.winner) == ("not healthy", None)
    assert match in found.text


def test_watched_results_have_a_sequential_test_of_the_shares():
    found = state(arm(seed=1), arm(seed=2), planned=9_000, watched=True)
    assert found.checks[0].name == "sample ratio, watched"
    broken = state(arm(seed=1), arm(n=1_500, seed=2), planned=9_000, watched=True)
    assert (broken.state, broken.winner) == ("not healthy", None)


def test_intervals_at_every_look_are_wider_for_several_arms():
    old, new = arm(seed=1), arm(lift=0.1, seed=2)
    pair = {"old": old, "new": new}
    one = read_out(pair, "old", [GOAL], planned=4_000).findings[0].watched
    both = (
        read_out({**pair, "other": arm(seed=3)}, "old", [GOAL], planned=6_000).findings[0].watched
    )
    assert both.high - both.low > one.high - one.low


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
