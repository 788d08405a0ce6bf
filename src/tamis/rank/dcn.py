"""DCN: a cross network of vectors beside hidden layers (Wang et al. 2017)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import VectorCross, linear, linear_of_two
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank._tower import Tower


class DCNConfig(BackboneConfig):
    """The shape of a DCN."""

    cross_layers: Annotated[int, Field(ge=1, le=64)] = 3
    """Crosses one after the other; layer l makes products of degree l + 1."""


class DCNCore(nn.Module):
    """The crossed fields and the hidden layers side by side, then one output per task."""

    def __init__(
        self,
        shape: Shape,
        cross: VectorCross,
        tower: Tower,
        n_tasks: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.cross, self.tower = cross, tower
        self.heads = linear(shape.flat + tower.out_features, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        crossed, deep = self.cross(fields.flat()), self.tower(fields)
        return linear_of_two(self.heads, crossed, deep)


class DCN(Backbone):
    """The ranker `dcn`: `x_{l+1} = x_0 (w_lᵀ x_l) + b_l + x_l` beside hidden layers.

    Each layer raises the degree of the products by one, at the price of one vector. As w_lᵀ x_l is
    a single number per row, the crosses of one layer are all of one shape; `dcnv2` lifts that.

    When to use: explicit crosses where memory or time for the matrices of `dcnv2` is missing, or
    to compare with published DCN figures.

    Cost: hidden layers; all crosses together are one narrow product and one pass over the inputs.

    Source: Wang et al. 2017, Deep & Cross Network for Ad Click Predictions.
    """

    name = "dcn"
    Config = DCNConfig
    config: DCNConfig

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        cross = VectorCross(shape.flat, self.config.cross_layers, generator=generator)
        return DCNCore(shape, cross, self.tower(shape, shape.flat, generator), n_tasks, generator)
