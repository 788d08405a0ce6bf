"""GRU4Rec: a recurrent network over a user's events that predicts the next item."""

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
    """Number of stacked recurrent layers."""
    hidden_units: Annotated[int, Field(ge=1)] | None = None
    """Width of the recurrent states. If omitted: 2 · `embedding_dim`."""


class GRU4Rec(SequenceChannel):
    """Sequential recommendation with a gated recurrent unit (GRU).

    `score(u, i) = cos(h, v_i)`, where h is the state of a GRU after the user's events in order of
    time and v_i the item's vector (with cosine = false: the inner product). Examples, losses, early
    stopping and serving are the same as for `sasrec`.

    When to use: like sasrec, if the newest events decide almost everything (sessions), or if
    requests must be cheaper; sasrec is usually better on longer histories.
    Cost: fit: epochs × events × items × embedding_dim, with four times the memory of the item table
    (Adam). Recall: one small forward pass, sequential over the history, and an index search.
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
