"""PLE: levels of shared and task-specific experts, with gates over both (Tang et al. 2020)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import GroupedLinear, TaskTowers, linear
from tamis.rank._experts import Experts, MixtureConfig, entry_layer, gate_weights
from tamis.rank._fields import Fields, Shape
from tamis.rank._gate_report import MixtureBackbone


class PLEConfig(MixtureConfig):
    """Options of a PLE: levels, experts, gates, and the tasks' towers."""

    hidden_units: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (
        256,
        128,
    )
    """Widths of an expert's hidden layers, at every level."""
    levels: Annotated[int, Field(ge=1, le=8)] = 2
    """Extraction levels; 1 = customised gate control (CGC)."""
    shared_experts: Annotated[int, Field(ge=1, le=64)] = 2
    """Experts that all tasks share, per level."""
    task_experts: Annotated[int, Field(ge=1, le=64)] = 1
    """Experts of each task alone, per level."""


class ExtractionLevel(nn.Module):
    """One extraction level: experts of each task, shared experts, and a gate per task over both.

    The first level reads fields. The others read the states of the level before: one per task, and
    the shared state last. Experts are ordered by task, the shared ones last.

    Args:
        tasks: T.
        width: width of the fields, or of a state.
        config: numbers of experts, their networks, and expert dropout.
        gate_features: width of the LHUC gates' input; 0 = no gates.
        generator: source of the initial weights.
        first: whether the level reads fields; otherwise T + 1 states.
        last: whether no level follows, so that there is no shared gate and no shared state.
    """

    owner: Tensor
    """int64 (E,): the state that each expert reads."""

    def __init__(
        self,
        tasks: int,
        width: int,
        config: PLEConfig,
        gate_features: int,
        generator: torch.Generator,
        *,
        first: bool,
        last: bool,
    ) -> None:
        super().__init__()
        self.tasks, self.last, self.dropout = tasks, last, config.expert_dropout
        self.own, self.shared = own, shared = config.task_experts, config.shared_experts
        count = tasks * own + shared
        self.experts = Experts(count, width, config, gate_features, generator, keep_scale=not first)
        self.sizes = [count * self.experts.entry, tasks * (own + shared), 0 if last else count]
        if first:
            self.entry = entry_layer(width, self.experts, sum(self.sizes[1:]), generator)
            return
        self.into = GroupedLinear(
            count,
            width,
            self.experts.entry,
            activation=self.experts.activation,
            generator=generator,
        )
        self.task_gates = GroupedLinear(tasks, width, own + shared, generator=generator)
        self.shared_gate = None if last else linear(width, count, generator=generator)
        owner = [t for t in range(tasks) for _ in range(own)] + [tasks] * shared
        self.register_buffer("owner", torch.tensor(owner), persistent=False)

    def forward(self, x: Fields | Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor]:
        """States (B, T + 1, out), or (B, T, out) at the last level; and the tasks' gate weights
        (B, T, own + shared).

        Args:
            x: fields, or states (B, T + 1, width).
            gate: input of the LHUC gates (B, G).
        """
        entered, task_logits, shared_logits, inputs = self._enter(x)
        experts = self.experts(entered, inputs, gate)  # (B, E, out)
        weights = gate_weights(task_logits, self.dropout, self.training).to(experts.dtype)
        own, shared = experts.split([self.tasks * self.own, self.shared], 1)
        own = own.unflatten(1, (self.tasks, self.own))  # (B, T, own, out)
        mixed = torch.matmul(weights[..., self.own :], shared)  # (B, T, out)
        mixed = mixed + (weights[..., : self.own].unsqueeze(-1) * own).sum(2)
        if self.last:
            return mixed, weights
        over_all = gate_weights(shared_logits, self.dropout, self.training).to(experts.dtype)
        return torch.cat([mixed, torch.matmul(over_all, experts)], 1), weights

    def _enter(self, x: Fields | Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Every expert's first product (B, E, entry), the tasks' gate logits (B, T, own + shared),
        the shared gate's logits (B, 1, E) or an empty tensor, and the input of crosses."""
        if isinstance(x, Fields):
            entered, logits, over_all = x.into(self.entry).split(self.sizes, 1)
            entered = entered.unflatten(1, (self.experts.count, -1))
            inputs = x.flat().unsqueeze(1) if self.experts.crosses else None
            return entered, logits.unflatten(1, (self.tasks, -1)), over_all.unsqueeze(1), inputs
        inputs = x.index_select(1, self.owner)  # (B, E, width)
        over_all = x[:, :0] if self.shared_gate is None else self.shared_gate(x[:, -1:])
        return self.into(inputs), self.task_gates(x[:, :-1]), over_all, inputs


class PLECore(nn.Module):
    """Extraction levels, and a tower per task on the last level's mixtures."""

    def __init__(
        self, shape: Shape, widths: tuple[int, ...], config: PLEConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.own, self.shared = config.task_experts, config.shared_experts
        width, levels = shape.flat, []
        for number in range(config.levels):
            first, last = number == 0, number == config.levels - 1
            levels.append(
                ExtractionLevel(
                    len(widths), width, config, shape.gate, generator, first=first, last=last
                )
            )
            width = levels[-1].experts.out
        self.levels = nn.ModuleList(levels)
        self.towers = TaskTowers(width, config.tower_units, widths, generator=generator)

    def forward(self, fields: Fields) -> Tensor:
        mixed, _ = self.extract(fields)  # (B, T, out)
        return self.towers(mixed)  # (B, L)

    def extract(self, fields: Fields) -> tuple[Tensor, Tensor]:
        """The last level's mixtures (B, T, out) and gate weights (B, T, own + shared)."""
        states: Fields | Tensor = fields
        for level in self.levels:
            states, weights = level(states, fields.gate)  # (B, T + 1, out); last: (B, T, out)
        assert isinstance(states, Tensor)
        return states, weights

    def weights(self, fields: Fields) -> Tensor:
        """(B, T, own + shared) gate weights of the last level."""
        return self.extract(fields)[1]


class PLE(MixtureBackbone):
    """The ranker `ple`: every task has its own experts beside shared ones, in several levels.

    At each level a task's gate weights its own and the shared experts, and a shared gate weights
    all of them for the next level; the last level has the tasks' gates only. What helps one task
    and hurts another can be learned in a task's own experts, without effect on the other tasks.

    When to use: tasks that conflict (click and completion, watch time and like), where `mmoe`
    improves one task at the cost of another.

    Cost: levels × (tasks × own + shared experts) networks; with many tasks several times `mmoe`.

    Source: Tang et al. 2020, Progressive Layered Extraction (PLE): A Novel Multi-Task Learning
    Model for Personalized Recommendations.
    """

    name = "ple"
    Config = PLEConfig
    config: PLEConfig

    def core(self, shape: Shape, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return PLECore(shape, self.widths(n_tasks), self.config, generator)
