"""The keys that a journal holds, by their hashes: which of new entries are duplicates."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from tamis.runtime import Int64

MERGED_AT = 50_000
"""Keys that are looked up in a dictionary, before they are merged into the sorted arrays."""


def hash_of(key: str) -> int:
    """63 bits of the key's BLAKE2b: the same in every process and release."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


class KnownKeys:
    """Hash of a key → sequence number of the first entry that had it; 16 bytes per key.

    Two different keys of ten million have one hash with a probability of 1 in 200,000.
    """

    def __init__(self) -> None:
        self._hashes: Int64 = np.zeros(0, np.int64)
        self._numbers: Int64 = np.zeros(0, np.int64)
        self._recent: dict[int, int] = {}
        self.seen = 0
        """Up to this sequence number, the keys of the journal were added."""
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self._hashes) + len(self._recent)

    def add(self, found: Iterable[tuple[int, int]], seen: int) -> None:
        """Adds keys, (sequence number, hash) each, of the journal up to number `seen`."""
        for number, key in found:
            self._recent[key] = max(number, self._recent.get(key, 0))
        self.seen = max(self.seen, seen)
        if len(self._recent) > MERGED_AT:
            self._merge()

    def find(self, keys: Sequence[int]) -> dict[int, int]:
        """{hash: number} of those of `keys` that are known."""
        found = {key: self._recent[key] for key in keys if key in self._recent}
        if len(self._hashes):
            wanted = np.array(keys, np.int64)
            place = np.minimum(np.searchsorted(self._hashes, wanted), len(self._hashes) - 1)
            held = self._hashes[place] == wanted
            older = zip(wanted[held].tolist(), self._numbers[place[held]].tolist(), strict=True)
            found = dict(older) | found
        return found

    def forget(self, upto: int) -> None:
        """Removes the keys of the entries up to number `upto`, if that was not done yet."""
        if upto <= self._forgotten:
            return
        self._forgotten = upto
        self._recent = {k: n for k, n in self._recent.items() if n > upto}
        kept = self._numbers > upto
        self._hashes, self._numbers = self._hashes[kept], self._numbers[kept]

    def _merge(self) -> None:
        hashes = np.fromiter(self._recent.keys(), np.int64, len(self._recent))
        numbers = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        hashes = np.concatenate([hashes, self._hashes])
        numbers = np.concatenate([numbers, self._numbers])
        self._hashes, first = np.unique(hashes, return_index=True)
        self._numbers = numbers[first]
        self._recent = {}
