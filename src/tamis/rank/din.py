"""Deep interest network: target attention over each history (Zhou et al. 2018)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from tamis.nn import linear
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import BackboneConfig
from tamis.rank._sequence import target_attention
from tamis.rank._tower import MLPTower


class DINConfig(BackboneConfig):
    """Options of a DIN: hidden layers, and the attention (`attention`, `attention_units`,
    `attention_activation`, `attention_softmax`)."""

    sequence: Literal["din"] = "din"
    """Always "din"; other backbones take DIN's attention by this option."""


class DINCore(nn.Module):
    """Target attention over each history, then hidden layers over all fields.

    With candidate q and history items k_1 … k_L, attention gives `Σ_l a(q, k_l) k_l`, where a is a
    small network on [q, k, q − k, q ⊙ k].
    """

    def __init__(
        self, shape: Shape, config: DINConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.attention = nn.ModuleList(
            target_attention(config, shape.dim, generator) for _ in shape.histories
        )
        self.tower = MLPTower.of(config, shape.flat, shape.gate, generator)
        self.heads = linear(self.tower.out_features, n_tasks, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        interests: list[Tensor] = []
        for attention, history in zip(self.attention, fields.histories, strict=True):
            candidate = history.candidate  # (B, dim)
            items = history.items  # (B, L, dim); (1, L, dim) if all candidates are one user's
            interests.append(attention(candidate, items, history.real))  # (B, dim)
        fields = fields.with_histories(interests)  # (B, F, dim)
        hidden = self.tower(fields)  # (B, hidden_units[-1])
        return self.heads(hidden)  # (B, T)


class DIN(Backbone):
    """The ranker `din`: the items of each history are weighted by an attention network that reads
    the candidate and each item, and summed; then hidden layers over all fields.

    The weights are raw scores by default, as in the paper: several relevant items in the history
    count for more than one. Every history that shares its table with a feature of the item is
    compared with that feature: items with the item, categories with the category.

    When to use: users with histories of mixed interests, of which few items are relevant for a
    candidate; the longer and more mixed the histories, the more it gains on `last_n`.

    Cost: the attention network runs once per candidate and item of the history; with 50 items that
    is several times the hidden layers' work in training, and most of a request's.

    Source: Zhou et al. 2018, Deep Interest Network for Click-Through Rate Prediction.
    """

    name = "din"
    Config = DINConfig
    config: DINConfig
    core_reads_histories = True

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return DINCore(shape, self.config, n_tasks, generator)
