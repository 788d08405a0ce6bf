"""Estimates of another policy from drawn slates: exact probabilities, coverage of the truth."""

import importlib
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest

from tamis.experiments import SlatePolicy
from tamis.jobs._drawn_slates import DrawnSlate
from tamis.schema import DataError

job = importlib.import_module("tamis.jobs.estimate_policy")  # the package has its function
VALUE = np.array([0.2, 0.9, 0.5, 0.35, 0.7])
LOGGED, OTHER = SlatePolicy(0.6, 5), SlatePolicy(0.3, 4)
LIKED = np.array([0.1, 0.2, 0.6, 0.5, 0.3])
"""Chance of a click on each candidate, times 1 / place."""
PLACES = 2


def chances(slate):
    """(places,) of clicks."""
    return LIKED[list(slate)] / (1 + np.arange(len(slate)))


def probability(policy, slate):
    odds = policy.odds(VALUE, np.array(slate))
    return float(np.prod(odds[np.arange(len(slate)), list(slate)]))


def test_probabilities_by_hand():
    odds = SlatePolicy(0.5, 3).odds(np.array([3.0, np.nan, 1.0, 2.0, -5.0]), np.array([3, 0]))
    scaled = np.exp(np.array([1.0, 6 / 8, 7 / 8]) / 0.5)  # of 0, 2, 3: from −5 to 3
    assert odds[0] == pytest.approx(
        np.array([scaled[0], 0, scaled[1], scaled[2], 0]) / scaled.sum()
    )
    left = np.exp(np.array([1.0, 6 / 8, 0.0]) / 0.5)  # 3 is placed, so 4 is among the best three
    assert odds[1] == pytest.approx(np.array([left[0], 0, left[1], 0, left[2]]) / left.sum())
    best = SlatePolicy(None).odds(VALUE, np.array([1, 4, 0]))
    assert best.argmax(axis=1).tolist() == [1, 4, 2]
    assert (best.max(axis=1) == 1).all()
    for policy in (LOGGED, OTHER, SlatePolicy(None)):
        whole = sum(probability(policy, slate) for slate in permutations(range(5), PLACES))
        assert whole == pytest.approx(1.0)


def slates_of(random, n, policy=LOGGED, users=None):
    """n logged slates and the clicks on their places."""
    every = list(permutations(range(5), PLACES))
    odds = np.array([probability(policy, slate) for slate in every])
    made, clicks = [], []
    for k, at in enumerate(random.choice(len(every), n, p=odds / odds.sum()).tolist()):
        chosen = np.array(every[at])
        before, after = policy.odds(VALUE, chosen), OTHER.odds(VALUE, chosen)
        inputs = np.stack([np.ones(5), VALUE], axis=1)
        own = before[np.arange(PLACES), chosen]
        made.append(
            DrawnSlate(
                answer=f"r{k}",
                user=f"u{k if users is None else k % users}",
                items=[f"i{i}" for i in chosen],
                propensity=own,
                target=after[np.arange(PLACES), chosen],
                supported=(after * (before > 0)).sum(axis=1),
                again=own,
                inputs=inputs[chosen],
                mean_inputs=after @ inputs,
            )
        )
        clicks.append(random.random(PLACES) < chances(every[at]))
    return made, np.concatenate(clicks).astype(np.float64)


PROJECT = SimpleNamespace(name="test", cascade=SimpleNamespace(fusion="like"))


def estimated(slates, clicks):
    other = SimpleNamespace(config=PROJECT, draw=OTHER)
    return job._estimated(PROJECT, other, "click", slates, clicks, {}, (), 0.95)


TRUTH = sum(
    probability(OTHER, slate) * chances(slate).sum() for slate in permutations(range(5), PLACES)
)
AS_LOGGED = sum(
    probability(LOGGED, slate) * chances(slate).sum() for slate in permutations(range(5), PLACES)
)


def test_intervals_cover_the_true_value_of_the_other_policy():
    """200 repeats; the value as logged is another one."""
    assert abs(TRUTH / AS_LOGGED - 1) > 0.05
    random = np.random.default_rng(0)
    covered = dict.fromkeys(("ips", "snips", "dr"), 0)
    widths = {name: [] for name in covered}
    values = {name: [] for name in covered}
    for _ in range(200):
        found = estimated(*slates_of(random, 250))
        for one in found.estimates:
            covered[one.method] += one.low <= TRUTH <= one.high
            widths[one.method].append(one.high - one.low)
            values[one.method].append(one.value)
    assert all(count >= 180 for count in covered.values()), covered
    for name, all_values in values.items():
        assert np.mean(all_values) == pytest.approx(TRUTH, rel=0.04), name
    assert np.mean(widths["dr"]) < np.mean(widths["ips"])


def test_the_report_of_weights():
    slates, clicks = slates_of(np.random.default_rng(1), 2_000, users=40)
    found = estimated(slates, clicks)
    assert (found.answers, found.users, found.places) == (2_000, 40, PLACES)
    assert found.logged == pytest.approx(clicks.sum() / 2_000)
    first, second = found.weights
    assert first.mean_weight == pytest.approx(1.0, abs=0.05)
    assert second.mean_weight == pytest.approx(1.0, abs=0.1)
    assert 2_000 > first.effective > second.effective > 500
    assert (found.agreement, found.note) == (0.0, "")


def test_missing_support_is_refused():
    """Logged slates hold the best two alone; the other policy draws of four."""
    slates, clicks = slates_of(np.random.default_rng(2), 500, SlatePolicy(0.6, 1))
    with pytest.raises(DataError, match="was never shown"):
        estimated(slates, clicks)
    few, clicks = slates_of(np.random.default_rng(2), 40)
    with pytest.raises(DataError, match=r"effective decisions.*40 drawn answers of 2\.0 places"):
        estimated(few, clicks)
