"""DCN: a cross network of vectors in parallel to hidden layers (Wang et al. 2017)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import VectorCross, linear, linear_of_two
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank._tower import MLPTower


class DCNConfig(BackboneConfig):
    """Options of a DCN: hidden layers and crosses."""

    cross_layers: Annotated[int, Field(ge=1, le=64)] = 3
    """Number of stacked crosses; layer l forms products of degree l + 1."""


class DCNCore(nn.Module):
    """Crosses `x_{l+1} = x_0 (w_lᵀ x_l) + b_l + x_l` in parallel to hidden layers."""

    def __init__(
        self, shape: Shape, config: DCNConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.cross = VectorCross(shape.flat, config.cross_layers, generator=generator)
        self.tower = MLPTower.of(config, shape.flat, shape.gate, generator)
        width = shape.flat + self.tower.out_features
        self.heads = linear(width, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        x = fields.flat()  # (B, F · dim + D)
        crossed = self.cross(x)  # (B, F · dim + D)
        deep = self.tower(fields)  # (B, hidden_units[-1])
        return linear_of_two(self.heads, crossed, deep)  # (B, T): a linear layer on both


class DCN(Backbone):
    """The ranker `dcn`: crosses `x_{l+1} = x_0 (w_lᵀ x_l) + b_l + x_l` and hidden layers.

    Each layer raises the degree of the products by one, at the cost of one vector of weights. As
    w_lᵀ x_l is a single number per row, all crosses of one layer are multiples of x_0; `dcnv2`
    removes this limit.

    When to use: explicit crosses where memory or time for the matrices of `dcnv2` is missing, or
    to compare with published DCN figures.

    Cost: hidden layers; all crosses together are one narrow product and one pass over the inputs.

    Source: Wang et al. 2017, Deep & Cross Network for Ad Click Predictions.
    """

    name = "dcn"
    Config = DCNConfig
    config: DCNConfig

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return DCNCore(shape, self.config, n_tasks, generator)
