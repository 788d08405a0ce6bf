"""The inputs of a ranking network's core: the vectors of B rows' fields, and their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Widths of `Fields`, and the fields' names in order."""

    names: tuple[str, ...]
    """The F fields; histories that are compared with the candidate are last."""
    dim: int
    """Width of a field's vector."""
    dense: int
    """D, the number of numeric inputs."""
    gate: int
    """G, the width of the LHUC gates' input; 0 = no gates."""
    histories: tuple[int, ...] = ()
    """Longest length of each history that is compared with the candidate."""

    @property
    def flat(self) -> int:
        """Width of `Fields.flat()`: F · dim + D."""
        return len(self.names) * self.dim + self.dense


@dataclass(frozen=True, eq=False)
class HistoryTensors:
    """One history of B rows, and the candidates that it is compared with.

    A batch size of 1 in `items` and `real` means that all candidates share the history, as in a
    request of one user.
    """

    candidate: Tensor
    """float32 (B, dim): the candidate's vector, from the same table as the items."""
    items: Tensor
    """float32 (B or 1, L, dim)."""
    real: Tensor
    """bool (B or 1, L): False at padding."""


@dataclass(frozen=True, eq=False)
class Fields:
    """Vectors of F fields and D numbers of B rows.

    A core that reads all of it calls `into(layer)` instead of concatenating the inputs itself: the
    scoring engine then computes the user's part of the sum once per request.

    Where `histories` are pending, `vectors` lacks their fields until `with_histories` is called.
    """

    vectors: Tensor
    """float32 (B, F, dim)."""
    dense: Tensor
    """float32 (B, D)."""
    first: Tensor
    """float32 (B, F, T): first-order weights, T = 0 where the network has none; those of crossed
    columns follow the fields'."""
    gates: Sequence[int] = ()
    """Positions of the fields that the LHUC gates read."""
    gate_gradient: bool = False
    """Whether the gates train those fields' vectors."""
    histories: tuple[HistoryTensors, ...] = ()
    """Histories that a sequence block has yet to turn into one vector each."""

    @property
    def gate(self) -> Tensor | None:
        """float32 (B, G): the input of the LHUC gates; None without gates."""
        if not self.gates:
            return None
        gate = self.vectors[:, list(self.gates)].flatten(1)  # (B, G)
        return gate if self.gate_gradient else gate.detach()

    def with_histories(self, summaries: Sequence[Tensor]) -> Fields:
        """The fields completed by one vector (B, dim) for each history, as the last fields."""
        if not summaries:
            return self
        last = [summary.unsqueeze(1) for summary in summaries]  # (B, 1, dim) each
        return replace(self, vectors=torch.cat([self.vectors, *last], 1), histories=())

    def flat(self) -> Tensor:
        """float32 (B, F · dim + D)."""
        return self._flat

    def into(self, layer: nn.Linear) -> Tensor:
        """(B, out): a linear layer on `flat()`."""
        return layer(self.flat())

    @cached_property
    def _flat(self) -> Tensor:
        vectors = self.vectors.flatten(1)
        return torch.cat([vectors, self.dense], 1) if self.dense.shape[1] else vectors
