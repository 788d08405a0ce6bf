"""Assignment: independent layers, disjoint experiments, arms that nobody changes."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tamis.experiments import BUCKETS, Allocation, arm_of, bucket
from tamis.schema import ConfigError

UNITS = [f"user {k}" for k in range(20_000)]


def test_layers_are_independent():
    layers = [f"layer {k}" for k in range(8)]
    tenth = {name: np.array([bucket(u, name) * 10 // BUCKETS for u in UNITS]) for name in layers}
    p = []
    for a, b in combinations(layers, 2):
        table = np.zeros((10, 10))
        np.add.at(table, (tenth[a], tenth[b]), 1)
        p.append(stats.chi2_contingency(table).pvalue)
    assert min(p) * len(p) > 0.01
    for name in layers:
        assert stats.chisquare(np.bincount(tenth[name], minlength=10)).pvalue > 0.001


def test_arms_have_their_shares_and_are_independent_of_the_bucket():
    weights = {"old": 3.0, "new": 1.0}
    arms = [arm_of(u, "e", weights) for u in UNITS]
    counts = Counter(arms)
    assert stats.chisquare([counts["old"], counts["new"]], [15_000, 5_000]).pvalue > 0.001
    half = np.array([bucket(u, "rank") < BUCKETS // 2 for u in UNITS])
    new = np.array(arms) == "new"
    table = [[(half & new).sum(), (half & ~new).sum()], [(~half & new).sum(), (~half & ~new).sum()]]
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_order_does_not_matter_and_a_new_arm_moves_users_only_to_itself():
    two = {u: arm_of(u, "e", {"a": 1, "b": 1}) for u in UNITS[:4_000]}
    assert two == {u: arm_of(u, "e", {"b": 1, "a": 1}) for u in two}
    three = {u: arm_of(u, "e", {"a": 1, "b": 1, "c": 1}) for u in two}
    moved = [u for u in two if two[u] != three[u]]
    assert {three[u] for u in moved} == {"c"}
    assert len(moved) == pytest.approx(4_000 / 3, rel=0.1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), max_size=12))
def test_experiments_of_a_layer_are_disjoint_and_growth_keeps_its_buckets(steps):
    held = Allocation("rank", holdout=500)
    for name, percent in steps:
        before = set().union(*map(set, (held.held or {}).get(name, ())))
        others = sum(len(r) for n, rs in (held.held or {}).items() if n != name for r in rs)
        if others + percent * 100 > BUCKETS - 500:
            with pytest.raises(ConfigError, match="is free"):
                held.resized(name, percent / 100)
            continue
        held = held.resized(name, percent / 100)
        after = set().union(*map(set, (held.held or {}).get(name, ())))
        assert len(after) == percent * 100
        assert before <= after or after <= before
        everything = [b for ranges in (held.held or {}).values() for r in ranges for b in r]
        assert len(everything) == len(set(everything))
        assert min(everything, default=500) >= 500


def test_a_unit_takes_part_where_its_bucket_is():
    held = Allocation("rank").resized("e", 0.3)
    part = [u for u in UNITS[:5_000] if held.experiment(u) == "e"]
    assert len(part) == pytest.approx(1_500, rel=0.1)
    grown = held.resized("e", 0.6)
    assert all(grown.experiment(u) == "e" for u in part)


def test_impossible_shares_are_refused():
    with pytest.raises(ConfigError, match="give a share from 0 to 1"):
        Allocation("rank").resized("e", 1.5)
    with pytest.raises(ConfigError, match="has no arms"):
        arm_of("u", "e", {})
    with pytest.raises(ConfigError, match="give one above 0"):
        arm_of("u", "e", {"a": 0.0})
