"""Sequence encoders: vectors (B, L, dim) of a user's events, oldest first → states (B, L, dim).

Every encoder takes the lengths of the rows. Neither the values nor the amount of padding affects
the output; states of padding and pooled states of empty sequences are zero.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.nn.attention import TIME_BUCKETS, SelfAttention, time_buckets
from tamis.nn.layers import ByteDropout, linear
from tamis.nn.reproducible import LayerNorm

Padding = Literal["right", "left"]


class FeedForward(nn.Module):
    """Position-wise layer: linear → GELU → linear, or SwiGLU: (Swish(xW) ⊙ xV)U (Shazeer 2020)."""

    def __init__(
        self, dim: int, hidden: int, swiglu: bool, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        self.swiglu = swiglu
        self.inner = linear(dim, 2 * hidden if swiglu else hidden, generator=generator)
        self.outer = linear(hidden, dim, generator=generator)

    def forward(self, x: Tensor) -> Tensor:  # (…, dim) -> (…, dim)
        h = self.inner(x)
        if self.swiglu:
            gate, value = h.chunk(2, -1)
            return self.outer(F.silu(gate) * value)
        return self.outer(F.gelu(h))


class TransformerBlock(nn.Module):
    """A pre-norm transformer block: x + attention(norm(x)), then x + feed-forward(norm(x)).

    With gated residuals each branch is multiplied by σ(g), with a learned g per dimension that
    starts at σ(g) = 0.5.
    """

    def __init__(
        self,
        attention: SelfAttention,
        feed_forward: FeedForward,
        dim: int,
        dropout: float,
        gated: bool,
    ) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward
        self.norms = nn.ModuleList([LayerNorm(dim), LayerNorm(dim)])
        self.gates = nn.Parameter(torch.zeros(2, dim)) if gated else None
        self.drop = ByteDropout(dropout)

    def forward(self, x: Tensor, visible: Tensor | None, buckets: Tensor | None) -> Tensor:
        x = x + self._gate(0, self.drop(self.attention(self.norms[0](x), visible, buckets)))
        return x + self._gate(1, self.drop(self.feed_forward(self.norms[1](x))))

    def _gate(self, branch: int, x: Tensor) -> Tensor:
        return x if self.gates is None else x * torch.sigmoid(self.gates[branch])


class TransformerEncoder(nn.Module):
    """Pre-norm transformer over the real positions of padded sequences.

    Args:
        dim: width of the vectors.
        blocks: number of attention and feed-forward pairs; 0 = only positions, dropout and norm.
        heads: attention heads; `dim` must be a multiple.
        hidden: width of the feed-forward layer; None = 4 · dim.
        dropout: dropout rate of the input and of each branch, in [0, 1).
        causal: position t attends to positions up to t; otherwise to the whole sequence.
        positions: maximum sequence length for learned position vectors, counted from the start;
            0 = none, so that order is known from causality and time only.
        swiglu: SwiGLU instead of GELU in the feed-forward layer.
        gated: gated residuals.
        time_bias: adds a learned attention bias by the time from each event to the query time of
            the position, and a learned vector by the time since the position's own event. The query
            time of a position may be the time of the next event, if it is known when serving.
        last_norm: whether a layer norm follows the last block; not needed for cosine scores.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        dim: int,
        *,
        blocks: int = 2,
        heads: int = 2,
        hidden: int | None = None,
        dropout: float = 0.0,
        causal: bool = True,
        positions: int = 0,
        swiglu: bool = False,
        gated: bool = False,
        time_bias: bool = False,
        last_norm: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.causal, self.time_bias = causal, time_bias
        self.positions = LearnedPositions(positions, dim, generator) if positions else None
        self.gap = nn.Parameter(torch.zeros(TIME_BUCKETS, dim)) if time_bias else None
        self.drop = ByteDropout(dropout)
        self.blocks = nn.ModuleList()
        for _ in range(blocks):
            attention = SelfAttention(
                dim, heads, causal=causal, time_bias=time_bias, generator=generator
            )
            forward = FeedForward(dim, hidden or 4 * dim, swiglu, generator)
            self.blocks.append(TransformerBlock(attention, forward, dim, dropout, gated))
        self.norm = LayerNorm(dim) if last_norm else nn.Identity()

    def forward(
        self,
        x: Tensor,
        lengths: Tensor,
        times: Tensor | None = None,
        query_time: Tensor | None = None,
        *,
        padding: Padding = "right",
    ) -> Tensor:
        """States (B, L, dim) of vectors (B, L, dim); zero where padded.

        Args:
            x: vectors of the events.
            lengths: int64 (B,) number of real positions of each row, 0 … L.
            times: int64 (B, L) ms of the events; needed with `time_bias`.
            query_time: int64 (B, L) ms at which each position's state is used, or (B,) for all
                positions; needed with `time_bias`.
            padding: the side of a row on which the padding is.

        Raises ValueError where times are missing or a row is longer than `positions`.
        """
        if padding == "left":
            return self._left(x, lengths, times, query_time)
        real = real_positions(lengths, x.shape[1])  # (B, L)
        h = x.masked_fill(~real.unsqueeze(-1), 0.0)
        if self.positions is not None:
            h = self.positions(h, lengths)
        buckets = None
        if self.time_bias:
            if times is None or query_time is None:
                raise ValueError(
                    "an encoder with time_bias needs `times` and `query_time`; pass both"
                )
            query_time = (
                query_time.unsqueeze(1).expand_as(times) if query_time.dim() == 1 else query_time
            )
            times, query_time = (t.masked_fill(~real, 0) for t in (times, query_time))
            gap = time_buckets(query_time, times)  # (B, L)
            h = h + self.gap.index_select(0, gap.reshape(-1)).view(h.shape)  # type: ignore[union-attr]  # a Parameter with time_bias
            buckets = time_buckets(query_time.unsqueeze(2), times.unsqueeze(1))  # (B, L, L)
        h = self.drop(h)
        visible = None
        if (
            not self.causal
        ):  # right padding comes after all real positions: the causal mask hides it
            visible = real | (
                torch.arange(x.shape[1], device=x.device) == 0
            )  # avoids an empty softmax
        for block in self.blocks:
            h = block(h, visible, buckets)
        return self.norm(h).masked_fill(~real.unsqueeze(-1), 0.0)

    def _left(
        self, x: Tensor, lengths: Tensor, times: Tensor | None, query_time: Tensor | None
    ) -> Tensor:
        shift = x.shape[1] - lengths
        moved = [t if t is None or t.dim() == 1 else rolled(t, shift) for t in (times, query_time)]
        return rolled(self.forward(rolled(x, shift), lengths, *moved), -shift)


