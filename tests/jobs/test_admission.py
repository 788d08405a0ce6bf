"""Counts of ids within a window, in memory that does not grow."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tamis.jobs._admission import Sketch

HOUR = 3_600_000


@given(st.lists(st.integers(0, 30), max_size=200))
def test_a_count_within_half_a_window_is_exact_or_too_high(ids: list[int]) -> None:
    sketch = Sketch(2 * HOUR)
    for k, one in enumerate(ids):
        assert sketch.add(f"id{one}", HOUR + k) >= ids[: k + 1].count(one)


def test_a_count_forgets_what_is_older_than_the_window() -> None:
    sketch = Sketch(2 * HOUR)
    assert [sketch.add("a", k * HOUR // 4) for k in range(4)] == [1, 2, 3, 4]
    assert sketch.add("a", 5 * HOUR // 4) == 5
    assert sketch.add("a", 2 * HOUR) == 2, "the first hour is gone"
    assert sketch.add("a", 50 * HOUR) == 1
    assert sketch.add("b", 49 * HOUR) == 1, "late events count in the newest half"


def test_few_of_many_ids_are_counted_too_high() -> None:
    sketch = Sketch(2 * HOUR)
    ids = np.random.default_rng(0).integers(1_000_000, size=20_000)
    high = sum(sketch.add(str(one), HOUR) > 1 for one in np.unique(ids).tolist())
    assert high < 0.01 * len(ids)
