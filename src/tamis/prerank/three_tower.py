"""Three towers: user once per request, item once per version, a small cross tower per candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from tamis.features import Batch, Block, Layout
from tamis.nn import MLP
from tamis.prerank._numpy_layers import BlockLinear, NumpyMLP
from tamis.prerank._tower_inputs import TowerBlocks, TowerInputs, TowerKind
from tamis.prerank._tower_networks import FlatNetwork, TowerValues, tower_network
from tamis.prerank._towers import TowerConfig, TowerPreranker, Towers, Units, chunks
from tamis.runtime import Float32


class ThreeTowerConfig(TowerConfig):
    """Options of the three towers and of the network on top of them."""

    cross_units: Annotated[Units, Field(min_length=1)] = (32, 16)
    """Widths of the cross tower's layers, which run for every candidate."""
    cross_network: FlatNetwork = "mlp"
    """Network of the cross tower. Networks other than mlp are computed by PyTorch, for every
    candidate."""
    top_units: Annotated[Units, Field(min_length=1)] = (32,)
    """Widths of the hidden layers on top, which run for every candidate."""


class ThreeTowerNet(Towers):
    """`top([u, i, c, u ⊙ i])` of the user's vector u, the item's i and the pair's c."""

    def __init__(
        self, layout: Layout, config: ThreeTowerConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        width = config.user_units[-1]
        super().__init__(layout, config, width, generator)
        drop = config.dropout
        network, units = config.cross_network, config.cross_units
        dim = config.embedding_dim
        self.cross_inputs = TowerInputs(layout, TowerKind.PAIR, dim, network, generator)
        size = self.cross_inputs.size
        self.cross = tower_network(network, "cross", size, units, None, drop, generator)
        inputs = 3 * width + self.cross.out_features
        self.top = MLP(inputs, config.top_units, n_tasks, dropout=drop, generator=generator)

    def forward(self, batch: Batch) -> Tensor:
        u, i = self.vectors(batch)  # (B, 64), (B, 64)
        c = self.cross(self.cross_inputs(self.table, batch))  # (B, 16)
        return self.top(torch.cat([u, i, c, u * i], 1))  # (B, T)


@dataclass(frozen=True, eq=False)
class PerCandidate:
    """The part that runs per candidate: the cross tower and the top, whose first layer is split.

    `W [u, i, c, u ⊙ i] = W_u u + (W_i + W_p diag(u)) i + W_c c`. The first term and, for a single
    user, the matrix in brackets are computed once per request.
    """

    cross: NumpyMLP | nn.Module
    """A NumPy copy of the cross tower, or the module itself if its network is not mlp."""
    top: NumpyMLP
    of_user: Float32
    """W_u (64, units): rows of the top's first layer that read the user's vector."""
    of_item: Float32
    """W_i (64, units)."""
    of_cross: Float32
    """W_c (16, units)."""
    of_product: Float32
    """W_p (64, units)."""

    @classmethod
    def of(cls, net: ThreeTowerNet) -> Self:
        top = NumpyMLP.of(net.top)
        width = net.item.out_features
        ends = np.cumsum([width, width, net.cross.out_features])
        parts = [np.ascontiguousarray(p) for p in np.split(top.weights[0], ends)]
        plain = net.cross_inputs.network == "mlp"
        cross = NumpyMLP.of(net.cross) if plain else net.cross
        return cls(cross, top, parts[0], parts[1], parts[2], parts[3])

    def __call__(
        self, user: Float32, items: Float32, at: NDArray[np.integer], blocks: TowerBlocks
    ) -> Float32:
        """Logits float32 (n, T); arguments as in `TowerPreranker.combine`."""
        n, pointer = len(at), blocks.user.pointer
        start = user @ self.of_user + self.top.biases[0]  # (Q, units)
        folded = self.of_item + user.T * self.of_product if len(user) == 1 else None
        cross = self._cross(blocks.pairs, n)
        out = np.empty((n, len(self.top.biases[-1])), np.float32)
        for rows in chunks(n):
            item = items.take(at[rows], axis=0)  # (rows, 64)
            h = cross(rows) @ self.of_cross
            if folded is not None:
                h += item @ folded
                h += start
            else:
                query = rows if pointer is None else pointer[rows]
                h += item @ self.of_item
                h += start[query]
                item *= user[query]
                h += item @ self.of_product
            out[rows] = self.top.after_first(h)
        return out

    def _cross(self, pairs: Sequence[Block], n: int) -> Callable[[slice], Float32]:
        """The cross tower's outputs float32 (m, 16) of m adjacent rows among n."""
        cross = self.cross
        if isinstance(cross, NumpyMLP):
            first = BlockLinear.of(pairs, cross.weights[0], cross.biases[0], n)
            return lambda rows: cross.after_first(first(rows))

        def by_torch(rows: slice) -> Float32:
            parts = [b.dense[rows if b.pointer is None else b.pointer[rows]] for b in pairs] or [
                np.zeros((rows.stop - rows.start, 0), np.float32)
            ]
            numbers = torch.from_numpy(np.concatenate(parts, 1, dtype=np.float32))
            with torch.inference_mode():
                return cross(TowerValues(numbers.new_zeros(len(numbers), 0), numbers)).numpy()

        return by_torch


class ThreeTower(TowerPreranker):
    """The pre-ranker `three_tower`: a large user tower, an item tower, and a small cross tower over
    the inputs of each pair.

    The user tower reads the user and the context, once per request. The item tower's outputs are
    computed for every item when the version is made, and memory-mapped. Per candidate only a small
    network runs: the cross tower, over the item's statistics, which change every hour, and over the
    cross features of user and candidate; and a small top over the three vectors and the product of
    the first two, which gives every task's logit.

    When to use: thousands of candidates, a ranker that is too slow for them, and relations of user
    and item that a plain inner product cannot express; with `teacher` it learns the ranker's order.

    Cost: per candidate two small layers and one gathered vector, about half a microsecond; a
    version grows by items × 64 × 4 bytes; a fit takes about as long as a ranker's.

    Source: Wang et al. 2020, COLD: Towards the Next Generation of Pre-Ranking System; the three
    towers as Kuaishou describes the pre-ranking of its cascade.
    """

    name = "three_tower"
    Config = ThreeTowerConfig
    config: ThreeTowerConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._candidates: PerCandidate | None = None

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return ThreeTowerNet(layout, self.config, n_tasks, generator)

    def combine(
        self, user: Float32, items: Float32, at: NDArray[np.integer], blocks: TowerBlocks
    ) -> Float32:
        if self._candidates is None:
            net = self._module()
            assert isinstance(net, ThreeTowerNet)
            self._candidates = PerCandidate.of(net)
        return self._candidates(user, items, at, blocks)

    def _reset(self) -> None:
        super()._reset()
        self._candidates = None
