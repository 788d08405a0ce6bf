"""What a ranking network reads: the fields' vectors and the numbers of B rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """The widths of `Fields`, and the fields' names in order."""

    names: tuple[str, ...]
    dim: int
    dense: int
    gate: int

    @property
    def flat(self) -> int:
        return len(self.names) * self.dim + self.dense


@dataclass(frozen=True, eq=False)
class Fields:
    """F fields' vectors and D numbers of B rows.

    A core that reads all of it enters by `into(layer)`, never by a concatenation of its own: the
    scoring engine answers that with the user's share of the sum, computed once.
    """

    vectors: Tensor
    """float32 (B, F, dim), a history's already met with the candidate."""
    dense: Tensor
    """float32 (B, D)."""
    first: Tensor
    """float32 (B, F, T): first-order weights, T = 0 where the network has none; those of crossed
    columns follow the fields'."""
    gate: Tensor | None = None
    """float32 (B, G): what LHUC gates read, without a gradient."""

    def flat(self) -> Tensor:
        """float32 (B, F · dim + D)."""
        return self._flat

    def into(self, layer: nn.Linear) -> Tensor:
        """(B, out): a linear layer on all of it."""
        return layer(self.flat())

    @cached_property
    def _flat(self) -> Tensor:
        vectors = self.vectors.flatten(1)
        return torch.cat([vectors, self.dense], 1) if self.dense.shape[1] else vectors
