"""Base classes of channels that find items by their vectors in an index."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import UNKNOWN, Ragged, Table
from tamis.index import VectorIndex
from tamis.recall._common.channel import BaseChannel
from tamis.recall._common.item_columns import NO_TIMES, UNKNOWN_TIME, publication_of
from tamis.runtime import Float32, Int32, Int64, grown

INDEX = "index"


class IndexedChannel(BaseChannel):
    """A channel that keeps the items' vectors in `index`, saved and loaded with it.

    The vectors of items that come or change while a version serves lie in the index's overlay, all
    of which is scored for every query; the next version's index holds them. It is not compacted
    before: services that have applied the same entries of a journal thus search the same lists.
    """

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.index: VectorIndex | None = None

    def item_vectors(self) -> Float32:
        """(I, d) float32 vectors of all items; zero for items of which nothing is known."""
        assert self.index is not None
        return self.index.current

    def vectors_of(self, items: Int32) -> tuple[Float32, Int32]:
        """Vectors (m, d), and for each of `items` (n,) its row among them, -1 for -1; see
        `GathersItems`."""
        assert self.index is not None
        base = self.index.vectors
        if not self.index.changed and (not len(items) or items.max() < len(base)):
            return base, items
        rows, place = np.unique(items, return_inverse=True)
        return self.index.gather(rows), np.where(items < 0, -1, place).astype(np.int32)

    def _put_vectors(self, rows: Int32, vectors: Float32) -> None:
        """The vectors (m, d) of the items `rows` from now on; items with a zero one are not
        found."""
        assert self.index is not None
        known = np.asarray(vectors.any(axis=1))
        if not known.all():
            self.index.remove(rows[~known])
        if known.any():
            self.index.add(rows[known], vectors[known])

    def _published_with(
        self, reading: Mapping[str, Any] | None, items: Table, part: Table, rows: Int32
    ) -> dict[str, NDArray[Any]]:
        """The publication times after the items `rows`, of which `part` holds the columns, were
        added or changed."""
        published = self._arrays["published"]
        if reading is None or not len(published):
            return {}
        published = grown(published, len(items), UNKNOWN_TIME)
        published[rows] = publication_of(self.name, part, reading["published"])
        return {"published": published}

    def _nearest(self, vectors: Float32, time: Int64, exclude: Ragged, k: int) -> Recalled:
        """The items nearest to the queries' vectors (Q, d); none for the zero vector.

        If `_arrays["published"]` holds publication times (see `publication_times`), items published
        at or after their query's `time` (Q,) are removed from the k nearest, which leaves fewer.
        """
        assert self.index is not None
        item, score = self.index.search(vectors, k, exclude)
        unknown = ~np.asarray(vectors.any(axis=1))
        out = np.repeat(unknown, item.shape[1]).reshape(item.shape)
        published = self._arrays.get("published", NO_TIMES)
        if len(published):
            out |= published[np.minimum(item, len(published) - 1)] >= time[:, None]
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
        """(Q, d) float32 vectors of the queries' users; zero for users of whom nothing is known."""

    def _recall(self, queries: Queries, k: int) -> Recalled:
        return self._nearest(self.user_vectors(queries), queries.time, queries.exclude, k)


def known_rows(
    ids: pl.Series, size: int, former: str, given: Int32 | None
) -> tuple[Int64, Int64] | None:
    """(rows, the same ids' rows in a former fit) of the ids that a former fit had, each (n,).

    Args:
        ids: of the rows now.
        size: number of rows of the former fit.
        former: `digest` of its ids.
        given: (rows,) the former row of each id, UNKNOWN for new ones; None: possible only if rows
            have just been added at the end since, otherwise the result is None.
    """
    if given is not None:
        rows = np.flatnonzero((given != UNKNOWN) & (given < size))
        return rows, given[rows].astype(np.int64)
    if size > len(ids) or digest(ids[:size]) != former:
        return None
    rows = np.arange(size)
    return rows, rows


def former_rows(context: FitContext, table: str) -> Int32 | None:
    """`FitContext.former_rows` of an embedding table "user" or of items."""
    rows = context.former_rows
    if rows is None:
        return None
    return rows.users if table == "user" else rows.items


def digest(ids: pl.Series) -> str:
    """Hash of text ids in their order, to check that a former fit numbered the rows the same."""
    return hashlib.blake2b("\0".join(ids.to_list()).encode(), digest_size=16).hexdigest()
