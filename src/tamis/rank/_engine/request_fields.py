"""One user and n candidates as `Fields`: what is the user's is held, and computed, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.features import Layout
from tamis.rank._fields import Fields, Shape
from tamis.rank._network import Inputs
from tamis.schema import Side

USER_SIDES = (Side.USER, Side.CONTEXT)
"""Sides that all candidates of a request have in common."""


@dataclass(frozen=True)
class Split:
    """Which of a network's fields and numbers are the user's, which the candidates'."""

    shape: Shape
    user: tuple[int, ...]
    """Places of the user's fields in `shape.names`."""
    candidate: tuple[int, ...]
    """Places of the candidates', histories that met them last."""
    user_dense: tuple[int, ...]
    """Columns of the dense matrix."""
    candidate_dense: tuple[int, ...]

    @classmethod
    def of(cls, layout: Layout, inputs: Inputs) -> Split:
        side = {c.name: c.side for c in layout.ids}
        met = {history.name for history, _ in inputs.pairs}
        names = inputs.shape.names
        mine = tuple(
            k for k, name in enumerate(names) if side[name] in USER_SIDES and name not in met
        )
        dense = {k for c in layout.dense if c.side in USER_SIDES for k in _span(c.first, c.width)}
        return cls(
            inputs.shape,
            mine,
            tuple(k for k in range(len(names)) if k not in mine),
            tuple(sorted(dense)),
            tuple(k for k in range(layout.dense_width) if k not in dense),
        )

    def columns(self, fields: Sequence[int], dense: Sequence[int]) -> list[int]:
        """Places in `Fields.flat()` of some fields and numbers."""
        dim, after = self.shape.dim, len(self.shape.names) * self.shape.dim
        places = [k for f in fields for k in _span(f * dim, dim)]
        return [*places, *(after + k for k in dense)]


class RequestFields(Fields):
    """`Fields` of n candidates, equal to those of n rows that repeat the user.

    Args:
        split: whose the fields are.
        user: float32 (1, U, dim).
        candidate: float32 (n, C, dim).
        dense: the user's numbers (1, Du) and the candidates' (n, Dc).
        first: first-order weights: the user's (1, U, T), the candidates' (n, C, T) and crossed
            columns' (n, X, T).
        gates: places of the fields that LHUC gates read.
    """

    _split: Split
    _user: Tensor
    _candidate: Tensor
    _dense: tuple[Tensor, Tensor]
    _first: tuple[Tensor, Tensor, Tensor]

    def __init__(
        self,
        split: Split,
        user: Tensor,
        candidate: Tensor,
        dense: tuple[Tensor, Tensor],
        first: tuple[Tensor, Tensor, Tensor],
        gates: Sequence[int],
    ) -> None:
        put = object.__setattr__  # the base is frozen
        put(self, "_split", split)
        put(self, "_user", user)
        put(self, "_candidate", candidate)
        put(self, "_dense", dense)
        put(self, "_first", first)
        put(self, "gate", self._gate(gates))

    @property
    def vectors(self) -> Tensor:
        """float32 (n, F, dim), the user's repeated."""
        split = self._split
        both = _side_by_side(self._user, self._candidate)
        return _ordered(both, [*split.user, *split.candidate])

    @property
    def dense(self) -> Tensor:
        """float32 (n, D), the user's repeated."""
        split = self._split
        return _ordered(_side_by_side(*self._dense), [*split.user_dense, *split.candidate_dense])

    @property
    def first(self) -> Tensor:
        """float32 (n, F + crossed columns, T); in no order, for it is summed."""
        user, candidate, crossed = self._first
        return torch.cat([_side_by_side(user, candidate), crossed], 1)

    def flat(self) -> Tensor:
        return _beside(self.vectors.flatten(1), self.dense)

    def into(self, layer: nn.Linear) -> Tensor:
        """`W_u x_u + b`, once, and `W_i x_i` per candidate."""
        split = self._split
        mine = split.columns(split.user, split.user_dense)
        theirs = split.columns(split.candidate, split.candidate_dense)
        candidate = _beside(self._candidate.flatten(1), self._dense[1])
        if not mine:
            return F.linear(candidate, _taken(layer.weight, theirs), layer.bias)
        user = _beside(self._user.flatten(1), self._dense[0])
        once = F.linear(user, _taken(layer.weight, mine), layer.bias)
        return once + candidate @ _taken(layer.weight, theirs).T

    def _gate(self, gates: Sequence[int]) -> Tensor | None:
        if not gates:
            return None
        split = self._split
        if set(gates) <= set(split.user):
            at = [split.user.index(k) for k in gates]
            return _taken(self._user, at).flatten(1)
        return _taken(self.vectors, gates).flatten(1)


def _beside(left: Tensor, right: Tensor) -> Tensor:
    if not left.shape[1]:
        return right
    return torch.cat([left, right], 1) if right.shape[1] else left


def _span(first: int, width: int) -> range:
    return range(first, first + width)


def _taken(tensor: Tensor, places: Sequence[int]) -> Tensor:
    """Places of the second dimension, in that order: slices, which the runtime folds in weights."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([place, place + 1])
    if len(runs) == 1:
        first, after = runs[0]
        return tensor if after - first == tensor.shape[1] else tensor[:, first:after]
    return torch.cat([tensor[:, first:after] for first, after in runs], 1)


def _side_by_side(user: Tensor, candidate: Tensor) -> Tensor:
    """The user's (1, …) repeated beside the candidates' (n, …)."""
    if not user.shape[1]:
        return candidate
    repeated = user.expand(candidate.shape[0], *user.shape[1:])
    return torch.cat([repeated, candidate], 1) if candidate.shape[1] else repeated


def _ordered(both: Tensor, places: Sequence[int]) -> Tensor:
    """What stands in the order of `places`, put in ascending order."""
    return _taken(both, sorted(range(len(places)), key=places.__getitem__)) if places else both
