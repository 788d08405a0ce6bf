"""Experts that tasks share, and the softmax gates that weight them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import GroupedLinear, linear, row_softmax
from tamis.rank._network import BackboneConfig
from tamis.rank._tower import activation_layer, gate_network
from tamis.schema import Conditions, Needs


class ExpertsConfig(BackboneConfig):
    """Options of networks with shared layers below a tower per task."""

    only_with: ClassVar[Conditions] = {"cross_layers": (Needs("network", ("cross",)),)}

    network: Literal["mlp", "cross"] = "mlp"
    """Inside an expert (or the shared bottom): the hidden layers alone, or after the crosses of
    DCNv2."""
    cross_layers: Annotated[int, Field(ge=1, le=16)] = 2
    """With network = "cross": number of crosses."""
    tower_units: tuple[Annotated[int, Field(ge=1)], ...] = (64,)
    """Widths of each task's own hidden layers, on top of the shared ones. Empty: none."""


class MixtureConfig(ExpertsConfig):
    """Options of mixtures of experts."""

    expert_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of a gate's weights that are set to zero in training, with the others renormalised. No
    task can then depend on one expert alone, which keeps all experts in use."""


class Experts(nn.Module):
    """E networks of one shape side by side: hidden layers, alone or after crosses.

    The first matrix product with the input is computed by the caller, for all experts at once, so
    that it can be `Fields.into`: `entry` numbers per expert come in, `out` go out. LHUC gates scale
    every hidden layer as in a `MLPTower`.

    Args:
        count: E.
        width: width of an expert's input.
        config: the network, its widths, activation, normalisation and dropout.
        gate_features: width of the LHUC gates' input; 0 = no gates.
        keep_scale: whether the layers before an activation are initialised by He et al. 2015, which
            experts on top of other experts need.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        count: int,
        width: int,
        config: ExpertsConfig,
        gate_features: int,
        generator: torch.Generator,
        *,
        keep_scale: bool = False,
    ) -> None:
        super().__init__()
        units = config.hidden_units
        crosses = config.cross_layers if config.network == "cross" else 0
        widths = [*[width] * crosses, *units]
        """What comes out of each layer; a cross's is as wide as the input."""
        self.count, self.crosses = count, crosses
        self.entry, self.out = widths[0], units[-1]
        scaled = config.activation if keep_scale else None
        self.activation = None if crosses else scaled
        """What follows the first product, for its initial weights (`fill_weights`)."""
        follow = [*[None] * crosses, *[scaled] * len(units)]
        self.layers = nn.ModuleList(
            GroupedLinear(count, i, o, activation=name, generator=generator)
            for i, o, name in zip(widths, widths[1:], follow[1:], strict=False)
        )
        self.after = nn.ModuleList(
            activation_layer(count * w, config.activation, config.batch_norm, config.dropout)
            for w in units
        )
        self.gates = nn.ModuleList(
            gate_network(gate_features, config.gate_units, count * w, generator)
            for w in (units if gate_features else ())
        )

    def forward(self, entered: Tensor, x: Tensor | None, gate: Tensor | None) -> Tensor:
        """(B, E, out) of the first product (B, E, entry).

        Args:
            entered: float32 (B, E, entry).
            x: the input itself, (B, E, width) or (B, 1, width) for all; only crosses read it.
            gate: input of the LHUC gates (B, G).
        """
        if self.crosses:
            assert x is not None
            h = torch.addcmul(x, x, entered.to(x.dtype))
            for layer in self.layers[: self.crosses - 1]:
                h = torch.addcmul(h, x, layer(h).to(x.dtype))
            hidden, first = self.layers[self.crosses - 1 :], 0
        else:
            h = self._activated(entered, 0, gate)
            hidden, first = self.layers, 1
        for k, layer in enumerate(hidden, start=first):
            h = self._activated(layer(h), k, gate)
        return h

    def _activated(self, h: Tensor, k: int, gate: Tensor | None) -> Tensor:
        flat = self.after[k](h.flatten(1))  # (B, E · units): statistics per expert and unit
        if self.gates and gate is not None:
            flat = flat * (2 * torch.sigmoid(self.gates[k](gate)))
        return flat.unflatten(1, (self.count, -1))


def gate_weights(logits: Tensor, dropout: float, training: bool) -> Tensor:
    """Softmax over the last axis of logits (…, E), with expert dropout in training.

    A share `dropout` of the weights is set to 0 and the rest sums to 1 (Zhao et al. 2019). Where
    all weights of a gate were drawn, none is dropped.
    """
    if training and dropout:
        out = torch.rand(logits.shape, device=logits.device) < dropout
        out = out & ~out.all(-1, keepdim=True)
        logits = logits.masked_fill(out, -torch.inf)
    return row_softmax(logits)


def entry_layer(width: int, experts: Experts, gates: int, generator: torch.Generator) -> nn.Linear:
    """One linear layer over all inputs: the first product of every expert, then the gates' logits.

    The gates start at zero, so that every expert has the same weight at the start of training.

    Args:
        width: width of the input.
        experts: the experts.
        gates: number of gate logits.
        generator: source of the initial weights.
    """
    size = experts.count * experts.entry
    layer = linear(width, size + gates, activation=experts.activation, generator=generator)
    with torch.no_grad():
        layer.weight[size:] = 0
        layer.bias[size:] = 0
    return layer
