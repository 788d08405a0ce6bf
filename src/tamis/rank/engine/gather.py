"""From a request's `Rows` to the vectors that its network reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from tamis.features import Block, Layout, Rows
from tamis.nn import FieldPooling
from tamis.rank.backbone import Inputs
from tamis.rank.engine.request import USER_SIDES

Int = NDArray[np.integer]
Array = NDArray[np.float32] | NDArray[np.bool_]
_T = TypeVar("_T", bound=np.generic)
FEW = 16
"""Rows per user below which the user's share is not worth a run of its own."""


@dataclass(frozen=True, eq=False)
class Query:
    """The candidates of one user in some rows."""

    user: int
    """The user's place in the block of users."""
    rows: NDArray[np.intp]
    """Which rows."""


class Gather:
    """Gathers the user's vectors once and the candidates' one by one, as `Inputs` does.

    Args:
        layout: the rows' layout.
        inputs: the network's; its tables are read, not copied.
    """

    def __init__(self, layout: Layout, inputs: Inputs) -> None:
        self.inputs = inputs
        self._user = _Side(layout, True, [history.name for history, _ in inputs.pairs])
        self._candidate = _Side(layout, False, [])

    def queries(self, rows: Rows) -> list[Query] | None:
        """The rows by user; None where they do not come as few users with many candidates."""
        users, candidates = self._user.parts(rows), self._candidate.parts(rows)
        if {part.block for part in users} & {part.block for part in candidates}:
            return None
        several = [rows.blocks[p.block] for p in users if len(rows.blocks[p.block].ids) != 1]
        if not several:
            return [Query(0, np.arange(len(rows)))]
        pointer = several[0].pointer
        if len(several) > 1 or pointer is None:
            return None
        order = np.argsort(pointer, kind="stable")
        found, starts = np.unique(pointer[order], return_index=True)
        if len(found) * FEW > len(rows):
            return None
        return [
            Query(int(user), index)
            for user, index in zip(found, np.split(order, starts[1:]), strict=True)
        ]

    def user(self, rows: Rows, user: int) -> dict[str, Array]:
        """The tensors of the user at that place, batch 1."""
        blocks = rows.blocks
        at = [
            np.array([0 if len(blocks[p.block].ids) == 1 else user]) for p in self._user.parts(rows)
        ]
        ids, dense = self._user.take(rows, at)
        vectors, first = self._user.pooled(self.inputs, ids)
        out: dict[str, Array] = {"user_dense": dense, "user": vectors, "user_first": first}
        table, dim = self.inputs.table.weight.detach().numpy(), self.inputs.shape.dim
        for k, (places, pad) in enumerate(zip(self._user.past, self.inputs.pads, strict=True)):
            past = ids[0, places]  # (L,), real ones first
            used = np.flatnonzero(past != pad)
            past = past[: used[-1] + 1 if len(used) else 1]
            out[f"past{k}"], out[f"real{k}"] = table[past, :dim][None], (past != pad)[None]
        return out

    def candidates(self, rows: Rows, which: Int) -> dict[str, Array]:
        """The tensors of some rows, batch n."""
        at = [_entities(rows.blocks[p.block], which) for p in self._candidate.parts(rows)]
        ids, dense = self._candidate.take(rows, at)
        vectors, first = self._candidate.pooled(self.inputs, ids)
        out: dict[str, Array] = {
            "candidate_dense": dense,
            "candidate": vectors,
            "candidate_first": first,
        }
        if self.inputs.crossed is not None:
            index = torch.from_numpy(which)
            with torch.inference_mode():
                out["crossed"] = self.inputs.crossed(rows.take(index).ids).numpy()
        return out


@dataclass(frozen=True)
class _Part:
    """What a block holds of one side."""

    block: int
    ids: slice | list[int]
    dense: slice | list[int]


class _Side:
    """One side's columns: in the blocks of rows, and then packed together."""

    def __init__(self, layout: Layout, users: bool, past: Sequence[str]) -> None:
        ids = [c for c in layout.ids if (c.side in USER_SIDES) is users]
        dense = [c for c in layout.dense if (c.side in USER_SIDES) is users]
        self.ids = sorted(k for c in ids for k in range(c.first, c.first + c.width))
        self.dense = sorted(k for c in dense for k in range(c.first, c.first + c.width))
        packed = {k: place for place, k in enumerate(self.ids)}
        own = replace(layout, ids=tuple(replace(c, first=packed[c.first]) for c in ids))
        wanted = [c.name for c in ids if c.name not in past]
        self.pooling = FieldPooling(own, wanted) if wanted else None
        by_name = {c.name: slice(c.first, c.first + c.width) for c in own.ids}
        self.past = [by_name[name] for name in past]
        self._parts: dict[tuple[tuple[int, int], ...], list[_Part]] = {}

    def parts(self, rows: Rows) -> list[_Part]:
        """Where this side stands in blocks of such widths."""
        widths = tuple((b.ids.shape[1], b.dense.shape[1]) for b in rows.blocks)
        if widths not in self._parts:
            self._parts[widths] = self._find(widths)
        return self._parts[widths]

    def _find(self, widths: tuple[tuple[int, int], ...]) -> list[_Part]:
        found: list[_Part] = []
        at_id = at_dense = 0
        for number, (w, d) in enumerate(widths):
            ids = [k - at_id for k in self.ids if at_id <= k < at_id + w]
            dense = [k - at_dense for k in self.dense if at_dense <= k < at_dense + d]
            if ids or dense:
                found.append(_Part(number, _whole(ids, w), _whole(dense, d)))
            at_id, at_dense = at_id + w, at_dense + d
        return found

    def take(self, rows: Rows, at: Sequence[Int]) -> tuple[Int, NDArray[np.float32]]:
        """ids (n, w) and numbers (n, d) of this side: entities `at` of each of its blocks."""
        ids: list[NDArray[np.int32]] = []
        dense: list[NDArray[np.float32]] = []
        for part, entities in zip(self.parts(rows), at, strict=True):
            block = rows.blocks[part.block]
            ids.append(block.ids[entities][:, part.ids])
            dense.append(block.dense[entities][:, part.dense])
        if not ids:
            return np.zeros((1, 0), np.int32), np.zeros((1, 0), np.float32)
        return _beside(ids), _beside(dense)

    def pooled(self, inputs: Inputs, ids: Int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors (n, F, dim) and first-order weights (n, F, T) of packed ids."""
        if self.pooling is None:
            empty = np.zeros((len(ids), 0, 0), np.float32)
            return empty, empty
        with torch.inference_mode():
            vectors, first = self.pooling.split(inputs.table, torch.from_numpy(ids))
        return vectors.numpy(), first.numpy()


def _whole(places: list[int], width: int) -> slice | list[int]:
    return slice(None) if places == list(range(width)) else places


def _entities(block: Block, which: Int) -> Int:
    return which if block.pointer is None else block.pointer[which]


def _beside(parts: list[NDArray[_T]]) -> NDArray[_T]:
    parts = [p for p in parts if p.shape[1]] or parts[:1]
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    return np.ascontiguousarray(joined)
