"""Crossed columns: a weight per combination of several features' ids, hashed into a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn

from tamis.nn.embedding import FusedEmbedding, PoolPlan
from tamis.nn.fields import FieldColumn, FieldLayout

MULTIPLY, MIX = 0x9E3779B97F4A7C15 - 2**64, 0xBF58476D1CE4E5B9 - 2**64
"""Odd 64-bit constants (as signed numbers) of splitmix64."""


class CrossedColumns(nn.Module):
    """The wide part's cross-product transformations (Cheng et al. 2016, Wide & Deep).

    Multi-valued features are crossed id by id, and the weights of the combinations are summed. The
    weight of a combination with an absent id is zero.

    Args:
        layout: the batch's layout.
        crosses: names of the id features of each cross, all in the layout.
        buckets: rows of the table; two combinations in one bucket share their weights.
        outputs: number of weights T of each combination.
    """

    def __init__(
        self, layout: FieldLayout, crosses: Sequence[Sequence[str]], buckets: int, outputs: int
    ) -> None:
        super().__init__()
        self.buckets = buckets
        self.table = FusedEmbedding(buckets + 1, outputs, [0], init_std=0.0)
        known = {c.name: c for c in layout.ids}
        start = {t.name: t.start for t in layout.tables}
        self._places: list[Tensor] = []
        self._pads: list[Tensor] = []
        for names in crosses:
            columns: list[FieldColumn] = [known[name] for name in names]
            spans = [range(c.first, c.first + c.width) for c in columns]
            self._places.append(torch.tensor(list(product(*spans))))  # (combinations, features)
            self._pads.append(torch.tensor([start[c.table] for c in columns]))
        field = [f for f, places in enumerate(self._places) for _ in range(len(places))]
        self._plan = PoolPlan(
            torch.tensor(field, dtype=torch.long),
            torch.zeros(len(crosses), dtype=torch.bool),
            torch.zeros(len(field), dtype=torch.long),
        )

    def forward(self, ids: Tensor) -> Tensor:
        """float32 (B, C, T) of a batch's ids int32 (B, W): one sum of weights per cross."""
        return self.table.pooled(self.hashed(ids), self._plan.to(ids.device))[0]

    def hashed(self, ids: Tensor) -> Tensor:
        """int32 (B, W'): the bucket of each combination, from 1; 0 where an id is absent."""
        out: list[Tensor] = []
        for number, (places, pads) in enumerate(zip(self._places, self._pads, strict=True)):
            mixed = ids.new_full((len(ids), len(places)), number + 1, dtype=torch.int64)
            absent = torch.zeros_like(mixed, dtype=torch.bool)
            for at, pad in zip(places.T.to(ids.device), pads.tolist(), strict=True):
                one = ids.index_select(1, at)  # (B, combinations)
                absent |= one == pad
                mixed = (mixed ^ one) * MULTIPLY
                mixed = (mixed ^ (mixed >> 31)) * MIX
            mixed ^= mixed >> 29
            out.append(mixed.remainder_(self.buckets).add_(1).masked_fill_(absent, 0))
        return torch.cat(out, 1).to(torch.int32)
