"""Ranks against scipy's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from tamis.runtime import mean_ranks


@given(st.lists(st.sampled_from([-np.inf, -2.5, 0.0, 0.25, 1.0, 7.0]), max_size=30))
def test_they_are_scipys(values: list[float]) -> None:
    assert mean_ranks(np.array(values, np.float32)).tolist() == rankdata(values).tolist()
