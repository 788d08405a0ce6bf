"""A logistic regression or a shallow network over vectors that recall has stored already."""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.cascade import item_column, user_column
from tamis.features import Batch, Block, Layout, Rows
from tamis.nn import MLP
from tamis.prerank._base import PrerankConfig, Preranker
from tamis.prerank._numpy_layers import Layers
from tamis.prerank._towers import Units, compact, spans
from tamis.runtime import Float32
from tamis.schema import ConfigError
from tamis.train import predict


class StoredConfig(PrerankConfig):
    """Whose vectors, and what runs over them."""

    channel: str = "two_tower"
    """The recall channel, by its name in `[cascade.channels]`; any that has vectors of users and
    items."""
    hidden_units: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Widths of the hidden layers; () = a logistic regression."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3


class StoredNet(nn.Module):
    """`MLP([u, i, u ⊙ i])`; without hidden layers a weighted inner product and two appeals."""

    def __init__(
        self, places: tuple[slice, slice], hidden: Units, n_tasks: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.places = places
        self.width = places[0].stop - places[0].start
        self.top = MLP(3 * self.width, hidden, n_tasks, generator=generator)

    def forward(self, batch: Batch) -> Tensor:
        user, item = (batch.dense[:, place] for place in self.places)  # (B, d) each
        return self.top(torch.cat([user, item, user * item], 1))


class Stored(Preranker):
    """Scores by the user's and the item's vectors of a recall channel, which exist already.

    Nothing but the channel's vectors is read: one for the user at the request's moment, one per
    item, memory-mapped with the channel. A logistic regression weighs their coordinates and learns
    each task's rate; `hidden_units` makes it a shallow network. Rows of the past get the vectors of
    a channel that was fitted before them, so that no label has been seen, turned into the axes of
    the version's own channel.

    When to use: where candidates come from several channels and only one has vectors, and features
    are too dear to compute for all of them; a step up from recall's own score.

    Cost: one gathered vector and d multiplications per candidate and task; training fits the
    channel once more per window where the log holds impressions.

    Source: Covington et al. 2016, Deep Neural Networks for YouTube Recommendations (vectors of the
    candidate generator handed on); axes: Schönemann 1966.
    """

    name = "stored"
    Config = StoredConfig
    config: StoredConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._top: Layers | None = None

    @property
    def vectors_of(self) -> str:
        """The channel whose vectors its rows must carry."""
        return str(self.config.channel)

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        places = _places(layout, self.vectors_of)
        return StoredNet(places, self.config.hidden_units, n_tasks, generator)

    def fit_rows(self, rows: Rows, valid: Rows | None, tasks: Any, context: Any) -> Self:
        self._top = None
        return super().fit_rows(rows, valid, tasks, context)

    def logits(self, rows: Rows) -> Float32:
        """(n, L), the first layer split as in `three_tower`."""
        net, n = self._module(), len(rows)
        assert isinstance(net, StoredNet)
        user, item = (_block(rows, place) for place in net.places)
        if not n or user is None or item is None:
            return predict(net, rows)
        user = compact(user, n)
        if self._top is None:
            self._top = Layers.of(net.top)
        return _scores(self._top, user, item, n)


def _scores(top: Layers, user: Block, item: Block, n: int) -> Float32:
    of_user, of_item, of_product = np.split(top.weights[0], 3)
    start = user.dense @ of_user + top.biases[0]  # (Q, units)
    folded = of_item + user.dense.T * of_product if len(user.dense) == 1 else None
    out = np.empty((n, len(top.biases[-1])), np.float32)
    for rows in spans(n):
        at = rows if item.pointer is None else item.pointer[rows]
        vector: Float32 = np.array(item.dense[at], dtype=np.float32)  # (rows, d)
        if folded is not None:
            h = vector @ folded
            h += start
        else:
            query = rows if user.pointer is None else user.pointer[rows]
            h = vector @ of_item
            h += start[query]
            vector *= user.dense[query]
            h += vector @ of_product
        out[rows] = top.after_first(h)
    return out


def _places(layout: Layout, channel: str) -> tuple[slice, slice]:
    """Where the user's and the item's vector stand among the numbers."""
    columns = {c.name: slice(c.first, c.first + c.width) for c in layout.dense}
    user, item = columns.get(user_column(channel)), columns.get(item_column(channel))
    if user is None or item is None:
        raise ConfigError(
            f"stored: the rows do not carry the vectors of channel {channel!r}; it learns in a "
            "cascade that has this channel (`[cascade.prerank] channel`), not on a frame"
        )
    return user, item


def _block(rows: Rows, place: slice) -> Block | None:
    """The block that holds exactly these numbers."""
    first = 0
    for block in rows.blocks:
        if first == place.start and block.dense.shape[1] == place.stop - place.start:
            return None if block.ids.shape[1] else block
        first += block.dense.shape[1]
    return None
