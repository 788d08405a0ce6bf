"""Which inputs are the user's, which the item's for ever, and which belong to the pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tamis.features import Batch, Block, IdColumn, Layout, Rows
from tamis.nn import FieldPooling, FusedEmbedding
from tamis.schema import Side

USER, ITEM, PAIR = range(3)
"""The user with the context; what an item is for as long as a version lives; all that is left:
the statistics of items, which change by the hour, and how a user relates to a candidate."""
_OF = {Side.USER: USER, Side.CONTEXT: USER, Side.ITEM: ITEM, Side.CROSS: PAIR}


class SideInputs(nn.Module):
    """The vectors and numbers of one side, side by side: (B, width) of a batch, or of a block."""

    def __init__(self, layout: Layout, side: int, dim: int) -> None:
        super().__init__()
        ids = [c for c in layout.ids if _OF[c.side] == side]
        self.numbers = _dense_places(layout, side)
        self.pooling = FieldPooling(layout, [c.name for c in ids])
        self.alone = FieldPooling(replace(layout, ids=tuple(_renumbered(ids))))
        """The same over a block that holds this side's ids only."""
        self.width = len(ids) * dim + len(self.numbers)
        self._has_ids = bool(ids)

    def forward(self, table: FusedEmbedding, batch: Batch) -> Tensor:
        """(B, width)."""
        dense = batch.dense[:, self.numbers]
        if not self._has_ids:
            return dense
        return torch.cat([self.pooling(table, batch.ids).flatten(1), dense], 1)

    def of_block(self, table: FusedEmbedding, block: Block) -> Tensor:
        """(N, width) of the entities of a block of this side."""
        dense = torch.from_numpy(np.array(block.dense, dtype=np.float32, order="C"))
        if not self._has_ids:
            return dense
        ids = torch.from_numpy(np.array(block.ids, dtype=np.int32, order="C"))
        return torch.cat([self.alone(table, ids).flatten(1), dense], 1)


@dataclass(frozen=True, eq=False)
class Sided:
    """Rows whose blocks hold one side each."""

    user: Block
    item: Block
    pairs: Sequence[Block]
    """Numbers alone, side by side the pair's columns."""


def sided(rows: Rows) -> Sided | None:
    """The rows' blocks by side; None where a block mixes sides, or a side has several blocks."""
    found: dict[int, list[Block]] = {USER: [], ITEM: [], PAIR: []}
    ids = np.array([_OF[c.side] for c in rows.layout.ids for _ in range(c.width)], dtype=np.int8)
    dense = _side_of_numbers(rows.layout)
    for block, columns in zip(rows.blocks, _columns(rows.blocks), strict=True):
        sides = np.unique(np.concatenate([ids[columns[0]], dense[columns[1]]]))
        if len(sides) > 1:
            return None
        for side in sides.tolist():
            found[side].append(block)
    if len(found[USER]) != 1 or len(found[ITEM]) != 1:
        return None
    if any(block.ids.shape[1] for block in found[PAIR]):
        return None
    return Sided(found[USER][0], found[ITEM][0], found[PAIR])


def _columns(blocks: Sequence[Block]) -> list[tuple[slice, slice]]:
    """Each block's columns of the id and of the dense matrix."""
    ids = np.cumsum([0, *(b.ids.shape[1] for b in blocks)]).tolist()
    dense = np.cumsum([0, *(b.dense.shape[1] for b in blocks)]).tolist()
    return [(slice(*i), slice(*d)) for i, d in zip(pairwise(ids), pairwise(dense), strict=True)]


def _side_of_numbers(layout: Layout) -> NDArray[np.int8]:
    """(D,) each number's side; an item's statistics are the pair's."""
    return np.array(
        [
            PAIR if c.moving and c.side is Side.ITEM else _OF[c.side]
            for c in layout.dense
            for _ in range(c.width)
        ],
        dtype=np.int8,
    )


def _dense_places(layout: Layout, side: int) -> list[int]:
    return np.flatnonzero(_side_of_numbers(layout) == side).tolist()


def _renumbered(ids: Sequence[IdColumn]) -> list[IdColumn]:
    first = np.cumsum([0, *(c.width for c in ids)]).tolist()
    return [replace(c, first=at) for c, at in zip(ids, first[:-1], strict=True)]
