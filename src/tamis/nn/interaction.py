"""Interactions between fields: squeeze-and-excitation and bilinear products (FiBiNET)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from tamis.nn.layers import linear

Interaction = Literal["all", "each", "interaction"]
"""How many matrices a bilinear interaction has: one, one per left field, one per pair."""


class SENet(nn.Module):
    """Field weights by squeeze and excitation (Huang et al. 2019, FiBiNET).

    `a = f(W₂ relu(W₁ z))` with z_f the mean of field f's vector; field f becomes `a_f v_f`.

    Args:
        fields: number of fields F.
        reduction: the hidden layer has ⌈F / reduction⌉ units, at least one.
        activation: f, relu as in FiBiNET or sigmoid as in the original network for images (Hu et
            al. 2018).
        generator: source of the initial weights.
    """

    def __init__(
        self,
        fields: int,
        reduction: int = 3,
        *,
        activation: Literal["relu", "sigmoid"] = "relu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        hidden = max(1, -(-fields // reduction))
        self.squeeze = linear(fields, hidden, bias=False, generator=generator)
        self.excite = linear(hidden, fields, bias=False, generator=generator)

    def forward(self, vectors: Tensor) -> Tensor:  # (B, F, dim) -> (B, F, dim)
        return vectors * self.weights(vectors).unsqueeze(-1)

    def weights(self, vectors: Tensor) -> Tensor:
        """Field weights (B, F) of vectors (B, F, dim)."""
        mean = vectors.mean(-1)  # (B, F)
        excited = self.excite(torch.relu(self.squeeze(mean)))  # (B, F)
        weights = torch.relu(excited) if self.activation == "relu" else torch.sigmoid(excited)
        return weights.to(vectors.dtype)


class Bilinear(nn.Module):
    """Bilinear interaction (Huang et al. 2019): `(v_i W) ⊙ v_j` for every pair of fields i < j.

    Args:
        fields: number of fields F.
        dim: width of the fields' vectors.
        kind: one W for all pairs (`all`), one per field i (`each`), one per pair (`interaction`).
        generator: source of the initial weights.
    """

    def __init__(
        self,
        fields: int,
        dim: int,
        kind: Interaction = "interaction",
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.pairs = kind, fields * (fields - 1) // 2
        matrices = {
            "all": min(self.pairs, 1),
            "each": max(fields - 1, 0),
            "interaction": self.pairs,
        }
        weight = torch.empty(matrices[kind], dim, dim)
        bound = dim**-0.5
        self.weight = nn.Parameter(weight.uniform_(-bound, bound, generator=generator))
        """(matrices, dim, dim)."""

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, P, dim) of (B, F, dim): the P = F(F − 1)/2 pairs (0, 1), (0, 2) … (1, 2) …"""
        b, fields, dim = vectors.shape
        if not self.pairs:
            return vectors.new_zeros(b, 0, dim)
        if self.kind == "all":
            left = vectors[:, :-1] @ self.weight[0]
        elif self.kind == "each":
            left = torch.bmm(vectors[:, :-1].transpose(0, 1), self.weight).transpose(0, 1)
        else:  # all matrices of one left field at once
            shares = self.weight.split([*range(fields - 1, 0, -1)])
            left = torch.cat(
                [vectors[:, i] @ w.transpose(0, 1).flatten(1) for i, w in enumerate(shares)], 1
            ).view(b, self.pairs, dim)
        return pair_products(left.to(vectors.dtype), vectors)


def pair_products(left: Tensor, right: Tensor) -> Tensor:
    """`left_i ⊙ right_j` of every pair of fields i < j: (B, P, dim), in the order of `Bilinear`.

    Args:
        left: (B, F − 1, dim), one vector per field, or (B, P, dim), one per pair.
        right: (B, F, dim).
    """
    fields = right.shape[1]
    if torch.is_grad_enabled() or fields < 2:
        return _PairProducts.apply(left, right)
    # Without gradients: no in-place writes, which the ONNX export of rankers cannot trace.
    pairs = _pairs(fields, per_pair=left.shape[1] == fields * (fields - 1) // 2 != fields - 1)
    return torch.cat([left[:, mine] * right[:, i + 1 :] for i, mine, _ in pairs], 1)


class _PairProducts(torch.autograd.Function):
    """Forward and backward field by field; autograd would make a (B, F, dim) gradient per pair."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        b, fields, dim = right.shape
        out = right.new_empty(b, fields * (fields - 1) // 2, dim)
        for i, mine, others in _pairs(fields, per_pair=left.shape[1] == out.shape[1] != fields - 1):
            torch.mul(left[:, mine], right[:, i + 1 :], out=out[:, others])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        left, right = ctx.saved_tensors
        fields = right.shape[1]
        to_left, to_right = torch.empty_like(left), torch.zeros_like(right)
        per_pair = left.shape[1] == grad.shape[1] != fields - 1
        for i, mine, others in _pairs(fields, per_pair):
            part = grad[:, others]
            to_right[:, i + 1 :].addcmul_(part, left[:, mine])
            if per_pair:
                torch.mul(part, right[:, i + 1 :], out=to_left[:, mine])
            else:
                to_left[:, i] = (part * right[:, i + 1 :]).sum(1)
        return to_left, to_right


def _pairs(fields: int, per_pair: bool) -> list[tuple[int, slice, slice]]:
    """For every left field i: (i, its places in `left`, the places of the pairs (i, j > i))."""
    out: list[tuple[int, slice, slice]] = []
    start = 0
    for i in range(fields - 1):
        pairs = slice(start, start + fields - 1 - i)
        out.append((i, pairs if per_pair else slice(i, i + 1), pairs))
        start = pairs.stop
    return out
