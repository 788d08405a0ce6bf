"""Batches of an epoch: row numbers are shuffled, and rows gathered several batches at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tamis.features import Batch, Rows

ROWS_PER_GATHER = 32_768
"""Maximum number of rows gathered at once; a few large gathers are cheaper than many small ones."""


class RowSource(Protocol):
    """Training rows as the loop reads them; `tamis.features.Rows` is one.

    A source may also have `order(batch_size, generator) -> Order`, which then makes the batches of
    an epoch (rows of similar length in one batch, for example).
    """

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def take(self, index: Tensor, device: torch.device | str = "cpu") -> Any:
        """The batch of the rows `index` int64 (B,)."""
        ...


@dataclass(frozen=True, eq=False)
class Order:
    """The order of the rows in one epoch, cut into batches."""

    rows: Tensor
    """int64 (n,) row numbers."""
    bounds: list[int]
    """Batch k is `rows[bounds[k]:bounds[k + 1]]`."""

    @classmethod
    def plain(cls, n: int, batch_size: int) -> Order:
        """Rows 0 … n − 1 as they are; a single empty batch where n = 0."""
        return cls(torch.arange(n), [*range(0, max(n, 1), batch_size), n])

    @classmethod
    def shuffled(cls, n: int, batch_size: int, generator: torch.Generator) -> Order:
        """Rows 0 … n − 1 in random order."""
        return cls(torch.randperm(n, generator=generator), [*range(0, n, batch_size), n])

    @classmethod
    def shuffled_groups(
        cls, groups: NDArray[np.int64], batch_size: int, generator: torch.Generator
    ) -> Order:
        """Groups in random order; a batch ends with the group that fills it.

        groups: (n,) group of each row; no group is split between batches.
        """
        by_group = np.argsort(groups, kind="stable")
        _, start, size = np.unique(groups[by_group], return_index=True, return_counts=True)
        shuffle = torch.randperm(len(start), generator=generator).numpy()
        start, size = start[shuffle], size[shuffle]
        ends = np.cumsum(size)
        places = np.repeat(start - (ends - size), size) + np.arange(len(groups))
        full = np.flatnonzero(np.diff((ends - 1) // batch_size, append=-1))
        bounds = [0, *ends[full].tolist()] if len(ends) else [0]
        return cls(torch.from_numpy(by_group[places]), bounds)

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.bounds) - 1


def batches(source: RowSource, order: Order, device: torch.device | str = "cpu") -> Iterator[Any]:
    """The batches of an epoch, on `device`. `Rows` are gathered `ROWS_PER_GATHER` at a time."""
    k, bounds = 0, order.bounds
    while k < len(order):
        last = k + 1
        if isinstance(source, Rows):
            while last < len(order) and bounds[last + 1] - bounds[k] <= ROWS_PER_GATHER:
                last += 1
        taken = source.take(order.rows[bounds[k] : bounds[last]], device)
        if last == k + 1:
            yield taken
        else:
            for one in range(k, last):
                yield _slice(taken, bounds[one] - bounds[k], bounds[one + 1] - bounds[k])
        k = last


def _slice(batch: Batch, start: int, stop: int) -> Batch:
    """Rows `start` … `stop` − 1 of a batch, without copying."""

    def cut(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[start:stop]

    return Batch(
        batch.ids[start:stop],
        batch.dense[start:stop],
        cut(batch.labels),
        cut(batch.weights),
        cut(batch.groups),
    )
