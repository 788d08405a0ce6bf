"""A history meets the candidate: target attention (DIN), or a transformer over both (BST)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import CandidateTransformer, TargetAttention, dot_scores, masked_weights, weighted_sum
from tamis.schema import ComponentConfig, ConfigError

Units = Annotated[int, Field(ge=1)]


class SequenceConfig(ComponentConfig):
    """How histories of items meet the candidate."""

    sequence: Literal["mean", "din", "bst"] = "mean"
    """By their mean (each history's last `max_len` items), by target attention (DIN), or by a
    transformer over them and the candidate (BST)."""
    attention: Literal["mlp", "dot"] = "mlp"
    """DIN's weights: a network on [q, k, q − k, q ⊙ k] of the candidate q and each item k, or the
    scaled dot product q · k / √dim."""
    attention_units: Annotated[tuple[Units, ...], Field(min_length=1)] = (64, 32)
    """Widths of the hidden layers of DIN's attention network."""
    attention_activation: Literal["relu", "prelu", "dice", "gelu", "sigmoid", "tanh"] = "relu"
    """Of the attention network; relu is by far the fastest to train."""
    attention_softmax: bool = False
    """Whether DIN's weights sum to 1; raw as in the paper otherwise, so that their sum says how
    much of the past bears on the candidate."""
    blocks: Annotated[int, Field(ge=1, le=64)] = 1
    """Transformer blocks of BST."""
    heads: Annotated[int, Field(ge=1, le=256)] = 2
    """Attention heads of BST; `embedding_dim` is a multiple of it."""
    pooled: bool = False
    """Whether the mean of BST's states joins the candidate's own."""


class SequenceBlock(nn.Module):
    """`forward(target (B, dim), past (B or 1, L, dim), real bool (B or 1, L)) -> (B, dim)`.

    A `past` of batch 1 is shared by all targets: one user's history and a request's candidates. An
    empty history gives finite numbers, and what stands in the padding changes nothing.
    """


class DIN(SequenceBlock):
    """Target attention by a network (Zhou et al. 2018)."""

    def __init__(self, dim: int, config: SequenceConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.attention = TargetAttention(
            dim,
            config.attention_units,
            activation=config.attention_activation,
            softmax=config.attention_softmax,
            generator=generator,
        )

    def forward(self, target: Tensor, past: Tensor, real: Tensor) -> Tensor:
        return self.attention(target, past, real)


class DotAttention(SequenceBlock):
    """Target attention by scaled dot products."""

    def __init__(self, softmax: bool) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, target: Tensor, past: Tensor, real: Tensor) -> Tensor:
        return weighted_sum(masked_weights(dot_scores(target, past), real, self.softmax), past)


class BST(SequenceBlock):
    """A transformer over the history and the candidate (Chen et al. 2019)."""

    def __init__(
        self,
        dim: int,
        length: int,
        config: SequenceConfig,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.transformer = CandidateTransformer(
            dim,
            length,
            blocks=config.blocks,
            heads=config.heads,
            dropout=dropout,
            pooled=config.pooled,
            generator=generator,
        )

    def forward(self, target: Tensor, past: Tensor, real: Tensor) -> Tensor:
        return self.transformer(target, past, real)


def sequence_block(
    config: SequenceConfig, dim: int, length: int, dropout: float, generator: torch.Generator
) -> SequenceBlock:
    """The block that the config names, for histories of at most `length` items.

    Raises ConfigError for heads that cannot share `dim`.
    """
    if config.sequence == "bst":
        if dim % config.heads:
            raise ConfigError(
                f"heads = {config.heads} cannot share embedding_dim = {dim}: make embedding_dim a "
                f"multiple of {config.heads}, or heads a divisor of {dim}"
            )
        return BST(dim, length, config, dropout, generator)
    if config.attention == "dot":
        return DotAttention(config.attention_softmax)
    return DIN(dim, config, generator)


def trimmed(ids: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """Ids (B, L) of histories, cut to the batch's longest (at least one place), and which of them
    are real. A tracer sees them whole."""
    real = ids != pad
    if torch.compiler.is_compiling():
        return ids, real
    used = real.any(0).nonzero()
    longest = int(used[-1]) + 1 if len(used) else 1
    return ids[:, :longest], real[:, :longest]
