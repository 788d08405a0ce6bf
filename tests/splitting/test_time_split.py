"""The global time split."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamis.data import Events
from tamis.schema import DataError, SplitConfig
from tamis.splitting import (
    Window,
    cuts,
    events_in,
    horizon,
    replay_windows,
    test_cut,
    windows,
)


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


DAY = 86_400_000


def test_replay_windows_are_one_horizon_long() -> None:
    events = log(np.arange(100) * DAY)  # an event a day: validation and test of 10 days each
    split = SplitConfig()
    assert horizon(split, events) == 9 * DAY + 1  # from day 90 to the last event, at day 99
    span = horizon(split, events)
    starts = [90 * DAY - span * k for k in (4, 3, 2, 1)]
    assert replay_windows(split, events) == [(s, s + span) for s in starts]
    assert replay_windows(split, events, serving=True)[-1] == (90 * DAY, 90 * DAY + span)


def test_the_horizon_is_the_validation_period_and_leaves_room_for_all_windows() -> None:
    events = log([*range(80), *range(80, 180, 10), *range(180, 1180, 100)])
    assert cuts(events, [0.8, 0.9]) == [80, 180]
    assert horizon(SplitConfig(windows=1), events) == 90  # half of what is before the test
    assert horizon(SplitConfig(), events) == 180 // 5  # 100 would leave room for one window
    assert len(replay_windows(SplitConfig(), events)) == 4
    early = log([*range(800), *range(800, 810), *range(900, 1800, 10)])
    split = SplitConfig(valid_from=0.8, test_from=0.88)
    test, valid = cuts(early, [0.88, 0.8])
    assert horizon(split, early) == min(test - valid, test // 5)


def test_test_events_of_one_time_do_not_bound_the_horizon() -> None:
    # The test pairs of a data set without times share one moment: the length of their period says
    # nothing about how long after a query an event counts.
    events = log([*range(80), *([100] * 20)])
    split = SplitConfig(valid_from=0.7, test_from=0.8)
    assert horizon(split, events) == 100 // 5
    assert replay_windows(split, events, serving=True) == [
        (20, 40), (40, 60), (60, 80), (80, 100), (100, 120)
    ]  # fmt: skip


def test_a_declared_horizon_holds_and_one_that_does_not_fit_is_refused() -> None:
    events = log(np.arange(100) * DAY)
    assert horizon(SplitConfig(horizon="2.5d"), events) == 2.5 * DAY
    assert horizon(SplitConfig(horizon="12h"), events) == DAY // 2
    with pytest.raises(DataError, match=r'horizon = "45d": the log has 90.0 days before'):
        horizon(SplitConfig(horizon="45d"), events)
    # Longer than the test period: the serving version has no window after the cut.
    split = SplitConfig(horizon="20d")
    assert replay_windows(split, events, serving=True) == replay_windows(split, events)


def test_one_moment_cannot_be_split() -> None:
    with pytest.raises(DataError, match="have the first time"):
        windows(SplitConfig(), log([7] * 20))


def test_an_empty_log_cannot_be_split() -> None:
    with pytest.raises(DataError, match="there are no events"):
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
