"""Hidden layers, optionally gated by a user's features (LHUC)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from tamis.nn import ACTIVATIONS, BatchNorm, linear
from tamis.rank._fields import Fields
from tamis.rank._network import BackboneConfig


class MLPTower(nn.Module):
    """An MLP; with gates, each hidden layer is scaled by `2σ(gate_l)`, with gate_l a network
    of the gates' input (LHUC).

    Args:
        in_features: width of the input.
        hidden_units: widths of the hidden layers, at least one.
        gate_features: width of the gates' input; 0 = no gates.
        gate_units: width of the hidden layer of each gate; 0 = one linear layer.
        dropout: share of hidden values dropped in training, [0, 1).
        activation: a key of `tamis.nn.ACTIVATIONS`.
        batch_norm: batch normalisation before each activation.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        in_features: int,
        hidden_units: Sequence[int],
        *,
        gate_features: int = 0,
        gate_units: int = 0,
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
            activation_layer(units, activation, batch_norm, dropout) for units in hidden_units
        )
        self.gates = nn.ModuleList(
            gate_network(gate_features, gate_units, units, generator)
            for units in (hidden_units if gate_features else ())
        )
        self.out_features = widths[-1]

    @classmethod
    def of(
        cls,
        config: BackboneConfig,
        in_features: int,
        gate_features: int,
        generator: torch.Generator,
    ) -> Self:
        """The hidden layers that a ranker's config describes."""
        return cls(
            in_features,
            config.hidden_units,
            gate_features=gate_features,
            gate_units=config.gate_units,
            dropout=config.dropout,
            activation=config.activation,
            batch_norm=config.batch_norm,
            generator=generator,
        )

    def forward(self, x: Tensor | Fields, gate: Tensor | None = None) -> Tensor:
        """(B, out) of an input (B, in) and gate input (B, G), or of fields, which bring both."""
        if isinstance(x, Fields):
            gate, h = x.gate, x.into(self._linear(0))
        else:
            h = self._linear(0)(x)
        for k, after in enumerate(self.after):
            h = after(self._linear(k)(h) if k else h)  # (B, hidden_units[k])
            if self.gates and gate is not None:
                h = h * (2 * torch.sigmoid(self.gates[k](gate)))
        return h

    def _linear(self, k: int) -> nn.Linear:
        layer = self.linears[k]
        assert isinstance(layer, nn.Linear)
        return layer


def gate_network(
    width: int, hidden: int, units: int, generator: torch.Generator | None
) -> nn.Module:
    """The logits of a gate: a linear layer of its input (B, width) to `units` numbers, or with a
    hidden layer and a ReLU between two of them."""
    if not hidden:
        return linear(width, units, generator=generator)
    first = linear(width, hidden, generator=generator)
    return nn.Sequential(first, nn.ReLU(), linear(hidden, units, generator=generator))


def activation_layer(units: int, activation: str, batch_norm: bool, dropout: float) -> nn.Module:
    """What follows a linear layer: batch normalisation, the activation and dropout, as chosen."""
    return nn.Sequential(
        *([BatchNorm(units)] if batch_norm else []),
        ACTIVATIONS[activation](units),
        *([nn.Dropout(dropout)] if dropout else []),
    )
