"""Survival of the ranker's best, by hand and beside a naive loop."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.evaluate import survival


def test_by_hand():
    value = np.array([0.1, 0.9, 0.5, 0.7, 0.3, 0.2, 0.8])
    kept = np.array([True, False, True, True, False, True, True])
    indptr = np.array([0, 4, 4, 7])
    # request 1: best two .9 (cut), .7 (kept); request 2 has none; request 3: .8 kept, .3 cut
    got = survival(value, kept, indptr, tops=(1, 2, 50))
    assert got == {
        "survive@1": pytest.approx((0 + 1) / 2),
        "survive@2": pytest.approx((1 / 2 + 1 / 2) / 2),
        "survive@50": pytest.approx((3 / 4 + 2 / 3) / 2),
    }


def test_ties_are_ordered_by_position():
    got = survival(np.zeros(4), np.array([True, False, True, True]), np.array([0, 4]), tops=(1, 2))
    assert got == {"survive@1": 1.0, "survive@2": 0.5}


def test_no_candidates_give_nan():
    got = survival(np.zeros(0), np.zeros(0, bool), np.array([0, 0, 0]), tops=(5,))
    assert np.isnan(got["survive@5"])


@given(st.lists(st.integers(0, 9), max_size=5), st.integers(0, 99))
def test_equals_the_naive_loop(sizes, seed):
    draw = np.random.default_rng(seed)
    indptr = np.cumsum([0, *sizes])
    value = draw.integers(0, 4, indptr[-1]).astype(float)
    kept = draw.random(indptr[-1]) < 0.5
    shares = []
    for a, b in pairwise(indptr):
        if b > a:
            best = sorted(range(a, b), key=lambda i: (-value[i], i))[:3]
            shares.append(sum(kept[i] for i in best) / len(best))
    want = float(np.mean(shares)) if shares else float("nan")
    got = survival(value, kept, indptr, tops=(3,))["survive@3"]
    np.testing.assert_allclose(got, want)
