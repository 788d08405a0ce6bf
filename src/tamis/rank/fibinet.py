"""FiBiNET: fields re-weighted by SENet, bilinear products of all pairs (Huang et al. 2019)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from tamis.nn import Bilinear, SENet, linear, zero_linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank._tower import MLPTower


class FiBiNETConfig(BackboneConfig):
    """Options of a FiBiNET: hidden layers, bilinear products and SENet."""

    interaction: Literal["all", "each", "interaction"] = "interaction"
    """Matrices of the bilinear products: one for all pairs, one per field, or one per pair."""
    senet: Literal["relu", "sigmoid"] = "relu"
    """What gives SENet's weights their range: relu, as in the paper, or sigmoid, at most 1."""


class FiBiNETCore(nn.Module):
    """First order, plus hidden layers over pairs of the fields and of the re-weighted fields."""

    def __init__(
        self, shape: Shape, config: FiBiNETConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        fields, kind = len(shape.names), config.interaction
        width = fields * (fields - 1) * shape.dim + shape.dense  # two products per pair of fields
        self.tower = MLPTower.of(config, width, shape.gate, generator)
        self.senet = SENet(fields, config.reduction, activation=config.senet, generator=generator)
        self.plain = Bilinear(fields, shape.dim, kind, generator=generator)
        self.weighted = Bilinear(fields, shape.dim, kind, generator=generator)
        self.numbers = zero_linear(shape.dense, n_tasks, bias=False)
        self.heads = linear(self.tower.out_features, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        first_order = fields.first.sum(1)  # (B, T)
        if fields.dense.shape[1]:
            first_order = first_order + self.numbers(fields.dense)
        v = fields.vectors  # (B, F, dim)
        plain = self.plain(v).flatten(1)  # (B, P · dim) with P = F (F − 1) / 2
        weighted = self.weighted(self.senet(v)).flatten(1)  # (B, P · dim)
        pairs = torch.cat([plain, weighted, fields.dense], 1)  # (B, 2 · P · dim + D)
        deep = self.tower(pairs, fields.gate)  # (B, hidden_units[-1])
        return first_order + self.heads(deep)  # (B, T)


class FiBiNET(Backbone):
    """The ranker `fibinet`: SENet weights the fields, `(v_i W) ⊙ v_j` crosses every pair of them.

    The hidden layers read the products of the original fields, those of the fields as weighted by
    SENet, and the numbers; ids have first-order weights as well.

    When to use: many fields of uneven importance, as SENet reduces those that carry no signal, and
    pairs whose product has a different meaning for each pair.

    Cost: with F fields, F(F − 1) vectors enter the hidden layers: fine up to about 30 fields, heavy
    beyond. `interaction = "all"` has one matrix instead of one per pair.

    Source: Huang, Zhang and Zhang 2019, FiBiNET: Combining Feature Importance and Bilinear Feature
    Interaction for Click-Through Rate Prediction.
    """

    name = "fibinet"
    Config = FiBiNETConfig
    config: FiBiNETConfig
    first_order = True
    core_weights_fields = True

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return FiBiNETCore(shape, self.config, n_tasks, generator)
