"""Wide & Deep: first order and crossed columns beside hidden layers (Cheng et al. 2016)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.features import Layout
from tamis.nn import CrossedColumns, linear, zero_linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig, Network
from tamis.rank._tower import Tower
from tamis.schema import ConfigError


class WideDeepConfig(BackboneConfig):
    """The shape of a Wide & Deep."""

    crosses: tuple[Annotated[tuple[str, ...], Field(min_length=2)], ...] = ()
    """Crossed columns of the wide side: names of the id features of each."""
    cross_buckets: Annotated[int, Field(ge=1, le=2**30)] = 2**17
    """Rows of the hashed table that all crossed columns share."""


class WideDeepCore(nn.Module):
    """The wide side's sums and the hidden layers, added; tasks share the hidden layers."""

    def __init__(
        self, shape: Shape, tower: Tower, n_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.numbers = zero_linear(shape.dense, n_tasks, bias=False)
        self.tower = tower
        self.heads = linear(tower.out_features, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        wide = fields.first.sum(1)  # (B, T), crossed columns among them
        if fields.dense.shape[1]:
            wide = wide + self.numbers(fields.dense)
        return wide + self.heads(self.tower(fields))


class WideDeep(Backbone):
    """The ranker `wide_deep`: a linear model with crossed columns beside hidden layers.

    The wide side remembers: `crosses = [["user_city", "item_brand"], …]` gives each combination
    seen a weight of its own. The deep side generalises from the embeddings.

    When to use: combinations are known that matter (a user's city with an item's brand) and recur
    often enough to be remembered; otherwise DeepFM finds pairs by itself.

    Cost: hidden layers, and per row one more weight for each crossed column (`cross_buckets` rows
    per task in all). A cross of features of several ids counts every combination of theirs.

    Source: Cheng et al. 2016, Wide & Deep Learning for Recommender Systems.
    """

    name = "wide_deep"
    Config = WideDeepConfig
    config: WideDeepConfig
    first_order = True

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        """Raises ConfigError where a cross names a feature that is no id feature of the layout."""
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
        return WideDeepCore(shape, self.tower(shape, shape.flat, generator), n_tasks, generator)
