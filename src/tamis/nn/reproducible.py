"""Tensor functions of torch whose rounding depends on the number of threads, computed without that.

On CPUs torch splits these among threads by parts that depend on their number: the gradients of a
softmax and of the gains of a layer normalisation, the statistics of a batch normalisation, and sums
of more than 32,768 numbers to one. Sums over one axis of several do not depend on it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ROW = 1024


def row_softmax(x: Tensor) -> Tensor:
    """Softmax over the last axis."""
    return _Softmax.apply(x) if torch.is_grad_enabled() and x.requires_grad else x.softmax(-1)


def softmax_backward(grad: Tensor, weights: Tensor) -> Tensor:
    """The gradient of the scores, given that of their softmax `weights` over the last axis."""
    return (grad - (weights * grad).sum(-1, keepdim=True)).mul_(weights)


def total(x: Tensor) -> Tensor:
    """The sum of all elements, a scalar."""
    flat = x.reshape(-1)
    whole = len(flat) // _ROW * _ROW
    if whole <= _ROW:
        return flat.sum()
    rows = flat[:whole].view(-1, _ROW).sum(1)
    return total(rows) + flat[whole:].sum()


class LayerNorm(nn.LayerNorm):
    """Layer normalisation."""

    def forward(self, input: Tensor) -> Tensor:  # (…, dim) -> (…, dim)
        if not torch.is_grad_enabled():
            return super().forward(input)
        plain = F.layer_norm(input, self.normalized_shape, eps=self.eps)
        return (plain * self.weight + self.bias).to(plain.dtype)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over all axes but the last.

    A batch of a single row has no variance: it is normalised by the running statistics even in
    training.
    """

    def forward(self, input: Tensor) -> Tensor:  # (…, units) -> (…, units)
        rows = input.reshape(-1, input.shape[-1])
        if not self.training or len(rows) < 2:
            mean, var = self.running_mean, self.running_var
            out = F.batch_norm(rows, mean, var, self.weight, self.bias, eps=self.eps)
            return out.view(input.shape)
        kind = rows.dtype
        rows = rows.to(torch.promote_types(kind, torch.float32))
        mean = rows.mean(0)
        centred = rows - mean
        var = (centred * centred).mean(0)
        self._track(mean.detach(), var.detach() * (len(rows) / (len(rows) - 1)))
        out = centred * torch.rsqrt(var + self.eps)
        if self.affine:
            out = out * self.weight + self.bias
        return out.to(kind).view(input.shape)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor) -> None:
        """Moves the running statistics towards those of a batch, by `momentum`."""
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        for running, now in ((self.running_mean, mean), (self.running_var, var)):
            assert running is not None
            running.lerp_(now.to(running.dtype), self.momentum)


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        weights = x.softmax(-1)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx, grad):
        return softmax_backward(grad, ctx.saved_tensors[0])
