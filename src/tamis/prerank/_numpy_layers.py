"""Dense layers as a request needs them: float32 arrays and BLAS, no graph, no dispatcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from torch import nn

from tamis.features import Block
from tamis.runtime import Float32


@dataclass(frozen=True, eq=False)
class Layers:
    """Linear layers with a ReLU after each, the last one's a choice."""

    weights: Sequence[Float32]
    """Each (in, out)."""
    biases: Sequence[Float32]
    relu_last: bool

    @classmethod
    def of(cls, module: nn.Module) -> Self:
        """Of an `MLP` of linear layers and ReLU; dropout is left out."""
        kinds = [m for m in module.modules() if isinstance(m, nn.Linear | nn.ReLU)]
        linears = [m for m in kinds if isinstance(m, nn.Linear)]
        return cls(
            [m.weight.detach().numpy().T.copy() for m in linears],
            [m.bias.detach().numpy().copy() for m in linears],
            isinstance(kinds[-1], nn.ReLU),
        )

    def __call__(self, x: Float32) -> Float32:
        """(n, in) → (n, out)."""
        return self.after_first(x @ self.weights[0] + self.biases[0])

    def after_first(self, x: Float32) -> Float32:
        """(n, out) of the first layer's sums (n, units), which are overwritten."""
        last = len(self.weights) - 1
        for k in range(last):
            np.maximum(x, 0.0, out=x)
            x = x @ self.weights[k + 1]
            x += self.biases[k + 1]
        return np.maximum(x, 0.0, out=x) if self.relu_last else x


@dataclass(frozen=True, eq=False)
class Summed:
    """One linear layer over blocks side by side: its sum for each row, of what rows share once."""

    parts: Sequence[tuple[Block, Float32 | None, Float32]]
    """Per block: the block, its entities' sums where rows share them, its weights (d, units)."""
    bias: Float32

    @classmethod
    def of(cls, blocks: Sequence[Block], weight: Float32, bias: Float32, n: int) -> Self:
        """`weight` (D, units) over all blocks' numbers, for n rows."""
        parts: list[tuple[Block, Float32 | None, Float32]] = []
        at = 0
        for block in blocks:
            mine = weight[at : at + block.dense.shape[1]]
            at += block.dense.shape[1]
            shared = block.pointer is not None and len(block.dense) <= n
            parts.append((block, block.dense @ mine if shared else None, mine))
        return cls(parts, bias)

    def __call__(self, rows: slice) -> Float32:
        """(rows, units)."""
        total: Float32 | None = None
        for block, shared, weight in self.parts:
            pointer = None if block.pointer is None else block.pointer[rows]
            if shared is not None:
                part = shared[pointer]
            else:
                part = block.dense[rows if pointer is None else pointer] @ weight
            total = part if total is None else np.add(total, part, out=total)
        if total is None:
            return np.tile(self.bias, (rows.stop - rows.start, 1))
        total += self.bias
        return total
