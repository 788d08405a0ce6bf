"""FiBiNET: fields re-weighted by SENet, bilinear products of all pairs (Huang et al. 2019)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import Bilinear, SENet, linear, zero_linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank._tower import Tower


class FiBiNETConfig(BackboneConfig):
    """The shape of a FiBiNET."""

    interaction: Literal["all", "each", "interaction"] = "interaction"
    """Matrices of the bilinear products: one for all pairs, one per field, one per pair."""
    reduction: Annotated[int, Field(ge=1)] = 3
    """The squeeze layer of SENet has ⌈fields / reduction⌉ units."""


class FiBiNETCore(nn.Module):
    """First order; pairs of the fields and of the re-weighted fields through hidden layers."""

    def __init__(
        self,
        shape: Shape,
        config: FiBiNETConfig,
        tower: Tower,
        n_tasks: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        fields = len(shape.names)
        self.senet = SENet(fields, config.reduction, generator=generator)
        kind = config.interaction
        self.plain = Bilinear(fields, shape.dim, kind, generator=generator)
        self.weighed = Bilinear(fields, shape.dim, kind, generator=generator)
        self.numbers = zero_linear(shape.dense, n_tasks, bias=False)
        self.tower = tower
        self.heads = linear(tower.out_features, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        first_order = fields.first.sum(1)  # (B, T)
        if fields.dense.shape[1]:
            first_order = first_order + self.numbers(fields.dense)
        v = fields.vectors  # (B, F, dim)
        pairs = [self.plain(v).flatten(1), self.weighed(self.senet(v)).flatten(1)]
        deep = self.tower(torch.cat([*pairs, fields.dense], 1), fields.gate)
        return first_order + self.heads(deep)


class FiBiNET(Backbone):
    """The ranker `fibinet`: SENet weighs the fields, `(v_i W) ⊙ v_j` crosses every pair of them.

    The hidden layers read the products of the fields as they are and as SENet weighs them, and the
    numbers; ids have first-order weights as well.

    When to use: many fields of uneven worth, for SENet mutes those that say nothing, and pairs
    whose product means something else for each pair.

    Cost: with F fields, F(F − 1) vectors enter the hidden layers: fine to about 30 fields, heavy
    beyond. `interaction = "all"` has one matrix instead of one per pair.

    Source: Huang, Zhang and Zhang 2019, FiBiNET: Combining Feature Importance and Bilinear Feature
    Interaction for Click-Through Rate Prediction.
    """

    name = "fibinet"
    Config = FiBiNETConfig
    config: FiBiNETConfig
    first_order = True

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        fields = len(shape.names)
        width = fields * (fields - 1) * shape.dim + shape.dense
        tower = self.tower(shape, width, generator)
        return FiBiNETCore(shape, self.config, tower, n_tasks, generator)
