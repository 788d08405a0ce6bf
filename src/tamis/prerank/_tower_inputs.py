"""Splits inputs by tower: the user's, the item's, and those of the pair of user and candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tamis.features import Batch, Block, IdColumn, Layout, Rows
from tamis.nn import FieldPooling, FusedEmbedding
from tamis.schema import Side


class TowerKind(IntEnum):
    """Which tower reads an input."""

    USER = 0
    """The user's and the context's inputs; once per request."""
    ITEM = 1
    """An item's inputs that do not change while a version is in use; once per version."""
    PAIR = 2
    """All others: cross features of user and candidate, and the items' statistics, which change
    every hour; once per candidate."""


_KIND_OF_SIDE = {
    Side.USER: TowerKind.USER,
    Side.CONTEXT: TowerKind.USER,
    Side.ITEM: TowerKind.ITEM,
    Side.CROSS: TowerKind.PAIR,
}


class TowerInputs(nn.Module):
    """The input of one tower, float32 (B, width): its features' vectors, then its numbers.

    Args:
        layout: layout of the rows.
        kind: the tower.
        dim: width of the embeddings.
    """

    def __init__(self, layout: Layout, kind: TowerKind, dim: int) -> None:
        super().__init__()
        ids = [c for c in layout.ids if _KIND_OF_SIDE[c.side] == kind]
        self.numbers = np.flatnonzero(_kinds_of_numbers(layout) == kind).tolist()
        """Columns of the layout's numbers that the tower reads."""
        self._slice = _as_slice(self.numbers)
        self.pooling = FieldPooling(layout, [c.name for c in ids])
        self.block_pooling = FieldPooling(replace(layout, ids=tuple(_renumbered(ids))))
        """The same pooling for a block that holds only this tower's ids."""
        self.width = len(ids) * dim + len(self.numbers)
        self._has_ids = bool(ids)

    def forward(self, table: FusedEmbedding, batch: Batch) -> Tensor:
        """float32 (B, width) of a batch."""
        dense = batch.dense[:, self.numbers if self._slice is None else self._slice]
        if not self._has_ids:
            return dense
        return torch.cat([self.pooling(table, batch.ids).flatten(1), dense], 1)

    def of_block(self, table: FusedEmbedding, block: Block) -> Tensor:
        """float32 (N, width) of the N entities of a block that holds only this tower's inputs."""
        dense = torch.from_numpy(np.array(block.dense, dtype=np.float32, order="C"))
        if not self._has_ids:
            return dense
        ids = torch.from_numpy(np.array(block.ids, dtype=np.int32, order="C"))
        return torch.cat([self.block_pooling(table, ids).flatten(1), dense], 1)


@dataclass(frozen=True, eq=False)
class TowerBlocks:
    """The blocks of rows, by the tower that reads them."""

    user: Block
    item: Block
    pairs: Sequence[Block]
    """Blocks of numbers without ids, in the order of the pair's columns."""


@dataclass(frozen=True, eq=False)
class ColumnKinds:
    """The tower of each column of a layout; computed once per layout, not per request."""

    layout: Layout
    ids: NDArray[np.int8]
    """(W,) `TowerKind` of each column of ids."""
    numbers: NDArray[np.int8]
    """(D,) `TowerKind` of each column of numbers."""

    @classmethod
    def of(cls, layout: Layout) -> Self:
        ids = [_KIND_OF_SIDE[c.side] for c in layout.ids for _ in range(c.width)]
        return cls(layout, np.array(ids, dtype=np.int8), _kinds_of_numbers(layout))

    def split(self, rows: Rows) -> TowerBlocks | None:
        """The rows' blocks by tower.

        None if a block holds inputs of several towers, if there is not exactly one block for the
        user and one for the item, or if the pair has ids.
        """
        found: dict[int, list[Block]] = {kind: [] for kind in TowerKind}
        first_id = first_number = 0
        for block in rows.blocks:
            ids = self.ids[first_id : first_id + block.ids.shape[1]]
            numbers = self.numbers[first_number : first_number + block.dense.shape[1]]
            first_id, first_number = first_id + len(ids), first_number + len(numbers)
            kinds = {*ids.tolist(), *numbers.tolist()}
            if len(kinds) > 1:
                return None
            for kind in kinds:
                found[kind].append(block)
        users, items, pairs = (found[kind] for kind in TowerKind)
        if len(users) != 1 or len(items) != 1 or any(block.ids.shape[1] for block in pairs):
            return None
        return TowerBlocks(users[0], items[0], pairs)


def _kinds_of_numbers(layout: Layout) -> NDArray[np.int8]:
    """(D,) `TowerKind` of each column of numbers; an item's statistics are the pair's."""
    kinds = [
        TowerKind.PAIR if c.moving and c.side is Side.ITEM else _KIND_OF_SIDE[c.side]
        for c in layout.dense
        for _ in range(c.width)
    ]
    return np.array(kinds, dtype=np.int8)


def sides_of(kind: TowerKind) -> list[Side]:
    """The sides whose features a tower reads."""
    return [side for side, tower in _KIND_OF_SIDE.items() if tower == kind]


def _as_slice(columns: list[int]) -> slice | None:
    """A slice if the columns are adjacent, which avoids a gather."""
    first, n = (columns[0], len(columns)) if columns else (0, 0)
    return slice(first, first + n) if columns == list(range(first, first + n)) else None


def _renumbered(ids: Sequence[IdColumn]) -> list[IdColumn]:
    """The columns as they are numbered in a block that holds only them."""
    first = np.cumsum([0, *(c.width for c in ids)]).tolist()
    return [replace(c, first=at) for c, at in zip(ids, first[:-1], strict=True)]
