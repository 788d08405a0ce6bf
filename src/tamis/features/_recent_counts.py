"""Live counts of events per pair of codes in time windows: memory follows the windows, not the log.

A pair has a cell for each behaviour and time bucket with events, of the buckets that some window
can still hold. Cells expire with their buckets and are dropped, so that there are never many more
than (events of the longest window) × (kinds of buckets).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.data import Events
from tamis.features._counting_kernels import NEVER
from tamis.features._pair_counting_kernels import rebuild_slots
from tamis.features._pair_counts import SECOND
from tamis.features._recent_kernels import BUCKET, RING, add_recent, pack_cells, read_recent
from tamis.features.windows import Rings, opened
from tamis.runtime import Bool, Int32, Int64

_CHUNK = 1024
"""Events added at once; bounds the space that is reserved for them."""
_LEAST = 1024
"""Keys for which there is space at least."""


class Cells(NamedTuple):
    """Cells in chains, one per key; see `_recent_kernels`."""

    cell: Int64
    """Bucket, ring and behaviour."""
    number: Int32
    """Its events, at most 2^31 - 1."""
    following: Int32
    """The next cell of the key; -1 after the last."""


class Packed(NamedTuple):
    """Cells by key, end to end."""

    keys: Int64
    """(P,), each once."""
    bounds: Int64
    """(P + 1,) bounds of each key's cells."""
    cell: Int64
    """(C,) bucket, ring and behaviour."""
    number: Int32
    """(C,) events."""

    @classmethod
    def empty(cls) -> Packed:
        """Without keys."""
        return cls(*(np.zeros(n, t) for n, t in ((0, "i8"), (1, "i8"), (0, "i8"), (0, "i4"))))

    @property
    def owners(self) -> Int64:
        """(C,) the key of each cell."""
        return np.repeat(self.keys, np.diff(self.bounds))


