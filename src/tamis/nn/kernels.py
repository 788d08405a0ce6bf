"""Compiled CPU kernels of the embedding: pooled gathers (numba, one thread, no copies)."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor


@njit(cache=True, nogil=True)
def _pool(weight, ids, field, mean, pad, out, scale):  # type: ignore[no-untyped-def]
    n, width = ids.shape
    dim = weight.shape[1]
    for b in range(n):
        w = 0
        while w < width:
            f = field[w]
            first = w
            count = 0
            while w < width and field[w] == f:
                row = ids[b, w]
                if row != pad[w]:
                    if count == 0:
                        for d in range(dim):
                            out[b, f, d] = weight[row, d]
                    else:
                        for d in range(dim):
                            out[b, f, d] += weight[row, d]
                    count += 1
                w += 1
            if count == 0:
                for d in range(dim):
                    out[b, f, d] = 0.0
            scale[b, f] = 1.0
            if mean[f] and count > 1 and w - first > 1:
                share = np.float32(1.0) / np.float32(count)
                scale[b, f] = share
                for d in range(dim):
                    out[b, f, d] *= share


def pool_forward(
    weight: Tensor, ids: Tensor, field: Tensor, mean: Tensor, pad: Tensor
) -> tuple[Tensor, Tensor]:
    """The pooled fields (B, F, dim) and the factor of each (B, F); arguments as in `PoolPlan`."""
    table = weight.detach()
    out = table.new_empty(len(ids), len(mean), table.shape[1])
    scale = table.new_empty(len(ids), len(mean))
    rows = ids.to(torch.int32).contiguous()
    _pool(
        table.numpy(), rows.numpy(), field.numpy(), mean.numpy(), pad.numpy(),
        out.numpy(), scale.numpy(),
    )  # fmt: skip
    return out, scale
