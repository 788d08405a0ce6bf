"""MMoE: experts shared by all tasks, one gate per task (Ma et al. 2018)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import TaskTowers
from tamis.rank._experts import Experts, MixtureConfig, entry_layer, gate_weights
from tamis.rank._fields import Fields, Shape
from tamis.rank._gate_report import MixtureBackbone


class MMoEConfig(MixtureConfig):
    """Options of an MMoE: the experts, their gates, and the tasks' towers."""

    experts: Annotated[int, Field(ge=1, le=64)] = 4
    """Number of networks that the tasks share, each with all `hidden_units`."""


class MMoECore(nn.Module):
    """Each task's mixture of the E experts' outputs, `Σ_e softmax(g_t)_e · expert_e(x)`, and a
    tower on it."""

    own = 0

    def __init__(
        self, shape: Shape, widths: tuple[int, ...], config: MMoEConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.tasks, self.shared, self.dropout = len(widths), config.experts, config.expert_dropout
        self.experts = Experts(self.shared, shape.flat, config, shape.gate, generator)
        self.sizes = [self.shared * self.experts.entry, self.tasks * self.shared]
        self.entry = entry_layer(shape.flat, self.experts, self.sizes[1], generator)
        out, units = self.experts.out, config.tower_units
        self.towers = TaskTowers(out, units, widths, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        mixed, _ = self.mix(fields)  # (B, T, out)
        return self.towers(mixed)  # (B, L)

    def mix(self, fields: Fields) -> tuple[Tensor, Tensor]:
        """The tasks' mixtures (B, T, out) and their gate weights (B, T, E)."""
        entered, logits = fields.into(self.entry).split(self.sizes, 1)
        entered = entered.unflatten(1, (self.shared, -1))  # (B, E, entry)
        logits = logits.unflatten(1, (self.tasks, -1))  # (B, T, E)
        x = fields.flat().unsqueeze(1) if self.experts.crosses else None  # (B, 1, F · dim + D)
        experts = self.experts(entered, x, fields.gate)  # (B, E, out)
        weights = gate_weights(logits, self.dropout, self.training).to(experts.dtype)
        return torch.matmul(weights, experts), weights

    def weights(self, fields: Fields) -> Tensor:
        """(B, T, E) gate weights."""
        return self.mix(fields)[1]


class MMoE(MixtureBackbone):
    """The ranker `mmoe`: every task weights the same experts by its own softmax gate.

    Tasks that agree use the same experts; tasks that do not use different ones. Gates may polarise
    until some expert has almost no weight for any task; expert dropout prevents it, and
    `gate_report(rows)` shows each task's mean weights and names unused experts.

    When to use: the first choice for several tasks that agree in part (click and purchase, or
    click and watch time).

    Cost: as many networks as experts, computed as one batched product whose first layer is one
    wide product; gates and towers are small.

    Source: Ma et al. 2018, Modeling Task Relationships in Multi-task Learning with Multi-gate
    Mixture-of-Experts; expert dropout: Zhao et al. 2019, Recommending What Video to Watch Next.
    """

    name = "mmoe"
    Config = MMoEConfig
    config: MMoEConfig

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return MMoECore(shape, self.widths(n_tasks), self.config, generator)
