"""Softmax cross entropy over a whole catalogue, without storing a batch's logits."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 2**23
"""Logits computed at once (16 MB in bfloat16); few enough to stay in or near the CPU's caches."""
SAFE = 60.0
"""Largest |logit| for which the maximum is not subtracted: exponentials and sums fit float32."""


class Workspace:
    """Memory for one chunk of logits, reused between calls.

    Allocating new pages for every batch's logits costs more than the matrix products.
    """

    def __init__(self) -> None:
        self._memory: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def take(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """An uninitialised (rows, columns) of `like`'s type and device; the next call reuses it."""
        key = (like.device, like.dtype)
        held = self._memory.get(key)
        if held is None or held.numel() < rows * columns:
            held = self._memory[key] = like.new_empty(rows * columns)
        return held[: rows * columns].view(rows, columns)


def chunked_cross_entropy(
    queries: Tensor,
    items: Tensor,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    workspace: Workspace | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """Mean over rows of −log softmax(queries · itemsᵀ)[target], as `F.cross_entropy` computes it.

    Works on chunks of rows: logits are exponentiated in place and multiplied into both gradients at
    once, so no more than a chunk of them is stored. Under autocast the products are in its type,
    and the sums of a chunk are rounded to it.

    Args:
        queries: (P, dim).
        items: (C, dim).
        target: int64 (P,) rows of `items`.
        label_smoothing: share of the target's probability that is spread over all items, in [0, 1).
        workspace: memory to reuse; None = allocate.
        chunk: maximum number of logits computed at once.
    """
    device = queries.device.type
    narrow = torch.is_autocast_enabled(device)
    kind = torch.get_autocast_dtype(device) if narrow else queries.dtype
    with torch.autocast(device, enabled=False):
        return _CrossEntropy.apply(
            queries.float() if narrow else queries, items, target, label_smoothing,
            workspace or Workspace(), kind, chunk,
        )  # fmt: skip


class _CrossEntropy(torch.autograd.Function):
    """See `chunked_cross_entropy`; computes the gradients in the forward pass."""

    @staticmethod
    def forward(ctx, queries, items, target, smoothing, workspace, kind, chunk):
        p, dim = queries.shape
        n = len(items)
        own = items.index_select(0, target)
        loss = -(1.0 - smoothing) * (queries * own).sum(1)
        grad_queries = own.mul_(smoothing - 1.0)
        by_item = items.new_zeros(dim, n)  # transposed: the faster product
        left, right = queries.to(kind), items.to(kind)
        safe = p == 0 or _bound(queries, items) < SAFE
        pieces = max(1, -(-p * n // chunk))
        rows = max(1, -(-p // pieces))
        for begin in range(0, p, rows):
            part = slice(begin, min(begin + rows, p))
            logits = workspace.take(part.stop - begin, n, right)
            torch.mm(left[part], right.T, out=logits)
            if not safe:
                top = logits.amax(1, keepdim=True)
                logits -= top
                loss[part] += top.squeeze(1).float()
            total = logits.exp_().sum(1, keepdim=True).float()
            loss[part] += total.log().squeeze(1)
            grad_queries[part] += (logits @ right).float() / total
            scaled = (queries[part] / total).T.to(kind, memory_format=torch.contiguous_format)
            by_item += (scaled @ logits).float()
        grad_items = by_item.T.contiguous()
        grad_items.index_add_(0, target, queries, alpha=smoothing - 1.0)
        if smoothing:
            mean = items.mean(0)
            loss -= smoothing * (queries @ mean)
            grad_queries -= smoothing * mean
            grad_items -= queries.sum(0) * (smoothing / max(n, 1))
        ctx.save_for_backward(grad_queries.div_(max(p, 1)), grad_items.div_(max(p, 1)))
        return loss.sum() / max(p, 1)

    @staticmethod
    def backward(ctx, grad):
        grad_queries, grad_items = ctx.saved_tensors
        return grad_queries * grad, grad_items * grad, None, None, None, None, None


def _bound(queries: Tensor, items: Tensor) -> float:
    """max |query| · max |item|, an upper bound of |logit|."""
    if not len(items):
        return 0.0
    return float(queries.norm(dim=1).max() * items.norm(dim=1).max())
