"""Counts of events per pair of codes (user and author), as of any time of a log and live."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.features._pair_counting_kernels import (
    add_pairs,
    count_before,
    read_pairs,
    rebuild_slots,
)
from tamis.features.windows import opened
from tamis.runtime import Bool, Int32, Int64

SECOND = 32
"""Bits of a key that hold the pair's second code."""


def pair_keys(first: NDArray[np.integer], second: NDArray[np.integer]) -> Int64:
    """(n,) one key per pair of codes (n,); -1 where a code is negative."""
    keys = (first.astype(np.int64) << SECOND) | second.astype(np.int64)
    return np.where((first < 0) | (second < 0), np.int64(-1), keys)


class Moments:
    """Moments per key (ms); counts those before a time."""

    def __init__(self, indptr: Int64, moments: Int64) -> None:
        """indptr: (K + 1,) bounds of the keys' moments. moments: ascending per key."""
        self._indptr = indptr
        self._moments = moments

    @classmethod
    def of(cls, key: NDArray[np.integer], moment: Int64, keys: int) -> Moments:
        """`key` (p,) of each moment (p,), from 0 to `keys` - 1; moments of key -1 are left out."""
        order = np.lexsort((moment, key))
        order = order[np.searchsorted(key[order], 0) :]
        indptr = np.searchsorted(key[order], np.arange(keys + 1)).astype(np.int64)
        return cls(indptr, moment[order])

    def pairs(self) -> tuple[Int64, Int64]:
        """(p,) the key of each moment, and the moments (ms)."""
        return np.repeat(np.arange(len(self._indptr) - 1), np.diff(self._indptr)), self._moments

    def before(self, key: NDArray[np.integer], time: Int64) -> Int64:
        """(n,) how many moments of each key (n,) are before each time (n,); 0 for key -1."""
        out = np.empty(len(key), np.int64)
        count_before(indptr=self._indptr, moments=self._moments, key=key, time=time, out=out)
        return out

    def save(self, directory: Path) -> None:
        """Writes `indptr.npy` and `moments.npy`."""
        np.save(directory / "indptr.npy", self._indptr)
        np.save(directory / "moments.npy", self._moments)

    @classmethod
    def load(cls, directory: Path, keys: int) -> Moments:
        """Opens what `save` wrote, memory-mapped. Raises ValueError where it is of other keys."""
        indptr = opened(directory / "indptr.npy", np.int64, (keys + 1,))
        moments = opened(directory / "moments.npy", np.int64, (None,))
        if indptr[-1] != len(moments):
            raise ValueError(f"indptr.npy does not divide {len(moments)} moments among the keys")
        return cls(indptr, moments)


class PairCounts:
    """Events per pair and column; a pair takes memory once it occurs.

    8 + 4 B bytes per pair of the base, about three times that per pair that is added later. At most
    2^31 - 1 events per pair and column.
    """

    def __init__(self, keys: Int64, total: Int32) -> None:
        """keys: (P,) ascending. total: (P, B) events."""
        self._keys = keys
        self._total = total
        self._added = np.zeros(0, np.int64)
        self._more = np.zeros((0, total.shape[1]), np.int32)
        self._slot = np.full(1, -1, np.int32)
        self._n = 0
        self._touched = np.zeros(len(keys), np.bool_)

    @classmethod
    def empty(cls, columns: int) -> PairCounts:
        """Without pairs."""
        return cls(np.zeros(0, np.int64), np.zeros((0, columns), np.int32))

    @classmethod
    def of(cls, key: Int64, column: NDArray[np.integer], columns: int) -> PairCounts:
        """The counts of n events: key (n,), negative ones left out, and column (n,)."""
        known = key >= 0
        keys, place = np.unique(key[known], return_inverse=True)
        cells = place * columns + column[known]
        total = np.bincount(cells, minlength=len(keys) * columns).astype(np.int32)
        return cls(keys, total.reshape(len(keys), columns))

    def add(self, key: Int64, column: NDArray[np.integer]) -> Bool:
        """Counts n events, none of a negative key; (n,) whether each is its pair's first one."""
        self._reserve(len(key))
        new = np.empty(len(key), np.bool_)
        self._n = add_pairs(
            keys=self._keys,
            total=self._total,
            slot=self._slot,
            added=self._added,
            more=self._more,
            n=self._n,
            key=key,
            column=column,
            new=new,
            touched=self._touched,
        )
        return new

    def changes(self) -> dict[str, NDArray[Any]]:
        """The counts that changed since they were opened or made, for `restore`."""
        rows = np.flatnonzero(self._touched)
        added, more = self._added[: self._n], self._more[: self._n]
        return {"rows": rows, "total": self._total[rows], "added": added, "more": more}

    def restore(self, changes: Mapping[str, NDArray[Any]]) -> None:
        """Brings counts that were just opened to the state that `changes` describes."""
        rows, added = changes["rows"], changes["added"]
        self._total[rows], self._touched[rows] = changes["total"], True
        self._reserve(len(added))
        self._added[: len(added)], self._more[: len(added)] = added, changes["more"]
        self._n = len(added)
        rebuild_slots(slot=self._slot, added=self._added, n=self._n)

    def forget(self, first: int) -> None:
        """Clears the counts of all pairs whose first code is `first`."""
        low, high = np.searchsorted(self._keys, [first << SECOND, (first + 1) << SECOND])
        self._total[low:high], self._touched[low:high] = 0, True
        mine = np.flatnonzero(self._added[: self._n] >> SECOND == first)
        self._more[mine] = 0

    def read(self, key: Int64) -> Int32:
        """(n, B) the counts of pairs (n,); 0 for negative keys and pairs without events."""
        out = np.empty((len(key), self._total.shape[1]), np.int32)
        read_pairs(
            keys=self._keys,
            total=self._total,
            slot=self._slot,
            added=self._added,
            more=self._more,
            key=key,
            out=out,
        )
        return out

    def _reserve(self, pairs: int) -> None:
        """Grows the arrays for `pairs` more pairs, at least twofold."""
        wanted = self._n + pairs
        if wanted > len(self._added):
            size = max(wanted, 2 * len(self._added), 1024)
            added, more = np.zeros(size, np.int64), np.zeros((size, self._more.shape[1]), np.int32)
            added[: self._n], more[: self._n] = self._added[: self._n], self._more[: self._n]
            self._added, self._more = added, more
        if 2 * wanted > len(self._slot):
            self._slot = np.full(1 << (4 * wanted).bit_length(), -1, np.int32)
            rebuild_slots(slot=self._slot, added=self._added, n=self._n)

    def save(self, directory: Path) -> None:
        """Writes `keys.npy` and `total.npy`, the pairs added later among them."""
        directory.mkdir(parents=True, exist_ok=True)
        keys = np.concatenate([self._keys, self._added[: self._n]])
        order = np.argsort(keys)
        total = np.concatenate([self._total, self._more[: self._n]])
        np.save(directory / "keys.npy", keys[order])
        np.save(directory / "total.npy", total[order])

    @classmethod
    def load(cls, directory: Path, columns: int) -> PairCounts:
        """Opens what `save` wrote, memory-mapped."""
        keys = opened(directory / "keys.npy", np.int64, (None,))
        return cls(keys, opened(directory / "total.npy", np.int32, (len(keys), columns)))
