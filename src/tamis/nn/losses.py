"""Losses: functions of scores; every one returns the weighted mean over what has a label.

Pointwise and pairwise ones take `(positive, negative, mask)`; list-wise ones take a matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def binary_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross entropy of `logits` (B, T) with labels in [0, 1]; NaN = no label, does not count.

    `weights` (B,) or (B, T) weigh the rows. Zero (with a gradient) where nothing has a label.
    """
    known = ~torch.isnan(labels)
    loss = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(0.0), reduction="none")
    weight = known.to(loss.dtype)
    if weights is not None:
        weight = weight * (weights if weights.dim() == labels.dim() else weights.unsqueeze(-1))
    return (loss * weight).sum() / weight.sum().clamp(min=1e-12)


def log_odds_of_product(logits: Tensor) -> Tensor:
    """(B,) log-odds of Π_k σ(z_k), of log-odds (B, K): exact where the product is next to 0 or 1.

    log p = Σ log σ(z_k), and log(1 − p) by `expm1` or `log1p`, whichever keeps its digits (Mächler
    2012).
    """
    log_p = F.logsigmoid(logits).sum(1).clamp(max=-1e-35)  # 1 − p is never 0
    near = log_p > -0.6931
    small = torch.where(near, log_p, -1.0)
    large = torch.where(near, -1.0, log_p)
    return log_p - torch.where(near, (-torch.expm1(small)).log(), torch.log1p(-large.exp()))


