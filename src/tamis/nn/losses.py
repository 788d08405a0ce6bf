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


def pointwise(positive: Tensor, negative: Tensor, mask: Tensor | None = None) -> Tensor:
    """Cross entropy of positives (B,) and negatives (B, N); `mask` (B, N) True = counts."""
    loss = F.softplus(-positive).sum()
    each = F.softplus(negative)
    count = negative.numel() if mask is None else mask.sum()
    total = each.sum() if mask is None else (each * mask).sum()
    return (loss + total) / (positive.numel() + count)


def pairwise_logistic(positive: Tensor, negative: Tensor, mask: Tensor | None = None) -> Tensor:
    """BPR, mean of log(1 + exp(negative − positive)) over pairs: (B,), (B, N)."""
    return _masked_mean(F.softplus(negative - positive.unsqueeze(1)), mask)


def pairwise_hinge(
    positive: Tensor, negative: Tensor, mask: Tensor | None = None, margin: float = 1.0
) -> Tensor:
    """Mean of max(0, margin + negative − positive) over pairs: (B,), (B, N)."""
    return _masked_mean(F.relu(margin + negative - positive.unsqueeze(1)), mask)


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


def _masked_mean(loss: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return loss.mean()
    return (loss * mask).sum() / mask.sum().clamp(min=1)
