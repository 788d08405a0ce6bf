"""Exposure: what was shown to each user since a version was made; only impressions count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tamis.data import Events
from tamis.features import Histories
from tamis.filters import ExposedFilter
from tamis.runtime import Int32
from tamis.schema import Behaviour
from tamis.service.views._arrays import read_arrays, write_arrays
from tamis.stores import month_of

_FILE = "shown.npz"


class ExposureView:
    """The items shown to each user, where a filter `exposed` removes them from answers.

    Memory: 33 bytes per impression.

    Args:
        filters: the filters of the version; their own state is that of its log.
        behaviours: (B,) those of the version.
        users: number of users of the version.
    """

    def __init__(
        self, filters: Sequence[ExposedFilter], behaviours: Sequence[Behaviour], users: int
    ) -> None:
        self._filters = filters
        self._months = max((f.config.months for f in filters), default=0)
        self._counted = np.array([b.impression for b in behaviours], np.bool_)
        named = {name for f in filters for name in f.config.behaviours}
        if named:
            self._counted = np.array([b.name in named for b in behaviours], np.bool_)
        self._shown = Histories.empty(users)

    def apply(self, events: Events) -> None:
        """Remembers the impressions among events in the order of the journal."""
        counted = self._counted[events.behaviour]
        if self._filters and counted.any():
            self._shown.add(events.take(counted))

    def forget(self, user: int) -> None:
        """Forgets what was shown to a user row."""
        self._shown.forget(user)

    def shown(self, user: int, time: int) -> Int32:
        """The item rows shown to a user before `time` (ms) in the months that the filter reads,
        ascending."""
        none = np.zeros(0, np.int32)
        if not self._filters or user < 0:
            return none
        events = self._shown.at(np.array([user], np.int32), np.array([time], np.int64))
        if not len(events.item):
            return none
        since = int(month_of(np.array([time]))[0]) - self._months
        return np.unique(events.item[month_of(events.time) > since])

    @property
    def reason(self) -> str:
        """The reason of the first filter."""
        return self._filters[0].reason if self._filters else ""

    def snapshot(self, folder: Path) -> None:
        """Writes what was shown."""
        write_arrays(folder / _FILE, self._shown.appended())

    def restore(self, folder: Path) -> None:
        """Brings an empty view to the state that `snapshot` wrote."""
        self._shown.restore(read_arrays(folder / _FILE))
