"""Live counts of pairs: of all events, and of those in the time buckets of windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.data import Events
from tamis.features._growing import GrowingRows
from tamis.features._pair_counting_kernels import read_dense
from tamis.features._pair_counts import PairCounts
from tamis.features._recent_counts import Packed, RecentCounts
from tamis.features.recipe import Recipe
from tamis.features.windows import Counts, opened
from tamis.runtime import Float32, Int32, Int64

_CHUNK = 250_000
"""Rows computed at once; bounds the memory of the counts."""


class LivePairs:
    """Counts of pairs in windows as of now."""

    def __init__(
        self,
        windows: Sequence[str],
        total: DenseCounts | SparseCounts,
        recent: RecentCounts | None,
    ) -> None:
        """`recent` is None where `all` is the only window."""
        self._windows = tuple(windows)
        self._total = total
        self._recent = recent

    @classmethod
    def empty(
        cls, windows: Sequence[str], behaviours: int, items: int, values: int | None
    ) -> LivePairs:
        """Without events. `values`: of pairs of an item and one of so many values, else None."""
        total: DenseCounts | SparseCounts
        if values is None:
            total = SparseCounts(PairCounts.empty(behaviours))
        else:
            total = DenseCounts(np.zeros((items, values, behaviours), np.int32))
        recent = RecentCounts(windows, Packed.empty()) if _bounded(windows) else None
        return cls(windows, total, recent)

    def grow(self, items: int) -> None:
        """Takes up new items."""
        self._total.grow(items)

    def add(self, key: Int64, events: Events) -> None:
        """Counts n events of pairs (n,)."""
        self._total.add(key, events.behaviour)
        if self._recent is not None:
            self._recent.add(key, events)

    def columns(self, recipe: Recipe, key: Int64, time: Int64) -> Float32:
        """(n, S) of n pairs as of n times (ms), later than the arrivals added so far."""
        if len(key) > _CHUNK:
            parts = [slice(at, at + _CHUNK) for at in range(0, len(key), _CHUNK)]
            return np.concatenate([self.columns(recipe, key[p], time[p]) for p in parts])
        total = self._total.read(key).astype(np.int64)
        windowed = np.zeros((len(key), len(self._windows), total.shape[1]), np.int64)
        if self._recent is not None:
            self._recent.read(key, time, windowed)
        for place, window in enumerate(self._windows):
            if window == "all":
                windowed[:, place] = total
        counts = Counts.zeros(0, 1, total.shape[1])._replace(windowed=windowed, total=total)
        return recipe.columns(counts, time, None)

    def forget(self, user: int) -> None:
        """Forgets the counts of a user's own events."""
        if isinstance(self._total, SparseCounts):
            self._total.forget(user)
            if self._recent is not None:
                self._recent.forget(user)

    def changes(self) -> dict[str, NDArray[Any]]:
        """The counts that changed since they were opened or made, for `restore`."""
        saved = self._total.changes()
        if self._recent is not None:
            saved |= {f"recent {name}": a for name, a in self._recent.changes().items()}
        return saved

    def restore(self, changes: Mapping[str, NDArray[Any]]) -> None:
        """Brings counts that were just opened to the state that `changes` describes."""
        self._total.restore(changes)
        if self._recent is not None:
            prefix = "recent "
            own = {n.removeprefix(prefix): a for n, a in changes.items() if n.startswith(prefix)}
            self._recent.restore(own)

    def save(self, directory: Path) -> None:
        """Writes the counts."""
        self._total.save(directory)
        if self._recent is not None:
            self._recent.save(directory)

    @classmethod
    def load(
        cls,
        directory: Path,
        windows: Sequence[str],
        behaviours: int,
        items: int,
        values: int | None,
    ) -> LivePairs:
        """Opens what `save` wrote, memory-mapped; arguments as for `empty`."""
        total: DenseCounts | SparseCounts
        if values is None:
            total = SparseCounts(PairCounts.load(directory, behaviours))
        else:
            shape = (items, values, behaviours)
            total = DenseCounts(opened(directory / "total.npy", np.int32, shape))
        recent = RecentCounts.load(directory, windows) if _bounded(windows) else None
        return cls(windows, total, recent)


