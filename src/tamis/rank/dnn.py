"""A plain deep network over all fields."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.nn import linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank._tower import Tower


class DNNConfig(BackboneConfig):
    """The shape of a plain deep network."""


class DNNCore(nn.Module):
    """Hidden layers, then one output per task."""

    def __init__(self, tower: Tower, n_tasks: int, generator: torch.Generator) -> None:
        super().__init__()
        self.tower = tower
        self.heads = linear(tower.out_features, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        return self.heads(self.tower(fields))


class DNN(Backbone):
    """The ranker `dnn`: embeddings and numbers side by side, hidden layers, one output per task.

    It has no crosses of its own: whatever two features mean together, the hidden layers learn.

    When to use: the plain reference for the crossing backbones, and often as good as they are
    where numbers and histories carry the signal rather than pairs of ids; with `sequence = "din"`
    it is the network of the DIN paper.

    Cost: the hidden layers alone, the cheapest of the deep backbones to train and to score.

    Source: Covington, Adams and Sargin 2016, Deep Neural Networks for YouTube Recommendations.
    """

    name = "dnn"
    Config = DNNConfig
    config: DNNConfig

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return DNNCore(self.tower(shape, shape.flat, generator), n_tasks, generator)