class GRUEncoder(nn.Module):
    """Stacked gated recurrent units (Cho et al. 2014); states depend on earlier positions only.

    Args:
        dim: width of the input.
        hidden: width of the recurrent states, which a linear layer maps to `dim`; None = dim.
        layers: number of stacked units.
        dropout: dropout rate of the input and of the states, in [0, 1).
        generator: source of the initial weights.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: int | None = None,
        layers: int = 1,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        hidden = hidden or dim
        self.gru = _BlankGRU(dim, hidden, layers, batch_first=True)
        with torch.no_grad():
            for weight in self.gru.parameters():
                weight.uniform_(-(hidden**-0.5), hidden**-0.5, generator=generator)
        self.output = linear(hidden, dim, generator=generator)
        self.drop = ByteDropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor, *, padding: Padding = "right") -> Tensor:
        """States (B, L, dim) of vectors (B, L, dim); zero where padded. lengths: int64 (B,)."""
        if padding == "left":
            shift = x.shape[1] - lengths
            return rolled(self.forward(rolled(x, shift), lengths), -shift)
        real = real_positions(lengths, x.shape[1]).unsqueeze(-1)  # (B, L, 1)
        if not x.numel():
            return torch.zeros_like(x)
        states, _ = self.gru(self.drop(x.masked_fill(~real, 0.0)))
        return self.output(self.drop(states)).masked_fill(~real, 0.0)


class _BlankGRU(nn.GRU):
    """nn.GRU without its initialisation, which draws from the global generator."""

    def reset_parameters(self) -> None:
        """Does nothing: `GRUEncoder` fills the weights."""


class LearnedPositions(nn.Module):
    """Adds a learned vector per position, counted from the start of the row.

    Raises ValueError for a row with more than `longest` positions.
    """

    def __init__(self, longest: int, dim: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(longest, dim).normal_(0, 0.02, generator=generator))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:  # (B, L, dim), (B,) -> (B, L, dim)
        longest, width = len(self.weight), x.shape[1]
        if len(lengths) and int(lengths.max()) > longest:
            raise ValueError(
                f"a row has {int(lengths.max())} positions, but only {longest} have a vector; "
                "truncate the rows, or build the encoder for longer ones"
            )
        if width <= longest:
            return x + self.weight[:width]
        return x + F.pad(self.weight, (0, 0, 0, width - longest))


def real_positions(lengths: Tensor, width: int) -> Tensor:
    """bool (B, width): True at the first `lengths` positions of each row."""
    return torch.arange(width, device=lengths.device) < lengths.unsqueeze(1)


def last_state(states: Tensor, lengths: Tensor) -> Tensor:
    """(B, dim): the state of each right-padded row's last real position; zero for empty rows."""
    if not states.shape[1]:
        return states.new_zeros(len(states), states.shape[2])
    at = (lengths - 1).clamp(min=0)
    last = states[torch.arange(len(states), device=states.device), at]
    return last.masked_fill((lengths == 0).unsqueeze(1), 0.0)


def masked_mean(states: Tensor, lengths: Tensor) -> Tensor:
    """(B, dim): the mean of each right-padded row's real positions; zero for empty rows."""
    real = real_positions(lengths, states.shape[1]).unsqueeze(-1)
    total = states.masked_fill(~real, 0.0).sum(1)
    return total / lengths.clamp(min=1).unsqueeze(1)


def rolled(x: Tensor, shift: Tensor) -> Tensor:
    """Each row of (B, L, …) rotated by `shift` (B,) positions towards the front."""
    if not x.shape[1]:
        return x
    place = torch.arange(x.shape[1], device=x.device)
    at = (place + shift.unsqueeze(1)) % x.shape[1]  # (B, L)
    return x[torch.arange(len(x), device=x.device).unsqueeze(1), at]
