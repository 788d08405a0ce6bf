"""`Fields` of one user and n candidates: the user's inputs are held, and multiplied, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.features import Layout
from tamis.rank._fields import Fields, HistoryTensors, Part, Shape
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

    @property
    def whole(self) -> Part:
        """All fields and numbers."""
        return Part(tuple(range(len(self.shape.names))), tuple(range(self.shape.dense)))

    def columns(self, fields: Sequence[int], dense: Sequence[int], part: Part) -> list[int]:
        """Columns of `Fields.part(part)` that hold some of its fields and numbers."""
        dim, after = self.shape.dim, len(part.fields) * self.shape.dim
        columns = [k for f in fields for k in _span(part.fields.index(f) * dim, dim)]
        return [*columns, *(after + part.numbers.index(k) for k in dense)]


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
        gate_numbers: columns of the numbers that the gates read.
        weighting: SENet, if the ranker has it.
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
        gate_numbers: Sequence[int] = (),
        weighting: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        put = object.__setattr__  # the base class is a frozen dataclass
        put(self, "_split", split)
        put(self, "_user", user)
        put(self, "_candidate", candidate)
        put(self, "_dense", dense)
        put(self, "_first", first)
        put(self, "gates", gates)
        put(self, "histories", histories)
        put(self, "gate_numbers", gate_numbers)
        put(self, "weighting", weighting)

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
        """float32 (1, G) if only the user's inputs gate, otherwise (n, G); None without gates."""
        if not self.gates and not self.gate_numbers:
            return None
        split = self._split
        if set(self.gates) <= set(split.user) and set(self.gate_numbers) <= set(split.user_dense):
            at = [split.user.index(k) for k in self.gates]
            numbers = [split.user_dense.index(k) for k in self.gate_numbers]
            return _side_by_side(self._user, at, self._dense[0], numbers)
        return _side_by_side(self.vectors, self.gates, self.dense, self.gate_numbers)

    def with_histories(self, summaries: Sequence[Tensor]) -> Fields:
        """The fields completed by one vector (n, dim) for each history; weighted by SENet, whose
        weights differ from candidate to candidate, they are no longer the user's alone."""
        candidate = self._candidate
        if summaries:
            candidate = torch.cat([candidate, *(s.unsqueeze(1) for s in summaries)], 1)
        complete = RequestFields(
            self._split,
            self._user,
            candidate,
            self._dense,
            self._first,
            self.gates,
            gate_numbers=self.gate_numbers,
        )
        if self.weighting is None:
            return complete
        return Fields(
            self.weighting(complete.vectors),
            complete.dense,
            complete.first,
            self.gates,
            gate_numbers=self.gate_numbers,
            unweighted_gate=complete.gate,
        )

    def flat(self) -> Tensor:
        """float32 (n, F · dim + D)."""
        return _concatenate(self.vectors.flatten(1), self.dense)

    def part(self, part: Part) -> Tensor:
        """float32 (n, width) of a part."""
        return _side_by_side(self.vectors, part.fields, self.dense, part.numbers)

    def into(self, layer: nn.Linear, part: Part | None = None) -> Tensor:
        """(n, out): the layer on `flat()` or `part(part)`, as `W_u x_u + b` once plus `W_c x_c` per
        candidate."""
        split = self._split
        part = part or split.whole
        user_fields, user_dense = _shared(split.user, split.user_dense, part)
        fields, dense = _shared(split.candidate, split.candidate_dense, part)
        candidate = _side_by_side(
            self._candidate,
            [split.candidate.index(k) for k in fields],
            self._dense[1],
            [split.candidate_dense.index(k) for k in dense],
        )
        of_candidate = _columns(layer.weight, split.columns(fields, dense, part))
        user_columns = split.columns(user_fields, user_dense, part)
        if not user_columns:
            return F.linear(candidate, of_candidate, layer.bias)
        user = _side_by_side(
            self._user,
            [split.user.index(k) for k in user_fields],
            self._dense[0],
            [split.user_dense.index(k) for k in user_dense],
        )
        once = F.linear(user, _columns(layer.weight, user_columns), layer.bias)
        return once + candidate @ of_candidate.T


def _shared(fields: Sequence[int], dense: Sequence[int], part: Part) -> tuple[list[int], list[int]]:
    """The fields and numbers of a side that a part holds."""
    return [k for k in fields if k in part.fields], [k for k in dense if k in part.numbers]


def _side_by_side(
    vectors: Tensor, fields: Sequence[int], dense: Tensor, numbers: Sequence[int]
) -> Tensor:
    """(n, width): some of the vectors (n, F, dim), then some of the numbers (n, D)."""
    if not fields:
        return _columns(dense, numbers)
    left = _columns(vectors, fields).flatten(1)
    return _concatenate(left, _columns(dense, numbers)) if numbers else left


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
    if not positions:
        return tensor[:, :0]
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
