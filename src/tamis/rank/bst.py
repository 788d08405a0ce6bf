"""Behaviour sequence transformer: self-attention over history and candidate (Chen et al. 2019)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from tamis.nn import linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank._sequence import candidate_transformer
from tamis.rank._tower import MLPTower


class BSTConfig(BackboneConfig):
    """Options of a BST: hidden layers, and the transformer (`blocks`, `heads`, `pooled`)."""

    sequence: Literal["bst"] = "bst"
    """Always "bst"; other backbones take BST's transformer by this option."""


class BSTCore(nn.Module):
    """A transformer over [candidate; history] for each history, then hidden layers over all fields.

    The candidate's state after the last block stands for the history.
    """

    def __init__(
        self, shape: Shape, config: BSTConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.transformers = nn.ModuleList(
            candidate_transformer(config, shape.dim, length, config.dropout, generator)
            for length in shape.histories
        )
        self.tower = MLPTower.of(config, shape.flat, shape.gate, generator)
        self.heads = linear(self.tower.out_features, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        states: list[Tensor] = []
        for transformer, history in zip(self.transformers, fields.histories, strict=True):
            candidate = history.candidate  # (B, dim)
            items = history.items  # (B, L, dim); (1, L, dim) if all candidates are one user's
            states.append(transformer(candidate, items, history.real))  # (B, dim)
        fields = fields.with_histories(states)  # (B, F, dim)
        hidden = self.tower(fields)  # (B, hidden_units[-1])
        return self.heads(hidden)  # (B, T)


class BST(Backbone):
    """The ranker `bst`: a transformer over each history and the candidate, then hidden layers over
    the candidate's state and the other fields.

    The position of an item is its distance from the candidate, so the newest item is at position 1
    whatever the history's length. Unlike in `din`, the order of the history matters.

    When to use: histories whose order and recency predict what comes next (sessions, series,
    feeds).

    Cost: with one block, the default, only the candidate attends, which is cheaper than `din`'s
    attention network; every further block runs over the whole history once per candidate.

    Source: Chen et al. 2019, Behavior Sequence Transformer for E-commerce Recommendation.
    """

    name = "bst"
    Config = BSTConfig
    config: BSTConfig
    core_reads_histories = True

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return BSTCore(shape, self.config, n_tasks, generator)
