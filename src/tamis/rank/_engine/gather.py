"""Gathers the arrays that a `RequestNetwork` reads from the `Rows` of a request."""

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
MIN_ROWS_PER_USER = 16
"""With fewer rows per user, PyTorch scores all rows at once instead of one run per user."""


@dataclass(frozen=True, eq=False)
class UserRows:
    """The rows of one user."""

    user: int
    """The user's row in the block of users."""
    rows: Index | None
    """int64 (n,): which rows; None = all."""


class Gather:
    """Picks the user's ids and numbers once, and those of every candidate, packed as
    `RequestNetwork` reads them.

    Args:
        layout: the layout of the rows.
        network: the ranker's network; its table is passed on without a copy.
    """

    def __init__(self, layout: Layout, network: Network) -> None:
        form, self._inputs = RequestNetwork(layout, network), network.inputs
        self._user = _Columns(form.user.places, form.split.user_dense)
        self._candidate = _Columns(form.candidate.places, form.split.candidate_dense)
        self._past = [
            _Columns(range(h.first, h.first + h.width), ()) for h, _ in self._inputs.pairs
        ]
        columns = {c.name: range(c.first, c.first + c.width) for c in layout.ids}
        lists = [_Columns(columns[name], ()) for name in self._inputs.pooling.lists]
        self._lists = {side: [(k, lists[k]) for k in form.lists[side]] for side in form.lists}
        """Lists whose pooling has weights, by side: number and columns."""
        mine, theirs = ([part for _, part in self._lists[side]] for side in ("user", "candidate"))
        every = [k for part in (self._user, *self._past, *mine) for k in part.ids]
        self._all_of_user = _Columns(sorted(every), form.split.user_dense)
        every = [k for part in (self._candidate, *theirs) for k in part.ids]
        self._all_of_candidate = _Columns(sorted(every), form.split.candidate_dense)

    def queries(self, rows: Rows) -> list[UserRows] | None:
        """The rows of each user; None if a block mixes users and candidates, or if there are fewer
        than `MIN_ROWS_PER_USER` rows per user."""
        users, candidates = self._all_of_user.parts(rows), self._all_of_candidate.parts(rows)
        if {part.block for part in users} & {part.block for part in candidates}:
            return None
        several = [rows.blocks[p.block] for p in users if len(rows.blocks[p.block].ids) != 1]
        if not several:
            return [UserRows(0, None)]
        pointer = several[0].pointer
        if len(several) > 1 or pointer is None:
            return None
        order = np.argsort(pointer, kind="stable")
        found, starts = np.unique(pointer[order], return_index=True)
        if len(found) * MIN_ROWS_PER_USER > len(rows):
            return None
        return [
            UserRows(int(user), index)
            for user, index in zip(found, np.split(order, starts[1:]), strict=True)
        ]

    def user(self, rows: Rows, user: int) -> Arrays:
        """The embedding table, and the arrays (1, …) of the user in row `user` of their block."""
        ids, dense = self._user.one(rows, user)
        out: Arrays = {
            "table": self._inputs.table.weight.detach().numpy(),
            "user": ids,
            "user_dense": dense,
        }
        for k, (columns, pad) in enumerate(zip(self._past, self._inputs.pads, strict=True)):
            past = columns.one(rows, user)[0]  # (1, W), padding at the end
            used = (past[0] != pad).nonzero()[0]
            out[f"past{k}"] = past[:, : used[-1] + 1 if len(used) else 1]
        if self._lists["user"]:
            given = [(k, part.one(rows, user)[0]) for k, part in self._lists["user"]]
            out["user_lists"] = self._pooled(given)
        return out

    def candidates(self, rows: Rows, which: Index | None) -> Arrays:
        """The candidates' arrays (n, …) of rows `which` int64 (n,), or of all rows (None)."""
        ids, dense = self._candidate.many(rows, which)
        out: Arrays = {"candidate": ids, "candidate_dense": dense}
        if self._inputs.crossed is not None:
            index = torch.arange(len(rows)) if which is None else torch.from_numpy(which)
            with torch.inference_mode():
                out["crossed"] = self._inputs.crossed(rows.take(index).ids).numpy()
        if self._lists["candidate"]:
            given = [(k, part.many(rows, which)[0]) for k, part in self._lists["candidate"]]
            out["candidate_lists"] = self._pooled(given)
        return out

    def _pooled(self, lists: Sequence[tuple[int, NDArray[np.int32]]]) -> NDArray[np.float32]:
        """float32 (n, lists, dim + first-order weights) of lists' numbers and ids (n, w)."""
        inputs = self._inputs
        with torch.inference_mode():
            pooled = [
                torch.cat(inputs.pooling.pooled_list(k, inputs.table, torch.from_numpy(ids)), 1)
                for k, ids in lists
            ]
            return torch.stack(pooled, 1).numpy()


