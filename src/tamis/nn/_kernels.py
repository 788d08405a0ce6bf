"""Compiled CPU kernels of the embedding: pooled gathers (numba, one thread, no copies)."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor


@njit(cache=True, nogil=True)
def _pool(weight, ids, field, mean, pad, out, rest, scale):
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
    """Pooled vectors (B, F, dim − tail), the rest (B, F, tail) and each field's factor (B, F).

    `field`, `mean` and `pad` are a `PoolPlan`'s.
    """
    table = weight.detach()
    out = table.new_empty(len(ids), len(mean), table.shape[1] - tail)
    rest = table.new_empty(len(ids), len(mean), tail)
    scale = table.new_empty(len(ids), len(mean))
    rows = ids.to(torch.int32).contiguous()
    _pool(
        table.numpy(), rows.numpy(), field.numpy(), mean.numpy(), pad.numpy(),
        out.numpy(), rest.numpy(), scale.numpy(),
    )  # fmt: skip
    return out, rest, scale