def _bounded(windows: Sequence[str]) -> bool:
    """Whether some window is shorter than all time."""
    return any(window != "all" for window in windows)


class DenseCounts:
    """Counts of every pair of item and value: 4 V B bytes per item, at most 2^31 - 1 events.

    Items that are added later have counters of their own, so that the others stay memory-mapped.
    """

    def __init__(self, total: Int32) -> None:
        """`total` (N, V, B)."""
        self._total = total
        self._more = GrowingRows(np.zeros((0, *total.shape[1:]), np.int32), unknown=False)
        self._beyond: Int32 = np.zeros((0, *total.shape[1:]), np.int32)
        self._touched = np.zeros(len(total), np.bool_)

    def grow(self, items: int) -> None:
        """Adds counters of items from N on."""
        none = np.zeros(0, np.int32)
        blank = np.zeros((0, *self._total.shape[1:]), np.int32)
        self._beyond = self._more.put(none, blank, max(items - len(self._total), 0))

    def add(self, key: Int64, column: NDArray[np.integer]) -> None:
        """Counts n events of pairs (n,) and behaviours (n,)."""
        first, second = key >> 32, key & 0xFFFFFFFF
        known = first < len(self._total)
        if not known.all():
            more = ~known
            at = (first[more] - len(self._total), second[more], column[more])
            np.add.at(self._beyond, at, 1)
            first, second, column = first[known], second[known], column[known]
        np.add.at(self._total, (first, second, column), 1)
        self._touched[first] = True

    def read(self, key: Int64) -> Int32:
        """(n, B)."""
        out = np.empty((len(key), self._total.shape[2]), np.int32)
        base = len(self._total)
        beyond = np.flatnonzero(key >> 32 >= base) if len(self._beyond) else ()
        if not len(beyond):
            read_dense(total=self._total, key=key, out=out)
            return out
        near = key.copy()
        near[beyond] = -1
        read_dense(total=self._total, key=near, out=out)
        far = key[beyond]
        out[beyond] = self._beyond[(far >> 32) - base, far & 0xFFFFFFFF]
        return out

    def changes(self) -> dict[str, NDArray[Any]]:
        rows = np.flatnonzero(self._touched)
        return {"rows": rows, "total": self._total[rows], "more": self._beyond}

    def restore(self, changes: Mapping[str, NDArray[Any]]) -> None:
        rows, more = changes["rows"], changes["more"]
        self._total[rows], self._touched[rows] = changes["total"], True
        self.grow(len(self._total) + len(more))
        self._beyond[:] = more

    def save(self, directory: Path) -> None:
        np.save(directory / "total.npy", np.concatenate([self._total, self._beyond]))


class SparseCounts:
    """Counts of the pairs that occurred."""

    def __init__(self, pairs: PairCounts) -> None:
        self._pairs = pairs

    def grow(self, items: int) -> None:
        """Does nothing: a pair takes memory once it occurs."""

    def add(self, key: Int64, column: NDArray[np.integer]) -> None:
        """Counts n events of pairs (n,) and behaviours (n,)."""
        self._pairs.add(key, column)

    def read(self, key: Int64) -> Int32:
        """(n, B)."""
        return self._pairs.read(key)

    def forget(self, user: int) -> None:
        """Clears the counts of a user's pairs."""
        self._pairs.forget(user)

    def changes(self) -> dict[str, NDArray[Any]]:
        return self._pairs.changes()

    def restore(self, changes: Mapping[str, NDArray[Any]]) -> None:
        self._pairs.restore(changes)

    def save(self, directory: Path) -> None:
        self._pairs.save(directory)
