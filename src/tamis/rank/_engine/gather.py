"""From a request's `Rows` to the arrays that its network reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from tamis.features import Block, Layout, Rows
from tamis.rank._engine.network import RequestNetwork
from tamis.rank._network import Network
from tamis.runtime import Index

Arrays = dict[str, NDArray[Any]]
_T = TypeVar("_T", bound=np.generic)
FEW = 16
"""Rows per user below which the user's share is not worth a run of its own."""


@dataclass(frozen=True, eq=False)
class Query:
    """The candidates of one user in some rows."""

    user: int
    """The user's place in the block of users."""
    rows: Index | None
    """Which rows; None = all."""


class Gather:
    """Picks the user's ids and numbers once and the candidates' one by one, packed as
    `RequestNetwork` wants them.

    Args:
        layout: the rows' layout.
        network: the ranker's; its table is handed on, not copied.
    """

    def __init__(self, layout: Layout, network: Network) -> None:
        form, self._inputs = RequestNetwork(layout, network), network.inputs
        self._user = _Side(form.user.places, form.split.user_dense)
        self._candidate = _Side(form.candidate.places, form.split.candidate_dense)
        self._past = [_Side(range(h.first, h.first + h.width), ()) for h, _ in self._inputs.pairs]
        every = [k for side in (self._user, *self._past) for k in side.ids]
        self._mine = _Side(sorted(every), form.split.user_dense)

    def queries(self, rows: Rows) -> list[Query] | None:
        """The rows by user; None where they do not come as few users with many candidates."""
        users, candidates = self._mine.parts(rows), self._candidate.parts(rows)
        if {part.block for part in users} & {part.block for part in candidates}:
            return None
        several = [rows.blocks[p.block] for p in users if len(rows.blocks[p.block].ids) != 1]
        if not several:
            return [Query(0, None)]
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

    def user(self, rows: Rows, user: int) -> Arrays:
        """The table, and the arrays of the user at that place, batch 1."""
        ids, dense = self._user.one(rows, user)
        out: Arrays = {
            "table": self._inputs.table.weight.detach().numpy(),
            "user": ids,
            "user_dense": dense,
        }
        for k, (side, pad) in enumerate(zip(self._past, self._inputs.pads, strict=True)):
            past = side.one(rows, user)[0]  # (1, L), real ones first
            used = (past[0] != pad).nonzero()[0]
            out[f"past{k}"] = past[:, : used[-1] + 1 if len(used) else 1]
        return out

    def candidates(self, rows: Rows, which: Index | None) -> Arrays:
        """The arrays of some rows, batch n."""
        ids, dense = self._candidate.many(rows, which)
        out: Arrays = {"candidate": ids, "candidate_dense": dense}
        if self._inputs.crossed is not None:
            index = torch.arange(len(rows)) if which is None else torch.from_numpy(which)
            with torch.inference_mode():
                out["crossed"] = self._inputs.crossed(rows.take(index).ids).numpy()
        return out


@dataclass(frozen=True)
class _Part:
    """What a block holds of one side."""

    block: int
    ids: slice | list[int]
    dense: slice | list[int]


class _Side:
    """Some columns of ids and numbers: where they stand in blocks, and packed together."""

    def __init__(self, ids: Sequence[int], dense: Sequence[int]) -> None:
        self.ids, self.dense = ids, dense
        self._parts: dict[tuple[int, ...], list[_Part]] = {}

    def parts(self, rows: Rows) -> list[_Part]:
        """In blocks of such widths."""
        widths = tuple([n for b in rows.blocks for n in (b.ids.shape[1], b.dense.shape[1])])
        if widths not in self._parts:
            self._parts[widths] = self._find(widths)
        return self._parts[widths]

    def _find(self, widths: tuple[int, ...]) -> list[_Part]:
        found: list[_Part] = []
        at_id = at_dense = 0
        for number, (w, d) in enumerate(zip(widths[::2], widths[1::2], strict=True)):
            ids = [k - at_id for k in self.ids if at_id <= k < at_id + w]
            dense = [k - at_dense for k in self.dense if at_dense <= k < at_dense + d]
            if ids or dense:
                found.append(_Part(number, _run(ids), _run(dense)))
            at_id, at_dense = at_id + w, at_dense + d
        return found

    def one(self, rows: Rows, user: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """ids (1, w) and numbers (1, d) of the user at that place."""
        picked: list[tuple[NDArray[np.int32], NDArray[np.float32]]] = []
        for part in self.parts(rows):
            block = rows.blocks[part.block]
            at = slice(0, 1) if len(block.ids) == 1 else slice(user, user + 1)
            picked.append((block.ids[at, part.ids], block.dense[at, part.dense]))
        ids, dense = [i for i, _ in picked], [d for _, d in picked]
        return _beside(ids, np.int32), _beside(dense, np.float32)

    def many(
        self, rows: Rows, which: Index | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """ids (n, w) and numbers (n, d) of some rows."""
        picked = [(part, rows.blocks[part.block]) for part in self.parts(rows)]
        ids = [_rows(b, b.ids, which)[:, p.ids] for p, b in picked if b.ids.shape[1]]
        dense = [_rows(b, b.dense, which)[:, p.dense] for p, b in picked if b.dense.shape[1]]
        return _beside(ids, np.int32), _beside(dense, np.float32)


def _run(places: list[int]) -> slice | list[int]:
    """A slice where the places stand together."""
    first, after = (places[0], places[-1] + 1) if places else (0, 0)
    return slice(first, after) if after - first == len(places) else places


def _rows(block: Block, array: NDArray[_T], which: Index | None) -> NDArray[_T]:
    if block.pointer is None:
        return array if which is None else array.take(which, axis=0)
    return array.take(block.pointer if which is None else block.pointer[which], axis=0)


def _beside(parts: list[NDArray[_T]], kind: type[_T]) -> NDArray[_T]:
    parts = [part for part in parts if part.shape[1]] or parts[:1]
    if not parts:
        return np.empty((1, 0), kind)
    return np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.concatenate(parts, axis=1)
