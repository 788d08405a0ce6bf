"""Small dense building blocks: the MLP and the factorisation machine's second order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over all but the last axis; a batch of a single row, which has no
    variance, is normalised by the running statistics, in training too."""

    def forward(self, x: Tensor) -> Tensor:  # (…, units) -> (…, units)
        rows = x.reshape(-1, x.shape[-1])
        if self.training and len(rows) > 1:
            return super().forward(rows).view(x.shape)
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(rows, mean, var, self.weight, self.bias, eps=self.eps).view(x.shape)


class Dice(nn.Module):
    """Data-adaptive activation (Zhou et al. 2018, DIN): `p(x)·x + (1 − p(x))·α·x` with
    `p(x) = σ((x − E[x]) / √(Var[x] + ε))` over the batch, one α per unit, which begins at 0."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.norm = BatchNorm(units, affine=False)
        self.alpha = nn.Parameter(torch.zeros(units))

    def forward(self, x: Tensor) -> Tensor:  # (…, units) -> (…, units)
        p = torch.sigmoid(self.norm(x))
        return x * (p + (1 - p) * self.alpha)


ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "relu": lambda _: nn.ReLU(),
    "prelu": lambda _: nn.PReLU(),
    "dice": Dice,
    "gelu": lambda _: nn.GELU(),
    "sigmoid": lambda _: nn.Sigmoid(),
    "tanh": lambda _: nn.Tanh(),
}
"""Name → a module for hidden layers of so many units."""

GAINS = {"tanh": 5 / 3, "sigmoid": 1.0}
"""Activation → gain of the initial weights (`torch.nn.init.calculate_gain`); √2, that of ReLU, for
all others."""


class MLP(nn.Module):
    """Linear → (batch norm) → activation → (dropout), once per hidden layer; then a linear output.

    Args:
        in_features: width of the input.
        hidden_units: widths of the hidden layers.
        out_features: width of a last plain linear layer; None = the output is the last hidden layer
        dropout: share of hidden values dropped in training, [0, 1).
        activation: a key of `ACTIVATIONS`.
        batch_norm: normalise before each activation.
        generator: source of the initial weights (Kaiming uniform, torch's default law).
    """

    def __init__(
        self,
        in_features: int,
        hidden_units: Sequence[int],
        out_features: int | None = None,
        *,
        dropout: float = 0.0,
        activation: str = "relu",
        batch_norm: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_features
        for units in hidden_units:
            layers.append(linear(width, units, generator=generator))
            if batch_norm:
                layers.append(BatchNorm(units))
            layers.append(ACTIVATIONS[activation](units))
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
            width = units
        if out_features is not None:
            layers.append(linear(width, out_features, generator=generator))
            width = out_features
        self.out_features = width
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:  # (B, in) -> (B, out)
        return self.layers(x)


def linear(
    in_features: int,
    out_features: int,
    *,
    bias: bool = True,
    activation: str | None = None,
    generator: torch.Generator | None = None,
) -> nn.Linear:
    """A linear layer whose initial weights are drawn from `generator`; see `fill_weights`."""
    layer = _Blank(in_features, out_features, bias=bias)
    fill_weights(layer.weight, layer.bias, in_features, activation, generator)
    return layer


@torch.no_grad()
def fill_weights(
    weight: Tensor,
    bias: Tensor | None,
    in_features: int,
    activation: str | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Draws a layer's initial weights from a uniform distribution.

    Args:
        activation: None = torch's default: weights and biases of variance 1 / (3 · in_features).
            A key of `ACTIVATIONS` that follows the layer = weights of variance gain² / in_features
            and biases of zero (He et al. 2015): the signal keeps its scale through many layers.
            With torch's default each ReLU layer shrinks it by a factor of √6, while the biases keep
            theirs, so that the output of a deep network hardly depends on its input.
    """
    fan_in = max(in_features, 1)
    if activation is None:
        bound = fan_in**-0.5
        weight.uniform_(-bound, bound, generator=generator)
        if bias is not None:
            bias.uniform_(-bound, bound, generator=generator)
        return
    bound = GAINS.get(activation, 2**0.5) * (3 / fan_in) ** 0.5
    weight.uniform_(-bound, bound, generator=generator)
    if bias is not None:
        bias.zero_()


def zero_linear(in_features: int, out_features: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer that begins at zero: the first-order weights of numbers."""
    layer = _Blank(in_features, out_features, bias=bias)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
    return layer


def linear_of_two(layer: nn.Linear, left: Tensor, right: Tensor) -> Tensor:
    """(B, out): a layer on [left | right] that are never copied side by side."""
    width = left.shape[1]
    first = F.linear(left, layer.weight[:, :width], layer.bias)
    return first + F.linear(right, layer.weight[:, width:])


class _Blank(nn.Linear):
    """torch's own initialisation would draw from the global generator, and warns of width 0."""

    def reset_parameters(self) -> None:
        """Nothing: `linear` and `zero_linear` fill the weights."""


class ByteDropout(nn.Module):
    """Dropout whose mask costs one random byte a value: torch's own draws eight times as many bits
    on a processor. The share dropped is rounded to 1 / 256, and the scaling follows it."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.level = round(share * 256)
        """Of 256 byte values, those that drop."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.level:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.level / 256)
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self.level
        return x * (kept.to(x.dtype) * (256 / (256 - self.level)))


def fm_second_order(vectors: Tensor) -> Tensor:
    """Sum of all pairwise products, ½[(Σv)² − Σv²] (Rendle 2010): (B, F, dim) → (B,)."""
    return _SecondOrder.apply(vectors)


class _SecondOrder(torch.autograd.Function):
    """Its own backward pass, ∂/∂v_f = Σv − v_f, takes two kernels instead of autograd's eight."""

    @staticmethod
    def forward(ctx, vectors):
        total = vectors.sum(1)  # (B, dim)
        ctx.save_for_backward(vectors, total)
        flat = vectors.flatten(1)  # (B, F · dim)
        return 0.5 * (total.square().sum(1) - torch.linalg.vecdot(flat, flat))

    @staticmethod
    def backward(ctx, grad):
        vectors, total = ctx.saved_tensors
        return (total.unsqueeze(1) - vectors).mul_(grad.view(-1, 1, 1))


def unit_rows(x: Tensor) -> Tensor:
    """Rows of (B, dim) divided by their length; the zero row stays zero."""
    return _UnitRows.apply(x)


class _UnitRows(torch.autograd.Function):
    """Its own backward pass, (g − y (g · y)) / |x|, takes half the passes over (B, dim)."""

    @staticmethod
    def forward(ctx, x):
        inverse = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_(min=1e-12).reciprocal_()
        y = x * inverse
        ctx.save_for_backward(y, inverse)
        return y

    @staticmethod
    def backward(ctx, grad):
        y, inverse = ctx.saved_tensors
        along = torch.linalg.vecdot(grad, y).unsqueeze(1)
        return torch.addcmul(grad, y, along, value=-1).mul_(inverse)
