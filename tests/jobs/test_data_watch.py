"""Drift of a feature: the population stability index, less what chance adds."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tamis.jobs._data_watch import compare, effective_size, psi
from tamis.schema import SparseFeat

CITIES = 20


def test_the_effective_size_by_hand() -> None:
    assert effective_size(np.array([7, 8, 9])) == pytest.approx(3)
    assert effective_size(np.array([7, 7, 7])) == pytest.approx(1)
    assert effective_size(np.array([7, 7, 8])) == pytest.approx(9 / 5)
    assert effective_size(np.array([], np.int32)) == 0


def test_the_index_by_hand() -> None:
    # Of 50 independent ones among the 100 new events, 5 and 45 are counted.
    p, q = np.array([90.5, 10.5]) / 101, np.array([5.5, 45.5]) / 51
    plain = float(((p - q) * np.log(p / q)).sum())
    found = psi(np.array([90, 10]), np.array([10, 90]), (100.0, 50.0))
    assert found == pytest.approx(plain - (1 + 2 * 2**0.5) * (1 / 100 + 1 / 50))
    assert psi(np.array([60, 40]), np.array([60, 40]), (100.0, 100.0)) == 0


def test_the_cities_of_a_few_visitors_are_no_drift() -> None:
    """100 of 600 users a day, 12 events of each, from one distribution of cities."""
    draw = np.random.default_rng(0)
    of_user = draw.integers(CITIES, size=600)
    found = []
    for _ in range(50):
        days = [np.repeat(draw.choice(600, 100, replace=False), 12) for _ in range(2)]
        before, now = (pl.Series(of_user[users].astype(str)) for users in days)
        sizes = effective_size(days[0]), effective_size(days[1])
        one = compare(SparseFeat("city"), before, now, sizes)
        assert one.psi is not None
        found.append(one.psi)
    assert np.mean(found) < 0.1
    assert max(found) < 0.25


def test_a_city_that_a_pipeline_lost_is_drift() -> None:
    draw = np.random.default_rng(1)
    users = np.repeat(np.arange(100), 12)
    before = pl.Series(draw.integers(CITIES, size=100)[users].astype(str))
    sizes = effective_size(users), effective_size(users)
    one = compare(SparseFeat("city"), before, pl.Series(["0"] * len(users)), sizes)
    assert one.psi is not None
    assert one.psi > 1
