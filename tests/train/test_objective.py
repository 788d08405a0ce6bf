"""A model may bring a loss of its own: the fit minimises what `objective()` returns."""

import numpy as np
import pytest
import torch

from tamis.features import Block, IdColumn, Layout, Rows, TableRange
from tamis.rank import DNN
from tamis.schema import Side, TaskConfig
from tamis.train import Objective, TaskObjective

LAYOUT = Layout((TableRange("user", 0, 12),), (IdColumn("user", Side.USER, "user", 0),), ())


class Quantile(TaskObjective):
    """The pinball loss of the standardised target: the upper quartile in place of the mean."""

    def loss(self, model, batch):
        error = batch.labels - model(batch)
        return torch.maximum(0.75 * error, -0.25 * error).mean()


class QuantileDNN(DNN):
    def objective(self) -> Objective:
        return Quantile(self.heads)


def test_the_fit_minimises_the_loss_of_its_own():
    """Of labels 0 (70 %) and 10 (30 %), the mean is 3 and the upper quartile is 10."""
    n, random = 2_000, np.random.default_rng(0)
    ids = random.integers(2, 12, (n, 1)).astype(np.int32)
    labels = np.where(random.random((n, 1)) < 0.3, 10, 0).astype(np.float32)
    rows = Rows(LAYOUT, [Block(ids, np.zeros((n, 0), np.float32))], n, labels)
    found = {}
    for kind in (DNN, QuantileDNN):
        model = kind(hidden_units=(8,), batch_size=64, threads=1, epochs=12, learning_rate=0.02,
                     embedding_learning_rate=0.02)  # fmt: skip
        model.fit(rows, tasks=[TaskConfig(name="label", kind="regression")])
        found[kind] = model.probabilities(rows).mean()
    assert found[DNN] == pytest.approx(3, abs=0.7)
    assert found[QuantileDNN] == pytest.approx(10, abs=1)
