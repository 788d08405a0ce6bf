"""Counts of events per key in time windows, defined once for training (as of) and serving (live).

For a key k (a user or an item) at time t, a window of n buckets of width b holds the events that
arrived strictly before t and whose bucket floor(τ/b) lies in (floor(t/b) − n, floor(t/b)]. τ is the
event's time, or its arrival where a clock error puts the event after its own arrival. `all` holds
every event that arrived before t. Buckets are aligned to 1970 UTC. Limits: 2^31 − 1 events per key
and bucket; totals are 64 bits wide.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tamis.data import Events
from tamis.features._counting_kernels import NEVER, add_all, read_all, replay
from tamis.runtime import Float64, Int32, Int64
from tamis.schema import ConfigError

WINDOWS = ("1h", "1d", "7d", "30d", "all")
"""From short to long; a longer window of the same buckets goes on where the shorter ended."""

_MINUTE = 60_000
BUCKETS: dict[str, tuple[int, int]] = {
    "1h": (5 * _MINUTE, 12),
    "1d": (60 * _MINUTE, 24),
    "7d": (24 * 60 * _MINUTE, 7),
    "30d": (24 * 60 * _MINUTE, 30),
}
"""Width (ms) and number of the buckets of each window; `all` has none."""


class Rings(NamedTuple):
    """The ring counters that a set of windows needs, laid end to end in S slots."""

    width: Int64
    """(R,) ms per bucket."""
    slots: Int64
    """(R,) buckets kept."""
    offset: Int64
    """(R,) first slot."""
    ring: Int64
    """(W,) the ring of each window; -1 = `all`."""
    length: Int64
    """(W,) buckets of each window."""

    @classmethod
    def of(cls, windows: Sequence[str]) -> Rings:
        """Raises ConfigError for an unknown window."""
        for name in windows:
            if name != "all" and name not in BUCKETS:
                raise ConfigError(
                    f"window {name!r} is not known; choose among {', '.join(BUCKETS)}, all"
                )
        specs = [BUCKETS[w] for w in windows if w != "all"]
        widths = sorted({width for width, _ in specs})
        slots = [max(n for w, n in specs if w == width) for width in widths]
        ring = [-1 if w == "all" else widths.index(BUCKETS[w][0]) for w in windows]
        length = [0 if w == "all" else BUCKETS[w][1] for w in windows]
        offset = np.concatenate([[0], np.cumsum(slots, dtype=np.int64)])[:-1]
        return cls(*(np.array(x, np.int64) for x in (widths, slots, offset, ring, length)))

    @property
    def size(self) -> int:
        """S, the slots of all rings."""
        return int(self.slots.sum())


class State(NamedTuple):
    """Counters of K keys for B behaviours."""

    ring: Int32
    """(K, B, S) events per bucket."""
    newest: Int64
    """(K, R) newest bucket held by each ring."""
    total: Int64
    """(K, B) all events."""
    valued: Int64
    """(K, B) events with a value."""
    value: Float64
    """(K, B) sum of their values."""
    first: Int64
    """(K,) earliest event time, NEVER without events."""
    latest: Int64
    """(K,) latest event time, NEVER without events."""
    summed: Int32
    """(K, W, B) window sums as last read; made again when the bucket or the counts change."""
    summed_at: Int64
    """(K, R) the bucket those sums are of."""

    @classmethod
    def empty(cls, keys: int, rings: Rings, behaviours: int) -> State:
        return cls(
            np.zeros((keys, behaviours, rings.size), np.int32),
            np.full((keys, len(rings.width)), NEVER),
            np.zeros((keys, behaviours), np.int64),
            np.zeros((keys, behaviours), np.int64),
            np.zeros((keys, behaviours), np.float64),
            np.full(keys, NEVER),
            np.full(keys, NEVER),
            np.zeros((keys, len(rings.ring), behaviours), np.int32),
            np.full((keys, len(rings.width)), NEVER),
        )


_KEPT = State._fields[:-2]
"""What is saved; window sums are made again as they are read."""


@dataclass(frozen=True, eq=False)
class Counts:
    """What n questions (key, time) found."""

    count: Int64
    """(n, W, B)."""
    total: Int64
    """(n, B) events of all time."""
    valued: Int64
    """(n, B) events with a value, of all time."""
    value: Float64
    """(n, B) sum of their values."""
    first: Int64
    """(n,) time (ms) of the earliest event; NEVER."""
    latest: Int64
    """(n,)."""

    @classmethod
    def zeros(cls, n: int, windows: int, behaviours: int) -> Counts:
        return cls(
            np.zeros((n, windows, behaviours), np.int64),
            np.zeros((n, behaviours), np.int64),
            np.zeros((n, behaviours), np.int64),
            np.zeros((n, behaviours), np.float64),
            np.full(n, NEVER),
            np.full(n, NEVER),
        )


def opened(path: Path) -> NDArray[Any]:
    """An array, memory-mapped; one without elements cannot be mapped and is read.

    Copy-on-write shares pages as read-only does, what is written stays in this process, and numba
    need not compile a read-only variant of its kernels.
    """
    try:
        return np.load(path, mmap_mode="c").view(np.ndarray)
    except ValueError:
        return np.load(path)


class OfflineCounts:
    """Counts of a whole log as of any moment of it."""

    def __init__(
        self, key: Int32, events: Events, keys: int, behaviours: int, windows: Sequence[str]
    ) -> None:
        """`key` (E,) is the events' user or item column; -1 counts for nobody."""
        self.windows = tuple(windows)
        self._rings = Rings.of(windows)
        self._behaviours = behaviours
        order = np.lexsort((events.arrival, key))
        order = order[np.searchsorted(key[order], 0) :]
        self._indptr = np.searchsorted(key[order], np.arange(keys + 1)).astype(np.int64)
        self._events = (
            events.behaviour[order],
            events.time[order],
            events.arrival[order],
            events.value[order],
        )

    def read(self, key: Int32, time: Int64) -> Counts:
        """The counts of n keys as of n times (ms), in any order; zeros for key -1."""
        out = Counts.zeros(len(key), len(self.windows), self._behaviours)
        state = State.empty(1, self._rings, self._behaviours)
        order = np.lexsort((time, key))
        replay(
            state, self._rings, self._indptr, self._events, order, key, time, *vars(out).values()
        )
        return out


