"""Logistic regression over all features; base of the ranker and the pre-ranker `lr`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from tamis.features import Batch, Block, Layout, Rows
from tamis.nn import FieldPooling, fused_table, pool_forward, zero_linear
from tamis.runtime import Float32
from tamis.train.estimator import Estimator, EstimatorConfig


class LinearConfig(EstimatorConfig):
    """Options of logistic regression, whose weights need larger learning rates than networks."""

    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    """Learning rate of the weights of numeric features (Adam)."""
    embedding_learning_rate: Annotated[float, Field(gt=0)] = 0.1
    """Learning rate of the weights of id features."""


class LinearNet(nn.Module):
    """The sum of a weight per id and per number; the ids of multi-valued features are pooled."""

    def __init__(self, layout: Layout, n_tasks: int) -> None:
        super().__init__()
        self.table = fused_table(layout, n_tasks, init_std=0.0)
        self.pooling = FieldPooling(layout)
        self.dense = zero_linear(layout.dense_width, n_tasks)

    def forward(self, batch: Batch) -> Tensor:  # -> logits (B, T)
        return self.pooling(self.table, batch.ids).sum(1) + self.dense(batch.dense)


class LinearEstimator(Estimator):
    """Logistic regression, a weight per id, number and task: `z = b + Σ w_id + Σ w_x x`."""

    Config: ClassVar[type[BaseModel]] = LinearConfig

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        return LinearNet(_averaged(layout), n_tasks)

    def logits(self, rows: Rows) -> Float32:
        """Raw outputs (n, T), as `FrameModel.logits`; inputs that rows share are summed once."""
        model = self._module()
        assert isinstance(model, LinearNet)
        logits = np.tile(model.dense.bias.detach().numpy(), (len(rows), 1))
        first_id = first_number = 0
        for block in rows.blocks:
            shared = block.pointer is not None and len(block.ids) <= len(rows)
            part = block if shared or block.pointer is None else _gathered(block)
            scores = _linear(model, part, first_id, first_number)
            logits += scores[block.pointer] if shared else scores
            first_id += block.ids.shape[1]
            first_number += block.dense.shape[1]
        return logits.astype(np.float32, copy=False)


def _linear(model: LinearNet, block: Block, first_id: int, first_number: int) -> Float32:
    """(N, T) contribution of a block whose ids and numbers start at those layout columns."""
    numbers = slice(first_number, first_number + block.dense.shape[1])
    scores = block.dense @ model.dense.weight.detach().numpy()[:, numbers].T
    width = block.ids.shape[1]
    if width:
        plan = model.pooling.plan_of(first_id, first_id + width)
        ids = torch.from_numpy(np.ascontiguousarray(block.ids))
        weights, _, _ = pool_forward(model.table.weight, ids, plan.field, plan.mean, plan.pad, 0)
        scores = scores + weights.numpy().sum(1)
    return scores


def _gathered(block: Block) -> Block:
    """The block with one entry per row, instead of shared entries and pointers."""
    return Block(block.ids[block.pointer], block.dense[block.pointer])


def _averaged(layout: Layout) -> Layout:
    """The layout with sums and means only: any other pooling becomes a mean, so that every id's
    weight counts."""
    return replace(
        layout,
        ids=tuple(c if c.pooling == "sum" else replace(c, pooling="mean") for c in layout.ids),
    )
