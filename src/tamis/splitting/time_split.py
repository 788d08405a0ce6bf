"""The global time split: cuts by share of events, and the rolling windows before the test cut.

A cut is a moment (ms). What is *known* before it is what had arrived strictly before
(`Dataset.as_of`); what *happened* after it is told by the event time (`happened`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tamis.data import Events
from tamis.schema import DataError, SplitConfig


class Window(NamedTuple):
    """A stretch of time [start, end), in ms."""

    start: int
    end: int


def cuts(events: Events, shares: Sequence[float]) -> list[int]:
    """For each share in (0, 1) the moment before which that share of the events happened.

    Events strictly before the moment lie left of the cut; all events of one moment lie right of it
    together, so the left part may be somewhat smaller than asked.

    Raises:
        DataError: there are no events.
    """
    if len(events) == 0:
        raise DataError("the event log is empty: there is nothing to split.")
    places = [min(int(share * len(events) + 1e-9), len(events) - 1) for share in shares]
    return [int(events.time[place]) for place in places]


def test_cut(split: SplitConfig, events: Events) -> int:
    """The moment after which an evaluation version knows nothing.

    Raises:
        DataError: nothing lies before it (a log whose events all bear the same time).
    """
    (cut,) = cuts(events, [split.test_from])
    if cut <= int(events.time[0]):
        same = int(np.count_nonzero(events.time == cut))
        raise DataError(
            f"the log cannot be split at {split.test_from:g} of its {len(events):,} events: "
            f"{same:,} of them bear the first time, so nothing lies before the cut. Give real "
            "times in `events.time`, or add earlier events."
        )
    return cut


test_cut.__test__ = False  # type: ignore[attr-defined]  # pytest takes the name for a test


def windows(split: SplitConfig, events: Events, serving: bool = False) -> list[Window]:
    """The rolling windows that make ranking rows, oldest first.

    Each holds the share `test_from - valid_from` of the events; the last ends at the test cut and
    is the validation window. With the defaults: .5-.6, .6-.7, .7-.8, .8-.9. With `serving`, the
    stretch from the test cut to the end of the log follows. Windows without an event (several
    cuts on one moment) are left out.

    Raises:
        DataError: as `test_cut`.
    """
    width = split.test_from - split.valid_from
    shares = [split.test_from - width * back for back in range(split.windows, 0, -1)]
    moments = [*cuts(events, shares), test_cut(split, events)]
    if serving:
        moments.append(int(events.time[-1]) + 1)
    return [Window(start, end) for start, end in pairwise(moments) if start < end]


def happened(events: Events, window: Window) -> Events:
    """The events whose time lies in [start, end), in their order."""
    first, last = np.searchsorted(events.time, list(window))
    return events.take(slice(int(first), int(last)))
