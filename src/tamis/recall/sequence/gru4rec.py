"""GRU4Rec: a recurrent network over what a user did, predicting what comes next."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from tamis.nn import GRUEncoder
from tamis.recall.sequence._channel import SequenceChannel, SequenceSettings


class GRU4RecConfig(SequenceSettings):
    """Options of the GRU4Rec channel."""

    layers: Annotated[int, Field(ge=1, le=16)] = 1
    """Stacked recurrent layers."""
    hidden_units: Annotated[int, Field(ge=1)] | None = None
    """Width of the recurrent states; None = 2 · embedding_dim."""


class GRU4Rec(SequenceChannel):
    """Recurrent sequential recommendation: the last state meets the items' vectors.

    A gated recurrent network reads a user's positive events in order of time; examples, losses,
    stopping and serving are those of `sasrec`, so the two compare.

    When to use: as sasrec, where the newest events decide nearly alone (sessions), or a cheaper
    request is wanted; sasrec is usually better on longer histories.
    Cost: fit is epochs × events × items × embedding_dim, memory of the item table × 4 (Adam);
    recall is one small forward pass, step by step through the history, and the index.
    Source: Hidasi et al. 2016, Session-based Recommendations with Recurrent Neural Networks.
    """

    name = "gru4rec"
    Config = GRU4RecConfig
    config: GRU4RecConfig

    def _encoder(self, dropout: float, generator: torch.Generator) -> nn.Module:
        c = self.config
        return GRUEncoder(
            c.embedding_dim,
            hidden=c.hidden_units or 2 * c.embedding_dim,
            layers=c.layers,
            dropout=dropout,
            generator=generator,
        )
