"""`Fields` of one user and n candidates: the user's inputs are held, and multiplied, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.features import Layout
from tamis.rank._fields import Fields, HistoryTensors, Shape
from tamis.rank._network import Inputs
from tamis.schema import Side

USER_SIDES = (Side.USER, Side.CONTEXT)
"""Sides whose inputs all candidates of a request have in common."""


@dataclass(frozen=True)
class Split:
    """Which of a network's fields and numbers belong to the user, and which to the candidates."""

    shape: Shape
    user: tuple[int, ...]
    """Positions of the user's fields in `shape.names`."""
    candidate: tuple[int, ...]
    """Positions of the candidates' fields; histories that are compared with them are last."""
    user_dense: tuple[int, ...]
    """The user's columns of the dense matrix."""
    candidate_dense: tuple[int, ...]
    """The candidates' columns of the dense matrix."""

    @classmethod
    def of(cls, layout: Layout, inputs: Inputs) -> Split:
        """The split of a network's inputs by the sides of the layout's columns."""
        side = {c.name: c.side for c in layout.ids}
        compared = {history.name for history, _ in inputs.pairs}
        names = inputs.shape.names
        user = tuple(
            k for k, name in enumerate(names) if side[name] in USER_SIDES and name not in compared
        )
        dense = {k for c in layout.dense if c.side in USER_SIDES for k in _span(c.first, c.width)}
        return cls(
            inputs.shape,
            user,
            tuple(k for k in range(len(names)) if k not in user),
            tuple(sorted(dense)),
            tuple(k for k in range(layout.dense_width) if k not in dense),
        )

    def columns(self, fields: Sequence[int], dense: Sequence[int]) -> list[int]:
        """Columns of `Fields.flat()` that hold some fields and numbers."""
        dim, after = self.shape.dim, len(self.shape.names) * self.shape.dim
        columns = [k for f in fields for k in _span(f * dim, dim)]
        return [*columns, *(after + k for k in dense)]


class RequestFields(Fields):
    """`Fields` of n candidates, equal to those of n rows that repeat the user.

    Args:
        split: which fields belong to whom.
        user: vectors float32 (1, U, dim).
        candidate: vectors float32 (n, C, dim).
        dense: numbers of the user (1, Du) and of the candidates (n, Dc).
        first: first-order weights of the user (1, U, T), of the candidates (n, C, T) and of crossed
            columns (n, X, T).
        gates: positions of the fields that LHUC gates read.
        histories: histories that a sequence block has yet to complete.
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
        histories: tuple[HistoryTensors, ...] = (),
    ) -> None:
        put = object.__setattr__  # the base class is a frozen dataclass
        put(self, "_split", split)
        put(self, "_user", user)
        put(self, "_candidate", candidate)
        put(self, "_dense", dense)
        put(self, "_first", first)
        put(self, "gates", gates)
        put(self, "histories", histories)

    @property
    def vectors(self) -> Tensor:
        """float32 (n, F, dim), with the user's vectors repeated."""
        split = self._split
        both = _repeat_user(self._user, self._candidate)
        return _ascending(both, [*split.user, *split.candidate])

    @property
    def dense(self) -> Tensor:
        """float32 (n, D), with the user's numbers repeated."""
        split = self._split
        return _ascending(_repeat_user(*self._dense), [*split.user_dense, *split.candidate_dense])

    @property
    def first(self) -> Tensor:
        """float32 (n, F + crossed columns, T), in any order of the fields, as cores sum over it."""
        user, candidate, crossed = self._first
        return torch.cat([_repeat_user(user, candidate), crossed], 1)

    @property
    def gate(self) -> Tensor | None:
        """float32 (1, G) if only the user's fields gate, otherwise (n, G); None without gates."""
        if not self.gates:
            return None
        split = self._split
        if set(self.gates) <= set(split.user):
            at = [split.user.index(k) for k in self.gates]
            return _columns(self._user, at).flatten(1)
        return _columns(self.vectors, self.gates).flatten(1)

    def with_histories(self, summaries: Sequence[Tensor]) -> RequestFields:
        """The fields completed by one vector (n, dim) for each history."""
        candidate = torch.cat([self._candidate, *(s.unsqueeze(1) for s in summaries)], 1)
        return RequestFields(
            self._split, self._user, candidate, self._dense, self._first, self.gates
        )

    def flat(self) -> Tensor:
        """float32 (n, F · dim + D)."""
        return _concatenate(self.vectors.flatten(1), self.dense)

    def into(self, layer: nn.Linear) -> Tensor:
        """(n, out): the layer on `flat()`, as `W_u x_u + b` once plus `W_c x_c` per candidate."""
        split = self._split
        user_columns = split.columns(split.user, split.user_dense)
        candidate_columns = split.columns(split.candidate, split.candidate_dense)
        candidate = _concatenate(self._candidate.flatten(1), self._dense[1])
        if not user_columns:
            return F.linear(candidate, _columns(layer.weight, candidate_columns), layer.bias)
        user = _concatenate(self._user.flatten(1), self._dense[0])
        once = F.linear(user, _columns(layer.weight, user_columns), layer.bias)
        return once + candidate @ _columns(layer.weight, candidate_columns).T


def _concatenate(left: Tensor, right: Tensor) -> Tensor:
    """Two matrices side by side; no operator where one has no columns."""
    if not left.shape[1]:
        return right
    return torch.cat([left, right], 1) if right.shape[1] else left


def _span(first: int, width: int) -> range:
    return range(first, first + width)


def _columns(tensor: Tensor, positions: Sequence[int]) -> Tensor:
    """Positions of the second dimension, in that order.

    Slices instead of an index, as ONNX Runtime folds slices of weights into constants.
    """
    runs: list[list[int]] = []
    for position in positions:
        if runs and position == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([position, position + 1])
    if len(runs) == 1:
        first, after = runs[0]
        return tensor if after - first == tensor.shape[1] else tensor[:, first:after]
    return torch.cat([tensor[:, first:after] for first, after in runs], 1)


def _repeat_user(user: Tensor, candidate: Tensor) -> Tensor:
    """(n, U + C, …): the user's (1, U, …), repeated, and the candidates' (n, C, …)."""
    if not user.shape[1]:
        return candidate
    repeated = user.expand(candidate.shape[0], *user.shape[1:])
    return torch.cat([repeated, candidate], 1) if candidate.shape[1] else repeated


def _ascending(both: Tensor, positions: Sequence[int]) -> Tensor:
    """Columns that are in the order of `positions`, sorted into ascending positions."""
    if not positions:
        return both
    return _columns(both, sorted(range(len(positions)), key=positions.__getitem__))
