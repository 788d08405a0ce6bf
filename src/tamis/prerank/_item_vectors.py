"""Outputs of the item tower for every item of a version's item table, saved with the pre-ranker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tamis.features import Block
from tamis.runtime import Float32, Int32, row_by_row
from tamis.schema import read_array, read_json

VECTORS, METADATA = "item_vectors.npy", "item_vectors.json"
MAX_HASHED_ROWS = 65_536
"""Maximum number of rows that the digest of a table reads."""
CHUNK = 8192
"""Items per call of the tower."""


class ItemVectors:
    """Vectors float32 (N, width) of the N entities of one item table, and the table's digest.

    The table of a version is memory-mapped. It is compared once (its shape, and a digest of up to
    `MAX_HASHED_ROWS` rows) and then recognised by identity. For rows of any other table the caller
    runs the tower, which is slower but gives the same vectors. Items that come or change while the
    version serves (`expect`) get vectors of their own, once.

    Args:
        vectors: one row per entity of the table.
        table: digest of the table, see `digest`.
        known: the table itself, if it is at hand.
    """

    def __init__(self, vectors: Float32, table: str, known: Block | None = None) -> None:
        self.vectors = np.asarray(vectors)
        self.table = table
        """Digest of the table."""
        self._known = known
        self._other: Block | None = None
        self._items: int | None = None
        """Number of items after changes; None before any."""
        self._pending = np.zeros(0, np.int32)
        """Rows that have come or changed and have no vector yet."""
        self._rows = np.zeros(0, np.int32)
        """(m,) rows, ascending, whose vectors are `_later` (m, width)."""
        self._later = np.zeros((0, self.vectors.shape[1]), np.float32)

    @classmethod
    def of(cls, block: Block, tower: Callable[[Block], Float32]) -> Self:
        """Runs the tower over the whole table."""
        parts = [
            tower(Block(block.ids[at : at + CHUNK], block.dense[at : at + CHUNK]))
            for at in range(0, len(block.ids), CHUNK)
        ]
        return cls(np.concatenate(parts), digest(block), block)

    def for_table(self, block: Block) -> Float32 | None:
        """(N, width): the vectors of the block's table; None if it is another table."""
        if _same(self._known, block):
            return self.vectors
        if _same(self._other, block):
            return None
        if len(block.ids) == len(self.vectors) and digest(block) == self.table:
            self._known = block
            return self.vectors
        self._other = block
        return None

    def expect(self, items: int, rows: Int32) -> None:
        """From now on the table has `items` items, of which `rows` (m,) are new or changed."""
        self._items = items
        self._pending = np.union1d(self._pending, rows).astype(np.int32)

    def gather(
        self, block: Block, pointer: NDArray[np.integer], tower: Callable[[Block], Float32]
    ) -> tuple[Float32, NDArray[np.integer]] | None:
        """Vectors (k, width) and each row's among them (n,), of a table that has changed; None
        where it has not, or is another one."""
        if self._items is None or len(block.ids) != self._items + 1:
            return None
        if len(self._pending):
            part = _part(block, self._pending)
            vectors = row_by_row(lambda ids, dense: tower(Block(ids, dense)), part.ids, part.dense)
            self._put(self._pending, vectors)
            self._pending = np.zeros(0, np.int32)
        rows, place = np.unique(pointer, return_inverse=True)
        unknown = len(self.vectors) - 1
        out = self.vectors[np.where(rows < unknown, rows, unknown)]
        at = np.minimum(np.searchsorted(self._rows, rows), max(len(self._rows) - 1, 0))
        here = self._rows[at] == rows if len(self._rows) else np.zeros(len(rows), np.bool_)
        out[here] = self._later[at[here]]
        return out, place

    def _put(self, rows: Int32, vectors: Float32) -> None:
        """The vectors of rows from now on."""
        kept = ~np.isin(self._rows, rows)
        every = np.concatenate([self._rows[kept], rows])
        order = np.argsort(every)
        self._rows = every[order]
        self._later = np.concatenate([self._later[kept], vectors])[order]

    def save(self, directory: Path) -> None:
        """Writes the vectors and the table's digest."""
        np.save(directory / VECTORS, self.vectors)
        (directory / METADATA).write_text(json.dumps({"table": self.table}), "utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """Opens what `save` wrote, memory-mapped; None if nothing was saved."""
        if not (directory / METADATA).is_file():
            return None
        metadata = read_json(directory / METADATA, table=str)
        return cls(read_array(directory / VECTORS, np.float32, (None, None)), metadata["table"])


def digest(block: Block) -> str:
    """Hash of a table's shape and of its rows, or of `MAX_HASHED_ROWS` evenly spaced ones."""
    n = len(block.ids)
    few = n <= MAX_HASHED_ROWS
    rows = np.arange(n) if few else np.linspace(0, n - 1, MAX_HASHED_ROWS).astype(np.int64)
    whole = hashlib.blake2b(f"{block.ids.shape} {block.dense.shape}".encode(), digest_size=16)
    whole.update(np.ascontiguousarray(block.ids[rows]).data)
    whole.update(np.ascontiguousarray(block.dense[rows]).data)
    return whole.hexdigest()


def _part(block: Block, rows: Int32) -> Block:
    """Some entities of a block."""
    return Block(block.ids[rows], block.dense[rows])


def _same(known: Block | None, block: Block) -> bool:
    return known is not None and known.ids is block.ids and known.dense is block.dense