class RecentCounts:
    """Events per pair, behaviour and time bucket, as of now.

    12 bytes per cell and 16 per pair of the base; of those added later about three times that.
    """

    def __init__(self, windows: Sequence[str], base: Packed) -> None:
        """`windows` as of `Rings`; `base`, whose keys ascend, may be memory-mapped."""
        self._rings = Rings.of(windows)
        self._base = base
        self._newest = np.full(len(self._rings.width), NEVER)
        self._cleared = np.zeros(len(base.keys), np.bool_)
        self._unpack(Packed.empty(), 0)

    def add(self, key: Int64, events: Events) -> None:
        """Counts n events of pairs (n,), none of a negative key."""
        moment = np.minimum(events.time, events.arrival)
        if not len(key):
            return
        self._newest = np.maximum(self._newest, moment.max() // self._rings.width)
        for at in range(0, len(key), _CHUNK):
            part = slice(at, at + _CHUNK)
            kept = at + np.flatnonzero(self._current(moment[part]))
            self._add(key[kept], events.behaviour[kept], moment[kept])

    def _current(self, moment: Int64) -> Bool:
        """(n,) whether some window still holds each moment (n,)."""
        oldest = self._newest - self._rings.slots
        return np.asarray((moment[:, None] // self._rings.width > oldest).any(axis=1), np.bool_)

    def _add(self, key: Int64, behaviour: NDArray[np.uint8], moment: Int64) -> None:
        wanted = self._used + len(key) * len(self._rings.width)
        if self._n + len(key) > len(self._added) or wanted > len(self._cells.cell):
            self._unpack(self._packed(), len(key))
        self._n, self._used, self._free = add_recent(
            rings=self._rings,
            newest=self._newest,
            slot=self._slot,
            added=self._added,
            head=self._head,
            n=self._n,
            cells=self._cells,
            used=self._used,
            free=self._free,
            key=key,
            behaviour=behaviour,
            moment=moment,
        )

    def read(self, key: Int64, time: Int64, out: Int64) -> None:
        """Fills `out` (n, W, B), zeros, with the counts of pairs (n,) at times (n,) in ms.

        The times are later than the arrivals added so far. Negative keys and pairs without events
        have zeros, and so has the window `all`.
        """
        read_recent(
            rings=self._rings,
            keys=self._base.keys,
            bounds=self._base.bounds,
            base_cell=self._base.cell,
            base_number=self._base.number,
            slot=self._slot,
            added=self._added,
            head=self._head,
            cells=self._cells,
            key=key,
            time=time,
            out=out,
        )

    def forget(self, first: int) -> None:
        """Clears the counts of all pairs whose first code is `first`."""
        low, high = np.searchsorted(self._base.keys, [first << SECOND, (first + 1) << SECOND])
        self._clear(slice(low, high))
        self._head[: self._n][self._added[: self._n] >> SECOND == first] = -1

    def _clear(self, rows: slice | NDArray[np.integer]) -> None:
        """Clears the cells of rows of the base."""
        self._cleared[rows] = True
        begin, end = self._base.bounds[:-1][rows], self._base.bounds[1:][rows]
        sizes = end - begin
        before = np.cumsum(sizes) - sizes
        self._base.number[np.repeat(begin - before, sizes) + np.arange(sizes.sum())] = 0

    def changes(self) -> dict[str, NDArray[Any]]:
        """The counts that changed since they were opened or made, for `restore`."""
        return {**self._packed()._asdict(), "cleared": np.flatnonzero(self._cleared)}

    def restore(self, changes: Mapping[str, NDArray[Any]]) -> None:
        """Brings counts that were just opened to the state that `changes` describes."""
        self._clear(changes["cleared"])
        self._unpack(Packed(*(changes[name] for name in Packed._fields)), 0)

    def _packed(self) -> Packed:
        """The cells of keys that have some, of those counted since; expired ones are left out."""
        bounds = np.empty(self._n + 1, np.int64)
        cell, number = np.empty(self._used, np.int64), np.empty(self._used, np.int32)
        pack_cells(
            rings=self._rings,
            newest=self._newest,
            head=self._head,
            n=self._n,
            cells=self._cells,
            bounds=bounds,
            cell=cell,
            number=number,
        )
        kept, filled = np.flatnonzero(np.diff(bounds)), int(bounds[-1])
        bounds = np.append(bounds[kept], filled)
        return Packed(self._added[kept], bounds, cell[:filled], number[:filled])

    def _unpack(self, packed: Packed, events: int) -> None:
        """Chains cells, with space for `events` more and for as many as there are."""
        keys, filled = len(packed.keys), len(packed.cell)
        rows = max(2 * keys + events, _LEAST)
        size = max(2 * filled + events * len(self._rings.width), _LEAST)
        cells = Cells(np.empty(size, np.int64), np.empty(size, np.int32), np.empty(size, np.int32))
        cells.cell[:filled], cells.number[:filled] = packed.cell, packed.number
        cells.following[:filled] = np.arange(1, filled + 1)
        cells.following[packed.bounds[1:] - 1] = -1
        self._cells = cells
        self._used, self._free, self._n = filled, -1, keys
        self._added, self._head = np.empty(rows, np.int64), np.empty(rows, np.int32)
        self._added[:keys], self._head[:keys] = packed.keys, packed.bounds[:-1]
        self._slot = np.full(1 << (2 * rows).bit_length(), -1, np.int32)
        rebuild_slots(slot=self._slot, added=self._added, n=keys)

    def _merged(self) -> Packed:
        """The base and what was counted since, by key; expired cells are left out."""
        later = self._packed()
        key = np.concatenate([self._base.owners, later.owners])
        cell = np.concatenate([self._base.cell, later.cell])
        number = np.concatenate([self._base.number, later.number])
        ring = (cell >> RING) & 255
        current = cell >> BUCKET > (self._newest - self._rings.slots)[ring]
        kept = np.flatnonzero(current & (number > 0))
        kept = kept[np.lexsort((cell[kept], key[kept]))]
        key, cell, number = key[kept], cell[kept], number[kept]
        new_key = np.append(True, key[1:] != key[:-1])[: len(key)]
        first = np.flatnonzero(new_key | np.append(True, cell[1:] != cell[:-1])[: len(key)])
        counts = np.add.reduceat(number, first) if len(first) else number
        key, cell = key[first], cell[first]
        begin = np.flatnonzero(new_key[first])
        bounds = np.append(begin, len(key)).astype(np.int64)
        return Packed(key[begin], bounds, cell, counts.astype(np.int32))

    def save(self, directory: Path) -> None:
        """Writes one npy file per array of the pairs."""
        for name, array in self._merged()._asdict().items():
            np.save(directory / f"recent_{name}.npy", array)

    @classmethod
    def load(cls, directory: Path, windows: Sequence[str]) -> RecentCounts:
        """Opens what `save` wrote, memory-mapped. Raises ValueError where the arrays contradict
        each other."""
        file = {name: directory / f"recent_{name}.npy" for name in Packed._fields}
        keys = opened(file["keys"], np.int64, (None,))
        bounds = opened(file["bounds"], np.int64, (len(keys) + 1,))
        cell = opened(file["cell"], np.int64, (None,))
        number = opened(file["number"], np.int32, (len(cell),))
        if bounds[0] != 0 or bounds[-1] != len(cell):
            raise ValueError(f"recent_bounds.npy does not divide {len(cell)} cells among the pairs")
        return cls(windows, Packed(keys, bounds, cell, number))
