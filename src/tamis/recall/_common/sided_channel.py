"""Base class of channels with a user side whose inputs may change with time."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tamis.data import Table
from tamis.features import OnlineStatistics
from tamis.recall._common.following import FollowingChannel
from tamis.recall._common.moving_inputs import MovingInputs
from tamis.recall._common.new_sides import FOLDER, NewSides
from tamis.recall._common.side_features import FIRST, SideInputs
from tamis.recall._common.vector_channel import VectorChannel
from tamis.runtime import Float32, Int32, grown, row_by_row
from tamis.schema import reading

MOVING = "moving"
"""Folder of the moving inputs in that of the saved channel."""


class SidedChannel(VectorChannel, FollowingChannel):
    """A channel whose user vectors may read context, histories and statistics.

    After a fit, a subclass sets `_moving`, and its facts hold what `_facts_of` returns. It reads
    `_moving` in `user_vectors`, and opens what it needs in `_open`.
    """

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._moving: MovingInputs | None = None
        self._sides: NewSides | None = None
        """Encodes users and items that come after the fit; None: an earlier release made it."""
        self._alike = np.zeros(0, np.int32)
        """(I,) each item, or of one that came after the fit the most similar liked one of the fit;
        -1: none. (0,) before any came."""

    def _facts_of(
        self, inputs: SideInputs, start: int, end: int, published: str | None
    ) -> dict[str, Any]:
        """Sets the moving inputs and the encoders; plain values to save with them.

        Args:
            start: padding row of the table of the histories' items.
            end: of the log, in ms.
            published: column of the items' publication time; None: none is declared.
        """
        self._moving, self._sides = inputs.moving, NewSides.of(inputs)
        self.reads = () if inputs.moving is None else inputs.moving.reads
        return {
            "moving": inputs.moving is not None,
            "history_start": start,
            "end": end,
            "item_layout": inputs.item.to_dict(),
            "reading": {"published": published},
        }

    @abstractmethod
    def _vectors_of(self, items: Table, rows: Int32, sides: NewSides) -> Float32 | None:
        """(m, d) vectors of the items `rows` by the item side, zero if nothing is known of one;
        None if the item side reads nothing but ids."""

    @abstractmethod
    def _users_with(
        self, rows: Int32, ids: Int32, dense: Float32, n: int
    ) -> dict[str, NDArray[Any]]:
        """The arrays of n users, of whom `rows` (m,) have the inputs `ids` and `dense`."""

    def _of_items(self, items: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        """New items get vectors by the item side: by their attributes, without an id of their
        own."""
        if self._reading is None or self._sides is None:
            return None
        if self._moving is not None:
            self._moving.update_items(items, rows)
            self._sides.taken_up = self._moving.space
        vectors = self._vectors_of(items, rows, self._sides)
        if vectors is not None:
            self._put_vectors(rows, vectors)
            self._find_alike(self._sides.items, rows, vectors, len(items))
        return self._published_with(self._reading, items, items.part(rows), rows)

    def _find_alike(self, known: int, rows: Int32, vectors: Float32, n: int) -> None:
        """Finds for the new ones of `rows` (m,) the most similar liked items of the fit, by the
        vectors of the fit: what came since differs between services that read other pages."""
        new = rows >= known
        if self.index is None or not new.any():
            return
        index, liked = self.index.unchanged(), self._arrays["item_liked"]

        def nearest(vector: Float32) -> Int32:
            return index.search(vector, 1, allowed=liked)[0]

        found = row_by_row(nearest, vectors[new])
        found[~vectors[new].any(axis=1)] = -1
        before = self._alike if len(self._alike) else np.arange(known, dtype=np.int32)
        self._alike = grown(before, n, -1)
        self._alike[rows[new]] = found[:, 0]

    def _of_fit(self, items: Int32) -> Int32:
        """(n,) items of histories as the fit knew them: one that came after it counts as the most
        similar liked one."""
        if not len(self._alike):
            return items
        known = (items >= 0) & (items < len(self._alike))
        return np.where(known, self._alike[np.where(known, items, 0)], -1).astype(np.int32)

    def _of_users(self, users: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        if self._reading is None or self._sides is None:
            return None
        ids, dense = self._sides.user_inputs(users, rows)
        return self._users_with(rows, ids, dense, len(users))

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
        if self._sides is not None:
            self._sides.save(Path(directory) / FOLDER)
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
        channel._sides = NewSides.load(Path(directory) / FOLDER)
        with reading(Path(directory) / "channel.json"):
            channel._open()
        return channel
