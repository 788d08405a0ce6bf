"""Two small towers and one product per task: the cheapest model that knows user and item apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from tamis.features import Batch, Layout
from tamis.prerank._sides import ITEM, USER, Sided, with_side
from tamis.prerank._towers import TowerConfig, TowerPreranker, Towers, Units, spans
from tamis.runtime import Float32

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    Frame = pl.DataFrame | pd.DataFrame


class InnerProductConfig(TowerConfig):
    """Widths of the two towers."""

    user_units: Annotated[Units, Field(min_length=1)] = (64, 32)
    """Widths of the user tower's layers; the last is its vector's, one for each task."""
    item_units: Annotated[Units, Field(min_length=1)] = (64, 32)
    """Of the item tower; the last is its vector's width."""


class InnerProductNet(Towers):
    """`u_t · i + b_t`: task t's user vector, the item's vector, and the user's own rate."""

    def __init__(
        self, layout: Layout, config: InnerProductConfig, n_tasks: int, generator: torch.Generator
    ) -> None:
        self.n_tasks, self.width = n_tasks, config.item_units[-1]
        super().__init__(layout, config, n_tasks * (self.width + 1), generator)

    def forward(self, batch: Batch) -> Tensor:
        user, item = self.vectors(batch)  # (B, T · (width + 1)), (B, width)
        user = user.view(-1, self.n_tasks, self.width + 1)
        return torch.bmm(user[..., :-1], item.unsqueeze(2)).squeeze(2) + user[..., -1]  # (B, T)


class InnerProduct(TowerPreranker):
    """A small user tower and a small item tower; a task's logit is the product of their vectors.

    Every task has a user vector of its own and shares the item's, which is computed once per
    version and memory-mapped. Inputs of the pair are not read, nor the items' statistics: they
    change, and an item's vector is kept.

    When to use: tens of thousands of candidates, or candidates from channels that know nothing of
    the user; a recall channel's vectors say what was liked, these say what each task would be.

    Cost: one gathered vector and one product per candidate, about a tenth of a microsecond; a
    version grows by items × 32 × 4 bytes.

    Source: Wang et al. 2020, COLD: Towards the Next Generation of Pre-Ranking System (the
    vector-product generation that it starts from).
    """

    name = "inner_product"
    Config = InnerProductConfig
    config: InnerProductConfig

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return InnerProductNet(layout, self.config, n_tasks, generator)

    def user_vectors(self, frame: Frame) -> Float32:
        """(n, width) the user tower's output for each row of a frame; (n, T, width) of T labels.

        Only the columns of user and context features are read. The inner product with an item's
        vector orders items for a user as `predict` does (which adds the user's own rate, and
        calibrates). Raises NotFittedError before a fit, DataError for a missing column.
        """
        vectors = self._vectors(frame, USER)
        tasks = len(self.tasks)
        own = vectors.reshape(len(vectors), tasks, vectors.shape[1] // tasks)[..., :-1]
        return own[:, 0] if tasks == 1 else own

    def item_vectors(self, frame: Frame) -> Float32:
        """(n, width) the item tower's output for each row of a frame, shared by all labels.

        Only the columns of item features are read. Raises as `user_vectors`.
        """
        return self._vectors(frame, ITEM)

    def _vectors(self, frame: Frame, side: int) -> Float32:
        """(n, outputs) of one tower; columns of the other side's features may be absent."""
        space, towers = self._space(), self._towers()
        rows = space.rows(with_side(frame, space, side))
        tower, inputs = (
            (towers.user, towers.user_inputs) if side == USER else (towers.item, towers.item_inputs)
        )
        parts: list[Float32] = []
        with torch.inference_mode():
            for each in spans(len(rows)):
                batch = rows.take(torch.arange(each.start, each.stop))
                parts.append(tower(inputs(towers.table, batch)).numpy())
        last = tower(torch.zeros(0, inputs.width)).detach().numpy()
        return np.concatenate([*parts, last])

    def meet(self, user: Float32, items: Float32, at: NDArray[np.integer], parts: Sided) -> Float32:
        width, whose = items.shape[1], parts.user.pointer
        vectors = user.reshape(len(user), -1, width + 1)  # (Q, T, width + 1)
        out = np.empty((len(at), vectors.shape[1]), np.float32)
        for rows in spans(len(at)):
            item = items.take(at[rows], axis=0)  # (rows, width)
            if len(user) == 1:
                out[rows] = item @ vectors[0, :, :-1].T + vectors[0, :, -1]
            else:
                mine = vectors[rows if whose is None else whose[rows]]  # (rows, T, width + 1)
                out[rows] = (mine[..., :-1] @ item[:, :, None])[..., 0] + mine[..., -1]
        return out
