"""Counts of events per key in time windows, for training (as of any time) and for serving (live).

For a key k (a user or an item) at time t, a window of n buckets of width b holds the events that
arrived strictly before t and whose bucket floor(τ/b) lies in (floor(t/b) − n, floor(t/b)]. τ is the
event's time, or its arrival where a clock error puts the event after its own arrival. `all` holds
every event that arrived before t. Buckets are aligned to 1970 UTC. Limits: 2^31 − 1 events per key
and window; totals are 64 bits wide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tamis.data import Events
from tamis.features._counting_kernels import (
    NEVER,
    add_events,
    clear_key,
    read_counts,
    replay_counts,
)
from tamis.features._render_kernel import cached_columns, read_columns, replay_columns
from tamis.features.rates import RecipeArrays
from tamis.runtime import Float32, Float64, Int32, Int64
from tamis.schema import ConfigError, read_array, read_json_value, reading

_LEAST = 256
"""Keys for which there is space once keys are added."""
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
        """S, the number of slots of all rings."""
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
    """(K, W, B) window sums as last read; recomputed when the bucket or the counts change."""
    summed_at: Int64
    """(K, R) the bucket as of which the sums are; NEVER = to be recomputed."""

    @classmethod
    def empty(cls, keys: int, rings: Rings, behaviours: int) -> State:
        """Counters of `keys` keys without events."""
        return cls(
            ring=np.zeros((keys, behaviours, rings.size), np.int32),
            newest=np.full((keys, len(rings.width)), NEVER),
            total=np.zeros((keys, behaviours), np.int64),
            valued=np.zeros((keys, behaviours), np.int64),
            value=np.zeros((keys, behaviours), np.float64),
            first=np.full(keys, NEVER),
            latest=np.full(keys, NEVER),
            summed=np.zeros((keys, len(rings.ring), behaviours), np.int32),
            summed_at=np.full((keys, len(rings.width)), NEVER),
        )


_SAVED = tuple(name for name in State._fields if name not in ("summed", "summed_at"))
"""Fields of `State` that are saved; window sums are recomputed when they are read."""


class KeyEvents(NamedTuple):
    """E events sorted by key, then by arrival."""

    behaviour: NDArray[np.uint8]
    time: Int64
    """ms."""
    arrival: Int64
    """ms."""
    value: Float32
    """NaN where an event has none."""


class Counts(NamedTuple):
    """The counters of n (key, time) pairs."""

    windowed: Int64
    """(n, W, B) events in each window."""
    total: Int64
    """(n, B) events of all time."""
    valued: Int64
    """(n, B) events with a value, of all time."""
    value: Float64
    """(n, B) sum of their values."""
    first: Int64
    """(n,) time (ms) of the earliest event; NEVER where there is none."""
    latest: Int64
    """(n,) time (ms) of the latest event; NEVER where there is none."""

    @classmethod
    def zeros(cls, n: int, windows: int, behaviours: int) -> Counts:
        """The counters of n keys without events."""
        return cls(
            windowed=np.zeros((n, windows, behaviours), np.int64),
            total=np.zeros((n, behaviours), np.int64),
            valued=np.zeros((n, behaviours), np.int64),
            value=np.zeros((n, behaviours), np.float64),
            first=np.full(n, NEVER),
            latest=np.full(n, NEVER),
        )


def opened(
    path: Path, dtype: DTypeLike | None = None, shape: Sequence[int | None] | None = None
) -> NDArray[Any]:
    """Opens an array of an npy file, memory-mapped copy-on-write.

    Pages are shared between processes as in read-only mode, writes stay in this process, and numba
    need not compile another variant of its kernels for read-only arrays. An array without elements
    cannot be mapped and is read. Raises VersionError as `tamis.schema.read_array`.
    """
    return read_array(path, dtype, shape, mode="c")


class OfflineCounts:
    """Counts of a whole log as of any time."""

    def __init__(
        self, key: Int32, events: Events, keys: int, behaviours: int, windows: Sequence[str]
    ) -> None:
        """`key` (E,) is the events' user or item column; events of key -1 are not counted."""
        self.windows = tuple(windows)
        self._rings = Rings.of(windows)
        self._behaviours = behaviours
        order = np.lexsort((events.arrival, key))
        order = order[np.searchsorted(key[order], 0) :]
        self._indptr = np.searchsorted(key[order], np.arange(keys + 1)).astype(np.int64)
        self._events = KeyEvents(
            behaviour=events.behaviour[order],
            time=events.time[order],
            arrival=events.arrival[order],
            value=events.value[order],
        )

    def read(self, key: Int32, time: Int64) -> Counts:
        """The counts of keys (n,) as of times (n,) in ms, in any order; zeros for key -1."""
        out = Counts.zeros(len(key), len(self.windows), self._behaviours)
        state = State.empty(1, self._rings, self._behaviours)
        replay_counts(
            state=state,
            rings=self._rings,
            indptr=self._indptr,
            events=self._events,
            order=np.lexsort((time, key)),
            key=key,
            time=time,
            out=out,
        )
        return out

    def columns(
        self, recipe: RecipeArrays, key: Int32, time: Int64, published: Int64, out: Float32
    ) -> None:
        """Fills `out` (n, S) with the columns of keys (n,) as of times (n,) in ms.

        `published` (K,) are the keys' publishing times, or (0,) without such a column. A key
        outside the table has the columns of one without events.
        """
        replay_columns(
            state=State.empty(1, self._rings, self._behaviours),
            rings=self._rings,
            indptr=self._indptr,
            events=self._events,
            order=np.lexsort((time, key)),
            key=key,
            time=time,
            published=published,
            recipe=recipe,
            row=Counts.zeros(2, len(self.windows), self._behaviours),
            out=out,
        )


