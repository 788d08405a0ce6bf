"""A user's vector at request time, from what was saved: the same arithmetic as in training."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from tamis.features import Layout
from tamis.index import scratch
from tamis.nn import FusedEmbedding
from tamis.recall._common.interactions import distinct
from tamis.recall._common.side_features import FIRST
from tamis.recall.two_tower._tower import SequencePart, Tower, TowerShape
from tamis.runtime import Float32, Int32, Int64

QUERIES_PER_BLOCK = 4096


class UserSide:
    """The user tower of a fitted channel.

    The network `sum` without hidden layers runs as one compiled kernel; every other is the very
    module that was trained, in evaluation mode.
    """

    def __init__(
        self, table: Float32, layout: Layout, history: str, arrays: Mapping[str, Any]
    ) -> None:
        self._table, self._arrays = table, arrays
        found = layout.table[history]
        self.pad = found.start
        self.n_items = found.size - FIRST
        self.history = table[found.start + FIRST : found.start + found.size]
        """(I, dim) embeddings of the history's items."""
        self._layout = layout
        self._cosine, self._last, self._item_bias = True, 1, False
        self._tower: Tower | None = None
        self._weights: FusedEmbedding | None = None

    @classmethod
    def of(cls, arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> UserSide:
        """Of a channel's saved state."""
        layout = Layout.from_dict(facts["layout"])
        side = cls(arrays["table"], layout, facts["history"], arrays)
        shape = TowerShape(**facts["shape"])
        side._cosine, side._last = shape.cosine, shape.length
        side._item_bias = facts["item_bias"]
        if facts["network"] == "sum" and not shape.hidden_units:
            return side
        tower = Tower(
            facts["network"],
            layout,
            [c.name for c in layout.ids],
            SequencePart(side.pad) if shape.length else None,
            arrays["user_dense"].shape[1],
            shape,
            torch.Generator().manual_seed(0),
        )
        prefix = "dense.user_tower."
        state = {
            name.removeprefix(prefix): torch.from_numpy(np.array(value))
            for name, value in arrays.items()
            if name.startswith(prefix)
        }
        tower.load_state_dict(state)
        side._tower = tower.eval()
        side._weights = _mapped(arrays["table"])
        return side

    def embedded(self, items: Int32) -> Float32:
        """(n, dim) embeddings of history items."""
        return self.history[items]

    def vectors(self, users: NDArray[Any], indptr: Int64, item: Int32, value: Float32) -> Float32:
        """(Q, out) of user rows (a stranger: the last row of the inputs) and their events as a CSR:
        `value` is each event's interest, negative where it is no like; the most recent
        distinct ones count."""
        vectors = self._towards(users, indptr, item, value)
        if not self._item_bias:
            return vectors
        known = vectors.any(axis=1, keepdims=True)
        return np.concatenate([vectors, known.astype(np.float32)], axis=1)

    def _towards(self, users: NDArray[Any], indptr: Int64, item: Int32, value: Float32) -> Float32:
        """`vectors` but for the 1 that meets the items' bias."""
        last = self._last
        if self._tower is None:
            vectors = self._arrays["profile"][users].astype(np.float32)
            slot = scratch("slot", self.n_items, np.int32)
            _add_history(indptr, item, value, last, self.history, slot, vectors)
            if not self._cosine:
                return vectors
            length = np.linalg.norm(vectors, axis=1, keepdims=True)
            return (vectors / np.maximum(length, 1e-12)).astype(np.float32)
        longest = int(min(np.diff(indptr).max(initial=1), last))
        history = recent_liked_rows(indptr, item, value, longest, self.n_items, self.pad)
        blocks = range(0, max(len(users), 1), QUERIES_PER_BLOCK)
        return np.concatenate(
            [self._block(users[b : b + QUERIES_PER_BLOCK], history[b:]) for b in blocks]
        )

    def _block(self, users: NDArray[Any], history: Int32) -> Float32:
        assert self._tower is not None
        assert self._weights is not None
        ids = torch.from_numpy(np.array(self._arrays["user_ids"][users]))
        dense = torch.from_numpy(np.array(self._arrays["user_dense"][users]))
        past = torch.from_numpy(history[: len(users)])
        with torch.inference_mode():
            return self._tower(self._weights, ids, dense, past).numpy()


def recent_liked_rows(
    indptr: Int64, item: Int32, value: Float32, last: int, n_items: int, pad: int
) -> Int32:
    """(Q, last) fused rows of each query's most recent distinct likes, padded."""
    out = np.full((len(indptr) - 1, last), pad, np.int32)
    _recent(indptr, item, value, pad + FIRST, scratch("slot", n_items, np.int32), out)
    return out


def _mapped(weight: Float32) -> FusedEmbedding:
    """The fused table over the saved array itself, not a copy of it."""
    table = FusedEmbedding(0, weight.shape[1])
    with warnings.catch_warnings():
        # torch has no read-only tensors; nothing here writes to it
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        table.weight = torch.nn.Parameter(torch.from_numpy(weight), requires_grad=False)
    table.n_rows = len(weight)
    return table


@njit(cache=True, nogil=True)
def _recent(indptr, item, value, first_row, slot, out):
    last = out.shape[1]
    liked, interest = np.empty(last, np.int32), np.empty(last, np.float32)
    for q in range(len(indptr) - 1):
        n = distinct(item, value, indptr[q], indptr[q + 1], last, slot, liked, interest)
        for s in range(n):
            out[q, s] = first_row + liked[s]


@njit(cache=True, nogil=True)
def _add_history(indptr, item, value, last, embedding, slot, out):
    """Adds to each row of `out` the mean embedding of its `last` most recent liked items."""
    liked, interest = np.empty(last, np.int32), np.empty(last, np.float32)
    dim = out.shape[1]
    for q in range(len(indptr) - 1):
        n = distinct(item, value, indptr[q], indptr[q + 1], last, slot, liked, interest)
        for s in range(n):
            for d in range(dim):
                out[q, d] += embedding[liked[s], d] / np.float32(n)
