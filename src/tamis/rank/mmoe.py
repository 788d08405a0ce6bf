"""MMoE: experts shared by all tasks, one gate per task (Ma et al. 2018)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import TaskTowers
from tamis.rank._experts import Level, MixtureConfig
from tamis.rank._fields import Fields, Shape
from tamis.rank._gate_report import MixtureBackbone


class MMoEConfig(MixtureConfig):
    """The shape of an MMoE."""

    experts: Annotated[int, Field(ge=1, le=64)] = 4
    """Networks that the tasks share, each with all `hidden_units`."""


class MMoECore(nn.Module):
    """A mixture of the experts per task, and a tower on it."""

    own = 0

    def __init__(
        self, shape: Shape, widths: tuple[int, ...], config: MMoEConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.shared = config.experts
        self.level = Level(len(widths), 0, self.shared, shape.flat, config, shape.gate, generator)
        out = self.level.experts.out
        self.towers = TaskTowers(out, config.tower_units, widths, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        mixed, _ = self.level(fields, fields.gate)  # (B, T, out)
        return self.towers(mixed)

    def weights(self, fields: Fields) -> Tensor:
        """(B, T, experts) gate weights."""
        return self.level(fields, fields.gate)[1]


class MMoE(MixtureBackbone):
    """The ranker `mmoe`: every task weighs the same experts by a softmax gate of its own.

    Tasks that agree lean on the same experts, tasks that do not part ways. Gates may polarise until
    some expert is used by nobody; expert dropout prevents it, and `gate_report(rows)` shows each
    task's mean weights and names dead experts.

    When to use: the first choice for several tasks that agree in part (click beside purchase, or
    beside watch time).

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
