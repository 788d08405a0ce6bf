"""Target attention (DIN, Zhou et al. 2018): weighs a user's past items by the candidate.

The first layer of the attention network reads [q, k, q − k, q ⊙ k] of the candidate q and a past
item k. Its output, W_q q + W_k k + W_d (q − k) + W_p (q ⊙ k) + b, is a term that depends on the
candidate only plus a matrix of the candidate times k:

    (W_q + W_d) q + b  +  (W_k − W_d + W_p diag(q)) k

so the (B, L, 4 · dim) input is never built and the first layer costs a quarter. Where n candidates
share one past, the roles are exchanged: a matrix of the past times q.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.nn.layers import ACTIVATIONS, linear
from tamis.nn.reproducible import row_softmax, total

_threshold = torch.ops.aten.threshold_backward.grad_input
SPARSE = 0.6
"""Rows are sorted by length where less than this share of the positions is real."""
STEP = 8
"""Lengths are rounded up to a multiple, since oneDNN compiles a kernel for every new shape."""
CHUNK = 2 << 20
"""Bytes of the largest array of a chunk, which should fit the CPU's cache."""


class TargetAttention(nn.Module):
    """The sum of past items, each weighted by a network on [q, k, q − k, q ⊙ k].

    Args:
        dim: width of the vectors.
        hidden_units: widths of the network's hidden layers, at least one.
        activation: a key of `ACTIVATIONS`.
        softmax: normalise the weights of each past to sum 1; otherwise they are the network's
            outputs, as in the paper, whose sum measures the strength of the interest.
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
            raise ValueError(
                "hidden_units is empty: target attention needs at least one hidden layer, "
                "such as (64, 32)"
            )
        widths = [4 * dim, *hidden_units]
        self.softmax = softmax
        self.linears = nn.ModuleList(
            linear(before, after, generator=generator) for before, after in pairwise(widths)
        )
        self.after = nn.ModuleList(ACTIVATIONS[activation](units) for units in hidden_units)
        self.last = linear(widths[-1], 1, generator=generator)
        self._compact = activation == "relu"

    def forward(self, target: Tensor, past: Tensor, real: Tensor) -> Tensor:
        """The weighted sums (B, dim); zero for an empty past.

        Args:
            target: (B, dim) candidates.
            past: (B, L, dim) past items; batch 1 is shared by all candidates.
            real: bool (B, L), False where `past` is padding; batch 1 likewise.
        """
        if not past.shape[1]:
            return torch.zeros_like(target)
        if self._in_chunks(past):
            return self._chunked(target, past, real)
        weight = masked_weights(self.scores(target, past), real, self.softmax)  # (B, L)
        return weighted_sum(weight, past)

    def scores(self, target: Tensor, past: Tensor) -> Tensor:
        """(B, L) weights before masking; arguments as `forward`."""
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
        """(B, L) of candidates (B, dim) that share one past (L, dim).

        The first layer is one product of the candidates with a matrix of the past; the inputs of
        the other layers are two-dimensional, so that inference engines can fuse them.
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
        """Whether `_chunked` applies: one past per candidate, on the CPU, not while compiling."""
        plain = past.device.type != "cpu" or torch.compiler.is_compiling()
        return self._compact and len(past) > 1 and not plain

    def _first(self) -> nn.Linear:
        layer = self.linears[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def _split(self) -> tuple[Tensor, Tensor, Tensor]:
        """First-layer weights, each (dim, H): of the candidate, the past, and their product."""
        by_q, by_k, by_difference, by_product = self._first().weight.T.chunk(4)
        return by_q + by_difference, by_k - by_difference, by_product

    def _chunked(self, target: Tensor, past: Tensor, real: Tensor) -> Tensor:
        """`forward` by `_Chunked`."""
        row, base, product = self._split()
        constant = F.linear(target, row.T, self._first().bias)  # (B, H)
        rest = [w for layer in (*self.linears[1:], self.last) for w in (layer.weight, layer.bias)]
        low = torch.is_autocast_enabled("cpu")
        kind = torch.get_autocast_dtype("cpu") if low else past.dtype
        return _Chunked.apply(
            target, constant.to(past.dtype), past, real, base, product, self.softmax, kind, *rest
        )


def dot_scores(target: Tensor, past: Tensor) -> Tensor:
    """Scaled dot products q · k / √dim: (B, L) of targets (B, dim) and pasts (B or 1, L, dim)."""
    if len(past) == 1:
        return target @ past[0].T * target.shape[1] ** -0.5
    return torch.bmm(past, target.unsqueeze(2)).squeeze(2) * target.shape[1] ** -0.5


def masked_weights(scores: Tensor, real: Tensor, softmax: bool) -> Tensor:
    """(B, L): the scores, or their softmax over the real positions; zero at padding."""
    if not softmax:
        return scores.masked_fill(~real, 0.0)
    if not scores.shape[1]:
        return scores
    shifted = scores.masked_fill(~real, torch.finfo(scores.dtype).min)
    return row_softmax(shifted).masked_fill(~real, 0.0)


def weighted_sum(weight: Tensor, past: Tensor) -> Tensor:
    """Σ_l weight · past: (B, dim) of weights (B, L) and pasts (B or 1, L, dim)."""
    if len(past) == 1:
        return weight @ past[0].to(weight.dtype)
    return torch.bmm(weight.unsqueeze(1), past.to(weight.dtype)).squeeze(1)


class _Chunked(torch.autograd.Function):
    """Scores, mask and weighted sum for chunks of rows of similar length; ReLU hidden layers only.

    Rows are sorted by length and each chunk is as wide as its longest past, so short pasts cost
    little. The backward pass recomputes the hidden layers, which stay in the cache; autograd would
    keep eight arrays as large as the first of them, padding included, in main memory.
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
    """The order in which to process the rows (None = as they are), and (rows, length) of chunks.

    Rows are sorted from the longest past to the shortest where that saves much; rows without a past
    are then in no chunk.

    Args:
        real: bool (B, L).
        dim: width of the vectors.
        place: bytes of the first hidden layer at one position; the matrix of a row, (dim, H), is
            `dim` times as large.
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
    """The rows of x in that order; None = as they are."""
    return x if order is None else x.index_select(0, order)


def _hidden(
    target: Tensor, constant: Tensor, past: Tensor, low: list[Tensor], buffers: list[Tensor]
) -> list[Tensor]:
    """The hidden layers (b · l, H) of a chunk, in `buffers`, which the next chunk reuses."""
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
    """The gradient (b · l, H) before the first ReLU, given that of the scores (b · l, 1).

    Adds the gradients of the weights to `totals`; the next chunk reuses `buffers`.
    """
    by_low = by_score.to(hidden[0].dtype)
    totals[-1] += total(by_score)
    totals[-2] += torch.mm(by_low.T, hidden[-1])
    grad = torch.mul(by_low, low[-2], out=_sized(buffers[-1], hidden[-1].shape))
    for k in range(len(hidden) - 1, 0, -1):
        _threshold(grad, hidden[k], 0, grad_input=grad)
        totals[2 * k] += torch.mm(grad.T, hidden[k - 1])
        totals[2 * k + 1] += grad.sum(0, dtype=totals[0].dtype)
        grad = torch.mm(grad, low[2 * k], out=_sized(buffers[k - 1], hidden[k - 1].shape))
    return _threshold(grad, hidden[0], 0, grad_input=grad)


def _sized(buffer: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The buffer with that shape; it is reallocated only if it is too small."""
    return buffer.resize_(0).resize_(shape)


def _product_backward(
    by_own: Tensor, target: Tensor, product: Tensor, totals: list[Tensor]
) -> Tensor:
    """Backward pass of `own = base + diag(q) product`: returns the gradient of q and adds those of
    `base` and `product` to `totals`."""
    by_dim = by_own.transpose(0, 1)  # (dim, b, H)
    totals[0] += by_own.sum(0, dtype=totals[0].dtype)
    totals[1] += torch.bmm(target.T.unsqueeze(1), by_dim).squeeze(1)
    return torch.bmm(by_dim, product.unsqueeze(2)).squeeze(2).T
