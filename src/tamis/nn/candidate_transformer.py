"""A transformer over a user's past items and one candidate (BST, Chen et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.nn.layers import linear
from tamis.nn.reproducible import row_softmax
from tamis.nn.sequence import TransformerBlock, TransformerEncoder


class CandidateTransformer(nn.Module):
    """Self-attention over [candidate; past items]; the output is the candidate's state.

    The position of a past item is its distance from the candidate: 1 is the newest item. The last
    block is computed for the candidate alone, unless the states are pooled. With one block the
    states of the past do not depend on the candidate, so a past that n candidates share is encoded
    once.

    Args:
        dim: width of the vectors, a multiple of `heads`.
        longest: maximum length of a past.
        blocks: number of attention and feed-forward pairs, at least 1.
        heads: attention heads.
        hidden: width of the feed-forward layers; None = 4 · dim.
        dropout: dropout rate of each branch, in [0, 1).
        pooled: combine the candidate's state with the mean of all states, through a linear layer.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        dim: int,
        longest: int,
        *,
        blocks: int = 1,
        heads: int = 2,
        hidden: int | None = None,
        dropout: float = 0.0,
        pooled: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if blocks < 1:
            raise ValueError(f"blocks = {blocks}: a transformer needs at least one block")
        self.encoder = TransformerEncoder(
            dim,
            blocks=blocks,
            heads=heads,
            hidden=hidden,
            dropout=dropout,
            causal=False,
            generator=generator,
        )
        position = torch.empty(longest + 1, dim).normal_(0, 0.02, generator=generator)
        self.position = nn.Parameter(position)
        self.both = linear(2 * dim, dim, generator=generator) if pooled else None

    def forward(self, target: Tensor, past: Tensor, real: Tensor) -> Tensor:
        """The candidates' states (B, dim).

        Args:
            target: (B, dim) candidates.
            past: (B or 1, L, dim) past items, oldest first; batch 1 is shared by all candidates.
            real: bool (B or 1, L), False where `past` is padding.
        """
        encoder = self.encoder
        place = real.flip(1).cumsum(1).flip(1) * real  # (B, L): 1 = the newest
        past = encoder.drop(past + self.position[place])
        target = encoder.drop(target + self.position[0])
        *blocks, last = encoder.blocks
        if blocks or self.both is not None:
            # .shape[0]: len() would become a constant in an exported network.
            past = past.expand(target.shape[0], -1, -1)
            real = real.expand(target.shape[0], -1)
            states = torch.cat([target.unsqueeze(1), past], 1)  # (B, 1 + L, dim)
            visible = torch.cat([real.new_ones(real.shape[0], 1), real], 1)
            for block in blocks:
                states = block(states, visible, None)
            if self.both is not None:
                return self._pooled(last(states, visible, None), visible)
            target, past = states[:, 0], states[:, 1:]
        assert isinstance(last, TransformerBlock)
        return encoder.norm(_state_of_one(last, target, past, real))

    def _pooled(self, states: Tensor, visible: Tensor) -> Tensor:
        """(B, dim) of the last block's states (B, 1 + L, dim) and visible places (B, 1 + L)."""
        assert self.both is not None
        states = self.encoder.norm(states).masked_fill(~visible.unsqueeze(2), 0.0)
        mean = states.sum(1) / visible.sum(1, keepdim=True)
        return self.both(torch.cat([states[:, 0], mean], 1))


def _state_of_one(block: TransformerBlock, target: Tensor, past: Tensor, real: Tensor) -> Tensor:
    """(B, dim): a block's output at the candidate's position of [candidate; past]."""
    mixed = _attention_of_one(block, target, past, real)
    target = target + block.drop(block.attention.output(mixed))
    return target + block.drop(block.feed_forward(block.norms[1](target)))


def _attention_of_one(
    block: TransformerBlock, target: Tensor, past: Tensor, real: Tensor
) -> Tensor:
    """(B, dim): the candidate's attention over itself and the past, before the output layer."""
    heads, dim = block.attention.heads, target.shape[1]
    each = dim // heads
    weight, bias = block.attention.inputs.weight, block.attention.inputs.bias
    own = nn.functional.linear(block.norms[0](target), weight, bias)  # (B, 3 · dim)
    q, own_k, own_v = own.view(-1, 3, heads, each).unbind(1)  # each (B, heads, dim / heads)
    q = q * each**-0.5
    others = nn.functional.linear(block.norms[0](past), weight[dim:], bias[dim:])
    split = others.view(*past.shape[:2], 2, heads, each)
    k, v = split.permute(2, 0, 3, 1, 4)  # each (B or 1, heads, L, dim / heads)
    scores = _per_head(q, k.transpose(2, 3)).masked_fill(~real.unsqueeze(1), -torch.inf)
    scores = torch.cat([(q * own_k).sum(2, keepdim=True), scores], 2)  # (B, heads, 1 + L)
    share = row_softmax(scores)
    mixed = share[:, :, :1] * own_v + _per_head(share[:, :, 1:], v)
    return mixed.flatten(1)


def _per_head(x: Tensor, y: Tensor) -> Tensor:
    """(B, heads, n) of x (B, heads, m) and y (B or 1, heads, m, n), head by head."""
    if y.shape[0] == 1:
        return torch.bmm(x.transpose(0, 1), y[0]).transpose(0, 1)
    return torch.matmul(x.unsqueeze(2), y).squeeze(2)
