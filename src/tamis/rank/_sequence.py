"""The option `sequence`: how any backbone treats histories of items.

A sequence block is a module `forward(candidate (B, dim), items (B or 1, L, dim), real bool
(B or 1, L)) -> (B, dim)`. A batch size of 1 in `items` and `real` means that all candidates share
the history. An empty history gives finite numbers, and padded places do not change the result.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import CandidateTransformer, TargetAttention, dot_scores, masked_weights, weighted_sum
from tamis.rank._fields import Fields, Shape
from tamis.schema import ComponentConfig, Conditions, ConfigError, Needs

Units = Annotated[int, Field(ge=1)]


class SequenceConfig(ComponentConfig):
    """How histories of items are compared with the candidate."""

    only_with: ClassVar[Conditions] = {
        "attention": (Needs("sequence", ("din",)),),
        "attention_units": (Needs("sequence", ("din",)), Needs("attention", ("mlp",))),
        "attention_activation": (Needs("sequence", ("din",)), Needs("attention", ("mlp",))),
        "attention_softmax": (Needs("sequence", ("din",)),),
        "blocks": (Needs("sequence", ("bst",)),),
        "heads": (Needs("sequence", ("bst",)),),
        "pooled": (Needs("sequence", ("bst",)),),
    }

    sequence: Literal["mean", "din", "bst"] = "mean"
    """Mean of each history's last `max_len` items, target attention (DIN), or a transformer over
    the history and the candidate (BST)."""
    attention: Literal["mlp", "dot"] = "mlp"
    """DIN: attention scores by a network on [q, k, q − k, q ⊙ k] of the candidate q and each item
    k, or by the scaled dot product q · k / √dim."""
    attention_units: Annotated[tuple[Units, ...], Field(min_length=1)] = (64, 32)
    """DIN: widths of the attention network's hidden layers."""
    attention_activation: Literal["relu", "prelu", "dice", "gelu", "sigmoid", "tanh"] = "relu"
    """DIN: activation of the attention network; relu is by far the fastest to train."""
    attention_softmax: bool = False
    """DIN: whether attention weights sum to 1. If false, they are the raw scores, as in the paper,
    so that their sum grows with the number of relevant items."""
    blocks: Annotated[int, Field(ge=1, le=64)] = 1
    """BST: transformer blocks."""
    heads: Annotated[int, Field(ge=1, le=256)] = 2
    """BST: attention heads; `embedding_dim` must be a multiple of it."""
    pooled: bool = False
    """BST: whether the mean of all states is concatenated to the candidate's state, before a linear
    layer."""


class DotAttention(nn.Module):
    """Target attention with scaled dot products instead of a network.

    Args:
        softmax: whether the weights of each history sum to 1; otherwise they are the scores.
    """

    def __init__(self, softmax: bool) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, candidate: Tensor, items: Tensor, real: Tensor) -> Tensor:
        scores = dot_scores(candidate, items)  # (B, L)
        weights = masked_weights(scores, real, self.softmax)  # (B, L)
        return weighted_sum(weights, items)  # (B, dim)


class SequenceBlocks(nn.Module):
    """One sequence block for each pending history; completes `Fields`."""

    def __init__(
        self, shape: Shape, config: SequenceConfig, dropout: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            candidate_transformer(config, shape.dim, length, dropout, generator)
            if config.sequence == "bst"
            else target_attention(config, shape.dim, generator)
            for length in shape.histories
        )

    def forward(self, fields: Fields) -> Fields:
        summaries = [
            block(history.candidate, history.items, history.real)  # (B, dim)
            for block, history in zip(self.blocks, fields.histories, strict=True)
        ]
        return fields.with_histories(summaries)  # (B, F, dim)


def target_attention(
    config: SequenceConfig, dim: int, generator: torch.Generator
) -> TargetAttention | DotAttention:
    """The attention layer that the options `attention…` describe, over vectors of width `dim`."""
    if config.attention == "dot":
        return DotAttention(config.attention_softmax)
    return TargetAttention(
        dim,
        config.attention_units,
        activation=config.attention_activation,
        softmax=config.attention_softmax,
        generator=generator,
    )


def candidate_transformer(
    config: SequenceConfig, dim: int, length: int, dropout: float, generator: torch.Generator
) -> CandidateTransformer:
    """The transformer that `blocks`, `heads` and `pooled` describe, over at most `length` items.

    Raises ConfigError if `dim` is not a multiple of `heads`.
    """
    if dim % config.heads:
        raise ConfigError(
            f"heads = {config.heads} does not divide embedding_dim = {dim}: make embedding_dim a "
            f"multiple of {config.heads}, or heads a divisor of {dim}"
        )
    return CandidateTransformer(
        dim,
        length,
        blocks=config.blocks,
        heads=config.heads,
        dropout=dropout,
        pooled=config.pooled,
        generator=generator,
    )
