"""A history meets the candidate: target attention (DIN), or a transformer over both (BST)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.nn import MLP
from tamis.schema import ConfigError


class SequenceBlock(nn.Module):
    """`forward(target (B, dim), past (B, L, dim), real bool (B, L)) -> (B, dim)`; an empty history
    gives finite numbers."""


class TargetAttention(SequenceBlock):
    """DIN (Zhou et al. 2018): the past weighed by an MLP on [q, k, q − k, q ⊙ k], raw weights."""

    def __init__(self, dim: int, hidden: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        self.mlp = MLP(4 * dim, hidden, 1, generator=generator)

    def forward(self, target: Tensor, past: Tensor, real: Tensor) -> Tensor:
        q = target.unsqueeze(1).expand_as(past)
        weight = self.mlp(torch.cat([q, past, q - past, q * past], -1)).squeeze(-1)  # (B, L)
        return torch.bmm((weight * real).unsqueeze(1), past).squeeze(1)


def sequence_block(
    kind: str, dim: int, length: int, dropout: float, generator: torch.Generator
) -> SequenceBlock:
    """The block named in the config."""
    if kind == "din":
        return TargetAttention(dim, (64, 32), generator)
    raise ConfigError(f"sequence = {kind!r} is not built yet")
