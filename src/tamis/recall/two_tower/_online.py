"""User vectors at request time, from the saved state, by the same computation as in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tamis.cascade import Queries
from tamis.features import IdColumn, Layout
from tamis.nn import FusedEmbedding, mapped_table
from tamis.recall._common.interactions import distinct
from tamis.recall._common.moving_inputs import MovingInputs
from tamis.recall._common.side_features import FIRST
from tamis.recall.two_tower._sum_tower import SumTower
from tamis.recall.two_tower._tower import SequencePart, Tower, TowerShape, item_tower
from tamis.runtime import Float32, Int32, Int64, scratch
from tamis.runtime.compiled import njit

QUERIES_PER_BLOCK = 4096


class UserSide:
    """The user tower of a fitted channel.

    The network `sum` without hidden layers runs as compiled kernels; other networks run as the
    torch module that was trained, in evaluation mode.

    Args:
        table: (rows, dim) weights of the fused table.
        layout: of the user side's inputs.
        history: name of the history's table.
        arrays: the channel's saved arrays.
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
        self._compiled = False
        self._sum: SumTower | None = None
        self._weights: FusedEmbedding | None = None
        self.moving: MovingInputs | None = None
        """Makes the inputs that change with time; None: the model has none."""

    @classmethod
    def of(
        cls, arrays: Mapping[str, Any], facts: Mapping[str, Any], moving: MovingInputs | None
    ) -> UserSide:
        """The user tower of a channel's saved arrays and facts, and its moving inputs."""
        layout = Layout.from_dict(facts["layout"])
        side = cls(arrays["table"], layout, facts["history"], arrays)
        shape = TowerShape(**facts["shape"])
        side._cosine, side._last = shape.cosine, shape.length
        side._item_bias = facts["item_bias"]
        side.moving = moving
        side._weights = mapped_table(arrays["table"])
        tower = Tower(
            facts["network"],
            layout,
            [c.name for c in layout.ids],
            SequencePart(side.pad) if shape.length else None,
            layout.dense_width,
            shape,
            torch.Generator().manual_seed(0),
            fixed=arrays["user_dense"].shape[1],
        )
        side._tower = _loaded(tower, arrays, "dense.user_tower.")
        side._compiled = facts["network"] == "sum" and not shape.hidden_units and moving is None
        side._sum = SumTower.of(side._tower, layout, side._weights)
        return side

    def use(self, arrays: Mapping[str, Any]) -> None:
        """Reads the users' inputs from these arrays from now on."""
        self._arrays = arrays

    def profiles(self, ids: Int32, dense: Float32) -> Float32:
        """(m, dim) sums of the fields of users (m,) without a history, as the network sum has."""
        assert self._tower is not None
        assert self._weights is not None
        with torch.inference_mode():
            given = torch.from_numpy(ids), torch.from_numpy(np.array(dense))
            return self._tower.combined(self._weights, *given, None).numpy()

    def embedded(self, items: Int32) -> Float32:
        """(n, dim) embeddings of items (n,) as parts of a history."""
        return self.history[items]

    def vectors(
        self, users: NDArray[Any], queries: Queries, item: Int32, value: Float32
    ) -> Float32:
        """(Q, out) vectors of the users of queries.

        Args:
            users: (Q,) rows of the saved inputs; the last row is for unknown users.
            queries: their times, histories and context. The most recent distinct likes are read,
                and, if the model has them, the moving inputs.
            item: the items of the histories' events, by their rows at the fit; -1: unknown.
            value: interest value of these events, negative if the behaviour is not positive.
        """
        history = queries.history
        vectors = self._towards(users, history.indptr, item, value, queries)
        if not self._item_bias:
            return vectors
        known = vectors.any(axis=1, keepdims=True)
        return np.concatenate([vectors, known.astype(np.float32)], axis=1)

    def _towards(
        self, users: NDArray[Any], indptr: Int64, item: Int32, value: Float32, queries: Queries
    ) -> Float32:
        """`vectors` without the coordinate for the items' bias."""
        last = self._last
        if self._compiled:
            vectors = self._arrays["profile"][users].astype(np.float32)
            slot = scratch("slot", self.n_items, np.int32)
            _add_history(indptr, item, value, last, self.history, slot, vectors)
            if not self._cosine:
                return vectors
            length = np.linalg.norm(vectors, axis=1, keepdims=True)
            return (vectors / np.maximum(length, 1e-12)).astype(np.float32)
        history = self._recent(indptr, item, value)
        blocks = range(0, max(len(users), 1), QUERIES_PER_BLOCK)
        return np.concatenate(
            [
                self._block(
                    users[b : b + QUERIES_PER_BLOCK],
                    history[b:],
                    queries.part(b, min(b + QUERIES_PER_BLOCK, len(queries))),
                )
                for b in blocks
            ]
        )

    @property
    def tower(self) -> Tower:
        """The network, in evaluation mode."""
        assert self._tower is not None
        return self._tower

    def inputs(
        self, users: NDArray[Any], queries: Queries, item: Int32, value: Float32
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the tower reads of the users of queries: ids int32 (Q, w), numbers (Q, d) and the
        rows of the histories int32 (Q, L). Arguments as for `vectors`."""
        history = self._recent(queries.history.indptr, item, value)
        ids, dense, past = self._inputs(users, history, queries)
        return torch.from_numpy(ids), torch.from_numpy(dense), torch.from_numpy(past)

    def _recent(self, indptr: Int64, item: Int32, value: Float32) -> Int32:
        longest = int(min(np.diff(indptr).max(initial=1), self._last))
        return recent_liked_rows(indptr, item, value, longest, self.n_items, self.pad)

    def _inputs(
        self, users: NDArray[Any], history: Int32, queries: Queries
    ) -> tuple[Int32, Float32, Int32]:
        ids = np.array(self._arrays["user_ids"][users])
        dense = np.array(self._arrays["user_dense"][users])
        if self.moving is not None:
            found = self.moving.of(queries)
            ids = np.concatenate([ids, found.ids], axis=1)
            dense = np.concatenate([dense, found.dense], axis=1)
        return ids, dense, history[: len(users)]

    def _block(self, users: NDArray[Any], history: Int32, queries: Queries) -> Float32:
        assert self._weights is not None
        inputs = self._inputs(users, history, queries)
        if self._sum is not None:
            return self._sum(*inputs)
        with torch.inference_mode():
            return self.tower(self._weights, *map(torch.from_numpy, inputs)).numpy()


def _loaded(tower: Tower, arrays: Mapping[str, Any], prefix: str) -> Tower:
    """A tower with the saved weights whose names begin with `prefix`, in evaluation mode."""
    state = {
        name.removeprefix(prefix): torch.from_numpy(np.array(value))
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
    tower.load_state_dict(state)
    return tower.eval()


class ItemSide:
    """The item tower of a fitted channel, for items that come or change after the fit."""

    def __init__(self, tower: Tower, text: IdColumn | None, table: Float32) -> None:
        self.tower, self._text = tower, text
        self._weights = mapped_table(table)
        self._bias: Float32 | None = None
        """(I,) the last coordinate of the vectors of the items of the fit."""

    @classmethod
    def of(cls, arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> ItemSide:
        """The item tower of a channel's saved arrays and facts."""
        layout = Layout.from_dict(facts["item_layout"])
        shape = TowerShape(**facts["shape"])
        tower, text = item_tower(
            facts["item_network"], layout, shape, torch.Generator().manual_seed(0)
        )
        side = cls(_loaded(tower, arrays, "dense.item_tower."), text, arrays["table"])
        if facts["item_bias"]:
            bias = np.asarray(arrays["dense.item_bias"], np.float32)
            side._bias = (bias / np.float32(facts["gamma"])).astype(np.float32)
        return side

    def vectors(self, ids: Int32, dense: Float32, own: NDArray[np.integer]) -> Float32:
        """(m, out) vectors of items with the inputs `ids` (m, w) and `dense` (m, d).

        own: (m,) the item's row among those of the fit, whose bias it has; -1 for others.
        """
        given = torch.from_numpy(ids), torch.from_numpy(np.array(dense, np.float32))
        with torch.inference_mode():
            vectors = self.tower(self._weights, *given, self.text_of(given[0])).numpy()
        if self._bias is None:
            return vectors
        return np.concatenate([vectors, self.bias_of(own)[:, None]], axis=1)

    def text_of(self, ids: torch.Tensor) -> torch.Tensor | None:
        """The columns of `ids` (m, w) that the tower reads as the items' texts."""
        if self._text is None:
            return None
        return ids[:, self._text.first : self._text.first + self._text.width]

    def bias_of(self, own: NDArray[np.integer]) -> Float32:
        """(m,) the last coordinate of items' vectors; `own` as for `vectors`."""
        assert self._bias is not None
        bias = np.where(own >= 0, np.append(self._bias, np.float32(0))[own], np.float32(0))
        return bias.astype(np.float32)


def recent_liked_rows(
    indptr: Int64, item: Int32, value: Float32, last: int, n_items: int, pad: int
) -> Int32:
    """(Q, last) rows of the fused table of each query's most recent distinct likes, padded.

    Args:
        indptr, item, value: CSR of the events, see `UserSide.vectors`.
        last: most likes per query.
        pad: padding row of the history's table.
    """
    out = np.full((len(indptr) - 1, last), pad, np.int32)
    _recent(indptr, item, value, pad + FIRST, scratch("slot", n_items, np.int32), out)
    return out


@njit(cache=True, nogil=True)
def _recent(indptr, item, value, first_row, slot, out):
    """Writes the rows of each query's most recent distinct likes into `out` (Q, last) int32.

    indptr, item, value: CSR int64 (Q + 1,), int32, float32. first_row: row of item 0.
    slot: (I,) int32 scratch, zero before and after.
    """
    last = out.shape[1]
    liked, interest = np.empty(last, np.int32), np.empty(last, np.float32)
    for q in range(len(indptr) - 1):
        n = distinct(item, value, indptr[q], indptr[q + 1], last, slot, liked, interest)
        for s in range(n):
            out[q, s] = first_row + liked[s]


@njit(cache=True, nogil=True)
def _add_history(indptr, item, value, last, embedding, slot, out):
    """Adds to each row of `out` (Q, dim) the mean embedding of the `last` most recent liked items.

    embedding: (I, dim) float32. Other arguments as in `_recent`.
    """
    liked, interest = np.empty(last, np.int32), np.empty(last, np.float32)
    dim = out.shape[1]
    for q in range(len(indptr) - 1):
        n = distinct(item, value, indptr[q], indptr[q + 1], last, slot, liked, interest)
        for s in range(n):
            for d in range(dim):
                out[q, d] += embedding[liked[s], d] / np.float32(n)
