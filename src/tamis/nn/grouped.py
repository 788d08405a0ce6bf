"""Several linear layers of the same shape, computed as one batched product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.nn.layers import fill_weights


class GroupedLinear(nn.Module):
    """G linear layers with separate weights, each applied to its own input, as one product.

    Args:
        groups: G.
        in_features: width of each input.
        out_features: width of each output.
        activation: the activation that follows, a key of `ACTIVATIONS`; see `fill_weights`.
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
    """A small network per task, each on its own input, and its logits.

    Args:
        in_features: width of a task's input.
        hidden_units: widths of each tower's hidden layers; () = logits are linear in the input.
        widths: number of logits of each task; their sum is L.
        generator: source of the initial weights.
    """

    owner: Tensor
    """int64 (L,) the task of each logit."""

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
            GroupedLinear(len(widths), before, after, activation="relu", generator=generator)
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
