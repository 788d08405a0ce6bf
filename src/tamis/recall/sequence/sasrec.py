"""SASRec: self-attention over what a user did, predicting what comes next."""

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
    """Attention and feed-forward pairs."""
    heads: Annotated[int, Field(ge=1)] = 2
    """Attention heads; embedding_dim is a multiple of it."""
    hidden_units: Annotated[int, Field(ge=1)] | None = None
    """Width of the feed-forward layers; None = 4 · embedding_dim."""
    swiglu: bool = False
    """SwiGLU instead of GELU in the feed-forward layers."""
    gated: bool = False
    """Learned gates on the residual branches."""
    time_aware: bool = False
    """Attention is biased by the time from each event to the moment that is asked about (the next
    event's in training, the query's at serving). Needs true times; figures of such a model do not
    compare with those of models that are not told when the next event happens."""


class SASRec(SequenceChannel):
    """Self-attentive sequential recommendation: the last state meets the items' vectors.

    A causal pre-norm transformer reads a user's positive events in order of time; at every event
    it predicts the next one among all items (full softmax, or sampled with shared negatives and
    log q correction in large catalogues). Windows of like length share a batch, and only real
    positions are scored. It stops by the NDCG@10 of held-out last events: given ones
    (`FitContext.valid`), else those of up to `held_out` users, which are then never trained on
    unless `refit`. The user's vector is computed at request time from the history in the query, by
    the code that trained. A user without a history gets no answer; `time_aware` also uses when the
    query is asked.

    When to use: next clicks and purchases, where order and recency say more than the sum of tastes;
    users with three or more events. Beside itemcf or ease, not instead: it finds other items.
    Cost: fit is epochs × events × items × embedding_dim (seconds to minutes an epoch), memory of
    the item table × 4 (Adam); recall is one small forward pass (about a millisecond) and the index.
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
