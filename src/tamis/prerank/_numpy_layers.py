"""Dense layers in NumPy for scoring requests, without the overhead of PyTorch's dispatcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from torch import nn

from tamis.features import Block
from tamis.runtime import Float32


@dataclass(frozen=True, eq=False)
class NumpyMLP:
    """Linear layers with a ReLU after each; after the last one it is optional."""

    weights: Sequence[Float32]
    """(in, out) of each layer."""
    biases: Sequence[Float32]
    """(out,) of each layer."""
    relu_last: bool

    @classmethod
    def of(cls, module: nn.Module) -> Self:
        """Copies the weights of an `MLP` of linear layers and ReLUs; dropout is left out."""
        kinds = [m for m in module.modules() if isinstance(m, nn.Linear | nn.ReLU)]
        linears = [m for m in kinds if isinstance(m, nn.Linear)]
        return cls(
            [m.weight.detach().numpy().T.copy() for m in linears],
            [m.bias.detach().numpy().copy() for m in linears],
            isinstance(kinds[-1], nn.ReLU),
        )

    def __call__(self, x: Float32) -> Float32:
        """float32 (n, out) of inputs (n, in)."""
        return self.after_first(x @ self.weights[0] + self.biases[0])

    def after_first(self, x: Float32) -> Float32:
        """float32 (n, out) of the first layer's sums (n, units), which are overwritten."""
        last = len(self.weights) - 1
        for k in range(last):
            np.maximum(x, 0.0, out=x)
            x = x @ self.weights[k + 1]
            x += self.biases[k + 1]
        return np.maximum(x, 0.0, out=x) if self.relu_last else x


class BlockTerm(NamedTuple):
    """One block's part of a linear layer."""

    block: Block
    sums: Float32 | None
    """(N, units) of the block's entities, if rows share them; otherwise None."""
    weight: Float32
    """(d, units)."""


@dataclass(frozen=True, eq=False)
class BlockLinear:
    """One linear layer over the numbers of several blocks.

    The sums of a block whose entities are shared by rows are computed once per entity.
    """

    terms: Sequence[BlockTerm]
    bias: Float32
    """(units,)."""

    @classmethod
    def of(cls, blocks: Sequence[Block], weight: Float32, bias: Float32, n: int) -> Self:
        """The layer for n rows, with `weight` (D, units) over the numbers of all blocks."""
        terms: list[BlockTerm] = []
        at = 0
        for block in blocks:
            part = weight[at : at + block.dense.shape[1]]
            at += block.dense.shape[1]
            shared = block.pointer is not None and len(block.dense) <= n
            terms.append(BlockTerm(block, block.dense @ part if shared else None, part))
        return cls(terms, bias)

    def __call__(self, rows: slice) -> Float32:
        """float32 (m, units) of m adjacent rows."""
        total: Float32 | None = None
        for block, sums, weight in self.terms:
            pointer = None if block.pointer is None else block.pointer[rows]
            if sums is not None:
                part = sums[pointer]
            else:
                part = block.dense[rows if pointer is None else pointer] @ weight
            total = part if total is None else np.add(total, part, out=total)
        if total is None:
            return np.tile(self.bias, (rows.stop - rows.start, 1))
        total += self.bias
        return total
