"""Rows of model inputs, gathered per batch from blocks of users, items and times."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tamis.features.layout import Layout

_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Block:
    """Inputs of N entities, such as all users or all items, that n rows point to."""

    ids: NDArray[np.int32]
    """(N, w) fused-table rows."""
    dense: NDArray[np.float32]
    """(N, d) numbers."""
    pointer: NDArray[np.int32] | None = None
    """(n,) the entity of each row; None = row k is entity k, and N = n."""


class LazyBlock(NamedTuple):
    """A block that can be gathered for some rows alone."""

    ids: int
    """Number of its columns of ids."""
    dense: int
    """Number of its columns of numbers."""
    gather: Callable[[NDArray[np.intp] | None], Block]
    """Gathers it for the rows at the given numbers (m,), in that order; None: for all."""

    @classmethod
    def of(cls, block: Block) -> LazyBlock:
        """A block that is in memory."""
        return cls(block.ids.shape[1], block.dense.shape[1], partial(_of_rows, block))


class LazyBlocks(Sequence[Block]):
    """Blocks that are gathered when they are first read.

    A stage that reads some of the inputs pays for those alone, and inputs that only a later stage
    reads are gathered for the rows that are left for it.

    Args:
        parts: the blocks, as they can be gathered for n rows.
        index: (m,) numbers of the rows that these blocks are of; None: all.
        known: blocks by number that are gathered already, for these m rows.
    """

    def __init__(
        self,
        parts: Sequence[LazyBlock],
        index: NDArray[np.intp] | None = None,
        known: Mapping[int, Block] | None = None,
    ) -> None:
        self._parts = parts
        self._index = index
        self._known = dict(known or {})

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, number: int) -> Block: ...
    @overload
    def __getitem__(self, number: slice) -> list[Block]: ...
    def __getitem__(self, number: int | slice) -> Block | list[Block]:
        if isinstance(number, slice):
            return [self[k] for k in range(len(self))[number]]
        number = range(len(self))[number]
        if number not in self._known:
            self._known[number] = self._parts[number].gather(self._index)
        return self._known[number]

    @property
    def widths(self) -> list[tuple[int, int]]:
        """Columns of ids and of numbers of each block."""
        return [(part.ids, part.dense) for part in self._parts]

    @property
    def missing(self) -> list[int]:
        """Numbers of the blocks that are not gathered yet."""
        return [number for number in range(len(self)) if number not in self._known]

    def select(self, index: NDArray[np.intp]) -> LazyBlocks:
        """The blocks of the rows at `index` (m,), in that order."""
        chosen = index if self._index is None else self._index[index]
        known = {number: _selected(block, index) for number, block in self._known.items()}
        return LazyBlocks(self._parts, chosen, known)

    def beside(self, *blocks: Block) -> LazyBlocks:
        """The same blocks, followed by others of the same rows."""
        n = len(self)
        parts = [LazyBlock.of(block) for block in blocks]
        known = {n + k: block for k, block in enumerate(blocks)}
        return LazyBlocks([*self._parts, *parts], self._index, self._known | known)


@dataclass(frozen=True, eq=False)
class Batch:
    """The inputs of B rows on one device."""

    ids: Tensor
    """int32 (B, W) fused-table rows, columns as in the layout."""
    dense: Tensor
    """float32 (B, D) numbers."""
    labels: Tensor | None = None
    """float32 (B, T); NaN where a task has no label."""
    weights: Tensor | None = None
    """float32 (B,) or (B, T)."""
    groups: Tensor | None = None
    """int64 (B,) query number of each row."""

    def __len__(self) -> int:
        return self.ids.shape[0]


@dataclass(frozen=True, eq=False)
class Rows:
    """n rows of a layout: the columns of the blocks side by side, and labels if there are any."""

    layout: Layout
    blocks: Sequence[Block]
    n: int
    labels: NDArray[np.float32] | None = None
    """(n, T); NaN where a task has no label."""
    weights: NDArray[np.float32] | None = None
    """(n,), or (n, T) per task."""
    groups: NDArray[np.int64] | None = None
    """(n,) query number of each row, for metrics within a request."""
    raw: Mapping[str, NDArray[np.float32]] = field(default_factory=dict[str, NDArray[np.float32]])
    """Columns (n,) that tasks read unscaled, such as the item's duration; NaN where missing."""
    _tensors: dict[str, Tensor] = field(default_factory=dict[str, Tensor], repr=False)

    def __len__(self) -> int:
        return self.n

    @property
    def widths(self) -> list[tuple[int, int]]:
        """Columns of ids and of numbers of each block; nothing is gathered."""
        if isinstance(self.blocks, LazyBlocks):
            return self.blocks.widths
        return [(block.ids.shape[1], block.dense.shape[1]) for block in self.blocks]

    @property
    def gathered(self) -> bool:
        """Whether all blocks are in memory."""
        return not (isinstance(self.blocks, LazyBlocks) and self.blocks.missing)

    def gather(self, names: Collection[str] | None = None) -> Rows:
        """Gathers the blocks that hold any of the columns `names`; None: all. Returns the rows."""
        first_id = first_number = 0
        for number, (ids, numbers) in enumerate(self.widths):
            wanted = {c.name for c in self.layout.ids if first_id <= c.first < first_id + ids}
            last = first_number + numbers
            wanted |= {c.name for c in self.layout.dense if first_number <= c.first < last}
            first_id, first_number = first_id + ids, last
            if names is None or not wanted.isdisjoint(names):
                _ = self.blocks[number]
        return self

    def beside(self, layout: Layout, *blocks: Block) -> Rows:
        """The rows with further blocks, and the layout of all of them."""
        mine = self.blocks
        both = mine.beside(*blocks) if isinstance(mine, LazyBlocks) else [*mine, *blocks]
        return replace(self, layout=layout, blocks=both, _tensors={})

    def take(self, index: Tensor, device: torch.device | str = "cpu") -> Batch:
        """The batch of the rows `index` int64 (B,) on `device`."""
        ids: list[Tensor] = []
        dense: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            at = index
            if block.pointer is not None:
                at = self._tensor(f"pointer{number}", block.pointer).index_select(0, index)
            if block.ids.shape[1]:
                ids.append(self._tensor(f"ids{number}", block.ids).index_select(0, at))
            if block.dense.shape[1]:
                dense.append(self._tensor(f"dense{number}", block.dense).index_select(0, at))
        return Batch(
            ids=_concatenated(ids, len(index), torch.int32).to(device),
            dense=_concatenated(dense, len(index), torch.float32).to(device),
            labels=self._rows_of("labels", self.labels, index, device),
            weights=self._rows_of("weights", self.weights, index, device),
            groups=self._rows_of("groups", self.groups, index, device),
        )

    def select(self, index: NDArray[np.intp]) -> Rows:
        """The rows at `index` (m,), in that order; entities that rows point to are not copied."""
        return Rows(
            layout=self.layout,
            blocks=self.blocks.select(index)
            if isinstance(self.blocks, LazyBlocks)
            else [_selected(block, index) for block in self.blocks],
            n=len(index),
            labels=_pick(self.labels, index),
            weights=_pick(self.weights, index),
            groups=_pick(self.groups, index),
            raw={name: column[index] for name, column in self.raw.items()},
        )

    def labelled(self, labels: NDArray[np.float32], groups: NDArray[np.int64]) -> Rows:
        """The same rows with labels (n, T) and each row's query number (n,)."""
        kept = {k: v for k, v in self._tensors.items() if k not in ("labels", "groups")}
        return replace(self, labels=labels, groups=groups, _tensors=kept)

    def relabelled(self, labels: NDArray[np.float32]) -> Rows:
        """The same rows with other labels (n, T)."""
        kept = {k: v for k, v in self._tensors.items() if k != "labels"}
        return replace(self, labels=labels, _tensors=kept)

    def _tensor(self, key: str, array: NDArray[np.generic]) -> Tensor:
        if key not in self._tensors:
            contiguous = np.ascontiguousarray(array)
            self._tensors[key] = torch.from_numpy(contiguous)  # pyright: ignore[reportUnknownMemberType]
        return self._tensors[key]

    def _rows_of(
        self,
        key: str,
        array: NDArray[np.float32] | NDArray[np.int64] | None,
        index: Tensor,
        device: torch.device | str,
    ) -> Tensor | None:
        return None if array is None else self._tensor(key, array).index_select(0, index).to(device)


def _selected(block: Block, index: NDArray[np.intp]) -> Block:
    """The block of the rows at `index` (m,); entities that rows point to are not copied."""
    if block.pointer is not None:
        return Block(block.ids, block.dense, block.pointer[index])
    return Block(block.ids[index], block.dense[index])


def _of_rows(block: Block, index: NDArray[np.intp] | None) -> Block:
    return block if index is None else _selected(block, index)


def _pick(array: NDArray[_T] | None, index: NDArray[np.intp]) -> NDArray[_T] | None:
    return None if array is None else array[index]


def _concatenated(parts: list[Tensor], n: int, dtype: torch.dtype) -> Tensor:
    if not parts:
        return torch.zeros((n, 0), dtype=dtype)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
