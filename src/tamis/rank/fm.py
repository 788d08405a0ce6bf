"""Factorisation machine: first order and all pairs of fields (Rendle 2010)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.nn import fm_second_order, zero_linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import InputsConfig


class FMConfig(InputsConfig):
    """A factorisation machine has no hidden layers."""


class FMCore(nn.Module):
    """A bias, first order and second order.

    Several tasks share the vectors. Each has a bias and first-order weights of its own, and its
    second order weighs the dimensions of `½[(Σv)² − Σv²]`, at first alike; a single task sums them.
    """

    def __init__(self, shape: Shape, n_tasks: int) -> None:
        super().__init__()
        self.numbers = zero_linear(shape.dense, n_tasks)
        self.heads = nn.Parameter(torch.ones(shape.dim, n_tasks)) if n_tasks > 1 else None

    def forward(self, fields: Fields) -> Tensor:
        first_order = fields.first.sum(1) + self.numbers(fields.dense)  # (B, T)
        v = fields.vectors  # (B, F, dim)
        if self.heads is None:
            return first_order + fm_second_order(v).unsqueeze(1)
        pairs = 0.5 * (v.sum(1).square() - v.square().sum(1))  # (B, dim)
        return first_order + pairs @ self.heads


class FM(Backbone):
    """The ranker `fm`: first order and `½[(Σv)² − Σv²]`, the products of all pairs of fields.

    When to use: sparse ids and few data, where hidden layers overfit; a strong and cheap second
    baseline after `lr`. As it has no hidden layers there is nothing for `lhuc` to gate.

    Cost: fields × embedding_dim products a row, no matrix products: seconds to train, the quickest
    of the rankers with crosses to score.

    Source: Rendle 2010, Factorization Machines.
    """

    name = "fm"
    Config = FMConfig
    config: FMConfig
    first_order = True

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return FMCore(shape, n_tasks)
