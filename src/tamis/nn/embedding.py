"""The one embedding: a fused table of all id features, gathered once, updated row by row.

Autograd would answer a gather with a gradient as large as the table. Here the backward pass of a
gather leaves `RowGradient`s on the table instead, and a row optimiser (`tamis.train`) takes them:
a step costs what the batch's rows cost, whatever the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tamis.nn._kernels import pool_forward


@dataclass(frozen=True, eq=False)
class RowGradient:
    """What one gather's backward pass left behind: the gradient of table row `ids[b, w]` is
    `scale[b, field[w]] * grad[b, field[w]]`, summed over its places."""

    ids: Tensor
    """int32 (B, W) table rows."""
    grad: Tensor
    """float32 (B, F, dim)."""
    field: Tensor
    """int64 (W,) the field of `grad` to which a column of ids belongs."""
    scale: Tensor
    """float32 (B, F): 1, or 1 / ids present for a mean."""
    tail: Tensor | None = None
    """float32 (B, F, tail): the gradient of the table's last columns, where `grad` lacks them."""

    @property
    def whole(self) -> Tensor:
        """float32 (B, F, dim) with the tail in its place."""
        return self.grad if self.tail is None else torch.cat([self.grad, self.tail], -1)


class FusedEmbedding(nn.Module):
    """One weight matrix for all id features of a model.

    Args:
        n_rows: rows of the table (`Layout.n_rows`).
        dim: columns of the table.
        pad_rows: rows that pad; they stay zero for ever.
        init_std: standard deviation of the initial normal weights.
        zero_columns: trailing columns that begin at zero (a first-order weight).
        generator: source of the initial weights; None = torch's global one.
    """

    learns: Tensor
    """bool (n_rows,) rows an optimiser may change: never the pad rows."""

    def __init__(
        self,
        n_rows: int,
        dim: int,
        pad_rows: Sequence[int] = (),
        init_std: float = 0.01,
        zero_columns: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_rows, self.dim, self.zero_columns = n_rows, dim, zero_columns
        weight = torch.empty(n_rows, dim).normal_(0.0, init_std, generator=generator)
        learns = torch.ones(n_rows, dtype=torch.bool)
        pads = torch.tensor(list(pad_rows), dtype=torch.long)
        weight[:, dim - zero_columns :] = 0.0
        weight[pads], learns[pads] = 0.0, False
        self.weight = nn.Parameter(weight)
        self.register_buffer("learns", learns, persistent=False)
        self._row_gradients: list[RowGradient] = []

    def forward(self, ids: Tensor) -> Tensor:
        """The rows of `ids` int32 (B, W) or (B,): float32 (B, W, dim) or (B, dim)."""
        if ids.dim() == 1:
            return self.forward(ids.unsqueeze(1)).squeeze(1)
        return _Gather.apply(self.weight, ids, self)

    def pooled(self, ids: Tensor, plan: PoolPlan) -> tuple[Tensor, Tensor]:
        """Sums and means of columns of `ids` (B, W), no (B, W, dim) between.

        Returns the vectors (B, F, dim − zero_columns) and the rest (B, F, zero_columns).
        """
        return _Pool.apply(self.weight, ids, self, plan)

    def take_row_gradients(self) -> list[RowGradient]:
        """Hands over what backward passes have left since the last call, and forgets it."""
        left, self._row_gradients = self._row_gradients, []
        return left


@dataclass(frozen=True, eq=False)
class PoolPlan:
    """How id columns become fields: `field` int64 (W,) is the field of each column, ascending."""

    field: Tensor
    mean: Tensor
    """bool (F,): divided by the ids present; otherwise summed."""
    pad: Tensor
    """int64 (W,): the pad row of each column."""

    def scale(self, ids: Tensor) -> Tensor:
        """float32 (B, F): 1 / ids present in a mean, else 1."""
        present = (ids != self.pad).to(torch.float32)  # (B, W)
        count = present.new_zeros(len(ids), len(self.mean)).index_add_(1, self.field, present)
        return torch.where(self.mean, 1.0 / count.clamp(min=1.0), 1.0)

    def to(self, device: torch.device) -> PoolPlan:
        if self.field.device == device:
            return self
        return PoolPlan(self.field.to(device), self.mean.to(device), self.pad.to(device))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, ids, table):
        ctx.save_for_backward(ids)
        ctx.table = table
        return weight.index_select(0, ids.reshape(-1)).view(*ids.shape, weight.shape[1])

    @staticmethod
    def backward(ctx, grad):
        (ids,) = ctx.saved_tensors
        b, w = ids.shape
        ctx.table._row_gradients.append(
            RowGradient(
                ids,
                grad.contiguous(),
                torch.arange(w, device=ids.device),
                grad.new_ones(1, 1).expand(b, w),
            )
        )
        return None, None, None


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, ids, table, plan):
        tail = table.zero_columns
        if weight.device.type == "cpu":
            out, rest, scale = pool_forward(weight, ids, plan.field, plan.mean, plan.pad, tail)
        else:
            scale = plan.scale(ids)  # (B, F)
            rows = weight.index_select(0, ids.reshape(-1)).view(*ids.shape, -1)
            out = rows.new_zeros(len(ids), len(plan.mean), weight.shape[1])
            out = out.index_add_(1, plan.field, rows) * scale.unsqueeze(-1)
            out, rest = out.split([table.dim - tail, tail], -1)
        ctx.save_for_backward(ids, scale)
        ctx.table, ctx.plan = table, plan
        return out, rest

    @staticmethod
    def backward(ctx, grad, rest):
        ids, scale = ctx.saved_tensors
        tail = rest.contiguous() if ctx.table.zero_columns else None
        ctx.table._row_gradients.append(
            RowGradient(ids, grad.contiguous(), ctx.plan.field, scale, tail)
        )
        return None, None, None, None
