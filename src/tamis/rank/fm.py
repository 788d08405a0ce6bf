"""Factorisation machine as a ranker (Rendle 2010); as a recall channel: `tamis.recall.FM`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.nn import fm_second_order, zero_linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import InputsConfig


class FMConfig(InputsConfig):
    """Options of a factorisation machine: those of its inputs, as it has no hidden layers."""


class FMCore(nn.Module):
    """A bias, first order and second order.

    Several tasks share the vectors. Each has its own bias and first-order weights, and weighs the
    dimensions of the second order `½[(Σv)² − Σv²]`, at first all by 1; a single task sums them.
    """

    def __init__(self, shape: Shape, n_tasks: int) -> None:
        super().__init__()
        self.numbers = zero_linear(shape.dense, n_tasks)
        self.heads = nn.Parameter(torch.ones(shape.dim, n_tasks)) if n_tasks > 1 else None

    def forward(self, fields: Fields) -> Tensor:
        first_order = fields.first.sum(1) + self.numbers(fields.dense)  # (B, T)
        v = fields.vectors  # (B, F, dim)
        if self.heads is None:
            return first_order + fm_second_order(v).unsqueeze(1)  # (B, 1)
        pairs = 0.5 * (v.sum(1).square() - v.square().sum(1))  # (B, dim)
        return first_order + pairs @ self.heads  # (B, T)


class FM(Backbone):
    """The ranker `fm`: first order and `½[(Σv)² − Σv²]`, the inner products of all pairs of fields.

    The recall channel of the same name, `tamis.recall.FM`, splits the same formula into a user's
    and an item's vector and finds items by nearest-neighbour search; this class scores candidates
    with all features.

    When to use: sparse ids and few data, where hidden layers overfit; a strong and cheap second
    baseline after `lr`. It has no hidden layers, so `lhuc` does not apply.

    Cost: fields × embedding_dim multiplications per row and no matrix products: seconds to train,
    the fastest to score of the rankers with crosses.

    Source: Rendle 2010, Factorization Machines.
    """

    name = "fm"
    Config = FMConfig
    config: FMConfig
    first_order = True

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return FMCore(shape, n_tasks)
