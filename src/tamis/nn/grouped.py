"""Several layers of one shape side by side, as one batched product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.nn.layers import fill_weights


class GroupedLinear(nn.Module):
    """G linear layers of their own weights, group g's on group g's input: one batched product.

    Args:
        groups: G.
        in_features: width of each input.
        out_features: width of each output.
        activation: what follows, a key of `ACTIVATIONS`, for the initial weights (`fill_weights`).
        generator: source of the initial weights.
    """

    def __init__(
        self,
        groups: int,
        in_features: int,
        out_features: int,
        *,
        activation: str | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(groups, 1, out_features))
        fill_weights(self.weight, self.bias, in_features, activation, generator)

    def forward(self, x: Tensor) -> Tensor:
        """(B, G, out) of (B, G, in)."""
        return torch.baddbmm(self.bias, x.transpose(0, 1), self.weight).transpose(0, 1)


class TaskTowers(nn.Module):
    """Hidden layers of each task on its own input, and its logits.

    Args:
        in_features: width of a task's input.
        hidden_units: widths of a tower's hidden layers; () = the logits read the input itself.
        widths: logits of each task.
        generator: source of the initial weights.
    """

    owner: Tensor

    def __init__(
        self,
        in_features: int,
        hidden_units: tuple[int, ...],
        widths: tuple[int, ...],
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        units = (in_features, *hidden_units)
        self.layers = nn.ModuleList(
            GroupedLinear(len(widths), before, after, generator=generator)
            for before, after in zip(units, hidden_units, strict=False)
        )
        bound = max(units[-1], 1) ** -0.5
        weight = torch.empty(sum(widths), units[-1]).uniform_(-bound, bound, generator=generator)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(sum(widths)))
        owner = [t for t, width in enumerate(widths) for _ in range(width)]
        self.register_buffer("owner", torch.tensor(owner), persistent=False)
        self.one_each = owner == list(range(len(widths)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, L) logits of (B, T, in)."""
        for layer in self.layers:
            x = torch.relu(layer(x))
        each = x if self.one_each else x.index_select(1, self.owner)
        return (each * self.weight.to(x.dtype)).sum(-1) + self.bias.to(x.dtype)