class OnlineCounts:
    """Counts of a live log: events are added in order of arrival, counts are read as of now.

    Keys that are added later (`grow`) have counters of their own, so that those of the base stay
    memory-mapped. What reads keep (window sums, columns) only saves time: it is made anew whenever
    counts or buckets have changed.
    """

    def __init__(self, windows: Sequence[str], state: State) -> None:
        self.windows = tuple(windows)
        self._rings = Rings.of(windows)
        self._state = state
        self._cache: tuple[RecipeArrays, Float32, Int64] | None = None
        self._more: OnlineCounts | None = None
        self._keys = len(state.first)
        self._touched = np.zeros(len(state.first), np.bool_)

    @classmethod
    def empty(cls, keys: int, behaviours: int, windows: Sequence[str]) -> OnlineCounts:
        return cls(windows, State.empty(keys, Rings.of(windows), behaviours))

    def __len__(self) -> int:
        """Number of keys."""
        return self._keys + (len(self._more) if self._more is not None else 0)

    @property
    def behaviours(self) -> int:
        """B."""
        return self._state.total.shape[1]

    def grow(self, keys: int) -> None:
        """Makes it counters of `keys` keys; the new ones have no events."""
        if keys <= len(self):
            return
        if self._more is None:
            self._more = OnlineCounts.empty(0, self.behaviours, self.windows)
        self._more._extend(keys - self._keys)

    def _extend(self, keys: int) -> None:
        """Adds keys to the arrays, in which it leaves space for more."""
        space = len(self._state.first)
        if keys > space:
            more = State.empty(max(keys, 2 * space, _LEAST) - space, self._rings, self.behaviours)
            pairs = zip(self._state, more, strict=True)
            joined: list[Any] = [np.concatenate([old, new]) for old, new in pairs]
            self._state = State(*joined)
            self._touched = np.append(self._touched, np.zeros(len(more.first), np.bool_))
            self._cache = None
        self._keys = keys

    def add(self, key: Int32, events: Events) -> None:
        """Counts n events; `key` (n,) is their user or item column.

        They must be in order of arrival, and follow those already added. Events of keys outside the
        table are not counted.
        """
        add_events(
            state=self._state,
            rings=self._rings,
            key=key,
            behaviour=events.behaviour,
            time=events.time,
            arrival=events.arrival,
            value=events.value,
        )
        known = key[(key >= 0) & (key < self._keys)]
        self._touched[known] = True
        if self._cache is not None:
            self._cache[2][known, -1] = 0
        if self._more is not None and len(known) < len(key):
            self._more.add(key - np.int32(self._keys), events)

    def clear(self, key: int) -> None:
        """Forgets the events of a key."""
        if key >= self._keys:
            if self._more is not None:
                self._more.clear(key - self._keys)
            return
        clear_key(self._state, key)
        self._touched[key] = True
        if self._cache is not None:
            self._cache[2][key, -1] = 0

    def read(self, key: Int32, time: Int64) -> Counts:
        """The counts of keys (n,) at times (n,) in ms, all later than the arrivals added so far."""
        out = Counts.zeros(len(key), len(self.windows), self.behaviours)
        read_counts(state=self._state, rings=self._rings, key=key, time=time, out=out)
        if self._more is not None:
            state, beyond = self._more._state, key - np.int32(self._keys)
            read_counts(state=state, rings=self._rings, key=beyond, time=time, out=out)
        return out

    def columns(
        self, recipe: RecipeArrays, key: Int32, time: Int64, published: Int64, out: Float32
    ) -> None:
        """As `OfflineCounts.columns`, at times later than the arrivals added so far.

        Columns without ages are kept for later reads: 4 S bytes per key that is read.
        """
        self._columns(recipe, key, time, published, out)
        if self._more is None:
            return
        beyond = np.flatnonzero(key >= self._keys)
        if len(beyond):
            some = np.empty((len(beyond), out.shape[1]), np.float32)
            mine, theirs = key[beyond] - np.int32(self._keys), published[self._keys :]
            self._more._columns(recipe, mine, time[beyond], theirs, some)
            out[beyond] = some

    def _columns(
        self, recipe: RecipeArrays, key: Int32, time: Int64, published: Int64, out: Float32
    ) -> None:
        row = Counts.zeros(2, len(self.windows), self.behaviours)
        if not len(recipe.ages):
            cached, cached_at = self._kept(recipe, out.shape[1])
            cached_columns(
                state=self._state,
                rings=self._rings,
                key=key,
                time=time,
                recipe=recipe,
                row=row,
                cached=cached,
                cached_at=cached_at,
                out=out,
            )
            return
        read_columns(
            state=self._state,
            rings=self._rings,
            key=key,
            time=time,
            published=published,
            recipe=recipe,
            row=row,
            out=out,
        )

    def _kept(self, recipe: RecipeArrays, columns: int) -> tuple[Float32, Int64]:
        """The columns (K, S) as last read by `recipe`, and when (K, R + 1)."""
        if self._cache is None or self._cache[0] is not recipe:
            keys, rings = len(self._state.first), len(self._rings.width)
            kept = np.zeros((keys, columns), np.float32), np.zeros((keys, rings + 1), np.int64)
            self._cache = recipe, *kept
        return self._cache[1:]

    def changes(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        """The counters that changed since they were opened or made, for `restore`."""
        rows = np.flatnonzero(self._touched)
        saved = {f"{prefix}{name}": getattr(self._state, name)[rows] for name in _SAVED}
        saved[f"{prefix}rows"] = rows
        saved[f"{prefix}keys"] = np.array(self._keys)
        return saved if self._more is None else saved | self._more.changes(f"{prefix}more ")

    def restore(self, changes: Mapping[str, NDArray[Any]], prefix: str = "") -> None:
        """Brings counters that were just opened to the state that `changes` describes."""
        rows = changes[f"{prefix}rows"]
        for name in _SAVED:
            getattr(self._state, name)[rows] = changes[f"{prefix}{name}"]
        self._state.summed_at[rows] = NEVER
        self._touched[rows] = True
        self._cache = None
        more = f"{prefix}more "
        if f"{more}keys" in changes:
            self.grow(self._keys + int(changes[f"{more}keys"]))
            assert self._more is not None
            self._more.restore(changes, more)

    def save(self, directory: Path) -> None:
        """Writes one npy file per counter and `windows.json`."""
        directory.mkdir(parents=True, exist_ok=True)
        for name in _SAVED:
            array = getattr(self._state, name)
            if self._more is not None:
                array = np.concatenate(
                    [array, getattr(self._more._state, name)[: self._more._keys]]
                )
            np.save(directory / f"{name}.npy", array)
        (directory / "windows.json").write_text(json.dumps(self.windows))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Opens what `save` wrote, memory-mapped; events added later stay in memory."""
        file = directory / "windows.json"
        windows = read_json_value(file, list)
        with reading(file):
            rings = Rings.of(windows)
        total = opened(directory / "total.npy", np.int64, (None, None))
        keys, behaviours = total.shape
        empty = State.empty(keys, rings, behaviours)
        wanted = {name: getattr(empty, name) for name in _SAVED}
        saved = {n: opened(directory / f"{n}.npy", a.dtype, a.shape) for n, a in wanted.items()}
        return cls(windows, empty._replace(**saved))
