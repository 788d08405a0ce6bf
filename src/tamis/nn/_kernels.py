"""Compiled CPU kernel of pooled embedding look-ups (numba, one thread, no copies)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tamis.runtime.compiled import njit


@njit(cache=True, nogil=True)
def _pool(weight, ids, field, mean, pad, out, rest, scale):
    """Sums or averages the embedding rows of each field.

    Args:
        weight: float32 (R, dim + tail) table.
        ids: int32 (B, W) rows of the table.
        field: int64 (W,) ascending field of each column of `ids`.
        mean: bool (F,) divide by the number of ids present.
        pad: int64 (W,) padding row of each column.
        out: float32 (B, F, dim), written.
        rest: float32 (B, F, tail), written: the table's last columns.
        scale: float32 (B, F), written: the factor applied to each field.
    """
    n, width = ids.shape
    dim, tail = out.shape[2], rest.shape[2]
    for b in range(n):
        w = 0
        while w < width:
            f = field[w]
            count = 0
            while w < width and field[w] == f:
                row = ids[b, w]
                if row != pad[w]:
                    if count == 0:
                        for d in range(dim):
                            out[b, f, d] = weight[row, d]
                        for d in range(tail):
                            rest[b, f, d] = weight[row, dim + d]
                    else:
                        for d in range(dim):
                            out[b, f, d] += weight[row, d]
                        for d in range(tail):
                            rest[b, f, d] += weight[row, dim + d]
                    count += 1
                w += 1
            scale[b, f] = 1.0
            if count == 0:
                out[b, f, :] = 0.0
                rest[b, f, :] = 0.0
            elif mean[f] and count > 1:
                share = np.float32(1.0) / np.float32(count)
                scale[b, f] = share
                for d in range(dim):
                    out[b, f, d] *= share
                for d in range(tail):
                    rest[b, f, d] *= share


def pool_forward(
    weight: Tensor, ids: Tensor, field: Tensor, mean: Tensor, pad: Tensor, tail: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Pooled embeddings of a batch's ids.

    Args:
        weight: float32 (R, dim) table, on the CPU.
        ids: integer (B, W) rows of the table.
        field, mean, pad: as in `PoolPlan`.
        tail: number of last columns of the table to return separately.

    Returns the vectors (B, F, dim − tail), the last columns (B, F, tail) and the factor of each
    field (B, F): 1, or 1 / ids present for a mean.
    """
    table = weight.detach()
    out = table.new_empty(len(ids), len(mean), table.shape[1] - tail)
    rest = table.new_empty(len(ids), len(mean), tail)
    scale = table.new_empty(len(ids), len(mean))
    rows = ids.to(torch.int32).contiguous()
    _pool(
        weight=table.numpy(),
        ids=rows.numpy(),
        field=field.numpy(),
        mean=mean.numpy(),
        pad=pad.numpy(),
        out=out.numpy(),
        rest=rest.numpy(),
        scale=scale.numpy(),
    )
    return out, rest, scale
