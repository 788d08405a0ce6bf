"""Three towers: the user's once per request, the item's once per version, a small one per pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from tamis.features import Batch, Layout
from tamis.nn import MLP
from tamis.prerank._numpy_layers import Layers, Summed
from tamis.prerank._sides import PAIR, Sided, SideInputs
from tamis.prerank._towers import TowerConfig, TowerPreranker, Towers, Units, spans
from tamis.runtime import Float32


class ThreeTowerConfig(TowerConfig):
    """Widths of the three towers, and of the network on top."""

    cross_units: Annotated[Units, Field(min_length=1)] = (32, 16)
    """Of the cross tower, which runs for every candidate."""
    top_units: Annotated[Units, Field(min_length=1)] = (32,)
    """Of the hidden layers on top, which run for every candidate."""


class ThreeTowerNet(Towers):
    """top([u, i, c, u ⊙ i]): the vectors beside each other, and the first two's product."""

    def __init__(
        self, layout: Layout, config: ThreeTowerConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        width = config.user_units[-1]
        super().__init__(layout, config, width, generator)
        drop = config.dropout
        self.cross_inputs = SideInputs(layout, PAIR, config.embedding_dim)
        self.cross = MLP(
            self.cross_inputs.width, config.cross_units, dropout=drop, generator=generator
        )
        met = 3 * width + self.cross.out_features
        self.top = MLP(met, config.top_units, n_tasks, dropout=drop, generator=generator)

    def forward(self, batch: Batch) -> Tensor:
        u, i = self.vectors(batch)  # (B, 64), (B, 64)
        c = self.cross(self.cross_inputs(self.table, batch))  # (B, 16)
        return self.top(torch.cat([u, i, c, u * i], 1))  # (B, T)


@dataclass(frozen=True, eq=False)
class PerCandidate:
    """What runs per candidate: the cross tower, and a top whose first layer is split.

    `W [u, i, c, u ⊙ i] = W_u u + (W_i + W_p diag(u)) i + W_c c`: the first term and, of a single
    user, the matrix in brackets are made once per request.
    """

    cross: Layers
    top: Layers
    of_user: Float32
    """(64, units): rows of the top's first layer that read the user's vector."""
    of_item: Float32
    of_cross: Float32
    of_product: Float32

    @classmethod
    def of(cls, net: ThreeTowerNet) -> Self:
        top = Layers.of(net.top)
        width = net.item.out_features
        ends = np.cumsum([width, width, net.cross.out_features])
        parts = [np.ascontiguousarray(p) for p in np.split(top.weights[0], ends)]
        return cls(Layers.of(net.cross), top, parts[0], parts[1], parts[2], parts[3])

    def __call__(
        self, user: Float32, items: Float32, at: NDArray[np.integer], parts: Sided
    ) -> Float32:
        """Logits (n, T) of users (Q, 64), items (N, 64) and each row's item `at` (n,)."""
        n, whose = len(at), parts.user.pointer
        start = user @ self.of_user + self.top.biases[0]  # (Q, units)
        folded = self.of_item + user.T * self.of_product if len(user) == 1 else None
        pairs = Summed.of(parts.pairs, self.cross.weights[0], self.cross.biases[0], n)
        out = np.empty((n, len(self.top.biases[-1])), np.float32)
        for rows in spans(n):
            item = items.take(at[rows], axis=0)  # (rows, 64)
            h = self.cross.after_first(pairs(rows)) @ self.of_cross
            if folded is not None:
                h += item @ folded
                h += start
            else:
                query = rows if whose is None else whose[rows]
                h += item @ self.of_item
                h += start[query]
                item *= user[query]
                h += item @ self.of_product
            out[rows] = self.top.after_first(h)
        return out


class ThreeTower(TowerPreranker):
    """A large user tower, an item tower, and a small cross tower over what changes per pair.

    The user's inputs and the context run through one network once per request. The item tower's
    outputs are computed for every item when the version is made, and memory-mapped. Per candidate
    only a small network runs: over the item's statistics, which change by the hour, and over how
    the candidate relates to the user. A small top crosses the three vectors, with the product
    of the first two beside them, into every task's logit.

    When to use: thousands of candidates, a ranker that is too slow for them, and relations of user
    and item that a plain inner product cannot say; with `teacher` it learns the ranker's taste.

    Cost: per candidate two small layers and one gathered vector, about half a microsecond; a
    version grows by items × 64 × 4 bytes; fit like a ranker's.

    Source: Wang et al. 2020, COLD: Towards the Next Generation of Pre-Ranking System; the three
    towers as Kuaishou describes its cascade's pre-ranking.
    """

    name = "three_tower"
    Config = ThreeTowerConfig
    config: ThreeTowerConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._candidates: PerCandidate | None = None

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return ThreeTowerNet(layout, self.config, n_tasks, generator)

    def meet(self, user: Float32, items: Float32, at: NDArray[np.integer], parts: Sided) -> Float32:
        if self._candidates is None:
            net = self._module()
            assert isinstance(net, ThreeTowerNet)
            self._candidates = PerCandidate.of(net)
        return self._candidates(user, items, at, parts)

    def _forget(self) -> None:
        super()._forget()
        self._candidates = None
