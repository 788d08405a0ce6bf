"""Base class of channels with a user side whose inputs may change with time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from tamis.features import OnlineStatistics
from tamis.recall._common.moving_inputs import MovingInputs
from tamis.recall._common.side_features import FIRST
from tamis.recall._common.vector_channel import VectorChannel
from tamis.schema import reading

MOVING = "moving"
"""Folder of the moving inputs in that of the saved channel."""


class SidedChannel(VectorChannel):
    """A channel whose user vectors may read context, histories and statistics.

    After a fit, a subclass sets `_moving`, and its facts hold what `_facts_of` returns. It reads
    `_moving` in `user_vectors`, and opens what it needs in `_open`.
    """

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._moving: MovingInputs | None = None

    def _facts_of(self, moving: MovingInputs | None, start: int, end: int) -> dict[str, Any]:
        """Sets the moving inputs; plain values to save with them.

        start: padding row of the table of the histories' items. end: of the log, in ms.
        """
        self._moving = moving
        self.reads = () if moving is None else moving.reads
        return {"moving": moving is not None, "history_start": start, "end": end}

    def _open(self) -> None:
        """Prepares a loaded channel for `user_vectors`."""

    @property
    def format(self) -> int:
        """Format of the stored files: 2 with inputs that releases before 2 do not know."""
        return 1 if self._moving is None else 2

    def use_statistics(self, statistics: OnlineStatistics) -> None:
        """Reads the users' statistics from a service's counters from now on."""
        if self._moving is not None:
            self._moving.use(statistics)

    def _n_users(self) -> int:
        """Number of users of the fit."""
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        super().save(directory)
        if self._moving is not None and self._facts is not None:
            self._moving.save(Path(directory) / MOVING, self._n_users(), self._facts["end"])

    @classmethod
    def load(cls, directory: Path, config: Any = None) -> Self:
        channel = super().load(directory, config)
        facts = channel._facts or {}
        if facts.get("moving"):  # earlier releases lack the key
            with reading(Path(directory) / "channel.json"):
                start = int(facts["history_start"])
            folder = Path(directory) / MOVING
            channel._moving = MovingInputs.load(folder, channel._n_items, start, FIRST)
            channel.reads = channel._moving.reads
        with reading(Path(directory) / "channel.json"):
            channel._open()
        return channel
