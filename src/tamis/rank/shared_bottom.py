"""Shared bottom: one trunk for all tasks, a tower for each (Caruana 1997)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.nn import TaskTowers
from tamis.rank._backbone import Backbone
from tamis.rank._experts import Experts, ExpertsConfig, entry_layer
from tamis.rank._fields import Fields, Shape


class SharedBottomConfig(ExpertsConfig):
    """Options of a shared bottom: the trunk and the tasks' towers."""


class SharedBottomCore(nn.Module):
    """The trunk's last hidden layer, read by a tower per task."""

    def __init__(
        self,
        shape: Shape,
        widths: tuple[int, ...],
        config: SharedBottomConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.tasks = len(widths)
        self.bottom = Experts(1, shape.flat, config, shape.gate, generator)
        self.entry = entry_layer(shape.flat, self.bottom, 0, generator)
        self.towers = TaskTowers(self.bottom.out, config.tower_units, widths, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        entered = fields.into(self.entry).unsqueeze(1)  # (B, 1, entry)
        x = fields.flat().unsqueeze(1) if self.bottom.crosses else None  # (B, 1, F · dim + D)
        trunk = self.bottom(entered, x, fields.gate)  # (B, 1, out)
        return self.towers(trunk.expand(-1, self.tasks, -1))  # (B, L) of (B, T, out)


class SharedBottom(Backbone):
    """The ranker `shared_bottom`: all tasks share one network, with a small tower for each task.

    Rare tasks profit from what frequent ones learn about users and items. Tasks that conflict
    disturb one another in the trunk, which `mmoe` and `ple` avoid.

    When to use: several related tasks (click, like, collect), and as the baseline for `mmoe` and
    `ple`.

    Cost: one network for all tasks, and a small tower each; the cheapest of the three.

    Source: Caruana 1997, Multitask Learning.
    """

    name = "shared_bottom"
    Config = SharedBottomConfig
    config: SharedBottomConfig

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return SharedBottomCore(shape, self.widths(n_tasks), self.config, generator)
