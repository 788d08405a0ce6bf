"""Pooling of a list of ids by attention or by a sequence encoder, with weights that are learnt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tamis.nn.layers import linear, zero_linear
from tamis.nn.sequence_encoders import SEQUENCE_ENCODERS, sequence_encoder
from tamis.nn.target_attention import masked_weights, weighted_sum

LEARNT_POOLINGS = ("attention", *SEQUENCE_ENCODERS)
"""Values of a feature's `pooling` that have weights; the others are sum, mean and max."""


@dataclass(frozen=True)
class _Size:
    """See `EncoderShape`."""

    embedding_dim: int
    length: int
    dropout: float = 0.0
    blocks: int = 1
    heads: int = 2


class AttentionPooling(nn.Module):
    """A weighted mean with learnt weights, `softmax_l(wᵀ tanh(W v_l + b))` (Yang et al. 2016).

    At first w is zero, so that a new module is the mean.
    """

    def __init__(self, dim: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.hidden = linear(dim, dim, generator=generator)
        self.score = zero_linear(dim, 1, bias=False)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """(B, dim) of vectors (B, L, dim) and bool (B, L), False at padding; zero where empty."""
        scores = self.score(torch.tanh(self.hidden(x))).squeeze(2)  # (B, L)
        return weighted_sum(masked_weights(scores, real, softmax=True), x)


class SequencePooling(nn.Module):
    """One vector per list by a sequence encoder of one layer, which reads its last id first.

    Args:
        kind: one of `SEQUENCE_ENCODERS`.
        dim: width of the vectors.
        longest: most ids of a list.
        generator: source of the initial weights.
    """

    def __init__(
        self, kind: str, dim: int, longest: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator()
        self.encoder = sequence_encoder(kind, _Size(dim, longest), generator)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """(B, dim) of vectors (B, L, dim), oldest first, and bool (B, L), False at padding, which
        may be anywhere; zero where empty."""
        place = torch.arange(x.shape[1], device=x.device)
        last_first = torch.where(real, -place, place + 1).argsort(1)  # (B, L)
        x = x.gather(1, last_first.unsqueeze(2).expand_as(x))
        return self.encoder(x, place < real.sum(1, keepdim=True))


def list_pooling(
    kind: str, dim: int, longest: int, generator: torch.Generator | None = None
) -> AttentionPooling | SequencePooling:
    """The module of a pooling among `LEARNT_POOLINGS`, for lists of at most `longest` ids."""
    if kind == "attention":
        return AttentionPooling(dim, generator)
    return SequencePooling(kind, dim, longest, generator)
