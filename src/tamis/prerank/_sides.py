"""Which inputs are the user's, which the item's for ever, and which belong to the pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tamis.data import columns_of
from tamis.features import Batch, Block, FrameSpace, IdColumn, Layout, Rows
from tamis.nn import FieldPooling, FusedEmbedding
from tamis.schema import DataError, DenseFeat, Side

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
        self._slice = _as_slice(self.numbers)
        self.pooling = FieldPooling(layout, [c.name for c in ids])
        self.alone = FieldPooling(replace(layout, ids=tuple(_renumbered(ids))))
        """The same over a block that holds this side's ids only."""
        self.width = len(ids) * dim + len(self.numbers)
        self._has_ids = bool(ids)

    def forward(self, table: FusedEmbedding, batch: Batch) -> Tensor:
        """(B, width)."""
        dense = batch.dense[:, self.numbers if self._slice is None else self._slice]
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


@dataclass(frozen=True, eq=False)
class Sides:
    """The side of each column of a layout: made once, for a request has no time for it."""

    layout: Layout
    ids: NDArray[np.int8]
    """(W,)."""
    numbers: NDArray[np.int8]
    """(D,)."""

    @classmethod
    def of(cls, layout: Layout) -> Self:
        ids = [_OF[c.side] for c in layout.ids for _ in range(c.width)]
        return cls(layout, np.array(ids, dtype=np.int8), _side_of_numbers(layout))

    def sided(self, rows: Rows) -> Sided | None:
        """The rows' blocks by side; None where a block mixes sides, or a side has several."""
        found: dict[int, list[Block]] = {USER: [], ITEM: [], PAIR: []}
        first = number = 0
        for block in rows.blocks:
            ids = self.ids[first : first + block.ids.shape[1]]
            numbers = self.numbers[number : number + block.dense.shape[1]]
            first, number = first + len(ids), number + len(numbers)
            here = {*ids.tolist(), *numbers.tolist()}
            if len(here) > 1:
                return None
            for side in here:
                found[side].append(block)
        if len(found[USER]) != 1 or len(found[ITEM]) != 1:
            return None
        if any(block.ids.shape[1] for block in found[PAIR]):
            return None
        return Sided(found[USER][0], found[ITEM][0], found[PAIR])


def with_side(frame: Any, space: FrameSpace, side: int) -> pl.DataFrame:
    """The columns of a frame that one side's features read, and empty ones for the other sides.

    Raises DataError where a column of the side is missing.
    """
    sides = {c.name: _OF[c.side] for c in (*space.layout.ids, *space.layout.dense)}
    wanted = {f.source for f in space.features if sides.get(f.name) == side}
    table = columns_of(frame, sorted(wanted))
    for name in sorted(wanted - set(table.columns)):
        raise DataError(
            f"the frame has no column {name!r}, which a feature of this side reads; it has "
            f"{', '.join(table.columns)}"
        )
    others = {f.source: f for f in space.features if f.source not in wanted}
    return table.select(sorted(wanted)).with_columns(
        pl.lit(None, pl.Float64 if isinstance(f, DenseFeat) else pl.String).alias(source)
        for source, f in others.items()
    )


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


def _as_slice(places: list[int]) -> slice | None:
    """Adjacent columns need no gather."""
    first, n = (places[0], len(places)) if places else (0, 0)
    return slice(first, first + n) if places == list(range(first, first + n)) else None


def _renumbered(ids: Sequence[IdColumn]) -> list[IdColumn]:
    first = np.cumsum([0, *(c.width for c in ids)]).tolist()
    return [replace(c, first=at) for c, at in zip(ids, first[:-1], strict=True)]
