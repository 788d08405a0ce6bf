"""Last-N mean pooling: each history as the mean of its items (Covington et al. 2016)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from tamis.features import Layout
from tamis.nn import linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import NO_HISTORY, BackboneConfig, histories
from tamis.rank._tower import MLPTower
from tamis.schema import ConfigError


class LastNConfig(BackboneConfig):
    """Options of last-N pooling: hidden layers. N is each history feature's `max_len`."""

    sequence: Literal["mean"] = "mean"
    """Always "mean"."""


class LastNCore(nn.Module):
    """Hidden layers over all fields, of which the histories are pooled.

    The inputs pool each history with its feature's `pooling` (the mean unless declared otherwise),
    as they pool any feature of several ids: `v = (Σ_l real_l · item_l) / max(1, Σ_l real_l)`.
    """

    def __init__(
        self, shape: Shape, config: LastNConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.tower = MLPTower.of(config, shape.flat, shape.gate, generator)
        self.heads = linear(self.tower.out_features, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        # fields.vectors (B, F, dim): the pooled histories are among the fields
        hidden = self.tower(fields)  # (B, hidden_units[-1])
        return self.heads(hidden)  # (B, T)


class LastN(Backbone):
    """The ranker `last_n`: the mean of a history's last N items beside the other fields, then
    hidden layers. N is the history feature's `max_len`.

    When to use: the first ranker with histories to try, and the reference that `din` and `bst` have
    to beat; a short N describes what the user wants now, a long one the user's general taste.

    Cost: one pooled gather; the user's part is computed once per request.

    Source: Covington, Adams and Sargin 2016, Deep Neural Networks for YouTube Recommendations.
    """

    name = "last_n"
    Config = LastNConfig
    config: LastNConfig

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        """As `Backbone.build`; raises ConfigError if the layout has no history."""
        if not histories(layout):
            raise ConfigError(f"last_n: {NO_HISTORY}")
        return super().build(layout, n_tasks, generator)

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return LastNCore(shape, self.config, n_tasks, generator)
