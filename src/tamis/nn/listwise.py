"""The softmax of targets among columns that a whole batch shares, each row with gaps of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 2**21
"""Logits held at once: they stay in the processor's caches from product to product."""
SAFE = 60.0
"""Bound of |logit| up to which exp needs no maximum subtracted, in float32 and bfloat16."""

Pairs = tuple[Tensor, Tensor]


def shared_softmax(
    queries: Tensor,
    items: Tensor,
    positive: Tensor,
    owner: Tensor,
    weights: Tensor,
    refused: Pairs,
    *,
    shift: Tensor | None = None,
    pair_shift: tuple[Tensor, Tensor, Tensor] | None = None,
    beside: Tensor | None = None,
) -> Tensor:
    """Weighted mean over targets of −log of the target's share among itself and its row's columns.

    Rows come in chunks; a chunk's logits become exponentials in place and go into both gradients at
    once, so that the (B, C) matrix never exists. Under autocast the products are in its type.

    Args:
        queries: (B, dim).
        items: (C, dim).
        positive: (n,) the targets' own logits.
        owner: int64 (n,) row of each target, ascending.
        weights: (n,) of the targets.
        refused: int64 (row, column) pairs that are no negatives, rows ascending: the row's targets
            and all else that its user likes.
        shift: (C,) without gradient, added to each column's logits (−log q of a sampler).
        pair_shift: (row, column, number) of distinct pairs, rows ascending, added to these alone.
        beside: (B,) the log-sum of further negatives of each row; -inf = none.
    """
    if beside is None:
        beside = positive.new_full((len(queries),), -torch.inf)
    device = queries.device.type
    narrow = torch.is_autocast_enabled(device)
    kind = torch.get_autocast_dtype(device) if narrow else torch.float32
    with torch.autocast(device, enabled=False):
        return _SharedSoftmax.apply(
            queries.float(), items.float(), positive.float(), beside.float(),
            (owner, weights, refused, shift, pair_shift, kind),
        )  # fmt: skip


class _SharedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, items, positive, beside, given):
        owner, weights, refused, shift, pair_shift, kind = given
        a, b = queries.to(kind), items.to(kind)
        bound = float(queries.norm(dim=1).max() * items.norm(dim=1).max()) if len(b) else 0.0
        bound += 0.0 if shift is None else float(shift.abs().max())
        safe = bound <= SAFE and pair_shift is None
        wanted = [x.requires_grad for x in (queries, items)]
        to_queries, to_items = torch.zeros_like(queries), torch.zeros_like(items)
        weights = weights / weights.sum()
        rest, slope = torch.empty_like(beside), torch.empty_like(positive)
        size = max(1, CHUNK // max(len(b), 1))
        memory = b.new_empty(min(size, len(a)), len(b))
        for begin in range(0, len(a), size):
            end = min(begin + size, len(a))
            e = torch.mm(a[begin:end], b.T, out=memory[: end - begin])
            top = _exponentials(e, begin, refused, shift, pair_shift, safe)
            total = e.sum(1, dtype=torch.float32)  # (rows,)
            logs = torch.logaddexp(total.log() + top, beside[begin:end])
            rest[begin:end] = logs
            mine = slice(*torch.searchsorted(owner, torch.tensor([begin, end])).tolist())
            slope[mine] = weights[mine] * torch.sigmoid(logs[owner[mine] - begin] - positive[mine])
            pull = torch.zeros_like(logs).index_add_(0, owner[mine] - begin, slope[mine])
            share = (pull * torch.exp(top - logs)).nan_to_num_(0.0, 0.0, 0.0).unsqueeze(1)
            if any(wanted):
                to_queries[begin:end] = (e @ b).float() * share
                to_items += (e.T @ (queries[begin:end] * share).to(kind)).float()
        pulls = torch.zeros_like(beside).index_add_(0, owner, slope)
        to_beside = (pulls * torch.exp(beside - rest)).nan_to_num_(0.0)
        ctx.save_for_backward(to_queries, to_items, -slope, to_beside)
        return (weights * F.softplus(rest[owner] - positive)).sum()

    @staticmethod
    def backward(ctx, grad):
        return *(saved.mul_(grad) for saved in ctx.saved_tensors), None


def _exponentials(
    e: Tensor,
    begin: int,
    refused: Pairs,
    shift: Tensor | None,
    pair_shift: tuple[Any, ...] | None,
    safe: bool,
) -> Tensor:
    """Turns the logits of rows from `begin` on into exp(logit − top), 0 where refused; returns top
    (rows,)."""
    if shift is not None:
        e += shift
    if pair_shift is not None:
        row, column, number = _of_rows(pair_shift, begin, len(e))
        e[row, column] += number.to(e.dtype)
    row, column = _of_rows(refused, begin, len(e))
    if safe:
        top = torch.zeros(len(e), device=e.device)
    else:
        e[row, column] = -torch.inf
        top = e.amax(1).float().clamp(min=-1e30)  # a row that refuses all has no maximum
        e -= top.unsqueeze(1).to(e.dtype)
        top = top.to(e.dtype).float()
    e.exp_()
    e[row, column] = 0.0
    return top


def _of_rows(pairs: tuple[Any, ...], begin: int, rows: int) -> tuple[Any, ...]:
    """The part of pairs, whose rows ascend, that belongs to `rows` rows from `begin` on."""
    at = torch.tensor([begin, begin + rows], device=pairs[0].device)
    low, high = torch.searchsorted(pairs[0], at).tolist()
    return pairs[0][low:high] - begin, *(x[low:high] for x in pairs[1:])
