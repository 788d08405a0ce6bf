"""Hidden layers that a user's features may gate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from tamis.nn import ACTIVATIONS, BatchNorm, linear
from tamis.rank._fields import Fields


class Tower(nn.Module):
    """An MLP; with gates, each hidden layer is scaled by `2σ(W_l · gate)` (LHUC, PPNet).

    Args:
        in_features: width of the input.
        hidden_units: widths of the hidden layers, at least one.
        gate_features: width of what the gates read; 0 = no gates.
        dropout: share of hidden values dropped in training, [0, 1).
        activation: a key of `ACTIVATIONS`.
        batch_norm: normalise before each activation.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        hidden_units: Sequence[int],
        *,
        gate_features: int = 0,
        dropout: float = 0.0,
        activation: str = "relu",
        batch_norm: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden_units]
        self.linears = nn.ModuleList(
            linear(before, after, generator=generator) for before, after in pairwise(widths)
        )
        self.after = nn.ModuleList(
            nn.Sequential(
                *([BatchNorm(units)] if batch_norm else []),
                ACTIVATIONS[activation](units),
                *([nn.Dropout(dropout)] if dropout else []),
            )
            for units in hidden_units
        )
        self.gates = nn.ModuleList(
            linear(gate_features, units, generator=generator)
            for units in (hidden_units if gate_features else ())
        )
        self.out_features = widths[-1]

    def forward(self, x: Tensor | Fields, gate: Tensor | None = None) -> Tensor:
        """(B, out) of an input (B, in), or of all fields (with the gate that they bring)."""
        if isinstance(x, Fields):
            gate, h = x.gate, x.into(self._linear(0))
        else:
            h = self._linear(0)(x)
        for k, after in enumerate(self.after):
            h = after(self._linear(k)(h) if k else h)
            if self.gates and gate is not None:
                h = h * (2 * torch.sigmoid(self.gates[k](gate)))
        return h

    def _linear(self, k: int) -> nn.Linear:
        layer = self.linears[k]
        assert isinstance(layer, nn.Linear)
        return layer
