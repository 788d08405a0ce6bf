"""Experts that tasks share, the gates that weigh them, and a level of both."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.nn import ACTIVATIONS, BatchNorm, GroupedLinear, linear
from tamis.rank._fields import Fields
from tamis.rank._network import BackboneConfig


class ExpertsConfig(BackboneConfig):
    """What is common to networks whose tasks part above a shared trunk."""

    network: Literal["mlp", "cross"] = "mlp"
    """Inside an expert (or the shared bottom): hidden layers, or the crosses of DCNv2 and one
    hidden layer of the last width."""
    cross_layers: Annotated[int, Field(ge=1, le=16)] = 2
    """With network = "cross"."""
    tower_units: tuple[Annotated[int, Field(ge=1)], ...] = (64,)
    """Widths of each task's own hidden layers, on top of what it shares; () = none."""


class MixtureConfig(ExpertsConfig):
    """What is common to mixtures of experts."""

    expert_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of an expert's gate weights that are set to zero in training, the rest of the gate
    renormalised: no task can lean on one expert alone, so that none dies."""


class Experts(nn.Module):
    """E networks of one shape side by side: hidden layers, or crosses and one hidden layer.

    The first product with the input is made outside, wide and for all at once, so that it may be
    `Fields.into`: `entry` numbers per expert come in, `out` go out. LHUC gates scale every hidden
    layer as in a `Tower`.

    Args:
        count: E.
        width: of an expert's input.
        config: the network, its widths, activation, normalisation, dropout.
        gate_features: width of what the LHUC gates read; 0 = none.
        keep_scale: initialise the layers before an activation by He et al. 2015, which experts
            on top of other experts need; False = torch's default.
    """

    def __init__(
        self,
        count: int,
        width: int,
        config: ExpertsConfig,
        gate_features: int,
        generator: torch.Generator,
        *,
        keep_scale: bool = False,
    ) -> None:
        super().__init__()
        self.count, self.crosses = count, config.network == "cross"
        if self.crosses:
            units, self.entry = (config.hidden_units[-1],), width
            before = [width] * config.cross_layers
        else:
            units, self.entry = config.hidden_units, config.hidden_units[0]
            before = list(units[:-1])
        after = [*before[1:], units[-1]] if self.crosses else list(units[1:])
        self.out = units[-1]
        scaled = config.activation if keep_scale else None
        self.activation = None if self.crosses else scaled
        """What follows the first product, for its initial weights (`fill_weights`)."""
        follow = [*[self.activation] * (len(after) - 1), scaled]
        self.layers = nn.ModuleList(
            GroupedLinear(count, i, o, activation=name, generator=generator)
            for i, o, name in zip(before, after, follow[: len(after)], strict=True)
        )
        self.after = nn.ModuleList(
            nn.Sequential(
                *([BatchNorm(count * width)] if config.batch_norm else []),
                ACTIVATIONS[config.activation](count * width),
                *([nn.Dropout(config.dropout)] if config.dropout else []),
            )
            for width in units
        )
        self.gates = nn.ModuleList(
            linear(gate_features, count * width, generator=generator)
            for width in (units if gate_features else ())
        )

    def forward(self, entered: Tensor, x: Tensor | None, gate: Tensor | None) -> Tensor:
        """(B, E, out) of the first product (B, E, entry); crosses also read the input x itself,
        (B, E, width) or one for all (B, 1, width)."""
        if self.crosses:
            assert x is not None
            h = torch.addcmul(x, x, entered.to(x.dtype))
            for layer in self.layers[:-1]:
                h = torch.addcmul(h, x, layer(h).to(x.dtype))
            return self._activated(self.layers[-1](h), 0, gate)
        h = self._activated(entered, 0, gate)
        for k, layer in enumerate(self.layers, start=1):
            h = self._activated(layer(h), k, gate)
        return h

    def _activated(self, h: Tensor, k: int, gate: Tensor | None) -> Tensor:
        flat = self.after[k](h.flatten(1))  # (B, E · units): each expert has units of its own
        if self.gates and gate is not None:
            flat = flat * (2 * torch.sigmoid(self.gates[k](gate)))
        return flat.unflatten(1, (self.count, -1))


def gate_weights(logits: Tensor, dropout: float, training: bool) -> Tensor:
    """Softmax over the last axis of logits (…, E), of which a share `dropout` is left out in
    training (Zhao et al. 2019): their weight is 0, the rest sums to 1. Where all were, none is."""
    if training and dropout:
        out = torch.rand(logits.shape, device=logits.device) < dropout
        out = out & ~out.all(-1, keepdim=True)
        logits = logits.masked_fill(out, -torch.inf)
    return torch.softmax(logits, -1)


class Level(nn.Module):
    """One level of extraction: each task's own experts and shared ones, and a gate per task over
    both (Tang et al. 2020, CGC); without own experts it is MMoE (Ma et al. 2018).

    The first level reads fields; the others the states of the level before: one per task and, last,
    the shared one. Experts stand task by task, the shared ones after them.

    Args:
        tasks: T.
        own: experts of each task alone.
        shared: experts of all tasks.
        width: of a state, or of the fields.
        states: T + 1 states come in; False = fields do.
        last: no level follows, so that there is no shared gate and no shared state goes out.
    """

    owner: Tensor

    def __init__(
        self,
        tasks: int,
        own: int,
        shared: int,
        width: int,
        config: MixtureConfig,
        gate_features: int,
        generator: torch.Generator,
        *,
        states: bool = False,
        last: bool = True,
    ) -> None:
        super().__init__()
        self.tasks, self.own, self.shared, self.last = tasks, own, shared, last
        self.dropout = config.expert_dropout
        count = tasks * own + shared
        self.experts = Experts(count, width, config, gate_features, generator, keep_scale=states)
        self.sizes = [count * self.experts.entry, tasks * (own + shared), 0 if last else count]
        if states:
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
        else:
            self.entry = linear(
                width, sum(self.sizes), activation=self.experts.activation, generator=generator
            )
            with torch.no_grad():  # gates begin even: no expert is ahead by chance
                self.entry.weight[self.sizes[0] :] = 0
                self.entry.bias[self.sizes[0] :] = 0

    def forward(self, x: Fields | Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor]:
        """States (B, T + 1, out), or (B, T, out) of the last level; and the tasks' gate weights
        (B, T, own + shared)."""
        entered, logits, over_all, inputs = self._enter(x)
        experts = self.experts(entered, inputs, gate)  # (B, E, out)
        weights = gate_weights(logits, self.dropout, self.training).to(experts.dtype)
        mine, all_ = experts.split([self.tasks * self.own, self.shared], 1)
        mixed = torch.matmul(weights[..., self.own :], all_)  # (B, T, out)
        if self.own:
            mine = mine.unflatten(1, (self.tasks, self.own))  # (B, T, K, out)
            mixed = mixed + (weights[..., : self.own].unsqueeze(-1) * mine).sum(2)
        if self.last:
            return mixed, weights
        shared = gate_weights(over_all, self.dropout, self.training).to(experts.dtype)
        return torch.cat([mixed, torch.matmul(shared, experts)], 1), weights

    def _enter(self, x: Fields | Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Every expert's first product (B, E, entry), the tasks' gate logits (B, T, K + S), the
        shared gate's (B, 1, E) or an empty tensor, and what crosses read."""
        if isinstance(x, Fields):
            wide = x.into(self.entry)  # one product, of which the user's share is made once
            entered, gates, over_all = wide.split(self.sizes, 1)
            inputs = x.flat().unsqueeze(1) if self.experts.crosses else None
            entered = entered.unflatten(1, (self.experts.count, -1))
            return entered, gates.unflatten(1, (self.tasks, -1)), over_all.unsqueeze(1), inputs
        inputs = x.index_select(1, self.owner)  # (B, E, width)
        over_all = x[:, :0] if self.shared_gate is None else self.shared_gate(x[:, -1:])
        return self.into(inputs), self.task_gates(x[:, :-1]), over_all, inputs
