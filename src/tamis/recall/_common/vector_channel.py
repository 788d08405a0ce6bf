"""What channels share that find items by their vectors in an index."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from tamis.cascade import Queries, Recalled
from tamis.data import Ragged
from tamis.index import VectorIndex
from tamis.recall._common.channel import BaseChannel
from tamis.runtime import Float32, Int64

INDEX = "index"
NOWHERE = np.zeros(0, np.int64)


class IndexedChannel(BaseChannel):
    """A channel whose items' vectors lie in `index`, saved and opened with it."""

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.index: VectorIndex | None = None

    def item_vectors(self) -> Float32:
        """(I, d) of all items; zero where a channel knows nothing of one."""
        assert self.index is not None
        return self.index.vectors

    def _nearest(self, vectors: Float32, time: Int64, exclude: Ragged, k: int) -> Recalled:
        """The items nearest to vectors (Q, d) asked at `time` (Q,); none for the zero vector.

        Where `_arrays["born"]` says when items are published (`births`), an item that its query's
        time lies before is left out, and the list is shorter by it.
        """
        assert self.index is not None
        item, score = self.index.search(vectors, k, exclude)
        unknown = ~np.asarray(vectors.any(axis=1))
        out = np.repeat(unknown, item.shape[1]).reshape(item.shape)
        born = self._arrays.get("born", NOWHERE)
        if len(born):
            out |= born[np.minimum(item, len(born) - 1)] >= time[:, None]
        if not out.any():
            return Recalled(item, score)
        item, score = np.where(out, -1, item), np.where(out, -np.inf, score).astype(np.float32)
        order = np.argsort(item < 0, axis=1, kind="stable")
        ordered = np.take_along_axis(item, order, 1), np.take_along_axis(score, order, 1)
        return Recalled(*ordered)

    def save(self, directory: Path) -> None:
        super().save(directory)
        assert self.index is not None
        self.index.save(Path(directory) / INDEX)

    @classmethod
    def load(cls, directory: Path, config: Any = None) -> Self:
        channel = super().load(directory, config)
        channel.index = VectorIndex.load(Path(directory) / INDEX)
        return channel


class VectorChannel(IndexedChannel):
    """A channel whose score is the inner product of a user's and an item's vector."""

    @abstractmethod
    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, d) of the queries' users now; zero where nothing is known of one."""

    def _recall(self, queries: Queries, k: int) -> Recalled:
        return self._nearest(self.user_vectors(queries), queries.time, queries.exclude, k)


def digest(ids: pl.Series) -> str:
    """A fingerprint of text ids in their order: did the rows of a former fit keep their place?"""
    return hashlib.blake2b("\0".join(ids.to_list()).encode(), digest_size=16).hexdigest()
