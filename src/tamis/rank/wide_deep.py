"""Wide & Deep: a linear model with crossed columns plus hidden layers (Cheng et al. 2016)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.features import Layout
from tamis.nn import CrossedColumns, linear, zero_linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig, Network
from tamis.rank._tower import MLPTower
from tamis.schema import Conditions, ConfigError, Needs


class WideDeepConfig(BackboneConfig):
    """Options of a Wide & Deep: hidden layers and crossed columns."""

    only_with: ClassVar[Conditions] = {"cross_buckets": (Needs("crosses", none_of=((),)),)}

    crosses: tuple[Annotated[tuple[str, ...], Field(min_length=2)], ...] = ()
    """Crossed columns of the wide part: each is a list of the id features that it combines."""
    cross_buckets: Annotated[int, Field(ge=1, le=2**30)] = 2**17
    """Rows of the hashed table that all crossed columns share."""


class WideDeepCore(nn.Module):
    """The wide part's sums plus the hidden layers' outputs; tasks share the hidden layers."""

    def __init__(
        self, shape: Shape, config: WideDeepConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.tower = MLPTower.of(config, shape.flat, shape.gate, generator)
        self.numbers = zero_linear(shape.dense, n_tasks, bias=False)
        self.heads = linear(self.tower.out_features, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        wide = fields.first.sum(1)  # (B, T) of (B, F + crossed columns, T)
        if fields.dense.shape[1]:
            wide = wide + self.numbers(fields.dense)
        deep = self.heads(self.tower(fields))  # (B, T)
        return wide + deep


class WideDeep(Backbone):
    """The ranker `wide_deep`: a linear model with crossed columns plus hidden layers.

    The wide part memorises: `crosses = [["user_city", "item_brand"], …]` gives each observed
    combination its own weight. The deep part generalises from the embeddings.

    When to use: combinations are known to matter (a user's city with an item's brand) and recur
    often enough to be memorised; otherwise `deepfm` finds pairs without a declaration.

    Cost: hidden layers, and per row one more weight for each crossed column (`cross_buckets` rows
    per task in all). A cross of features of several ids counts every combination of their ids.

    Source: Cheng et al. 2016, Wide & Deep Learning for Recommender Systems.
    """

    name = "wide_deep"
    Config = WideDeepConfig
    config: WideDeepConfig
    first_order = True

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        """As `Backbone.build`; raises ConfigError if a cross names an unknown id feature."""
        network = super().build(layout, n_tasks, generator)
        crosses = self.config.crosses
        if crosses:
            assert isinstance(network, Network)
            known = [c.name for c in layout.ids]
            for name in (name for cross in crosses for name in cross):
                if name not in known:
                    raise ConfigError(f"crosses name {name!r}: id features are {', '.join(known)}")
            network.inputs.crossed = CrossedColumns(
                layout, crosses, self.config.cross_buckets, n_tasks
            )
        return network

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return WideDeepCore(shape, self.config, n_tasks, generator)