class OnlineCounts:
    """Counts that follow a live log: add events in order of arrival, read the present moment."""

    def __init__(self, windows: Sequence[str], state: State) -> None:
        self.windows = tuple(windows)
        self._rings = Rings.of(windows)
        self._state = state

    @classmethod
    def empty(cls, keys: int, behaviours: int, windows: Sequence[str]) -> OnlineCounts:
        return cls(windows, State.empty(keys, Rings.of(windows), behaviours))

    def add(self, key: Int32, events: Events) -> None:
        """Counts events; `key` is their user or item column. Keys beyond the table are passed over.

        They must come in order of arrival, after those already added.
        """
        add_all(
            self._state,
            self._rings,
            key,
            events.behaviour,
            events.time,
            events.arrival,
            events.value,
        )

    def read(self, key: Int32, time: Int64) -> Counts:
        """The counts of n keys at times (ms) later than every arrival added so far."""
        out = Counts.zeros(len(key), len(self.windows), self._state.total.shape[1])
        read_all(self._state, self._rings, key, time, *vars(out).values())
        return out

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for name in _KEPT:
            np.save(directory / f"{name}.npy", getattr(self._state, name))
        (directory / "windows.json").write_text(json.dumps(self.windows))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Opens what `save` wrote, memory-mapped; what it learns afterwards stays in memory."""
        windows = json.loads((directory / "windows.json").read_text())
        kept = {name: opened(directory / f"{name}.npy") for name in _KEPT}
        keys, behaviours = kept["total"].shape
        return cls(windows, State.empty(keys, Rings.of(windows), behaviours)._replace(**kept))
