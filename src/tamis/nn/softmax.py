"""Cross entropy over a whole catalogue without the logits of a whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 2**23
"""Logits held at once (16 MB in bfloat16): few enough to stay near the processor's caches."""
SAFE = 30.0
"""Bound of |logit| up to which exp(logit − bound) ≥ exp(−60): nothing vanishes in float32."""


class Workspace:
    """Memory for one chunk of logits, kept from call to call.

    Fresh pages for every batch's logits cost more than the products themselves.
    """

    def __init__(self) -> None:
        self._memory: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def take(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """An uninitialised (rows, columns) of `like`'s type and device; valid until the next."""
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
    """Mean over rows of −log softmax(queries · itemsᵀ)[target], as `F.cross_entropy` gives it.

    Chunk by chunk of rows the logits are made, turned into exponentials in place, and multiplied
    into both gradients at once, so that no more than a chunk of them ever exists; the sums of the
    softmax come out of the gradient's own product. Under autocast the products are in its type.

    Args:
        queries: (P, dim).
        items: (C, dim).
        target: int64 (P,) rows of `items`.
        label_smoothing: share of the target's mass that is spread over all items, [0, 1).
        workspace: memory to use again; None = fresh.
        chunk: logits held at once.
    """
    device = queries.device.type
    narrow = torch.is_autocast_enabled(device)
    kind = torch.get_autocast_dtype(device) if narrow else queries.dtype
    with torch.autocast(device, enabled=False):
        return _CrossEntropy.apply(  # type: ignore[no-any-return]
            queries.float() if narrow else queries, items, target, label_smoothing,
            workspace or Workspace(), kind, chunk,
        )  # fmt: skip


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, items, target, smoothing, workspace, kind, chunk):  # type: ignore[no-untyped-def]
        p, dim = queries.shape
        n = len(items)
        own = items.index_select(0, target)
        loss = -(1.0 - smoothing) * (queries * own).sum(1)
        grad_queries = own.mul_(smoothing - 1.0)
        grad_items = items.new_zeros(dim, n)  # transposed: the faster product
        # A last column of ones: with queries' last column it shifts the logits, and the product
        # that makes the queries' gradient gives the softmax's sums with it.
        right = items.new_ones(n, dim + 1, dtype=kind)
        right[:, :dim] = items
        left = queries.new_zeros(p, dim + 1, dtype=kind)
        left[:, :dim] = queries
        bound = _bound(queries, items)
        left[:, dim] = -bound
        safe = bool(bound.max() < SAFE) if p else True
        pieces = max(1, -(-p * n // chunk))
        rows = max(1, -(-p // pieces))
        for begin in range(0, p, rows):
            part = slice(begin, min(begin + rows, p))
            if not safe:
                _lower(left[part], right, workspace)
            logits = workspace.take(part.stop - begin, n, right)
            torch.mm(left[part], right.T, out=logits).exp_()
            both = (logits @ right).float()
            total = both[:, dim:].clamp_(min=1e-30)
            loss[part] += total.log().squeeze(1) - left[part, dim].float()
            grad_queries[part] += both[:, :dim] / total
            scaled = (queries[part] / total).to(kind)
            grad_items += (scaled.T @ logits).float()
        grad_items = grad_items.T.contiguous()
        grad_items.index_add_(0, target, queries, alpha=smoothing - 1.0)
        if smoothing:
            mean = items.mean(0)
            loss -= smoothing * (queries @ mean)
            grad_queries -= smoothing * mean
            grad_items -= queries.sum(0) * (smoothing / max(n, 1))
        ctx.save_for_backward(grad_queries.div_(p), grad_items.div_(p))
        return loss.sum() / max(p, 1)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        grad_queries, grad_items = ctx.saved_tensors
        return grad_queries * grad, grad_items * grad, None, None, None, None, None


def _bound(queries: Tensor, items: Tensor) -> Tensor:
    """(P,) |query| · max |item|: no logit of the row is above it."""
    if not len(items):
        return queries.new_zeros(len(queries))
    return queries.norm(dim=1) * items.norm(dim=1).max()


def _lower(left: Tensor, right: Tensor, workspace: Workspace) -> None:
    """Sets the queries' last column to minus their largest logit, where the bound is too loose."""
    left[:, -1] = 0.0
    logits = workspace.take(len(left), len(right), right)
    left[:, -1] = -torch.mm(left, right.T, out=logits).amax(1)
