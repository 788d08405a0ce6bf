"""Shared bottom: one trunk for all tasks, a tower for each (Caruana 1997)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.nn import TaskTowers, linear
from tamis.rank._backbone import Backbone
from tamis.rank._experts import Experts, ExpertsConfig
from tamis.rank._fields import Fields, Shape


class SharedBottomConfig(ExpertsConfig):
    """The shape of a shared bottom."""


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
        self.entry = linear(
            shape.flat, self.bottom.entry, activation=self.bottom.activation, generator=generator
        )
        self.towers = TaskTowers(self.bottom.out, config.tower_units, widths, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        entered = fields.into(self.entry).unsqueeze(1)  # (B, 1, entry)
        x = fields.flat().unsqueeze(1) if self.bottom.crosses else None
        trunk = self.bottom(entered, x, fields.gate)  # (B, 1, out)
        return self.towers(trunk.expand(-1, self.tasks, -1))


class SharedBottom(Backbone):
    """The ranker `shared_bottom`: all tasks share one network and part in a small tower each.

    Rare tasks borrow what frequent ones learn of users and items; tasks that pull the trunk apart
    disturb one another, which is what `mmoe` and `ple` are for.

    When to use: several tasks that go together (click, like, collect), and as the yardstick of the
    other two.

    Cost: one network for all tasks, and a small tower each; the cheapest of the three.

    Source: Caruana 1997, Multitask Learning.
    """

    name = "shared_bottom"
    Config = SharedBottomConfig
    config: SharedBottomConfig

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return SharedBottomCore(shape, self.widths(n_tasks), self.config, generator)
