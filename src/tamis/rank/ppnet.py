"""PPNet: hidden layers gated by the user (Swietojanski and Renals 2014; Chang et al. 2023)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank._tower import activation_layer


class PPNetConfig(BackboneConfig):
    """Options of a PPNet: hidden layers, and the features that gate them."""

    lhuc: Literal[True] | Annotated[tuple[str, ...], Field(min_length=1)] = True
    """Features whose vectors gate every hidden layer; true = all of the user's id features, except
    histories that are compared with the candidate."""


class PPNetCore(nn.Module):
    """Hidden layers whose units each user scales: `h_l ← h_l ⊙ 2σ(U_l · g + c_l)`."""

    def __init__(
        self, shape: Shape, config: PPNetConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        units = config.hidden_units
        self.entry = linear(shape.flat, units[0], generator=generator)
        self.layers = nn.ModuleList(
            linear(before, after, generator=generator) for before, after in pairwise(units)
        )
        self.activations = nn.ModuleList(
            activation_layer(width, config.activation, config.batch_norm, config.dropout)
            for width in units
        )
        self.gates = nn.ModuleList(
            linear(shape.gate, width, generator=generator) for width in units
        )
        self.heads = linear(units[-1], n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        g = fields.gate  # (B, G): the user's vectors, without a gradient by default
        h = self.activations[0](fields.into(self.entry))  # (B, units[0])
        h = h * (2 * torch.sigmoid(self.gates[0](g)))
        for layer, activation, gate in zip(
            self.layers, self.activations[1:], self.gates[1:], strict=True
        ):
            h = activation(layer(h))  # (B, units[l])
            h = h * (2 * torch.sigmoid(gate(g)))
        return self.heads(h)  # (B, T)


class PPNet(Backbone):
    """The ranker `ppnet`: a deep network whose hidden units each user scales up or down,
    `hidden ⊙ 2σ(W_l · gate + b_l)` after every layer l.

    The gates read the vectors of the user's features (`lhuc` may name others). By default they do
    not train these vectors, which are learned from the main network only; `lhuc_gradient` lets them
    do so. A factor of 1 leaves a unit unchanged. Any other backbone with hidden layers can have the
    same gates by its option `lhuc`.

    When to use: many events per user, and users who weigh the same item features differently; with
    few events per user the gates learn little.

    Cost: one matrix product per hidden layer on the user's side, once per request.

    Source: Swietojanski and Renals 2014, Learning Hidden Unit Contributions; Chang et al. 2023,
    PEPNet: Parameter and Embedding Personalized Network (its PPNet).
    """

    name = "ppnet"
    Config = PPNetConfig
    config: PPNetConfig

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return PPNetCore(shape, self.config, n_tasks, generator)
