"""DeepFM: first order + factorisation machine + MLP over shared embeddings (Guo et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.nn import fm_second_order, linear, zero_linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank._tower import MLPTower


class DeepFMConfig(BackboneConfig):
    """Options of a DeepFM: those that all backbones share."""


class DeepFMCore(nn.Module):
    """First order, second order of the factorisation machine, and hidden layers, added.

    Several tasks share the embeddings, the second order and the hidden layers; each has its own
    first-order weights and its own output.
    """

    def __init__(
        self, shape: Shape, config: DeepFMConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.tower = MLPTower.of(config, shape.flat, shape.gate, generator)
        self.numbers = zero_linear(shape.dense, n_tasks, bias=False)
        self.heads = linear(self.tower.out_features, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        first_order = fields.first.sum(1)  # (B, T) of (B, F, T)
        if fields.dense.shape[1]:
            first_order = first_order + self.numbers(fields.dense)
        deep = self.heads(self.tower(fields))  # (B, T)
        second_order = fm_second_order(fields.vectors).unsqueeze(1)  # (B, 1) of (B, F, dim)
        return first_order + deep + second_order


class DeepFM(Backbone):
    """The ranker `deepfm`: the sum of first order, products of all pairs of fields, and an MLP.

    When to use: the default where ids dominate: pairs need not be declared, and the factorisation
    machine learns them from fewer rows than hidden layers would.

    Cost: hidden layers; first and second order add almost nothing. Both parts share the embeddings.

    Source: Guo et al. 2017, DeepFM: A Factorization-Machine based Neural Network for CTR
    Prediction.
    """

    name = "deepfm"
    Config = DeepFMConfig
    config: DeepFMConfig
    first_order = True

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return DeepFMCore(shape, self.config, n_tasks, generator)
