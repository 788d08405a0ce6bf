"""Counters: events of users, items and groups in time windows, and over all time."""

from __future__ import annotations

from pathlib import Path

from tamis.data import Events
from tamis.features import OnlineStatistics
from tamis.service.views._arrays import read_arrays, write_arrays

_FILE = "counters.npz"


class CountersView:
    """The statistics of a version with the events that came since."""

    def __init__(self, statistics: OnlineStatistics) -> None:
        self._statistics = statistics

    def apply(self, events: Events) -> None:
        """Counts events in the order of the journal."""
        self._statistics.add(events)

    def forget(self, user: int) -> None:
        """Forgets the counts of a user row; those of items keep the user's events."""
        self._statistics.forget_user(user)

    def snapshot(self, folder: Path) -> None:
        """Writes the counters that changed since the version."""
        changes = self._statistics.changes()
        write_arrays(folder / _FILE, {name.replace("/", "|"): a for name, a in changes.items()})

    def restore(self, folder: Path) -> None:
        """Brings the counters of the same version to the state that `snapshot` wrote; users and
        items must have been taken up before."""
        saved = read_arrays(folder / _FILE)
        self._statistics.restore({name.replace("|", "/"): a for name, a in saved.items()})
