"""Feature crosses of bounded degree."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.nn.layers import linear


class VectorCross(nn.Module):
    """The cross network of DCN (Wang et al. 2017): `x_{l+1} = x_0 (w_lᵀ x_l) + b_l + x_l`.

    By induction `x_l = α_l x_0 + β_l` with a scalar α_l per row and a vector β_l that all rows
    share, so that L crosses take one product with all w and L steps on (B,) scalars:
    `α_{l+1} = α_l (1 + w_lᵀ x_0) + w_lᵀ β_l` and `β_{l+1} = β_l + b_l`.

    Args:
        width: width of x.
        layers: number of crosses, at least 1; layer l makes products of degree l + 1.
        generator: source of the initial weights (normal, standard deviation 1 / √width).
    """

    def __init__(
        self, width: int, layers: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        weight = torch.empty(layers, width).normal_(0.0, max(width, 1) ** -0.5, generator=generator)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(layers, width))

    def forward(self, x: Tensor) -> Tensor:  # (B, width) -> (B, width)
        products = (x @ self.weight.T).to(x.dtype)  # (B, layers)
        offsets = self.bias.cumsum(0)  # β_1 …
        shared = torch.linalg.vecdot(self.weight[1:], offsets[:-1])  # w_lᵀ β_l, none for l = 0
        scale = 1 + products[:, 0]
        for layer, offset in enumerate(shared, start=1):
            scale = torch.addcmul(scale + offset, scale, products[:, layer])
        return torch.addcmul(offsets[-1], scale.unsqueeze(1), x)


class MatrixCross(nn.Module):
    """The cross network of DCNv2 (Wang et al. 2021): `x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l`.

    Args:
        width: width of x.
        layers: number of crosses, at least 1; layer l makes products of degree l + 1.
        rank: `W_l = U_l V_lᵀ` with U and V (width, rank); 0 = full matrices.
        generator: source of the initial weights.
    """

    def __init__(
        self, width: int, layers: int, rank: int = 0, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(
            linear(width, rank, bias=False, generator=generator)
            for _ in range(layers if rank else 0)
        )
        """V of each layer."""
        self.wide = nn.ModuleList(
            linear(rank or width, width, generator=generator) for _ in range(layers)
        )
        """W of each layer, or U; with the bias."""

    @property
    def entry(self) -> nn.Linear:
        """The first linear layer that is applied to x_0."""
        layer = (self.narrow or self.wide)[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, x: Tensor, entered: Tensor | None = None) -> Tensor:
        """(B, width) of x_0 (B, width); `entered` is `entry(x_0)`, if it is known already."""
        crossed, narrow = x, self.narrow or [nn.Identity()] * len(self.wide)
        for low, high in zip(narrow, self.wide, strict=True):
            if entered is None:
                h = high(low(crossed))
            else:
                h, entered = high(entered) if self.narrow else entered, None
            crossed = _AddProduct.apply(crossed, x, h)
        return crossed


class _AddProduct(torch.autograd.Function):
    """`a + x ⊙ h`, where h may be of a narrower type.

    Autograd's own backward pass would read the arrays twice as often, and again to convert types.
    """

    @staticmethod
    def forward(ctx, a, x, h):
        ctx.save_for_backward(x, h)
        return torch.addcmul(a, x, h)

    @staticmethod
    def backward(ctx, grad):
        x, h = ctx.saved_tensors
        return grad, grad * h, torch.mul(grad, x, out=torch.empty_like(h))
