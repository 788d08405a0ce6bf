"""Impressions and positive events of items: those of the log, and those that came since."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tamis.runtime import Int32, Int64, grown
from tamis.schema import read_array

_NAMES = ("shown", "positive")


class ItemCounts:
    """Two counts per item row. Rows that come later start at 0.

    Args:
        shown: (items,) impressions.
        positive: (items,) events that count as a success.
    """

    def __init__(self, shown: Int64, positive: Int64) -> None:
        self._start = {"shown": shown, "positive": positive}
        self._now = dict(self._start)

    def __len__(self) -> int:
        return len(self._now["shown"])

    def shown(self, items: Int32) -> Int64:
        """(n,) impressions of item rows."""
        return self._at("shown", items)

    def positive(self, items: Int32) -> Int64:
        """(n,) positive events of item rows, of which there are never more than impressions."""
        return np.minimum(self._at("positive", items), self._at("shown", items))

    def _at(self, name: str, items: Int32) -> Int64:
        counts, found = self._now[name], np.zeros(len(items), np.int64)
        known = items < len(counts)
        found[known] = counts[items[known]]
        return found

    def add(self, shown: Int32, positive: Int32) -> None:
        """Counts impressions of item rows (n,), and positive events of item rows (m,)."""
        size = 1 + max(int(shown.max(initial=-1)), int(positive.max(initial=-1)), len(self) - 1)
        for name, items in (("shown", shown), ("positive", positive)):
            self._now[name] = grown(self._now[name], size, 0)
            np.add.at(self._now[name], items, 1)

    def appended(self) -> dict[str, NDArray[Any]]:
        """What `add` has counted."""
        found: dict[str, NDArray[Any]] = {}
        for name in _NAMES:
            now, start = self._now[name], self._start[name]
            more = now.copy()
            more[: len(start)] -= start
            rows = np.flatnonzero(more)
            found |= {f"{name}_item": rows, f"{name}_count": more[rows]}
        return found

    def restore(self, appended: Mapping[str, NDArray[Any]]) -> None:
        """Adds what `appended` returned."""
        size = max(len(self), *(1 + int(appended[f"{n}_item"].max(initial=-1)) for n in _NAMES))
        for name in _NAMES:
            self._now[name] = grown(self._now[name], size, 0)
            self._now[name][appended[f"{name}_item"]] += appended[f"{name}_count"]

    def save(self, directory: Path) -> None:
        """Writes shown.npy and positive.npy."""
        for name in _NAMES:
            np.save(directory / f"{name}.npy", self._now[name])

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Opens what `save` wrote, memory-mapped."""
        shown, positive = (
            read_array(directory / f"{name}.npy", np.int64, (None,)) for name in _NAMES
        )
        return cls(shown, positive)


def earlier_of_same(items: Int32) -> Int64:
    """(n,) how many of the entries before each one are equal to it."""
    order = np.argsort(items, kind="stable")
    ordered = items[order]
    new = np.r_[True, ordered[1:] != ordered[:-1]] if len(items) else np.zeros(0, np.bool_)
    start = np.flatnonzero(new)
    rank = np.arange(len(items)) - np.repeat(start, np.diff(np.r_[start, len(items)]))
    out = np.empty(len(items), np.int64)
    out[order] = rank
    return out
