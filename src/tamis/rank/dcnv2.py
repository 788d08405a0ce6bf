"""DCNv2: a cross network of matrices, beside or before hidden layers (Wang et al. 2021)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import MatrixCross, linear, linear_of_two
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank._tower import Tower


class DCNv2Config(BackboneConfig):
    """The shape of a DCNv2."""

    cross_layers: Annotated[int, Field(ge=1, le=64)] = 3
    """Crosses one after the other; layer l makes products of degree l + 1."""
    rank: Annotated[int, Field(ge=0)] = 0
    """Rank of each cross's matrix; 0 = full. A quarter of the inputs' width costs half as much."""
    structure: Literal["parallel", "stacked"] = "parallel"
    """Hidden layers beside the crosses, or on top of them."""


class DCNv2Core(nn.Module):
    """Crosses and hidden layers side by side, or one upon the other; then one output per task."""

    def __init__(
        self,
        cross: MatrixCross,
        tower: Tower,
        width: int,
        stacked: bool,
        n_tasks: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.cross, self.tower, self.stacked = cross, tower, stacked
        inner = tower.out_features if stacked else width + tower.out_features
        self.heads = linear(inner, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        crossed = self.cross(fields.flat(), fields.into(self.cross.entry))  # (B, F · dim + D)
        if self.stacked:
            return self.heads(self.tower(crossed, fields.gate))
        deep = self.tower(fields)
        return linear_of_two(self.heads, crossed, deep)


class DCNv2(Backbone):
    """The ranker `dcnv2`: `x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l` beside hidden layers.

    Every layer weighs each input by a linear form of all crosses so far. `rank` replaces W by a
    product of two narrow matrices; `structure = "stacked"` puts the hidden layers on the crosses.

    When to use: the first choice where pairs and triples of fields matter and rows are plenty;
    low rank where the inputs are wide (more than about a thousand numbers).

    Cost: a matrix product of the inputs' width squared per cross and row (2 · width · rank with
    low rank), beside the hidden layers'.

    Source: Wang et al. 2021, DCN V2: Improved Deep & Cross Network and Practical Lessons for
    Web-scale Learning to Rank Systems.
    """

    name = "dcnv2"
    Config = DCNv2Config
    config: DCNv2Config

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        c = self.config
        cross = MatrixCross(shape.flat, c.cross_layers, c.rank, generator=generator)
        tower = self.tower(shape, shape.flat, generator)
        stacked = c.structure == "stacked"
        return DCNv2Core(cross, tower, shape.flat, stacked, n_tasks, generator)
