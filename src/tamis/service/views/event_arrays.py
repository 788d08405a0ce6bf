"""Events of the journal as arrays: which of them count, and their codes and times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import repeat

import numpy as np

from tamis.journal import Event
from tamis.runtime import Int64
from tamis.schema import ProjectConfig

EARLY = "it arrived before the end of the version's data"
BEHAVIOUR = "the version does not know the behaviour"


class EventReader:
    """Reads events in the order of the journal.

    Args:
        config: the declaration that the version was trained with.
        end: the end of the version's data, ms since 1970 UTC.
        leave_early: what arrived before `end` is in the version's data, and left out.
    """

    def __init__(self, config: ProjectConfig, end: int, *, leave_early: bool) -> None:
        self._codes = {name: code for code, name in enumerate(config.behaviours)}
        self._has_arrival = config.events.arrival is not None
        self._end = end if leave_early else 0
        self.newest = end
        """Arrival of the last event (ms), at least the end of the version's data."""
        self.skipped: Counter[str] = Counter()
        """Events that do not count, by reason."""

    def usable(self, entries: Sequence[Event]) -> tuple[Sequence[Event], Int64]:
        """The events that count, and their behaviours' codes."""
        codes = self._codes
        behaviours = [entry.behaviour for entry in entries]
        code = np.fromiter(map(codes.get, behaviours, repeat(-1)), np.int64, len(entries))
        arrival = np.array([entry.arrival for entry in entries], np.int64)
        if not self._has_arrival:  # the log takes an event's time for it
            time = np.array([entry.time for entry in entries], np.int64)
            arrival = np.minimum(arrival, time)
        late, unknown = arrival < self._end, code < 0
        if not (late.any() or unknown.any()):
            return entries, code
        self.skipped += Counter({EARLY: int(late.sum()), BEHAVIOUR: int((unknown & ~late).sum())})
        kept = np.flatnonzero(~late & ~unknown)
        return [entries[k] for k in kept.tolist()], code[kept]

    def times(self, entries: Sequence[Event]) -> tuple[Int64, Int64]:
        """Times and arrivals (ms). Arrivals never decrease: clocks of machines may differ."""
        arrival = np.array([entry.arrival for entry in entries], np.int64)
        arrival = np.maximum.accumulate(np.maximum(arrival, self.newest))
        self.newest = int(arrival[-1])
        return np.minimum(np.array([e.time for e in entries], np.int64), arrival), arrival
