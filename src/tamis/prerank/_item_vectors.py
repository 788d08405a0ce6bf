"""The item side, once per version: outputs of the item tower for every item of a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np

from tamis.features import Block
from tamis.runtime import Float32

VECTORS, ABOUT = "item_vectors.npy", "item_vectors.json"
SAMPLED = 65_536
"""Most rows by which a table is recognised."""
CHUNK = 8192
"""Items that go through the tower at once."""


class KeptItems:
    """Vectors float32 (N, width) of the N entities of one item table, and how to recognise it.

    A version's table is memory-mapped and never changes, so it is compared once (shape, and a
    digest of up to `SAMPLED` rows), and then known by identity. Rows of any other table get
    their vectors from the tower: slower, never wrong.
    """

    def __init__(self, vectors: Float32, table: str, known: Block | None = None) -> None:
        self.vectors = np.asarray(vectors)
        self.table = table
        """Digest of the table."""
        self._known = known
        self._other: Block | None = None

    @classmethod
    def of(cls, block: Block, tower: Callable[[Block], Float32]) -> Self:
        """Runs the tower over the whole table."""
        parts = [
            tower(Block(block.ids[at : at + CHUNK], block.dense[at : at + CHUNK]))
            for at in range(0, len(block.ids), CHUNK)
        ]
        return cls(np.concatenate(parts), digest(block), block)

    def of_table(self, block: Block) -> Float32 | None:
        """(N, width), row k of the block's table; None where it is another table."""
        if _same(self._known, block):
            return self.vectors
        if _same(self._other, block):
            return None
        if len(block.ids) == len(self.vectors) and digest(block) == self.table:
            self._known = block
            return self.vectors
        self._other = block
        return None

    def save(self, directory: Path) -> None:
        np.save(directory / VECTORS, self.vectors)
        (directory / ABOUT).write_text(json.dumps({"table": self.table}), "utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """Memory-mapped; None where nothing was kept."""
        if not (directory / ABOUT).is_file():
            return None
        about = json.loads((directory / ABOUT).read_text("utf-8"))
        return cls(np.load(directory / VECTORS, mmap_mode="r"), about["table"])


def digest(block: Block) -> str:
    """Of a table's shape and of its rows, or of `SAMPLED` of them at even distances."""
    n = len(block.ids)
    rows = np.arange(n) if n <= SAMPLED else np.linspace(0, n - 1, SAMPLED).astype(np.int64)
    whole = hashlib.blake2b(f"{block.ids.shape} {block.dense.shape}".encode(), digest_size=16)
    whole.update(np.ascontiguousarray(block.ids[rows]).data)
    whole.update(np.ascontiguousarray(block.dense[rows]).data)
    return whole.hexdigest()


def _same(known: Block | None, block: Block) -> bool:
    return known is not None and known.ids is block.ids and known.dense is block.dense
