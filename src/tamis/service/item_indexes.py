"""Indexes of the directions of channels' item vectors, for similar items."""

from __future__ import annotations

import numpy as np

from tamis.cascade import EmbedsItems, GathersItems
from tamis.data import Table
from tamis.index import VectorIndex
from tamis.runtime import Bool, Float32, Int32

UNIT = 1e-6
"""Difference from 1 up to which lengths of vectors are those of directions."""


class ItemIndexes:
    """One exact index per channel that items are compared by.

    An index is built when it is first requested, and kept: items that come or change while a
    version serves are added to it, as to the channels' own indexes.
    """

    def __init__(self) -> None:
        self._built: dict[str, tuple[EmbedsItems, VectorIndex]] = {}

    def of(self, name: str, channel: EmbedsItems) -> VectorIndex:
        """The index of a channel; items of whose vectors it knows nothing are not found."""
        if name not in self._built:
            unit, known = _directions(np.asarray(channel.item_vectors(), np.float32))
            index = VectorIndex.build(unit, present=known, exact_below=len(unit) + 1)
            self._built[name] = channel, index
        return self._built[name][1]

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up the vectors of new and changed items, after the channels; see `FollowsItems`."""
        del items
        for channel, index in self._built.values():
            unit, known = _directions(_vectors(channel, rows))
            if not known.all():
                index.remove(rows[~known])
            if known.any():
                index.add(rows[known], unit[known])


def _vectors(channel: EmbedsItems, rows: Int32) -> Float32:
    """(m, d) the vectors of item rows (m,); zero where the channel has none."""
    if isinstance(channel, GathersItems):
        vectors, place = channel.vectors_of(rows)
        return vectors[place]
    vectors = np.asarray(channel.item_vectors(), np.float32)
    found = np.zeros((len(rows), vectors.shape[1]), np.float32)
    there = rows < len(vectors)
    found[there] = vectors[rows[there]]
    return found


def _directions(vectors: Float32) -> tuple[Float32, Bool]:
    """Vectors (n, d) of length 1, the given array where they are so already, and (n,) which are not
    zero."""
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    known = length > 0
    if np.abs(length[known] - 1).max(initial=0) <= UNIT:
        return vectors, known
    return (vectors / np.maximum(length, 1e-12)[:, None]).astype(np.float32), known
