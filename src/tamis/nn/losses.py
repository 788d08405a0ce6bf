"""Losses as functions of scores; each returns the weighted mean over the labelled entries.

Pointwise and pairwise losses take `(positive, negative, mask)`; listwise ones take a matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tamis.nn.reproducible import total as sum_of


def binary_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted mean cross entropy of logits.

    Args:
        logits: (B, T).
        labels: (B, T) in [0, 1]; entries with NaN are left out.
        weights: (B,) or (B, T); None = equal.

    Zero, with a zero gradient, where no entry has a label.
    """
    known = ~torch.isnan(labels)
    loss = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(0.0), reduction="none")
    weight = known.to(loss.dtype)
    if weights is not None:
        weight = weight * (weights if weights.dim() == labels.dim() else weights.unsqueeze(-1))
    return sum_of(loss * weight) / sum_of(weight).clamp(min=1e-12)


def log_odds_of_product(logits: Tensor) -> Tensor:
    """Log-odds (B,) of the product Π_k σ(z_k), given log-odds z (B, K).

    Accurate for products near 0 and 1: log p = Σ log σ(z_k), and log(1 − p) by `expm1` or `log1p`,
    whichever loses fewer digits (Mächler 2012).
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
    """Mean cross entropy of positives and negatives.

    Args:
        positive: logits (B,).
        negative: logits (B, N).
        mask: (B, N), False = left out; numbers count that many times.
        weights: (B,) weight of each positive together with its negatives.
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
    """BPR: the mean of log(1 + exp(negative − positive)) over pairs; arguments as `pointwise`."""
    return _masked_mean(F.softplus(negative - positive.unsqueeze(1)), mask, weights)


def pairwise_hinge(
    positive: Tensor,
    negative: Tensor,
    mask: Tensor | None = None,
    margin: float = 1.0,
    weights: Tensor | None = None,
) -> Tensor:
    """The mean of max(0, margin + negative − positive) over pairs; arguments as `pointwise`."""
    return _masked_mean(F.relu(margin + negative - positive.unsqueeze(1)), mask, weights)


def gbce_power(negatives: int, items: int, calibration: float = 0.75) -> float:
    """β of the gBCE loss: 1 − t(1 − α), α = negatives / (items − 1) (Petrov & Macdonald 2023).

    Args:
        negatives: sampled negatives per positive.
        items: size of the catalogue.
        calibration: t in [0, 1]; 0 = plain cross entropy, 1 = probabilities unbiased by the
            sampling.
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
    """Generalised cross entropy −β log σ(positive) − Σ log(1 − σ(negative)), averaged as in
    `pointwise` (Petrov & Macdonald 2023, gSASRec).

    The smaller weight of the positive corrects the overconfidence that sampled negatives cause.

    Args:
        positive: logits (n,).
        negative: logits (B, N).
        mask: (B, N), False = left out; numbers count that many times.
        power: β, see `gbce_power`.
        weights: (n,) weight of each positive together with its negatives.
        owner: int64 (n,) row of `negative` of each positive; None = row i for positive i (n = B).
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
        mask: (B, N), False = left out (a positive of the same user).
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
    """Cross entropy of each row's own item, on the diagonal, among the batch's items.

    Args:
        scores: (B, B).
        mask: (B, B), False = not a negative of that row; the diagonal always counts.
        log_q: (B,) log probability that a batch holds each item, subtracted from its column (Yi et
            al. 2019).
    """
    if log_q is not None:
        scores = scores - log_q
    if mask is not None:
        own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        scores = scores.masked_fill(~(mask | own), -torch.inf)
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def full_softmax(scores: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Cross entropy of the target among all items.

    Args:
        scores: (B, I).
        target: int64 (B,) column of each row's target.
        mask: (B, I), False = left out; targets always count.
    """
    if mask is not None:
        keep = mask.scatter(1, target.unsqueeze(1), torch.ones_like(mask[:, :1]))
        scores = scores.masked_fill(~keep, -torch.inf)
    return F.cross_entropy(scores, target)


def group_softmax(
    logits: Tensor, labels: Tensor, groups: Tensor, weights: Tensor | None = None
) -> Tensor:
    """ListNet within groups: −Σ (y/Σy) log softmax, averaged over groups with a positive label.

    With weights ω, labels count as y ω, and a group counts as Σ y ω / Σ y, the mean weight of its
    positives. The weight of a row with y = 0 has no effect.

    Args:
        logits: (B,).
        labels: (B,) ≥ 0; rows with NaN are left out.
        groups: int64 (B,) number (from 0) of each row's list.
        weights: (B,) ≥ 0; None = equal.
    """
    known = ~torch.isnan(labels)
    logits, labels, groups = logits[known], labels[known], groups[known]
    n = int(groups.max()) + 1 if len(groups) else 0
    top = logits.new_full((n,), -torch.inf).scatter_reduce(0, groups, logits.detach(), "amax")
    total = logits.new_zeros(n).index_add(0, groups, (logits - top[groups]).exp())
    log_softmax = logits - top[groups] - total.log()[groups]
    mass = labels.new_zeros(n).index_add(0, groups, labels)
    share = labels / mass[groups].clamp(min=1e-12)
    if weights is None:
        return -sum_of(share * log_softmax) / (mass > 0).sum().clamp(min=1)
    share = share * weights[known]
    return -sum_of(share * log_softmax) / sum_of(share).clamp(min=1e-12)


def masked_logsumexp(
    queries: Tensor,
    items: Tensor,
    excluded: tuple[Tensor, Tensor],
    shift: Tensor | None = None,
    pair_shift: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Tensor:
    """(B,) log Σ_c exp(queries · items_c + shift_c) over the columns c that a row does not exclude.

    The (B, C) matrix is computed once and turned into its gradient in place, at a third of the cost
    of autograd's chain of mask, logsumexp and copies. -inf where all columns are excluded.

    Args:
        queries: (B, dim).
        items: (C, dim).
        excluded: int64 (row, column) pairs that are left out.
        shift: (C,) added to each column, without gradient (−log q of a sampler).
        pair_shift: (row, column, number), added to these distinct pairs only.
    """
    return _MaskedLogSumExp.apply(queries, items, excluded, shift, pair_shift)


class _MaskedLogSumExp(torch.autograd.Function):
    """See `masked_logsumexp`."""

    @staticmethod
    def forward(ctx, queries, items, excluded, shift, pair_shift):
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
        e[excluded] = -torch.inf
        top = e.amax(1, keepdim=True).clamp(min=-1e30)  # a row that excludes all has no maximum
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
    """Mean of (B, N) losses, weighted by `mask` (B, N) and `weights` (B,)."""
    if mask is None and weights is None:
        return sum_of(loss) / loss.numel()
    counts = torch.ones_like(loss) if mask is None else mask.to(loss.dtype)
    if weights is not None:
        counts = counts * weights.unsqueeze(1)
    total = sum_of(counts)
    return sum_of(loss * counts) / (total if weights is not None else total.clamp(min=1)).clamp(
        min=1e-12
    )
