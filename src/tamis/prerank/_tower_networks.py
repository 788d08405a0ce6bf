"""The network inside a tower of a pre-ranker: hidden layers, crosses, or a sequence encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.nn import MLP, SEQUENCE_ENCODERS, LayerNorm, VectorCross, linear, list_pooling
from tamis.schema import ConfigError

FlatNetwork = Literal["mlp", "mlp_bn", "dcn"]
"""Networks that read a tower's vectors and numbers side by side."""
Network = Literal["mlp", "mlp_bn", "dcn", "cnn", "gru", "lstm", "transformer"]
CROSSES = 2
"""Crosses of the network dcn."""


@dataclass(frozen=True)
class TowerSize:
    """What a network must know of a tower's inputs."""

    fields: int
    """F, features of one vector each."""
    dim: int
    """Width of a vector."""
    numbers: int
    """D."""
    lists: tuple[int, ...] = ()
    """Longest length of each list of ids that the network encodes."""

    @property
    def flat(self) -> int:
        """Width of `TowerValues.flat`."""
        return self.fields * self.dim + self.numbers


@dataclass(frozen=True, eq=False)
class TowerValues:
    """The input of a tower for B rows."""

    vectors: Tensor
    """float32 (B, F · dim)."""
    numbers: Tensor
    """float32 (B, D)."""
    lists: Sequence[tuple[Tensor, Tensor]] = ()
    """For each list that the network encodes, vectors (B, L, dim) and bool (B, L), False at
    padding."""

    @property
    def flat(self) -> Tensor:
        """float32 (B, F · dim + D)."""
        if not self.vectors.shape[1]:
            return self.numbers
        return torch.cat([self.vectors, self.numbers], 1)


class FlatMLP(MLP):
    """Hidden layers and a linear output over a tower's vectors and numbers."""

    def forward(self, x: TowerValues) -> Tensor:  # -> (B, out)
        return self.layers(x.flat)


class CrossTower(nn.Module):
    """The crosses of DCN in parallel to hidden layers, and a linear layer on both."""

    def __init__(
        self,
        size: TowerSize,
        hidden: Sequence[int],
        out: int,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        width = size.flat
        self.cross = VectorCross(width, CROSSES, generator=generator)
        self.mlp = MLP(width, hidden, dropout=dropout, generator=generator)
        self.out = linear(width + self.mlp.out_features, out, generator=generator)
        self.out_features = out

    def forward(self, x: TowerValues) -> Tensor:  # -> (B, out)
        flat = x.flat  # (B, width)
        return self.out(torch.cat([self.cross(flat), self.mlp(flat)], 1))


class SequenceTower(nn.Module):
    """Encoded lists, an MLP of the other fields and linear + ReLU of the numbers, side by side,
    layer-normed, and a linear layer on them."""

    def __init__(
        self,
        kind: str,
        size: TowerSize,
        hidden: Sequence[int],
        out: int,
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        dim = size.dim
        self.encoders = nn.ModuleList(
            list_pooling(kind, dim, longest, generator) for longest in size.lists
        )
        self.mlp = self.numbers = None
        if size.fields:
            width = size.fields * dim
            self.mlp = MLP(width, hidden, dim, dropout=dropout, generator=generator)
        if size.numbers:
            self.numbers = linear(size.numbers, dim, generator=generator)
        width = dim * (len(size.lists) + (size.fields > 0) + (size.numbers > 0))
        self.norm = LayerNorm(width)
        self.out = linear(width, out, generator=generator)
        self.out_features = out

    def forward(self, x: TowerValues) -> Tensor:  # -> (B, out)
        parts = [
            encoder(vectors, real)  # (B, dim)
            for encoder, (vectors, real) in zip(self.encoders, x.lists, strict=True)
        ]
        if self.mlp is not None:
            parts.append(self.mlp(x.vectors))
        if self.numbers is not None:
            parts.append(F.relu(self.numbers(x.numbers)))
        return self.out(self.norm(torch.cat([part.float() for part in parts], 1)))


def tower_network(
    network: Network,
    tower: str,
    size: TowerSize,
    hidden: Sequence[int],
    out: int | None,
    dropout: float,
    generator: torch.Generator,
) -> FlatMLP | CrossTower | SequenceTower:
    """The network of a tower: `forward(TowerValues) -> (B, out)`.

    Args:
        network: its name.
        tower: the tower's name, for messages.
        size: of its inputs.
        hidden: widths of its hidden layers.
        out: width of its output; None = the last of `hidden`, which is then activated in an MLP.
        dropout: share of hidden values dropped in training.
        generator: source of the initial weights.

    Raises ConfigError if the network encodes lists of ids and the tower has none.
    """
    if network in SEQUENCE_ENCODERS:
        if not size.lists:
            raise ConfigError(
                f'{tower}_network = "{network}" encodes lists of ids, and no feature of the '
                f"{tower} is one: declare a VarLenSparseFeat, or choose mlp, mlp_bn or dcn"
            )
        return SequenceTower(network, size, hidden, out or hidden[-1], dropout, generator)
    if network == "dcn":
        *others, last = hidden if out is None else [*hidden, out]
        return CrossTower(size, others or [last], last, dropout, generator)
    return FlatMLP(
        size.flat,
        hidden,
        out,
        dropout=dropout,
        batch_norm=network == "mlp_bn",
        generator=generator,
    )
