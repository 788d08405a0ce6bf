"""Dense building blocks: MLP, activations, dropout, linear layers, the FM's second-order term."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.nn.reproducible import BatchNorm


class Dice(nn.Module):
    """Data-adaptive activation (Zhou et al. 2018, DIN): `p(x)·x + (1 − p(x))·α·x` with
    `p(x) = σ((x − E[x]) / √(Var[x] + ε))` over the batch; one α per unit, initialised to 0."""

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
"""Name → factory of the activation module, given the number of units."""

GAINS = {"tanh": 5 / 3, "sigmoid": 1.0}
"""Activation → gain of the initial weights (`torch.nn.init.calculate_gain`); √2, that of ReLU, for
all others."""


class MLP(nn.Module):
    """Linear → (batch norm) → activation → (dropout), once per hidden layer; then a linear output.

    Args:
        in_features: width of the input.
        hidden_units: widths of the hidden layers.
        out_features: width of a final linear layer; None = output the last hidden layer.
        dropout: share of hidden values that are dropped in training, in [0, 1).
        activation: a key of `ACTIVATIONS`.
        batch_norm: normalise before each activation.
        generator: source of the initial weights (uniform, as PyTorch's default).
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
        weight: written in place.
        bias: written in place; None = the layer has none.
        in_features: inputs per unit.
        activation: None = PyTorch's default: weights and biases of variance 1 / (3 · in_features).
            A key of `ACTIVATIONS` that follows the layer = weights of variance gain² / in_features
            and biases of zero (He et al. 2015), which keeps the scale of the signal through many
            layers. With PyTorch's default each ReLU layer shrinks it by a factor of √6 but not the
            biases, so the output of a deep network hardly depends on its input.
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
    """A linear layer initialised to zero, for first-order weights of numeric features."""
    layer = _Blank(in_features, out_features, bias=bias)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
    return layer


def linear_of_two(layer: nn.Linear, left: Tensor, right: Tensor) -> Tensor:
    """(B, out): `layer` applied to left (B, a) and right (B, b), without concatenating them."""
    width = left.shape[1]
    first = F.linear(left, layer.weight[:, :width], layer.bias)
    return first + F.linear(right, layer.weight[:, width:])


class _Blank(nn.Linear):
    """nn.Linear without its initialisation, which uses the global random generator."""

    def reset_parameters(self) -> None:
        """Does nothing: `linear` and `zero_linear` fill the weights."""


class ByteDropout(nn.Module):
    """Dropout that draws one random byte per value; on CPUs nn.Dropout draws eight.

    The dropout rate is rounded to a multiple of 1 / 256, and the scaling uses the rounded rate.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.level = round(share * 256)
        """Values are dropped where the random byte is below this number."""

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
    """With the backward pass ∂/∂v_f = Σv − v_f, which takes two kernels; autograd takes eight."""

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
    """Rows of (B, dim) divided by their Euclidean norm; zero rows stay zero."""
    return _UnitRows.apply(x)


class _UnitRows(torch.autograd.Function):
    """With the backward pass (g − y (g · y)) / |x|, with half of autograd's memory reads."""

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
