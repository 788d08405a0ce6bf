"""Encoders of a sequence of vectors (most recent first, padded at the end) into one vector."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.nn.layers import linear
from tamis.nn.sequence import GRUEncoder, TransformerEncoder, last_state, masked_mean

SEQUENCE_ENCODERS = ("cnn", "gru", "lstm", "transformer")
"""Names of the encoders, which a tower's `network` and a feature's `pooling` use."""


class EncoderShape(Protocol):
    """What the encoders read of a tower's shape."""

    @property
    def embedding_dim(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def length(self) -> int: ...
    @property
    def blocks(self) -> int: ...
    @property
    def heads(self) -> int: ...


def sequence_encoder(network: str, shape: EncoderShape, generator: torch.Generator) -> nn.Module:
    """The encoder of the name `network`: `forward(x (B, L, dim), present bool (B, L)) -> (B, dim)`.

    The result does not depend on padding; it is zero for empty sequences.
    """
    dim = shape.embedding_dim
    if network == "cnn":
        return CNNSequenceEncoder(dim, shape.blocks, generator)
    if network == "transformer":
        return TransformerSequenceEncoder(shape, generator)
    return (GRUSequenceEncoder if network == "gru" else LSTMSequenceEncoder)(shape, generator)


class CNNSequenceEncoder(nn.Module):
    """`blocks` convolutions of width 3 with residuals, and max pooling (Shen et al. 2014, CLSM)."""

    def __init__(self, dim: int, blocks: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [linear(3 * dim, dim, generator=generator) for _ in range(blocks)]
        )

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        mask = present.unsqueeze(2)
        x = x * mask
        for layer in self.layers:
            before, after = F.pad(x, (0, 0, 1, 0))[:, :-1], F.pad(x, (0, 0, 0, 1))[:, 1:]
            x = (x + F.relu(layer(torch.cat([before, x, after], 2)))) * mask
        top = x.masked_fill(~mask, -torch.inf).amax(1)
        return torch.where(present.any(1, keepdim=True), top, 0.0)


class GRUSequenceEncoder(nn.Module):
    """The last state of a GRU from the oldest id to the newest."""

    def __init__(self, shape: EncoderShape, generator: torch.Generator) -> None:
        super().__init__()
        self.states = self._encoder(shape, generator)

    @staticmethod
    def _encoder(shape: EncoderShape, generator: torch.Generator) -> nn.Module:
        return GRUEncoder(shape.embedding_dim, generator=generator)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        count = present.sum(1)  # (B,)
        place = torch.arange(x.shape[1], device=x.device)
        oldest_first = (count.unsqueeze(1) - 1 - place).clamp(min=0)  # (B, L)
        x = x.gather(1, oldest_first.unsqueeze(2).expand_as(x))
        return last_state(self.states(x, count), count)


class LSTMSequenceEncoder(GRUSequenceEncoder):
    """The last state of an LSTM from the oldest id to the newest."""

    @staticmethod
    def _encoder(shape: EncoderShape, generator: torch.Generator) -> nn.Module:
        return _LSTM(shape.embedding_dim, generator)


class _LSTM(nn.Module):
    """An LSTM layer whose weights are drawn from the given generator."""

    def __init__(self, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.cell = _UninitialisedLSTM(dim, dim, batch_first=True)
        with torch.no_grad():
            for weight in self.cell.parameters():
                weight.uniform_(-(dim**-0.5), dim**-0.5, generator=generator)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.cell(x)[0]


class _UninitialisedLSTM(nn.LSTM):
    """torch's LSTM without its own initialisation, which would use the global generator."""

    def reset_parameters(self) -> None:
        """Does nothing: `_LSTM` sets the weights."""


class TransformerSequenceEncoder(nn.Module):
    """Bidirectional transformer with mean pooling; positions count from the most recent id."""

    def __init__(self, shape: EncoderShape, generator: torch.Generator) -> None:
        super().__init__()
        dim = shape.embedding_dim
        self.encoder = TransformerEncoder(
            dim,
            blocks=shape.blocks,
            heads=shape.heads if dim % shape.heads == 0 else 1,
            dropout=shape.dropout,
            causal=False,
            positions=max(shape.length, 1),
            generator=generator,
        )

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        count = present.sum(1)
        return masked_mean(self.encoder(x, count), count)
