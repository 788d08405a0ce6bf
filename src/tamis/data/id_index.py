"""From external ids to row numbers: little memory, and made fast for millions of ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import polars as pl

from tamis.runtime import Int32

SMALL = 100_000
"""Up to this many ids, a dictionary is made in a moment and answers in a tenth of a microsecond."""
UNKNOWN = -1


class IdIndex(Protocol):
    """Rows of ids as text."""

    def get(self, text: str, other: int | None = None) -> int | None:
        """The row of an id; `other` where it is not in the table."""
        ...

    def get_all(self, texts: Sequence[str] | pl.Series) -> Int32:
        """(n,) the rows of n ids; UNKNOWN (-1) for those that are not in the table."""
        ...


def id_index(ids: pl.Series) -> IdIndex:
    """The index of (N,) unique ids."""
    return DictIndex(ids) if len(ids) <= SMALL else HashIndex(ids)


class DictIndex:
    """A dictionary: about 150 bytes and 0.3 microseconds per id to make."""

    def __init__(self, ids: pl.Series) -> None:
        self._rows = {name: row for row, name in enumerate(ids.to_list())}

    def get(self, text: str, other: int | None = None) -> int | None:
        return self._rows.get(text, other)

    def get_all(self, texts: Sequence[str] | pl.Series) -> Int32:
        rows = self._rows
        return np.fromiter((rows.get(text, UNKNOWN) for text in texts), np.int32, len(texts))


class HashIndex:
    """Sorted hashes: 12 bytes and 0.1 microseconds per id to make.

    Ids whose hash is equal are neighbours, and their texts tell which is which.
    """

    def __init__(self, ids: pl.Series) -> None:
        self._ids = ids
        hashes = ids.hash().to_numpy()
        order = np.argsort(hashes)
        self._hashes = hashes[order]
        self._rows = order.astype(np.int32)

    def get(self, text: str, other: int | None = None) -> int | None:
        wanted = pl.Series([text], dtype=pl.String).hash()[0]
        at = int(np.searchsorted(self._hashes, np.uint64(wanted)))
        while at < len(self._hashes) and self._hashes[at] == wanted:
            row = int(self._rows[at])
            if self._ids[row] == text:
                return row
            at += 1
        return other

    def get_all(self, texts: Sequence[str] | pl.Series) -> Int32:
        wanted = pl.Series(texts, dtype=pl.String)
        hashes = wanted.hash().to_numpy()
        at = np.searchsorted(self._hashes, hashes)
        found = np.full(len(wanted), UNKNOWN, np.int32)
        open_ = np.flatnonzero(at < len(self._hashes))
        while len(open_):
            open_ = open_[self._hashes[at[open_]] == hashes[open_]]
            rows = self._rows[at[open_]]
            same = (self._ids.gather(rows) == wanted.gather(open_)).to_numpy()
            found[open_[same]] = rows[same]
            open_ = open_[~same]
            at[open_] += 1
            open_ = open_[at[open_] < len(self._hashes)]
        return found
