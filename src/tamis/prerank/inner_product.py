"""Two small towers and one inner product per task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from tamis.features import Batch, Layout
from tamis.prerank._tower_inputs import TowerBlocks, TowerKind, names_of, sides_of
from tamis.prerank._towers import TowerConfig, TowerPreranker, Towers, Units, chunks
from tamis.runtime import Float32

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    Frame = pl.DataFrame | pd.DataFrame


class InnerProductConfig(TowerConfig):
    """Options of the two towers."""

    user_units: Annotated[Units, Field(min_length=1)] = (64, 32)
    """Widths of the user tower's layers; the last is the width of each task's user vector."""
    item_units: Annotated[Units, Field(min_length=1)] = (64, 32)
    """Widths of the item tower's layers; the last is the width of the item vector."""


class InnerProductNet(Towers):
    """Logits `u_t · i + b_t`, with task t's user vector and bias, and the item's vector."""

    def __init__(
        self, layout: Layout, config: InnerProductConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        self.n_tasks, self.width = n_tasks, config.item_units[-1]
        super().__init__(layout, config, n_tasks * (self.width + 1), generator)

    def forward(self, batch: Batch) -> Tensor:
        user, item = self.vectors(batch)  # (B, T · (width + 1)), (B, width)
        user = user.view(-1, self.n_tasks, self.width + 1)  # the last number of a task is b_t
        return torch.bmm(user[..., :-1], item.unsqueeze(2)).squeeze(2) + user[..., -1]  # (B, T)


class InnerProduct(TowerPreranker):
    """The pre-ranker `inner_product`: a small user tower and a small item tower; a task's logit is
    the inner product of their vectors plus a bias of the user.

    Each task has its own user vector. The item's vector is shared by the tasks, computed once per
    version and memory-mapped. Inputs of the pair and the items' statistics are not read, as they
    change while a version's item vectors do not.

    When to use: tens of thousands of candidates, or candidates from channels that do not know the
    user. Unlike a recall channel's vectors, these predict each task.

    Cost: one gathered vector and one product per candidate, about a tenth of a microsecond; a
    version grows by items × 32 × 4 bytes.

    Source: Wang et al. 2020, COLD: Towards the Next Generation of Pre-Ranking System (the
    vector-product generation that it starts from).
    """

    name = "inner_product"
    Config = InnerProductConfig
    config: InnerProductConfig
    reads_pairs = False

    def reads(self, layout: Layout) -> set[str]:
        """Names of the columns of the user, the context and the item."""
        return names_of(layout, (TowerKind.USER, TowerKind.ITEM))

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return InnerProductNet(layout, self.config, n_tasks, generator)

    def user_vectors(self, frame: Frame) -> Float32:
        """(n, width) the user tower's output for each row of a frame; (n, T, width) of T labels.

        Only the columns of user and context features are read. The inner product with an item's
        vector orders items for a user as `predict` does (which adds the user's own rate, and
        calibrates). Raises NotFittedError before a fit, DataError for a missing column.
        """
        vectors = self._vectors(frame, TowerKind.USER)
        tasks = len(self.tasks)
        own = vectors.reshape(len(vectors), tasks, vectors.shape[1] // tasks)[..., :-1]
        return own[:, 0] if tasks == 1 else own

    def item_vectors(self, frame: Frame) -> Float32:
        """(n, width) the item tower's output for each row of a frame, shared by all labels.

        Only the columns of item features are read. Raises as `user_vectors`.
        """
        return self._vectors(frame, TowerKind.ITEM)

    def _vectors(self, frame: Frame, side: TowerKind) -> Float32:
        """(n, outputs) of one tower; columns of the other side's features may be absent."""
        space, towers = self._space(), self._towers()
        rows = space.side_rows(frame, sides_of(side))
        tower, inputs = (
            (towers.user, towers.user_inputs)
            if side is TowerKind.USER
            else (towers.item, towers.item_inputs)
        )
        parts: list[Float32] = []
        with torch.inference_mode():
            for each in chunks(len(rows)):
                batch = rows.take(torch.arange(each.start, each.stop))
                parts.append(tower(inputs(towers.table, batch)).numpy())
            none = rows.take(torch.arange(0))
            parts.append(tower(inputs(towers.table, none)).numpy())
        return np.concatenate(parts)

    def combine(
        self, user: Float32, items: Float32, at: NDArray[np.integer], blocks: TowerBlocks
    ) -> Float32:
        width, pointer = items.shape[1], blocks.user.pointer
        vectors = user.reshape(len(user), -1, width + 1)  # (Q, T, width + 1)
        out = np.empty((len(at), vectors.shape[1]), np.float32)
        for rows in chunks(len(at)):
            item = items.take(at[rows], axis=0)  # (rows, width)
            if len(user) == 1:
                out[rows] = item @ vectors[0, :, :-1].T + vectors[0, :, -1]
            else:
                users = vectors[rows if pointer is None else pointer[rows]]  # (rows, T, width + 1)
                out[rows] = (users[..., :-1] @ item[:, :, None])[..., 0] + users[..., -1]
        return out
