"""The global time split: cuts by share of events, and the rolling windows before the test cut.

A cut is a time in ms. An event is known before the cut if it arrived strictly before it
(`Dataset.as_of`); it belongs to a window by its event time (`events_in`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tamis.data import Events
from tamis.schema import DataError, SplitConfig


class Window(NamedTuple):
    """A period of time [start, end), in ms since 1970 UTC."""

    start: int
    end: int


def cuts(events: Events, shares: Sequence[float]) -> list[int]:
    """For each share in (0, 1), the time before which that share of the events happened.

    Events strictly before the time are left of the cut. All events at this time are right of it, so
    the left part may be somewhat smaller than the share.

    Raises:
        DataError: there are no events.
    """
    if len(events) == 0:
        raise DataError(
            "there are no events: nothing can be split. Check `events.path`, or import first "
            "events into the journal: tamis events PROJECT FILE"
        )
    places = [min(int(share * len(events) + 1e-9), len(events) - 1) for share in shares]
    return [int(events.time[place]) for place in places]


def test_cut(split: SplitConfig, events: Events) -> int:
    """The time of the test cut, ms; an evaluation version does not use later events.

    Raises:
        DataError: no event is before it, as in a log whose events all have the same time.
    """
    (cut,) = cuts(events, [split.test_from])
    if cut <= int(events.time[0]):
        same = int(np.count_nonzero(events.time == cut))
        raise DataError(
            f"the log cannot be split at {split.test_from:g} of its {len(events):,} events: "
            f"{same:,} of them have the first time, so no event is before the cut. Give real "
            "times in `events.time`, or add earlier events."
        )
    return cut


test_cut.__test__ = False  # type: ignore[attr-defined]  # its name looks like a test to pytest


def windows(split: SplitConfig, events: Events, serving: bool = False) -> list[Window]:
    """The rolling windows from which ranking rows are made, oldest first.

    Each has the share `test_from - valid_from` of the events; the last one ends at the test cut and
    is the validation window. With the defaults, these are the shares .5-.6, .6-.7, .7-.8 and .8-.9.
    With `serving`, the window from the test cut to the end of the log follows. Empty windows
    (several cuts at the same time) are left out.

    Raises:
        DataError: as `test_cut`.
    """
    width = split.test_from - split.valid_from
    shares = [split.test_from - width * back for back in range(split.windows, 0, -1)]
    moments = [*cuts(events, shares), test_cut(split, events)]
    if serving:
        moments.append(int(events.time[-1]) + 1)
    return [Window(start, end) for start, end in pairwise(moments) if start < end]


def horizon(split: SplitConfig, events: Events) -> int:
    """Time in ms after a replayed query within which events label its candidates.

    The same for training, validation and test, so that their rates can be compared. If `split`
    declares none: the length of the validation period, the share of the events from `valid_from` to
    `test_from`, which is the latest before the test; at most the test period (no bound if the test
    events share one time, as in logs of dates), and at most the length that all windows and an
    equally long history before the first can have.

    Raises:
        DataError: as `test_cut`; or a declared horizon is longer than the log allows.
    """
    test, first, last = test_cut(split, events), int(events.time[0]), int(events.time[-1]) + 1
    if split.horizon is None:
        valid, _ = cuts(events, [split.valid_from, split.test_from])
        lengths = [test - valid, (test - first) // (split.windows + 1)]
        if _has_length(events, test):
            lengths.append(last - test)
        return min((length for length in lengths if length > 0), default=1)
    declared = int(float(split.horizon[:-1]) * _UNIT_MS[split.horizon[-1]])
    if declared < 1 or test - 2 * declared <= first:
        days = (test - first) / _UNIT_MS["d"]
        raise DataError(
            f'[split] horizon = "{split.horizon}": the log has {days:.1f} days before the test '
            "cut, and a training and a validation window of one horizon each must fit into them "
            "after some history; give a shorter one, or omit it"
        )
    return declared


_UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


def replay_windows(split: SplitConfig, events: Events, serving: bool = False) -> list[Window]:
    """The windows whose start is the time of replayed queries, oldest first, one `horizon` each.

    The last one ends at the test cut and is the validation window. With `serving`, the window that
    starts at the test cut follows if the log covers it. Windows that start at the first event have
    no history before them and are left out.

    Raises:
        DataError: as `horizon`.
    """
    length, cut = horizon(split, events), test_cut(split, events)
    starts = [cut - length * back for back in range(split.windows, 0, -1)]
    covered = cut + length <= int(events.time[-1]) + 1 or not _has_length(events, cut)
    if serving and covered:
        starts.append(cut)
    return [Window(s, s + length) for s in starts if s > int(events.time[0])]


def _has_length(events: Events, cut: int) -> bool:
    """Whether the events from the cut on have more than one time."""
    return cut < int(events.time[-1])


def events_in(events: Events, window: Window) -> Events:
    """The events whose time is in [start, end), in their order."""
    first, last = np.searchsorted(events.time, list(window))
    return events.take(slice(int(first), int(last)))
