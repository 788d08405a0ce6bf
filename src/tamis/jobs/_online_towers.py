"""Learns the vectors of online ids of a two-tower channel from positive events."""

from __future__ import annotations

import numpy as np

from tamis.bundle import RowChange, VectorChange
from tamis.cascade import queries_at
from tamis.jobs._online_rows import LearningRows
from tamis.recall import TwoTower, softmax_items
from tamis.runtime import Int32
from tamis.schema import OnlineConfig, Side
from tamis.service import Parts
from tamis.train import OnlineRows


class OnlineTwoTower:
    """A two-tower channel of an open version.

    Args:
        name: of the channel.
        parts: the version. Rows of the channel's table, and the vectors of its items, change.
        options: learning rate and size of a step.
    """

    def __init__(self, name: str, parts: Parts, options: OnlineConfig) -> None:
        self.part = f"channels/{name}"
        """Name of the channel in a delta."""
        channel = parts.channels[name]
        assert isinstance(channel, TwoTower)
        self._parts, self._channel = parts, channel
        self._size, self._seed = options.batch_size, parts.config.seed
        self._towers = channel.towers()
        self.rows = OnlineRows(
            self._towers,
            self._towers.table,
            self._towers.learns,
            options.learning_rate,
            options.steadiness,
        )

    def learn(self, rows: LearningRows) -> tuple[int, float]:
        """One step per `batch_size` positive events of items of the fit; how many there were, and
        the sum of their losses."""
        events, total = rows.actions, 0.0
        n_items = self._channel.vectors_shape[0]
        positive = np.array([b.positive for b in self._parts.config.behaviours.values()])
        used = positive[events.behaviour] & (events.item >= 0) & (events.item < n_items)
        events = events.take(used)
        random = np.random.default_rng([self._seed, rows.until])
        for at in range(0, len(events), self._size):
            batch = events.take(slice(at, at + self._size))
            context = None
            if batch.context is not None:
                context = batch.context.at(np.arange(len(batch)))
            queries = queries_at(self._parts.histories, batch.user, batch.time, context=context)
            among = softmax_items(batch.item, n_items, random)
            given = self._channel.examples(queries, batch.item, self._parts.items, among)
            inputs, items, _ = given
            loss = self._towers.loss(*given)
            read = [inputs[0].reshape(-1), inputs[2].reshape(-1)]
            ids = np.concatenate([*(part.numpy() for part in read), items[0].reshape(-1)])
            total += self.rows.step(loss, ids)
        return len(events), total

    def forget(self, side: Side, ids: tuple[str, ...]) -> Int32:
        """Forgets what was learnt of deleted users or items: their rows (m,), which are returned,
        are as the row of missing ids from now on."""
        table = self._parts.users if side is Side.USER else self._parts.items
        rows, unseen = self._channel.rows_of_ids(side, table, ids)
        self.rows.reset(rows, unseen)
        return rows

    def change(self) -> RowChange:
        """What has changed in the table since the last call; vectors of users and items are made
        again by it."""
        change = RowChange(*self.rows.take_changes())
        self._channel.users_of(change.rows)
        return change

    def vectors(self, change: RowChange) -> VectorChange | None:
        """The items' vectors that change with the table, which the index holds from now on."""
        rows = self._channel.items_of(change.rows)
        if not len(rows):
            return None
        vectors = self._channel.vectors_now(self._parts.items, rows)
        none = np.zeros(len(rows), np.bool_)
        self._channel.take_vectors(rows, vectors, self._parts.items, none)
        return VectorChange(rows, vectors)

    def restore(self, change: RowChange) -> None:
        """Takes over the optimiser's state of rows whose values are in the table already."""
        self.rows.restore(change.rows, change.state)
