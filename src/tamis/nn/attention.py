"""Self-attention over padded sequences, with an optional bias by the time between positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.nn.layers import linear
from tamis.nn.reproducible import softmax_backward

TIME_BUCKETS = 64
TIME_RATIO = 0.301
"""Bucket of a gap of s seconds: ⌊ln(1 + s) / TIME_RATIO⌋; the last one is open (above 5 years)."""


class SelfAttention(nn.Module):
    """Scaled dot-product attention of several heads (Vaswani et al. 2017).

    Args:
        dim: width of the states, a multiple of `heads`.
        heads: attention heads.
        causal: a position attends to itself and earlier ones; otherwise to its whole sequence.
        time_bias: adds a learned bias per head and bucket of elapsed time to the scores.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        causal: bool = True,
        time_bias: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(
                f"{heads} heads cannot split a width of {dim}: make dim a multiple of heads"
            )
        self.heads, self.causal = heads, causal
        self.inputs = linear(dim, 3 * dim, generator=generator)
        self.output = linear(dim, dim, generator=generator)
        self.time_bias = nn.Parameter(torch.zeros(TIME_BUCKETS, heads)) if time_bias else None

    def forward(
        self, x: Tensor, visible: Tensor | None = None, buckets: Tensor | None = None
    ) -> Tensor:
        """(B, L, dim) -> (B, L, dim).

        Args:
            x: states.
            visible: bool (B, L) keys that may be attended to; None = all, which for causal
                attention over right-padded rows gives the same result and is faster.
            buckets: int64 (B, L, L) of `time_buckets`; needed with `time_bias`.

        Raises ValueError where `time_bias` is set and `buckets` are missing.
        """
        b, length, dim = x.shape
        shape = (b, length, 3, self.heads, dim // self.heads)
        q, k, v = self.inputs(x).view(shape).permute(2, 0, 3, 1, 4)  # each (B, H, L, dim / H)
        if x.device.type != "cpu" and self.time_bias is None:
            mask = None if visible is None else self._mask(visible)
            causal = self.causal and mask is None and length > 1
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        else:
            bias = self._bias(length, q, visible, buckets)
            flat = (y.flatten(0, 1) for y in (q, k, v))
            mixed = _Attention.apply(*flat, bias).view(q.shape)
        return self.output(mixed.transpose(1, 2).reshape(b, length, dim))

    def _mask(self, visible: Tensor) -> Tensor:
        """bool (B, 1, L, L): whether the query (axis 2) may attend to the key (axis 3)."""
        mask = visible[:, None, None, :]
        return mask & causal_mask(visible.shape[1], visible.device) if self.causal else mask

    def _bias(
        self, length: int, like: Tensor, visible: Tensor | None, buckets: Tensor | None
    ) -> Tensor:
        """(1 or B · H, L, L) added to the scores: the time bias, and -inf where masked."""
        bias = like.new_zeros(1, 1, length, length)
        if self.time_bias is not None:
            if buckets is None:
                raise ValueError(
                    "attention with a time bias needs `buckets`; make them with time_buckets"
                )
            bias = _Lookup.apply(self.time_bias.to(like.dtype), buckets)
        if visible is not None:
            bias = bias.masked_fill(~self._mask(visible), -torch.inf)
        elif self.causal:
            bias = bias.masked_fill(~causal_mask(length, like.device), -torch.inf)
        if bias.shape[0] > 1 or bias.shape[1] > 1:
            bias = bias.expand(like.shape[0], self.heads, length, length)
        return bias.flatten(0, 1)


class _Attention(torch.autograd.Function):
    """softmax(q kᵀ / √d + bias) v, whose weights are kept for the backward pass.

    On CPUs both passes together are two to five times as fast as with the fused kernel, which
    recomputes the weights.
    """

    @staticmethod
    def forward(ctx, q, k, v, bias):
        ctx.scale = q.shape[2] ** -0.5
        weights = torch.softmax(torch.baddbmm(bias, q, k.transpose(1, 2), alpha=ctx.scale), -1)
        ctx.save_for_backward(q, k, v, weights)
        ctx.own_bias = bias.shape[0] == q.shape[0]
        return torch.bmm(weights, v)

    @staticmethod
    def backward(ctx, grad):
        q, k, v, weights = ctx.saved_tensors
        by_weight = torch.bmm(grad, v.transpose(1, 2))
        by_score = softmax_backward(by_weight, weights)
        by_q = torch.bmm(by_score, k).mul_(ctx.scale)
        by_k = torch.bmm(by_score.transpose(1, 2), q).mul_(ctx.scale)
        by_bias = None
        if ctx.needs_input_grad[3]:
            by_bias = by_score if ctx.own_bias else by_score.sum(0, keepdim=True)
        return by_q, by_k, torch.bmm(weights.transpose(1, 2), grad), by_bias


class _Lookup(torch.autograd.Function):
    """Values (B, H, L, L) of buckets (B, L, L), from a table (buckets, H).

    The backward pass sums many positions into few buckets, which is slow with nn.Embedding.
    """

    @staticmethod
    def forward(ctx, table, buckets):
        ctx.save_for_backward(buckets)
        ctx.size, ctx.kind = len(table), table.dtype
        flat = buckets.reshape(-1)
        each = [row.index_select(0, flat).view(buckets.shape) for row in table.T.contiguous()]
        return torch.stack(each, 1)

    @staticmethod
    def backward(ctx, grad):
        (buckets,) = ctx.saved_tensors
        flat = buckets.reshape(-1)
        sums = [
            grad.new_zeros(ctx.size, dtype=torch.float32).scatter_add_(
                0, flat, grad[:, head].reshape(-1).float()
            )
            for head in range(grad.shape[1])
        ]
        return torch.stack(sums, 1).to(ctx.kind), None


def causal_mask(length: int, device: torch.device | str = "cpu") -> Tensor:
    """bool (L, L), True where the key (last axis) is not after the query."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def time_buckets(query_time: Tensor, times: Tensor) -> Tensor:
    """Logarithmic buckets, int64 (…), of the time from `times` to `query_time`.

    Both are int64 (…) in ms and broadcast; times after `query_time` are in bucket 0. See
    `TIME_RATIO`.
    """
    seconds = (query_time - times).clamp(min=0).to(torch.float32) / 1000
    return (torch.log1p(seconds) / TIME_RATIO).long().clamp(max=TIME_BUCKETS - 1)
