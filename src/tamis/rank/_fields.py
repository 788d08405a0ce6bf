"""The inputs of a ranking network's core: the vectors of B rows' fields, and their numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Part:
    """Some of a network's fields and numbers."""

    fields: tuple[int, ...]
    """Positions in `Shape.names`."""
    numbers: tuple[int, ...]
    """Columns of `Fields.dense`."""

    def width(self, dim: int) -> int:
        """Width of its vectors and numbers side by side."""
        return len(self.fields) * dim + len(self.numbers)


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
    beside_gates: Part | None = None
    """All inputs except the gates' of the user and the context; None without gates."""

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

    Where `histories` are pending, `vectors` lacks their fields until `with_histories` is called,
    which also weights the fields where the ranker has SENet.
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
    gate_numbers: Sequence[int] = ()
    """Columns of `dense` that the gates read."""
    weighting: Callable[[Tensor], Tensor] | None = None
    """Weights complete vectors (B, F, dim): SENet. None: without weights, or weighted already."""
    unweighted_gate: Tensor | None = None
    """The input of the gates, kept from before the vectors were weighted."""

    @property
    def gate(self) -> Tensor | None:
        """float32 (B, G), or (1, G) if all rows share it: the input of the LHUC gates, the vectors
        of their fields without SENet's weights and their numbers; None without gates."""
        if self.unweighted_gate is not None:
            return self.unweighted_gate
        if not self.gates and not self.gate_numbers:
            return None
        gate = self.vectors[:, list(self.gates)].flatten(1)  # (B, gates · dim)
        gate = gate if self.gate_gradient else gate.detach()
        return torch.cat([gate, self.dense[:, list(self.gate_numbers)]], 1)

    def with_histories(self, summaries: Sequence[Tensor]) -> Fields:
        """The fields completed by one vector (B, dim) for each history, as the last fields, and
        weighted where the ranker has SENet."""
        last = [summary.unsqueeze(1) for summary in summaries]  # (B, 1, dim) each
        whole = torch.cat([self.vectors, *last], 1) if last else self.vectors
        complete = replace(self, vectors=whole, histories=(), weighting=None)
        if self.weighting is None:
            return complete
        return replace(complete, vectors=self.weighting(whole), unweighted_gate=complete.gate)

    def flat(self) -> Tensor:
        """float32 (B, F · dim + D)."""
        return self._flat

    def part(self, part: Part) -> Tensor:
        """float32 (B, width): the vectors and numbers of a part, side by side."""
        vectors = self.vectors[:, list(part.fields)].flatten(1)
        return torch.cat([vectors, self.dense[:, list(part.numbers)]], 1)

    def into(self, layer: nn.Linear, part: Part | None = None) -> Tensor:
        """(B, out): a linear layer on `flat()`, or on `part(part)`."""
        return layer(self.flat() if part is None else self.part(part))

    @cached_property
    def _flat(self) -> Tensor:
        vectors = self.vectors.flatten(1)
        return torch.cat([vectors, self.dense], 1) if self.dense.shape[1] else vectors
