"""Feature crosses of bounded degree."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class VectorCross(nn.Module):
    """The cross network of DCN (Wang et al. 2017): `x_{l+1} = x_0 (w_lᵀ x_l) + b_l + x_l`.

    Args:
        width: of x.
        layers: number of crosses; layer l makes products of degree l + 1.
        generator: source of the initial weights (normal, standard deviation 1 / √width).
    """

    def __init__(
        self, width: int, layers: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        weight = torch.empty(layers, width).normal_(0.0, width**-0.5, generator=generator)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(layers, width))

    def forward(self, x: Tensor) -> Tensor:  # (B, width) -> (B, width)
        crossed = x
        for weight, bias in zip(self.weight, self.bias, strict=True):
            crossed = x * (crossed @ weight).unsqueeze(1) + bias + crossed
        return crossed
