"""PPNet: hidden layers gated by the user (Swietojanski and Renals 2014; Chang et al. 2023)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank._tower import activation_layer, gate_network
from tamis.schema import Conditions, ConfigError, Needs


class PPNetConfig(BackboneConfig):
    """Options of a PPNet: hidden layers, what they read, and the features that gate them."""

    only_with: ClassVar[Conditions] = {"lhuc_gradient": (Needs("reads", ("all",)),)}
    gates_read_numbers: ClassVar[bool] = True

    lhuc: Literal[True] | Annotated[tuple[str, ...], Field(min_length=1)] = True
    """Features whose vectors and numbers gate every hidden layer; true = all of the user's, except
    histories that are compared with the candidate."""
    lhuc_gradient: bool = True
    """Whether the gates train those vectors. Only where the hidden layers read them too
    (`reads = "all"`) can they be learned without the gates."""
    gate_units: Annotated[int, Field(ge=0)] = 64
    """Width of the hidden layer of each gate's network; 0 = a gate is one linear layer."""
    reads: Literal["item", "all"] = "item"
    """What the hidden layers read. item: everything but the features of the user (and the context)
    that gate. all: all features, also those that gate."""


class PPNetCore(nn.Module):
    """Hidden layers whose units each user scales: `h_l ← h_l ⊙ 2σ(gate_l(g))`, where g are the
    user's features and gate_l is a network of two layers, `V_l relu(U_l g + b_l) + c_l`."""

    def __init__(
        self, shape: Shape, config: PPNetConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        units = config.hidden_units
        self.part = shape.beside_gates if config.reads == "item" else None
        """What the layers read; None = all."""
        width = shape.flat if self.part is None else self.part.width(shape.dim)
        if not width:
            raise ConfigError(
                "ppnet: all features gate, so there is no input for the hidden layers; declare "
                'features of the item (side = "item"), or set reads = "all"'
            )
        self.entry = linear(width, units[0], generator=generator)
        self.layers = nn.ModuleList(
            linear(before, after, generator=generator) for before, after in pairwise(units)
        )
        self.activations = nn.ModuleList(
            activation_layer(width, config.activation, config.batch_norm, config.dropout)
            for width in units
        )
        self.gates = nn.ModuleList(
            gate_network(shape.gate, config.gate_units, width, generator) for width in units
        )
        self.heads = linear(units[-1], n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        g = fields.gate  # (B, G): the user's vectors and numbers
        h = self.activations[0](fields.into(self.entry, self.part))  # (B, units[0])
        h = h * (2 * torch.sigmoid(self.gates[0](g)))
        for layer, activation, gate in zip(
            self.layers, self.activations[1:], self.gates[1:], strict=True
        ):
            h = activation(layer(h))  # (B, units[l])
            h = h * (2 * torch.sigmoid(gate(g)))
        return self.heads(h)  # (B, T)


class PPNet(Backbone):
    """The ranker `ppnet`: a deep network over the item's side, whose hidden units each user scales
    up or down, `hidden ⊙ 2σ(gate_l(user))` after every layer l.

    The layers read the features of the item, of the context and of the pair of user and item. The
    user's features reach them by the gates alone, each of which is a network of two layers; a
    factor of 1 leaves a unit unchanged. With `reads = "all"` the layers read the user's features as
    well; `lhuc_gradient = false` then keeps the gates from training these features' vectors. Any
    other backbone with hidden layers can have gates by its options `lhuc` and `gate_units`; its
    layers read all features.

    When to use: many events per user, and users who weigh the same item features differently; with
    few events per user the gates learn little.

    Cost: two matrix products per hidden layer on the user's side, once per request; the layers are
    narrower than those over all features.

    Source: Swietojanski and Renals 2014, Learning Hidden Unit Contributions; Chang et al. 2023,
    PEPNet: Parameter and Embedding Personalized Network (its PPNet).
    """

    name = "ppnet"
    Config = PPNetConfig
    config: PPNetConfig

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return PPNetCore(shape, self.config, n_tasks, generator)
