"""Logistic regression or a shallow network over the stored vectors of a recall channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from tamis.cascade import item_column, user_column
from tamis.features import Batch, Block, Layout, Rows
from tamis.nn import MLP
from tamis.prerank._base import PrerankConfig, Preranker
from tamis.prerank._numpy_layers import NumpyMLP
from tamis.prerank._towers import Units, chunks, compact
from tamis.runtime import Float32
from tamis.schema import ConfigError, TaskConfig
from tamis.train import predict


class StoredConfig(PrerankConfig):
    """Options: the channel whose vectors are read, and the network over them."""

    channel: str = "two_tower"
    """Name in `[cascade.channels]` of a recall channel that has vectors of users and items."""
    hidden_units: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Widths of the hidden layers. Empty: a logistic regression."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    """Learning rate (Adam)."""


class StoredNet(nn.Module):
    """`MLP([u, i, u ⊙ i])`; without hidden layers `w_u · u + w_i · i + Σ w_p (u ⊙ i) + b`."""

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
    """The pre-ranker `stored`: scores with the user's and the item's vectors of a recall channel.

    It reads only the channel's vectors: one for the user at the time of the request, and one per
    item, memory-mapped with the channel. A logistic regression weights their coordinates for each
    task; with `hidden_units` it is a shallow network. Training rows get the vectors of a channel
    that was fitted on earlier data, so that these have not seen the labels, rotated to the axes of
    the version's own channel.

    When to use: where candidates come from several channels of which one has vectors, and features
    are too expensive to compute for all candidates; an improvement on the channel's own score.

    Cost: one gathered vector and d multiplications per candidate and task; training fits the
    channel once more per window where the log holds impressions.

    Source: Covington et al. 2016, Deep Neural Networks for YouTube Recommendations (which
    reuses the candidate generator's vectors); rotation: Schönemann 1966.
    """

    name = "stored"
    Config = StoredConfig
    config: StoredConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._top: NumpyMLP | None = None

    @property
    def vectors_of(self) -> str:
        """Name of the channel whose vectors its rows must contain."""
        return str(self.config.channel)

    def reads(self, layout: Layout) -> set[str]:
        """None of the features: only the channel's vectors, which the cascade adds to the rows."""
        return set()

    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        places = _places(layout, self.vectors_of)
        return StoredNet(places, self.config.hidden_units, n_tasks, generator)

    def fit_rows(
        self, rows: Rows, valid: Rows | None, tasks: Sequence[TaskConfig], context: Any
    ) -> Self:
        """As `Distilled.fit_rows`. Raises ConfigError if the rows lack the channel's vectors."""
        self._top = None
        return super().fit_rows(rows, valid, tasks, context)

    def carried(self, former: Self, rows: Rows) -> Self:
        """As `Estimator.carried`."""
        self._top = None
        return super().carried(former, rows)

    def logits(self, rows: Rows) -> Float32:
        """float32 (n, L); the first layer is split by inputs as in `three_tower`."""
        net, n = self._module(), len(rows)
        assert isinstance(net, StoredNet)
        user, item = (_block(rows, place) for place in net.places)
        if not n or user is None or item is None:
            return predict(net, rows)
        user = compact(user, n)
        if self._top is None:
            self._top = NumpyMLP.of(net.top)
        return _scores(self._top, user, item, n)


def _scores(top: NumpyMLP, user: Block, item: Block, n: int) -> Float32:
    """Logits (n, L) of the users' and the items' vectors, with `W [u, i, u ⊙ i]` computed as
    `W_u u + (W_i + W_p diag(u)) i`."""
    of_user, of_item, of_product = np.split(top.weights[0], 3)
    start = user.dense @ of_user + top.biases[0]  # (Q, units)
    folded = of_item + user.dense.T * of_product if len(user.dense) == 1 else None
    out = np.empty((n, len(top.biases[-1])), np.float32)
    for rows in chunks(n):
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
    """The columns of the user's and of the item's vector among the numbers."""
    columns = {c.name: slice(c.first, c.first + c.width) for c in layout.dense}
    user, item = columns.get(user_column(channel)), columns.get(item_column(channel))
    if user is None or item is None:
        raise ConfigError(
            f"stored: the rows do not contain the vectors of channel {channel!r}; fit it in a "
            "cascade that has this channel (`[cascade.prerank] channel`), not on a data frame"
        )
    return user, item


def _block(rows: Rows, place: slice) -> Block | None:
    """The block that holds exactly these numbers and no ids; None if there is none."""
    first = 0
    for number, (ids, numbers) in enumerate(rows.widths):
        if first == place.start and numbers == place.stop - place.start:
            return None if ids else rows.blocks[number]
        first += numbers
    return None
