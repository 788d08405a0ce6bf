"""DCNv2: a cross network of matrices, in parallel to or below hidden layers (Wang et al. 2021)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import MatrixCross, linear, linear_of_two
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank._tower import MLPTower


class DCNv2Config(BackboneConfig):
    """Options of a DCNv2: hidden layers and crosses."""

    cross_layers: Annotated[int, Field(ge=1, le=64)] = 3
    """Number of stacked crosses; layer l forms products of degree l + 1."""
    rank: Annotated[int, Field(ge=0)] = 0
    """Rank of each cross's matrix; 0 = full. A quarter of the inputs' width costs half as much."""
    structure: Literal["parallel", "stacked"] = "parallel"
    """Hidden layers in parallel to the crosses, or on top of them."""


class DCNv2Core(nn.Module):
    """Crosses `x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l` in parallel to, or below, hidden layers."""

    def __init__(
        self, shape: Shape, config: DCNv2Config, n_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.stacked = config.structure == "stacked"
        self.cross = MatrixCross(shape.flat, config.cross_layers, config.rank, generator=generator)
        self.tower = MLPTower.of(config, shape.flat, shape.gate, generator)
        width = self.tower.out_features + (0 if self.stacked else shape.flat)
        self.heads = linear(width, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        x = fields.flat()  # (B, F · dim + D)
        entered = fields.into(self.cross.entry)  # first matrix product: the user's part once
        crossed = self.cross(x, entered)  # (B, F · dim + D)
        if self.stacked:
            return self.heads(self.tower(crossed, fields.gate))  # (B, T)
        deep = self.tower(fields)  # (B, hidden_units[-1])
        return linear_of_two(self.heads, crossed, deep)  # (B, T): a linear layer on both


class DCNv2(Backbone):
    """The ranker `dcnv2`: crosses `x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l` and hidden layers.

    Every layer multiplies each input by a linear form of all crosses so far. `rank` replaces W by a
    product of two narrow matrices; `structure = "stacked"` puts the hidden layers on the crosses.

    When to use: the first choice where pairs and triples of fields matter and there are many rows;
    low rank where the inputs are wide (more than about a thousand numbers).

    Cost: a matrix product of the inputs' width squared per cross and row (2 · width · rank with
    low rank), in addition to the hidden layers.

    Source: Wang et al. 2021, DCN V2: Improved Deep & Cross Network and Practical Lessons for
    Web-scale Learning to Rank Systems.
    """

    name = "dcnv2"
    Config = DCNv2Config
    config: DCNv2Config

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return DCNv2Core(shape, self.config, n_tasks, generator)
