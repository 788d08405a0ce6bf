"""PLE: levels of shared and own experts, each task's gates over both (Tang et al. 2020)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import TaskTowers
from tamis.rank._experts import Level, MixtureConfig
from tamis.rank._fields import Fields, Shape
from tamis.rank._gate_report import MixtureBackbone


class PLEConfig(MixtureConfig):
    """The shape of a PLE."""

    hidden_units: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (
        256,
        128,
    )
    """Widths of an expert's hidden layers, at every level."""
    levels: Annotated[int, Field(ge=1, le=8)] = 2
    """Levels of extraction; 1 = customised gate control (CGC)."""
    shared_experts: Annotated[int, Field(ge=1, le=64)] = 2
    """Of all tasks, per level."""
    task_experts: Annotated[int, Field(ge=1, le=64)] = 1
    """Of each task alone, per level."""


class PLECore(nn.Module):
    """Levels of extraction, and a tower per task on the last one's mixtures."""

    def __init__(
        self, shape: Shape, widths: tuple[int, ...], config: PLEConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.own, self.shared = config.task_experts, config.shared_experts
        width, levels = shape.flat, []
        for number in range(config.levels):
            levels.append(
                Level(
                    len(widths),
                    self.own,
                    self.shared,
                    width,
                    config,
                    shape.gate,
                    generator,
                    states=number > 0,
                    last=number == config.levels - 1,
                )
            )
            width = levels[-1].experts.out
        self.levels = nn.ModuleList(levels)
        self.towers = TaskTowers(width, config.tower_units, widths, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        return self.towers(self._extract(fields)[0])

    def weights(self, fields: Fields) -> Tensor:
        """(B, T, own + shared) gate weights of the last level."""
        return self._extract(fields)[1]

    def _extract(self, fields: Fields) -> tuple[Tensor, Tensor]:
        states: Fields | Tensor = fields
        for level in self.levels:
            states, weights = level(states, fields.gate)
        assert isinstance(states, Tensor)
        return states, weights


class PLE(MixtureBackbone):
    """The ranker `ple`: every task has experts of its own beside shared ones, in several levels.

    At each level a task's gate weighs its own and the shared experts, and a shared gate weighs
    all of them for the next level; the last level has the tasks' gates only. What helps one task
    and hurts another has a place where it disturbs nobody.

    When to use: tasks that pull apart (click beside completion, watch time beside like), where
    `mmoe` improves one task at another's cost.

    Cost: levels × (tasks × own + shared experts) networks; with many tasks several times `mmoe`.

    Source: Tang et al. 2020, Progressive Layered Extraction (PLE): A Novel Multi-Task Learning
    Model for Personalized Recommendations.
    """

    name = "ple"
    Config = PLEConfig
    config: PLEConfig

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return PLECore(shape, self.widths(n_tasks), self.config, generator)