def pointwise(
    positive: Tensor,
    negative: Tensor,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross entropy of positives (B,) and negatives (B, N); `mask` (B, N) True = counts.

    `weights` (B,) weigh a positive together with its negatives.
    """
    counts = torch.ones_like(negative) if mask is None else mask.to(negative.dtype)
    weight = torch.ones_like(positive) if weights is None else weights
    each = F.softplus(-positive) + (F.softplus(negative) * counts).sum(1)
    return (each * weight).sum() / ((1 + counts.sum(1)) * weight).sum().clamp(min=1e-12)


def pairwise_logistic(
    positive: Tensor,
    negative: Tensor,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """BPR, mean of log(1 + exp(negative − positive)) over pairs: (B,), (B, N)."""
    return _masked_mean(F.softplus(negative - positive.unsqueeze(1)), mask, weights)


def pairwise_hinge(
    positive: Tensor,
    negative: Tensor,
    mask: Tensor | None = None,
    margin: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean of max(0, margin + negative − positive) over pairs: (B,), (B, N)."""
    return _masked_mean(F.relu(margin + negative - positive.unsqueeze(1)), mask, weights)


def gbce_power(negatives: int, items: int, calibration: float = 0.75) -> float:
    """β of the gBCE loss: 1 − t(1 − α), α = negatives / (items − 1) (Petrov & Macdonald 2023).

    calibration: t in [0, 1]; 0 = plain cross entropy, 1 = a probability free of the sampling.
    """
    share = min(1.0, negatives / max(items - 1, 1))
    return 1.0 - calibration * (1.0 - share)


def gbce(
    positive: Tensor,
    negative: Tensor,
    mask: Tensor | None = None,
    *,
    power: float,
    weights: Tensor | None = None,
    owner: Tensor | None = None,
) -> Tensor:
    """Generalised cross entropy −β log σ(positive) − Σ log(1 − σ(negative)), a mean like
    `pointwise`'s (Petrov & Macdonald 2023, gSASRec): counting the positive less takes back the
    overconfidence that sampled negatives cause.

    Args:
        positive: logits (n,).
        negative: logits (B, N).
        mask: (B, N) True = counts; numbers count so many times.
        power: β, see `gbce_power`.
        weights: (n,) of each positive together with its negatives.
        owner: int64 (n,) each positive's row of `negative`; None = its own (n = B).
    """
    counts = torch.ones_like(negative) if mask is None else mask.to(negative.dtype)
    weight = torch.ones_like(positive) if weights is None else weights
    total, count = (F.softplus(negative) * counts).sum(1), counts.sum(1)
    if owner is not None:
        total, count = total[owner], count[owner]
    each = power * F.softplus(-positive) + total
    return (each * weight).sum() / ((1 + count) * weight).sum().clamp(min=1e-12)


def sampled_softmax(
    positive: Tensor,
    negative: Tensor,
    mask: Tensor | None = None,
    *,
    positive_log_q: Tensor | None = None,
    negative_log_q: Tensor | None = None,
) -> Tensor:
    """Cross entropy of the positive among itself and its sampled negatives.

    Args:
        positive: logits (B,).
        negative: logits (B, N).
        mask: (B, N) True = counts (False: a positive of the same user).
        positive_log_q: (B,) log probability of the positive under the sampler; subtracted.
        negative_log_q: (N,) or (B, N) the same of the negatives (Bengio & Senécal 2008).
    """
    if positive_log_q is not None:
        positive = positive - positive_log_q
    if negative_log_q is not None:
        negative = negative - negative_log_q
    if mask is not None:
        negative = negative.masked_fill(~mask, -torch.inf)
    logits = torch.cat([positive.unsqueeze(1), negative], 1)  # (B, 1 + N)
    return (torch.logsumexp(logits, 1) - positive).mean()


def in_batch_softmax(
    scores: Tensor, mask: Tensor | None = None, log_q: Tensor | None = None
) -> Tensor:
    """Softmax of each row's own item, the diagonal, among the batch's items: `scores` (B, B).

    `mask` (B, B) False = not a negative of that row (the diagonal always counts); `log_q` (B,) the
    log probability of each item in a batch, subtracted from its column (Yi et al. 2019).
    """
    if log_q is not None:
        scores = scores - log_q
    if mask is not None:
        own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(~(mask | own), -torch.inf)
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def full_softmax(scores: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax over all items: `scores` (B, I), `target` int64 (B,); `mask` False = left out."""
    if mask is not None:
        keep = mask.scatter(1, target.unsqueeze(1), torch.ones_like(mask[:, :1]))
        scores = scores.masked_fill(~keep, -torch.inf)
    return F.cross_entropy(scores, target)


def group_softmax(logits: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """ListNet within groups: −Σ (y/Σy) log softmax, mean over groups that hold a positive.

    Args:
        logits: (B,).
        labels: (B,) ≥ 0; NaN = the row does not take part.
        groups: int64 (B,) numbers from 0 of the row's list.
    """
    known = ~torch.isnan(labels)
    logits, labels, groups = logits[known], labels[known], groups[known]
    n = int(groups.max()) + 1 if len(groups) else 0
    top = logits.new_full((n,), -torch.inf).scatter_reduce(0, groups, logits.detach(), "amax")
    total = logits.new_zeros(n).index_add(0, groups, (logits - top[groups]).exp())
    log_softmax = logits - top[groups] - total.log()[groups]
    mass = labels.new_zeros(n).index_add(0, groups, labels)
    share = labels / mass[groups].clamp(min=1e-12)
    return -(share * log_softmax).sum() / (mass > 0).sum().clamp(min=1)


def masked_logsumexp(
    queries: Tensor,
    items: Tensor,
    refused: tuple[Tensor, Tensor],
    shift: Tensor | None = None,
    pair_shift: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Tensor:
    """(B,) log Σ_c exp(queries · items_c + shift_c) over the columns c that a row does not refuse.

    The (B, C) matrix is made once and becomes its own gradient in place, which costs a third of
    what autograd's chain of masks, logsumexp and copies does. -inf where all is refused.

    Args:
        queries: (B, dim).
        items: (C, dim).
        refused: int64 (row, column) pairs left out.
        shift: (C,) without gradient, added to each column (−log q of a sampler).
        pair_shift: distinct (row, column) pairs and numbers added to them alone.
    """
    return _MaskedLogSumExp.apply(queries, items, refused, shift, pair_shift)


class _MaskedLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queries, items, refused, shift, pair_shift):
        device = queries.device.type
        narrow = torch.is_autocast_enabled(device)
        ctx.kind = torch.get_autocast_dtype(device) if narrow else queries.dtype
        with torch.autocast(device, enabled=False):
            a, b = queries.to(ctx.kind), items.to(ctx.kind)
            e = (a @ b.T).float()  # (B, C)
        if shift is not None:
            e += shift
        if pair_shift is not None:
            row, column, value = pair_shift
            e[row, column] += value
        e[refused] = -torch.inf
        top = e.amax(1, keepdim=True).clamp(min=-1e30)  # a row that refuses all has none
        e.sub_(top).exp_()
        total = e.sum(1)  # (B,)
        ctx.save_for_backward(a, b, e, total)
        return total.log() + top.squeeze(1)

    @staticmethod
    def backward(ctx, grad):
        a, b, e, total = ctx.saved_tensors
        scale = torch.where(total > 0, grad / total.clamp(min=1e-30), 0.0)
        with torch.autocast(a.device.type, enabled=False):
            share = (e * scale.unsqueeze(1)).to(ctx.kind)  # (B, C)
            return (share @ b).float(), (share.T @ a).float(), None, None, None


def _masked_mean(loss: Tensor, mask: Tensor | None, weights: Tensor | None = None) -> Tensor:
    if mask is None and weights is None:
        return loss.mean()
    counts = torch.ones_like(loss) if mask is None else mask.to(loss.dtype)
    if weights is not None:
        counts = counts * weights.unsqueeze(1)
    total = counts.sum()
    return (loss * counts).sum() / (total if weights is not None else total.clamp(min=1)).clamp(
        min=1e-12
    )
