"""Splits inputs by tower: the user's, the item's, and those of the pair of user and candidate."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tamis.features import Batch, Block, IdColumn, Layout, Rows
from tamis.nn import SEQUENCE_ENCODERS, FieldPooling, FusedEmbedding, without_padding
from tamis.prerank._tower_networks import Network, TowerSize, TowerValues
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
    """The input of one tower: its features' vectors, its numbers, and lists that it encodes.

    Args:
        layout: layout of the rows.
        kind: the tower.
        dim: width of the embeddings.
        network: the tower's network; a sequence encoder takes the lists of ids apart.
        generator: source of the weights of poolings that have them.
    """

    def __init__(
        self,
        layout: Layout,
        kind: TowerKind,
        dim: int,
        network: Network = "mlp",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        """The tower's network."""
        ids = [c for c in layout.ids if _KIND_OF_SIDE[c.side] == kind]
        places = [k for c in ids for k in range(c.first, c.first + c.width)]
        self._places = _as_slice(places) or places
        self.numbers = np.flatnonzero(_kinds_of_numbers(layout) == kind).tolist()
        """Columns of the layout's numbers that the tower reads."""
        self._slice = _as_slice(self.numbers)
        own = _renumbered(ids)
        lists = [c for c in own if c.ragged and network in SEQUENCE_ENCODERS]
        plain = [c.name for c in own if c not in lists]
        self._lists = [
            (slice(c.first, c.first + c.width), layout.table[c.table].start) for c in lists
        ]
        """Columns of the tower's ids, and the padding row, of each list that it encodes."""
        self.pooling = FieldPooling(
            replace(layout, ids=tuple(own)), plain, dim=dim, generator=generator
        )
        self.size = TowerSize(len(plain), dim, len(self.numbers), tuple(c.width for c in lists))

    def forward(self, table: FusedEmbedding, batch: Batch) -> TowerValues:
        """The values of a batch."""
        dense = batch.dense[:, self.numbers if self._slice is None else self._slice]
        return self._values(table, batch.ids[:, self._places], dense)

    def of_block(self, table: FusedEmbedding, block: Block) -> TowerValues:
        """The values of the N entities of a block that holds only this tower's inputs."""
        dense = torch.from_numpy(np.array(block.dense, dtype=np.float32, order="C"))
        ids = torch.from_numpy(np.array(block.ids, dtype=np.int32, order="C"))
        return self._values(table, ids, dense)

    def _values(self, table: FusedEmbedding, ids: Tensor, dense: Tensor) -> TowerValues:
        """The values of the tower's own ids int32 (B, w) and numbers (B, d)."""
        vectors = dense.new_zeros(len(dense), 0)
        if self.size.fields:
            vectors = self.pooling(table, ids).flatten(1)
        lists: list[tuple[Tensor, Tensor]] = []
        for columns, pad in self._lists:
            mine, real = without_padding(ids[:, columns], pad)  # (B, L) each
            lists.append((table(mine), real))
        return TowerValues(vectors, dense, lists)


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

    def split(self, rows: Rows, pairs: bool = True) -> TowerBlocks | None:
        """The rows' blocks by tower; those of the pair are left out unless `pairs`.

        None if a block holds inputs of several towers, if there is not exactly one block for the
        user and one for the item, or if the pair has ids.
        """
        found: dict[int, list[int]] = {kind: [] for kind in TowerKind}
        first_id = first_number = 0
        for block, (n_ids, n_numbers) in enumerate(rows.widths):
            ids = self.ids[first_id : first_id + n_ids]
            numbers = self.numbers[first_number : first_number + n_numbers]
            first_id, first_number = first_id + n_ids, first_number + n_numbers
            kinds = {*ids.tolist(), *numbers.tolist()}
            if len(kinds) > 1 or (n_ids and TowerKind.PAIR in kinds):
                return None
            for kind in kinds:
                found[kind].append(block)
        users, items, both = (found[kind] for kind in TowerKind)
        if len(users) != 1 or len(items) != 1:
            return None
        read = [rows.blocks[block] for block in both] if pairs else []
        return TowerBlocks(rows.blocks[users[0]], rows.blocks[items[0]], read)


def _kinds_of_numbers(layout: Layout) -> NDArray[np.int8]:
    """(D,) `TowerKind` of each column of numbers; an item's statistics are the pair's."""
    kinds = [
        TowerKind.PAIR if c.moving and c.side is Side.ITEM else _KIND_OF_SIDE[c.side]
        for c in layout.dense
        for _ in range(c.width)
    ]
    return np.array(kinds, dtype=np.int8)


def names_of(layout: Layout, kinds: Collection[TowerKind]) -> set[str]:
    """Names of the columns that these towers read."""
    numbers = _kinds_of_numbers(layout)
    names = {c.name for c in layout.ids if _KIND_OF_SIDE[c.side] in kinds}
    return names | {c.name for c in layout.dense if numbers[c.first] in kinds}


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
