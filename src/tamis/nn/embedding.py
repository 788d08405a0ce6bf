"""One fused embedding table for all id features, updated row by row.

Autograd's gradient of a look-up is as large as the table. Here the backward pass appends
`RowGradient`s to the table instead, and a row optimiser (`tamis.train`) applies them, so the cost
of a step depends on the batch and not on the size of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tamis.nn._kernels import pool_forward


@dataclass(frozen=True, eq=False)
class RowGradient:
    """Gradient of one look-up, per batch position instead of per table row.

    The gradient of table row r is the sum of `scale[b, field[w]] * grad[b, field[w]]` over all
    (b, w) with `ids[b, w] == r`.
    """

    ids: Tensor
    """int32 (B, W) table rows."""
    grad: Tensor
    """float32 (B, F, dim)."""
    field: Tensor
    """int64 (W,) the field of `grad` to which a column of ids belongs."""
    scale: Tensor
    """float32 (B, F): 1, or 1 / ids present for a mean."""
    tail: Tensor | None = None
    """float32 (B, F, tail): the gradient of the table's last columns, if `grad` is without them."""

    @property
    def whole(self) -> Tensor:
        """float32 (B, F, dim): `grad` with `tail` appended."""
        return self.grad if self.tail is None else torch.cat([self.grad, self.tail], -1)


class FusedEmbedding(nn.Module):
    """One weight matrix for all id features of a model.

    Args:
        n_rows: rows of the table (`Layout.n_rows`).
        dim: columns of the table.
        pad_rows: padding rows, which stay zero.
        init_std: standard deviation of the initial normal weights.
        zero_columns: number of last columns that are initialised to zero (first-order weights).
        generator: source of the initial weights; None = torch's global one.
    """

    learns: Tensor
    """bool (n_rows,) rows that an optimiser may change; False for padding rows."""

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
        """Sums and means over columns of `ids` (B, W), without a (B, W, dim) array in between.

        Returns the vectors (B, F, dim − zero_columns) and the last columns (B, F, zero_columns).
        """
        return _Pool.apply(self.weight, ids, self, plan)

    def take_row_gradients(self) -> list[RowGradient]:
        """Returns and removes the gradients that backward passes have appended."""
        left, self._row_gradients = self._row_gradients, []
        return left


@dataclass(frozen=True, eq=False)
class PoolPlan:
    """Which id columns are pooled into which field, and how."""

    field: Tensor
    """int64 (W,), ascending: the field of each column."""
    mean: Tensor
    """bool (F,): True = mean over the ids present; False = sum."""
    pad: Tensor
    """int64 (W,): the padding row of each column."""

    def scale(self, ids: Tensor) -> Tensor:
        """float32 (B, F): 1 / ids present in a mean, else 1."""
        present = (ids != self.pad).to(torch.float32)  # (B, W)
        count = present.new_zeros(len(ids), len(self.mean)).index_add_(1, self.field, present)
        return torch.where(self.mean, 1.0 / count.clamp(min=1.0), 1.0)

    def to(self, device: torch.device) -> PoolPlan:
        """The plan on `device`."""
        if self.field.device == device:
            return self
        return PoolPlan(self.field.to(device), self.mean.to(device), self.pad.to(device))


class _Gather(torch.autograd.Function):
    """Look-up of table rows; the backward pass appends a `RowGradient` to the table."""

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
    """Pooled look-up by a `PoolPlan`; the backward pass appends a `RowGradient` to the table."""

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
