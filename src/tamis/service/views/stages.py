"""Stages that take up events, such as the channel `hot` and the re-rank rule `fatigue`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tamis.cascade import CountsEvents, FollowsEvents
from tamis.data import Events
from tamis.service.views._arrays import read_arrays, write_arrays

_FORGOTTEN = "forgotten.npz"


class StagesView:
    """The stages that take up events, and the events that came since the version.

    Args:
        stages: name → stage of the open version, which receives the events.
    """

    def __init__(self, stages: Mapping[str, object]) -> None:
        self._stages = {n: stage for n, stage in stages.items() if isinstance(stage, FollowsEvents)}
        self._counting = [stage for stage in stages.values() if isinstance(stage, CountsEvents)]
        self._forgotten: list[int] = []

    @property
    def counts(self) -> bool:
        """Whether a stage counts events."""
        return bool(self._counting)

    def count(self, events: Events) -> None:
        """Counts events in the order of the journal, those of deleted users included."""
        for stage in self._counting:
            stage.count_events(events)

    def apply(self, events: Events) -> None:
        """Adds events in the order of the journal."""
        for stage in self._stages.values():
            stage.update_events(events)

    def forget(self, user: int) -> None:
        """Removes the events of a user row."""
        for stage in self._stages.values():
            stage.forget_row(user)
        self._forgotten.append(user)

    def snapshot(self, folder: Path) -> None:
        """Writes what came since the version."""
        write_arrays(folder / _FORGOTTEN, {"user": np.array(self._forgotten, np.int64)})
        for number, stage in enumerate(self._stages.values()):
            write_arrays(folder / f"{number}.npz", stage.appended())
        for number, stage in enumerate(self._counting):
            write_arrays(folder / f"counts-{number}.npz", stage.appended())

    def restore(self, folder: Path) -> None:
        """Brings the stages of the same version to the state that `snapshot` wrote."""
        for user in read_arrays(folder / _FORGOTTEN)["user"].tolist():
            self.forget(user)
        for number, stage in enumerate(self._stages.values()):
            stage.restore(read_arrays(folder / f"{number}.npz"))
        for number, stage in enumerate(self._counting):
            stage.restore(read_arrays(folder / f"counts-{number}.npz"))
