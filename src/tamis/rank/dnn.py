"""A plain deep network over all fields (Covington et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.nn import linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank._tower import MLPTower


class DNNConfig(BackboneConfig):
    """Options of a plain deep network: those that all backbones share."""


class DNNCore(nn.Module):
    """Hidden layers, then one output per task."""

    def __init__(
        self, shape: Shape, config: DNNConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.tower = MLPTower.of(config, shape.flat, shape.gate, generator)
        self.heads = linear(self.tower.out_features, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        hidden = self.tower(fields)  # (B, hidden_units[-1]) of (B, F · dim + D)
        return self.heads(hidden)  # (B, T)


class DNN(Backbone):
    """The ranker `dnn`: concatenated embeddings and numbers, hidden layers, one output per task.

    It has no explicit crosses: the hidden layers have to learn what two features mean together.

    When to use: as the plain reference for the crossing backbones; often as good as they are where
    numbers and histories carry the signal rather than pairs of ids.

    Cost: the hidden layers only; the cheapest of the deep backbones to train and to score.

    Source: Covington, Adams and Sargin 2016, Deep Neural Networks for YouTube Recommendations.
    """

    name = "dnn"
    Config = DNNConfig
    config: DNNConfig

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return DNNCore(shape, self.config, n_tasks, generator)
