"""Histories: the events of every user, but impressions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tamis.data import Events
from tamis.features import Histories
from tamis.runtime import Bool
from tamis.service.views._arrays import read_arrays, write_arrays

_FILE = "events.npz"


class HistoriesView:
    """The histories of a version and the events that came since.

    Args:
        histories: those of the open version, which receive the events.
        kept: (B,) behaviours that belong to a history.
    """

    def __init__(self, histories: Histories, kept: Bool) -> None:
        self.histories = histories
        self._kept = kept
        self._forgotten: list[int] = []

    def apply(self, events: Events) -> None:
        """Adds events in the order of the journal."""
        kept = self._kept[events.behaviour]
        if kept.any():
            self.histories.add(events if kept.all() else events.take(kept))

    def forget(self, user: int) -> None:
        """Removes the events of a user row."""
        self.histories.forget(user)
        self._forgotten.append(user)

    def snapshot(self, folder: Path) -> None:
        """Writes the events that came since the version."""
        forgotten = {"forgotten": np.array(self._forgotten, np.int64)}
        write_arrays(folder / _FILE, forgotten | self.histories.appended())

    def restore(self, folder: Path) -> None:
        """Brings the histories of the same version to the state that `snapshot` wrote."""
        columns = read_arrays(folder / _FILE)
        for user in columns.pop("forgotten").tolist():
            self.forget(user)
        self.histories.restore(columns)
