"""Target attention (DIN, Zhou et al. 2018): what of a user's past bears on this candidate.

The first layer of the attention's network reads [q, k, q − k, q ⊙ k] of the candidate q and an item
k of the past. Written out, W_q q + W_k k + W_d (q − k) + W_p (q ⊙ k) is a constant of the candidate
plus its own matrix times k:

    (W_q + W_d) q + b  +  (W_k − W_d + W_p diag(q)) k

so the (B, L, 4 · dim) input is never made and the first layer costs a quarter. Where one past meets
n candidates the roles are changed over: one matrix of the past, times q.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.nn.layers import ACTIVATIONS, linear

_threshold = torch.ops.aten.threshold_backward.grad_input
SPARSE = 0.6
"""Rows are sorted by length where less than this share of the places to be computed is real."""
STEP = 8
"""Lengths are rounded up to a multiple: kernels are made anew for every shape."""
CHUNK = 2 << 20
"""Bytes of the largest array made at once: so many stay in the cache."""


class TargetAttention(nn.Module):
    """The past weighed by a network on [q, k, q − k, q ⊙ k], summed.

    Args:
        dim: width of the vectors.
        hidden_units: widths of the network's hidden layers, at least one.
        activation: a key of `ACTIVATIONS`.
        softmax: weights of each past that sum to 1; otherwise raw, as in the paper, so that their
            sum says how much of the past bears on the candidate.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        dim: int,
        hidden_units: Sequence[int] = (64, 32),
        *,
        activation: str = "relu",
        softmax: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not hidden_units:
            raise ValueError("target attention needs at least one hidden layer, (64, 32) say")
        widths = [4 * dim, *hidden_units]
        self.softmax = softmax
        self.linears = nn.ModuleList(
            linear(before, after, generator=generator) for before, after in pairwise(widths)
        )
        self.after = nn.ModuleList(ACTIVATIONS[activation](units) for units in hidden_units)
        self.last = linear(widths[-1], 1, generator=generator)
        self._compact = activation == "relu"

    def forward(self, target: Tensor, past: Tensor, real: Tensor) -> Tensor:
        """(B, dim) of targets (B, dim), pasts (B, L, dim) and which of their places hold one, bool
        (B, L). `past` and `real` of batch 1 are shared by all targets. An empty past gives zero.
        """
        if not past.shape[1]:
            return torch.zeros_like(target)
        if self._in_chunks(past):
            return self._chunked(target, past, real)
        weight = masked_weights(self.scores(target, past), real, self.softmax)  # (B, L)
        return weighted_sum(weight, past)

    def scores(self, target: Tensor, past: Tensor) -> Tensor:
        """(B, L) before masking; `past` may have batch 1."""
        if len(past) == 1:
            return self._scores_by_one(target, past[0])
        row, base, product = self._split()
        constant = F.linear(target, row.T, self._first().bias)  # (B, H)
        own = torch.addcmul(base, target.unsqueeze(2), product)  # (B, dim, H)
        h = torch.baddbmm(constant.unsqueeze(1), past, own)
        for after, layer in zip(self.after, [*self.linears[1:], self.last], strict=True):
            h = layer(after(h))
        return h.squeeze(-1)

    def _scores_by_one(self, target: Tensor, past: Tensor) -> Tensor:
        """(B, L) of one past (L, dim): all of the first layer is one product of the targets with a
        matrix of the past, and the others' inputs are flat, so that an engine fuses what follows.
        """
        row, base, product = self._split()
        length, hidden = past.shape[0], base.shape[1]
        across = torch.addcmul(row.unsqueeze(1), past.T.unsqueeze(2), product.unsqueeze(1))
        constant = torch.addmm(self._first().bias, past, base).view(1, -1)  # (1, L · H)
        h = torch.addmm(constant, target, across.flatten(1))  # (B, L · H)
        first = self.after[0]
        h = first(h).view(-1, hidden) if self._compact else first(h.view(-1, hidden))
        for layer, after in zip(self.linears[1:], self.after[1:], strict=True):
            h = after(layer(h))  # (B · L, H)
        return self.last(h).view(-1, length)

    def _in_chunks(self, past: Tensor) -> bool:
        """One past per target, on a processor, and no tracer at work."""
        plain = past.device.type != "cpu" or torch.compiler.is_compiling()
        return self._compact and len(past) > 1 and not plain

    def _first(self) -> nn.Linear:
        layer = self.linears[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def _split(self) -> tuple[Tensor, Tensor, Tensor]:
        """Each (dim, H): the weights of the candidate, of the past, of their product."""
        by_q, by_k, by_difference, by_product = self._first().weight.T.chunk(4)
        return by_q + by_difference, by_k - by_difference, by_product

    def _chunked(self, target: Tensor, past: Tensor, real: Tensor) -> Tensor:
        row, base, product = self._split()
        constant = F.linear(target, row.T, self._first().bias)  # (B, H)
        rest = [w for layer in (*self.linears[1:], self.last) for w in (layer.weight, layer.bias)]
        low = torch.is_autocast_enabled("cpu")
        kind = torch.get_autocast_dtype("cpu") if low else past.dtype
        return _Chunked.apply(
            target, constant.to(past.dtype), past, real, base, product, self.softmax, kind, *rest
        )


def dot_scores(target: Tensor, past: Tensor) -> Tensor:
    """q · k / √dim: (B, L) of targets (B, dim) and pasts (B or 1, L, dim)."""
    if len(past) == 1:
        return target @ past[0].T * target.shape[1] ** -0.5
    return torch.bmm(past, target.unsqueeze(2)).squeeze(2) * target.shape[1] ** -0.5


def masked_weights(scores: Tensor, real: Tensor, softmax: bool) -> Tensor:
    """(B, L): scores, or their softmax over the real places; zero elsewhere."""
    if not softmax:
        return scores.masked_fill(~real, 0.0)
    if not scores.shape[1]:
        return scores
    shifted = scores.masked_fill(~real, torch.finfo(scores.dtype).min)
    return torch.softmax(shifted, 1).masked_fill(~real, 0.0)


def weighted_sum(weight: Tensor, past: Tensor) -> Tensor:
    """(B, dim) of weights (B, L) and pasts (B or 1, L, dim)."""
    if len(past) == 1:
        return weight @ past[0].to(weight.dtype)
    return torch.bmm(weight.unsqueeze(1), past.to(weight.dtype)).squeeze(1)


class _Chunked(torch.autograd.Function):
    """Scores, mask and weighted sum, some rows of like length at a time; hidden layers with ReLU.

    Rows go by length and each chunk ends with its longest past, so short pasts cost little. The
    backward pass makes the hidden layers anew, in the cache: autograd's would keep eight arrays as
    large as the first of them, padding included, and go over each in main memory.
    """

    @staticmethod
    def forward(ctx, target, constant, past, real, base, product, softmax, kind, *rest):
        low = [x.to(kind).contiguous() for x in (base, product, *rest)]
        widths = [constant.shape[1], *(w.shape[0] for w in rest[:-2:2])]
        order, chunks = _chunks(real, past.shape[2], widths[0] * kind.itemsize)
        target, constant, past, real = (_rows(x, order) for x in (target, constant, past, real))
        out, weights = torch.zeros_like(target), past.new_zeros(real.shape)
        hidden = [torch.empty(0, dtype=kind) for _ in widths]
        for rows, length in chunks:
            q, k, row = target[rows].to(kind), past[rows, :length].to(kind), constant[rows].to(kind)
            mine = _hidden(q, row, k, low, hidden)
            last = (torch.mv(mine[-1], low[-2][0]) + low[-1]).view(-1, length).to(past.dtype)
            weight = masked_weights(last, real[rows, :length], softmax)
            weights[rows, :length] = weight
            out[rows] = torch.bmm(weight.unsqueeze(1).to(kind), k).squeeze(1)
        ctx.softmax, ctx.chunks, ctx.order = softmax, chunks, order
        ctx.save_for_backward(target, constant, past, real, weights, *low)
        return _rows(out, None if order is None else order.argsort())

    @staticmethod
    def backward(ctx, grad):
        target, constant, past, real, weights, *low = ctx.saved_tensors
        grad = _rows(grad, ctx.order)
        by_target, by_past = torch.zeros_like(target), torch.zeros_like(past)
        by_constant = target.new_zeros(len(target), low[0].shape[1])
        totals = [x.new_zeros(x.shape, dtype=past.dtype) for x in low]
        kind, layers = low[0].dtype, len(low) // 2 - 1
        hidden, buffers = ([low[0].new_empty(0) for _ in range(layers)] for _ in range(2))
        for rows, length in ctx.chunks:
            q, k, g = target[rows].to(kind), past[rows, :length].to(kind), grad[rows].to(kind)
            weight = weights[rows, :length]
            by_score = torch.bmm(k, g.unsqueeze(2)).squeeze(2).to(past.dtype)  # (b, l)
            if ctx.softmax:
                by_score -= (weight * by_score).sum(1, keepdim=True)
                by_score *= weight
            by_score.masked_fill_(~real[rows, :length], 0.0)
            mine = _hidden(q, constant[rows].to(kind), k, low, hidden)
            first = _hidden_backward(by_score.view(-1, 1), low, mine, totals, buffers)
            first = first.view(len(k), length, -1)  # (b, l, H)
            by_constant[rows] = first.sum(1, dtype=past.dtype)
            own = torch.addcmul(low[0], q.unsqueeze(2), low[1])  # (b, dim, H)
            direct = torch.bmm(weight.to(kind).unsqueeze(2), g.unsqueeze(1))  # (b, l, dim)
            by_past[rows, :length] = direct.baddbmm_(first, own.transpose(1, 2))
            by_own = torch.bmm(k.transpose(1, 2), first, out=own)
            by_target[rows] = _product_backward(by_own, q, low[1], totals)
        back = None if ctx.order is None else ctx.order.argsort()
        rowwise = (_rows(x, back) for x in (by_target, by_constant, by_past))
        return *rowwise, None, *totals[:2], None, None, *totals[2:]


Chunks = list[tuple[slice, int]]


def _chunks(real: Tensor, dim: int, place: int) -> tuple[Tensor | None, Chunks]:
    """An order of the rows (None = their own), and chunks of them with the length of each.

    Rows go from the longest past to the shortest where that spares much; rows without a past are
    then in no chunk. `place`: bytes of the first hidden layer at one place of a past; a row's own
    weights are `dim` times as large.
    """
    width, b = real.shape[1], len(real)
    lengths = (real * torch.arange(1, width + 1)).amax(1)
    longest = int(lengths.amax()) if lengths.numel() else 0
    sort = int(lengths.sum()) < SPARSE * b * longest
    order = lengths.argsort(descending=True, stable=True) if sort else None
    sizes: list[int] = lengths[order].tolist() if sort else [longest] * b
    start, chunks = 0, []
    while start < b and sizes[start]:
        length = min(-(-sizes[start] // STEP) * STEP, width)
        stop = min(start + max(1, CHUNK // (max(length, dim) * place)), b)
        chunks.append((slice(start, stop), length))
        start = stop
    return order, chunks


def _rows(x: Tensor, order: Tensor | None) -> Tensor:
    return x if order is None else x.index_select(0, order)


def _hidden(
    target: Tensor, constant: Tensor, past: Tensor, low: list[Tensor], buffers: list[Tensor]
) -> list[Tensor]:
    """The hidden layers (b · l, H) of some rows, in `buffers`, which the next rows use again."""
    places = past.shape[0] * past.shape[1]
    widths = [low[0].shape[1], *(w.shape[0] for w in low[2:-2:2])]
    out = [_sized(x, (places, width)) for x, width in zip(buffers, widths, strict=True)]
    own = torch.addcmul(low[0], target.unsqueeze(2), low[1])  # (b, dim, H)
    first = out[0].view(len(past), past.shape[1], -1)
    torch.baddbmm(constant.unsqueeze(1), past, own, out=first)
    out[0].relu_()
    for k, (before, after) in enumerate(pairwise(out), start=1):
        torch.addmm(low[2 * k + 1], before, low[2 * k].T, out=after)
        after.relu_()
    return out


def _hidden_backward(
    by_score: Tensor,
    low: list[Tensor],
    hidden: list[Tensor],
    totals: list[Tensor],
    buffers: list[Tensor],
) -> Tensor:
    """The gradient (b · l, H) before the first ReLU, of that of the scores (b · l, 1).

    Adds to the weights' `totals`; `buffers` are used again by the next chunk.
    """
    by_low = by_score.to(hidden[0].dtype)
    totals[-1] += by_score.sum()
    totals[-2] += torch.mm(by_low.T, hidden[-1])
    grad = torch.mul(by_low, low[-2], out=_sized(buffers[-1], hidden[-1].shape))
    for k in range(len(hidden) - 1, 0, -1):
        _threshold(grad, hidden[k], 0, grad_input=grad)
        totals[2 * k] += torch.mm(grad.T, hidden[k - 1])
        totals[2 * k + 1] += grad.sum(0, dtype=totals[0].dtype)
        grad = torch.mm(grad, low[2 * k], out=_sized(buffers[k - 1], hidden[k - 1].shape))
    return _threshold(grad, hidden[0], 0, grad_input=grad)


def _sized(buffer: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The buffer in that shape, its memory kept where it is large enough."""
    return buffer.resize_(0).resize_(shape)


def _product_backward(
    by_own: Tensor, target: Tensor, product: Tensor, totals: list[Tensor]
) -> Tensor:
    """Of `own = base + diag(q) product`: the gradient of q; adds to `totals` those of the rest."""
    by_dim = by_own.transpose(0, 1)  # (dim, b, H)
    totals[0] += by_own.sum(0, dtype=totals[0].dtype)
    totals[1] += torch.bmm(target.T.unsqueeze(1), by_dim).squeeze(1)
    return torch.bmm(by_dim, product.unsqueeze(2)).squeeze(2).T
