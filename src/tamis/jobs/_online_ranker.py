"""Learns the vectors of online ids of the ranker from impressions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tamis.bundle import RowChange, VectorChange
from tamis.features import Batch
from tamis.jobs._online_rows import LearningRows
from tamis.runtime import Int32
from tamis.schema import ConfigError, OnlineConfig, Side
from tamis.service import Parts
from tamis.train import Estimator, OnlineRows, TaskObjective


class OnlineRanker:
    """The ranker of an open version; the loss is that of the predictions which it serves.

    Args:
        parts: the version. Rows of the ranker's table change in place.
        options: learning rate and size of a step.
    """

    part = "rank"
    """Name of the ranker in a delta."""

    def __init__(self, parts: Parts, options: OnlineConfig) -> None:
        ranker = parts.rank
        assert isinstance(ranker, Estimator)
        assert ranker.model is not None
        self._parts, self._size = parts, options.batch_size
        self._ranker = ranker
        self.rows = OnlineRows(
            ranker.model,
            ranker.id_table,
            parts.space.online_rows(),
            options.learning_rate,
            options.steadiness,
        )
        self._served = _Served(ranker)
        self._objective = TaskObjective(ranker.heads)

    @staticmethod
    def unable(parts: Parts) -> str | None:
        """Why the ranker of a version cannot learn from events; None: it can."""
        if not parts.space.online_rows().any():
            return (
                "no feature of the version is declared `online`: set online = true at the "
                "[[features]] of users, items and authors, and run `tamis train`"
            )
        if not isinstance(parts.rank, Estimator):
            return (
                f"the ranker {type(parts.rank).__name__} has no embeddings: use a neural ranker, "
                "such as deepfm"
            )
        try:
            _ = parts.rank.id_table
        except ConfigError as error:
            return str(error)
        if not any(b.impression for b in parts.config.behaviours.values()):
            return (
                "the project has no behaviour with impression = true: without impressions nobody "
                "knows what users saw and left; declare one, and let clients send it"
            )
        return None

    def learn(self, rows: LearningRows) -> tuple[int, float]:
        """One step per `batch_size` impressions; how many there were, and the sum of their
        losses."""
        total = 0.0
        targets = self._ranker.heads.targets
        for batch in rows.batches(self._size):
            assert batch.labels is not None
            labels = torch.from_numpy(targets(batch.labels.numpy()))
            known = int((~labels.isnan()).any(1).sum())
            if not known:
                continue
            # The mean over the batch times its size: a row's gradient is the sum over its events.
            batch = Batch(batch.ids, batch.dense, labels)
            loss = self._objective.loss(self._served, batch) * known
            total += self.rows.step(loss, batch.ids.numpy())
        return len(rows), total

    def forget(self, side: Side, ids: tuple[str, ...]) -> Int32:
        """Forgets what was learnt of deleted users or items: their rows (m,), which are returned,
        are as the row of unseen ids from now on."""
        table = self._parts.users if side is Side.USER else self._parts.items
        rows, unseen = self._parts.space.own_rows(side, table, ids)
        self.rows.reset(rows, unseen)
        return rows

    def admit(self, rows: Int32, unseen: Int32) -> None:
        """Rows (m,) get new ids: they begin as the row of unseen ids of their table."""
        self.rows.reset(rows, unseen)

    def change(self) -> RowChange:
        """What has changed since the last call."""
        return RowChange(*self.rows.take_changes())

    def vectors(self, change: RowChange) -> VectorChange | None:
        """None: the ranker has no index of items."""
        del change

    def restore(self, change: RowChange) -> None:
        """Takes over the optimiser's state of rows whose values are in the table already."""
        self.rows.restore(change.rows, change.state)


class _Served(nn.Module):
    """The log-odds that a ranker serves: its logits, moved by corrections and calibration, which
    count as constants."""

    def __init__(self, ranker: Estimator) -> None:
        super().__init__()
        assert ranker.model is not None
        self._network, self._ranker = ranker.model, ranker

    def forward(self, batch: Batch) -> Tensor:
        logits = self._network(batch).float()  # (B, L)
        raw = logits.detach().numpy()
        return logits + torch.from_numpy(self._ranker.log_odds(raw) - raw)
