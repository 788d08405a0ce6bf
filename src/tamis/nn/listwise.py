"""Softmax loss over columns that a whole batch shares, with columns excluded per row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tamis.nn.reproducible import total as total_of

CHUNK = 2**21
"""Logits computed at once; few enough to stay in the CPU's caches."""
SAFE = 60.0
"""Largest |logit| for which exp does not overflow without subtracting the maximum, in float32 and
bfloat16."""

Pairs = tuple[Tensor, Tensor]


def shared_softmax(
    queries: Tensor,
    items: Tensor,
    positive: Tensor,
    owner: Tensor,
    weights: Tensor,
    excluded: Pairs,
    *,
    shift: Tensor | None = None,
    pair_shift: tuple[Tensor, Tensor, Tensor] | None = None,
    other_log_sum: Tensor | None = None,
) -> Tensor:
    """Weighted mean cross entropy of each target among itself and the columns of its row.

    Works on chunks of rows: logits are exponentiated in place and multiplied into both gradients at
    once, so the (B, C) matrix is never stored. Under autocast the products are in its type.

    Args:
        queries: (B, dim).
        items: (C, dim).
        positive: (n,) logits of the targets.
        owner: int64 (n,) row of each target, ascending.
        weights: (n,) weights of the targets.
        excluded: int64 (row, column) pairs that are not negatives, rows ascending: the row's
            targets and everything else that its user likes.
        shift: (C,) without gradient, added to each column's logits (−log q of a sampler).
        pair_shift: (row, column, number) of distinct pairs, rows ascending, added to these alone.
        other_log_sum: (B,) logsumexp of further negatives of each row; -inf = none.
    """
    if other_log_sum is None:
        other_log_sum = positive.new_full((len(queries),), -torch.inf)
    device = queries.device.type
    narrow = torch.is_autocast_enabled(device)
    kind = torch.get_autocast_dtype(device) if narrow else torch.float32
    with torch.autocast(device, enabled=False):
        return _SharedSoftmax.apply(
            queries.float(), items.float(), positive.float(), other_log_sum.float(),
            (owner, weights, excluded, shift, pair_shift, kind),
        )  # fmt: skip


class _SharedSoftmax(torch.autograd.Function):
    """See `shared_softmax`; computes the gradients in the forward pass."""

    @staticmethod
    def forward(ctx, queries, items, positive, other_log_sum, given):
        owner, weights, excluded, shift, pair_shift, kind = given
        a, b = queries.to(kind), items.to(kind)
        bound = float(queries.norm(dim=1).max() * items.norm(dim=1).max()) if len(b) else 0.0
        bound += 0.0 if shift is None else float(shift.abs().max())
        safe = bound <= SAFE and pair_shift is None
        wanted = [x.requires_grad for x in (queries, items)]
        to_queries, to_items = torch.zeros_like(queries), torch.zeros_like(items)
        weights = weights / total_of(weights)
        rest, slope = torch.empty_like(other_log_sum), torch.empty_like(positive)
        size = max(1, CHUNK // max(len(b), 1))
        memory = b.new_empty(min(size, len(a)), len(b))
        for begin in range(0, len(a), size):
            end = min(begin + size, len(a))
            e = torch.mm(a[begin:end], b.T, out=memory[: end - begin])
            top = _exponentials(e, begin, excluded, shift, pair_shift, safe)
            total = e.sum(1, dtype=torch.float32)  # (rows,)
            logs = torch.logaddexp(total.log() + top, other_log_sum[begin:end])
            rest[begin:end] = logs
            mine = slice(*torch.searchsorted(owner, torch.tensor([begin, end])).tolist())
            slope[mine] = weights[mine] * torch.sigmoid(logs[owner[mine] - begin] - positive[mine])
            pull = torch.zeros_like(logs).index_add_(0, owner[mine] - begin, slope[mine])
            share = (pull * torch.exp(top - logs)).nan_to_num_(0.0, 0.0, 0.0).unsqueeze(1)
            if any(wanted):
                to_queries[begin:end] = (e @ b).float() * share
                to_items += (e.T @ (queries[begin:end] * share).to(kind)).float()
        pulls = torch.zeros_like(other_log_sum).index_add_(0, owner, slope)
        to_other_log_sum = (pulls * torch.exp(other_log_sum - rest)).nan_to_num_(0.0)
        ctx.save_for_backward(to_queries, to_items, -slope, to_other_log_sum)
        return (weights * F.softplus(rest[owner] - positive)).sum()

    @staticmethod
    def backward(ctx, grad):
        return *(saved.mul_(grad) for saved in ctx.saved_tensors), None


def _exponentials(
    e: Tensor,
    begin: int,
    excluded: Pairs,
    shift: Tensor | None,
    pair_shift: tuple[Any, ...] | None,
    safe: bool,
) -> Tensor:
    """Replaces the logits `e` (rows, C) of the rows from `begin` on by exp(logit − top), 0 where
    excluded; returns top (rows,)."""
    if shift is not None:
        e += shift
    if pair_shift is not None:
        row, column, number = _of_rows(pair_shift, begin, len(e))
        e[row, column] += number.to(e.dtype)
    row, column = _of_rows(excluded, begin, len(e))
    if safe:
        top = torch.zeros(len(e), device=e.device)
    else:
        e[row, column] = -torch.inf
        top = e.amax(1).float().clamp(min=-1e30)  # a row that excludes all columns has no maximum
        e -= top.unsqueeze(1).to(e.dtype)
        top = top.to(e.dtype).float()
    e.exp_()
    e[row, column] = 0.0
    return top


def _of_rows(pairs: tuple[Any, ...], begin: int, rows: int) -> tuple[Any, ...]:
    """The pairs, of ascending rows, that lie in `rows` rows from `begin` on; rows from 0."""
    at = torch.tensor([begin, begin + rows], device=pairs[0].device)
    low, high = torch.searchsorted(pairs[0], at).tolist()
    return pairs[0][low:high] - begin, *(x[low:high] for x in pairs[1:])
