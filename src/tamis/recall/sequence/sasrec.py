"""SASRec: self-attention over a user's events that predicts the next item."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from tamis.nn import TransformerEncoder
from tamis.recall.sequence._channel import SequenceChannel, SequenceSettings


class SASRecConfig(SequenceSettings):
    """Options of the SASRec channel."""

    blocks: Annotated[int, Field(ge=1, le=64)] = 2
    """Number of blocks of attention and feed-forward layer."""
    heads: Annotated[int, Field(ge=1)] = 2
    """Number of attention heads; `embedding_dim` must be a multiple of it."""
    hidden_units: Annotated[int, Field(ge=1)] | None = None
    """Width of the feed-forward layers. If omitted: 4 · `embedding_dim`."""
    swiglu: bool = False
    """Whether the feed-forward layers use SwiGLU instead of GELU."""
    gated: bool = False
    """Whether the residual branches have learned gates."""
    time_aware: bool = False
    """Whether attention is biased by the time from each event to the moment of the prediction (the
    next event's time in training, the query's when serving). Requires real times. Metrics are not
    comparable with those of models that do not know when the next event happens."""


class SASRec(SequenceChannel):
    """Self-attentive sequential recommendation.

    `score(u, i) = cos(h, v_i)`, where h is the last state of a causal pre-norm transformer over the
    user's events in order of time and v_i the item's vector (with cosine = false: the inner
    product). Training predicts the next item at every event, by a full softmax or, with many items,
    a softmax over shared negatives with logQ correction. The fit stops by the NDCG@10 of held-out
    events: those of `FitContext.valid` if given, else the last events of up to `held_out` users,
    which are then not trained on unless `refit` is set. The user's vector is computed at request
    time from the history in the query. Users without a history get nothing.

    When to use: for next clicks and purchases, if order and recency matter and users have at least
    three events. In addition to itemcf or ease rather than instead of them: it recalls other items.
    Cost: fit: epochs × events × items × embedding_dim (seconds to minutes per epoch), with four
    times the memory of the item table (Adam). Recall: one small forward pass (about a millisecond)
    and an index search.
    Source: Kang and McAuley 2018, Self-Attentive Sequential Recommendation; the full softmax from
    Klenitskiy and Vasilev 2023, Turning Dross Into Gold Loss.
    """

    name = "sasrec"
    Config = SASRecConfig
    config: SASRecConfig

    def _encoder(self, dropout: float, generator: torch.Generator) -> nn.Module:
        c = self.config
        return TransformerEncoder(
            c.embedding_dim,
            blocks=c.blocks,
            heads=c.heads,
            hidden=c.hidden_units,
            dropout=dropout,
            positions=c.history,
            swiglu=c.swiglu,
            gated=c.gated,
            time_bias=c.time_aware,
            last_norm=not c.cosine,
            generator=generator,
        )
