"""Preference between interleaved rankings: its interval by a bootstrap, and its level."""

from __future__ import annotations

import numpy as np
import pytest

from tamis.experiments import preference
from tamis.schema import DataError


def credits(users: int, share: float, random: np.random.Generator) -> np.ndarray:
    """Users of very different activity; each event is the treatment's with their own share."""
    events = random.poisson(random.gamma(0.5, 6.0, users))
    own = random.beta(8 * share, 8 * (1 - share), users)
    treatment = random.binomial(events, own)
    return np.stack([events - treatment, treatment], axis=1)


def test_the_interval_is_that_of_a_bootstrap_over_users() -> None:
    random = np.random.default_rng(0)
    given = credits(3_000, 0.55, random)
    found = preference(given)
    some = given[given.sum(axis=1) > 0]
    drawn = random.integers(0, len(some), (4_000, len(some)))
    sums = some[drawn].sum(axis=1)
    low, high = np.quantile(sums[:, 1] / sums.sum(axis=1), [0.025, 0.975])
    assert found.share == pytest.approx(given[:, 1].sum() / given.sum())
    assert found.low == pytest.approx(low, abs=0.1 * (high - low))
    assert found.high == pytest.approx(high, abs=0.1 * (high - low))
    assert "the treatment is preferred" in found.text


def test_equal_rankings_are_preferred_as_rarely_as_the_level_says() -> None:
    random = np.random.default_rng(1)
    found = [preference(credits(400, 0.5, random)).p for _ in range(2_000)]
    assert 0.035 < np.mean(np.array(found) < 0.05) < 0.065


def test_few_users_and_wrong_counts() -> None:
    few = preference(np.array([[1.0, 3.0]] * 10))
    assert few.share == 0.75
    assert few.p != few.p
    assert "at least 30" in few.text
    with pytest.raises(DataError, match=r"\(users, 2\)"):
        preference(np.ones((5, 3)))
