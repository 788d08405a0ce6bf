"""Rows of model inputs, gathered per batch from blocks of users, items and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

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
            blocks=[
                Block(b.ids, b.dense, b.pointer[index])
                if b.pointer is not None
                else Block(b.ids[index], b.dense[index])
                for b in self.blocks
            ],
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


def _pick(array: NDArray[_T] | None, index: NDArray[np.intp]) -> NDArray[_T] | None:
    return None if array is None else array[index]


def _concatenated(parts: list[Tensor], n: int, dtype: torch.dtype) -> Tensor:
    if not parts:
        return torch.zeros((n, 0), dtype=dtype)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