@dataclass(frozen=True)
class _BlockPart:
    """The columns of one block that are wanted."""

    block: int
    """Number of the block."""
    ids: slice | list[int]
    dense: slice | list[int]


class _Columns:
    """Columns of ids and of numbers, gathered from the blocks of rows and packed together.

    Args:
        ids: columns of the layout's ids, ascending.
        dense: columns of the layout's numbers, ascending.
    """

    def __init__(self, ids: Sequence[int], dense: Sequence[int]) -> None:
        self.ids, self.dense = ids, dense
        self._parts: dict[tuple[int, ...], list[_BlockPart]] = {}

    def parts(self, rows: Rows) -> list[_BlockPart]:
        """The wanted columns of each block that has any; cached by the widths of the blocks."""
        widths = tuple([n for b in rows.blocks for n in (b.ids.shape[1], b.dense.shape[1])])
        if widths not in self._parts:
            self._parts[widths] = self._find(widths)
        return self._parts[widths]

    def _find(self, widths: tuple[int, ...]) -> list[_BlockPart]:
        found: list[_BlockPart] = []
        at_id = at_dense = 0
        for number, (w, d) in enumerate(zip(widths[::2], widths[1::2], strict=True)):
            ids = [k - at_id for k in self.ids if at_id <= k < at_id + w]
            dense = [k - at_dense for k in self.dense if at_dense <= k < at_dense + d]
            if ids or dense:
                found.append(_BlockPart(number, _run(ids), _run(dense)))
            at_id, at_dense = at_id + w, at_dense + d
        return found

    def one(self, rows: Rows, user: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """int32 (1, w) ids and float32 (1, d) numbers of the user in that row of the block."""
        picked: list[tuple[NDArray[np.int32], NDArray[np.float32]]] = []
        for part in self.parts(rows):
            block = rows.blocks[part.block]
            at = slice(0, 1) if len(block.ids) == 1 else slice(user, user + 1)
            picked.append((block.ids[at, part.ids], block.dense[at, part.dense]))
        ids, dense = [i for i, _ in picked], [d for _, d in picked]
        return _concatenate(ids, np.int32), _concatenate(dense, np.float32)

    def many(
        self, rows: Rows, which: Index | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """int32 (n, w) ids and float32 (n, d) numbers of rows `which` (None = all)."""
        picked = [(part, rows.blocks[part.block]) for part in self.parts(rows)]
        ids = [_rows(b, b.ids, which)[:, p.ids] for p, b in picked if b.ids.shape[1]]
        dense = [_rows(b, b.dense, which)[:, p.dense] for p, b in picked if b.dense.shape[1]]
        return _concatenate(ids, np.int32), _concatenate(dense, np.float32)


def _run(places: list[int]) -> slice | list[int]:
    """A slice if the places are adjacent."""
    first, after = (places[0], places[-1] + 1) if places else (0, 0)
    return slice(first, after) if after - first == len(places) else places


def _rows(block: Block, array: NDArray[_T], which: Index | None) -> NDArray[_T]:
    """Rows `which` of a block's ids or numbers, through the block's pointer."""
    if block.pointer is None:
        return array if which is None else array.take(which, axis=0)
    return array.take(block.pointer if which is None else block.pointer[which], axis=0)


def _concatenate(parts: list[NDArray[_T]], kind: type[_T]) -> NDArray[_T]:
    """The parts side by side, C-contiguous; parts without columns are left out."""
    parts = [part for part in parts if part.shape[1]] or parts[:1]
    if not parts:
        return np.empty((1, 0), kind)
    return np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.concatenate(parts, axis=1)
