"""The global time split."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.data import Events
from tamis.schema import DataError, SplitConfig
from tamis.splitting import Window, cuts, events_in, test_cut, windows


def log(times: Any) -> Events:
    t = np.sort(np.asarray(times, dtype=np.int64))
    zero = np.zeros(len(t), np.int32)
    behaviour, position = zero.astype(np.uint8), zero.astype(np.int16)
    return Events(zero, zero, behaviour, t, t, t.astype(np.float32), t, position)


def test_ten_events_are_cut_by_share() -> None:
    events = log(range(100, 110))
    assert cuts(events, [0.8, 0.9]) == [108, 109]
    assert test_cut(SplitConfig(), events) == 109
    assert windows(SplitConfig(), events) == [(105, 106), (106, 107), (107, 108), (108, 109)]
    assert windows(SplitConfig(), events, serving=True)[-1] == Window(109, 110)


def test_equal_times_are_all_after_the_cut() -> None:
    events = log([1, 2, 3, 4, 5, 5, 5, 5, 5, 6])
    assert cuts(events, [0.8]) == [5]
    assert events_in(events, Window(0, 5)).time.tolist() == [1, 2, 3, 4]
    assert events_in(events, Window(5, 7)).time.tolist() == [5, 5, 5, 5, 5, 6]
    assert windows(SplitConfig(), events) == [(5, 6)]


def test_one_moment_cannot_be_split() -> None:
    with pytest.raises(DataError, match="have the first time"):
        windows(SplitConfig(), log([7] * 20))


def test_an_empty_log_cannot_be_split() -> None:
    with pytest.raises(DataError, match="empty"):
        cuts(log([]), [0.5])


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=60),
    st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5),
)
def test_a_cut_never_takes_more_than_its_share(times: list[int], shares: list[float]) -> None:
    events = log(times)
    for share, cut in zip(shares, cuts(events, shares), strict=True):
        left = int((events.time < cut).sum())
        assert left <= share * len(events) + 1e-6
        ties = int((events.time == cut).sum())
        assert left + ties >= share * len(events) - 1e-6


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=200))
def test_windows_tile_the_time_up_to_the_test_cut(times: list[int]) -> None:
    events, split = log(times), SplitConfig()
    if cuts(events, [split.test_from])[0] == events.time[0]:
        return
    found = windows(split, events, serving=True)
    assert all(a.end == b.start for a, b in pairwise(found))
    assert found[-1] == (test_cut(split, events), events.time[-1] + 1)
    first = cuts(events, [split.test_from - 4 * (split.test_from - split.valid_from)])[0]
    assert sum(len(events_in(events, w)) for w in found) == int((events.time >= first).sum())
