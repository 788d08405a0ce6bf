"""DeepFM: first order + factorisation machine + MLP over shared embeddings (Guo et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.nn import fm_second_order
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank.wide_deep import WideDeepCore


class DeepFMConfig(BackboneConfig):
    """The shape of a DeepFM."""


class DeepFMCore(WideDeepCore):
    """First order and hidden layers as in Wide & Deep, and the factorisation machine's second.

    Several tasks share the embeddings, the factorisation machine and the hidden layers; each has
    first-order weights and an output of its own.
    """

    def forward(self, fields: Fields) -> Tensor:
        return super().forward(fields) + fm_second_order(fields.vectors).unsqueeze(1)  # (B, T)


class DeepFM(Backbone):
    """The ranker `deepfm`: first order, products of all pairs of fields, hidden layers, summed.

    When to use: the default where ids dominate: pairs need not be declared, and the factorisation
    machine learns them from fewer rows than hidden layers would.

    Cost: hidden layers; first and second order come almost free. Embeddings are shared by both.

    Source: Guo et al. 2017, DeepFM: A Factorization-Machine based Neural Network for CTR
    Prediction.
    """

    name = "deepfm"
    Config = DeepFMConfig
    config: DeepFMConfig
    first_order = True

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return DeepFMCore(shape, self.tower(shape, shape.flat, generator), n_tasks, generator)
