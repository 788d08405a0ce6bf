"""What a fit minimises and by what it stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tamis.features import Batch, Rows
from tamis.nn import binary_cross_entropy, group_softmax
from tamis.schema import TrainingError
from tamis.train.metrics import auc

Metric = Callable[[NDArray[np.float32], Rows], float]
"""(predictions (n, T) as probabilities, the validation rows) → a number, higher is better."""


class Objective(Protocol):
    """A loss over batches, and metrics over validation rows."""

    @property
    def by_group(self) -> bool:
        """Batches hold whole groups (`Rows.groups`)."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The scalar to minimise."""
        ...

    def evaluate(self, model: nn.Module, valid: Any, device: torch.device) -> dict[str, float]:
        """Validation metrics; the first one decides (higher is better)."""
        ...


@dataclass(frozen=True)
class BinaryTasks:
    """T binary tasks on a model whose forward gives logits (B, T); NaN labels do not count.

    `loss="bce"` is cross entropy per row; `loss="listwise"` a softmax within `Rows.groups`, which
    orders but does not calibrate; `loss="both"` is their sum.
    """

    names: Sequence[str] = ("label",)
    weights: Sequence[float] | None = None
    """Of the tasks in the loss; None = equal."""
    kind: Literal["bce", "listwise", "both"] = "bce"
    metric: Metric | None = None
    """Decides when to stop; None = the mean AUC over tasks."""
    metric_name: str = "metric"

    @property
    def by_group(self) -> bool:
        return self.kind != "bce"

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        if batch.labels is None:
            raise TrainingError("the rows to train on have no labels; give `labels` to their Rows")
        logits = model(batch).float()  # (B, T)
        total = logits.new_zeros(())
        if self.kind != "listwise":
            total = total + self._cross_entropy(logits, batch.labels, batch.weights)
        if self.kind != "bce":
            total = total + self._listwise(logits, batch)
        return total

    def evaluate(self, model: nn.Module, valid: Rows, device: torch.device) -> dict[str, float]:
        from tamis.train.loop import predict

        logits = torch.from_numpy(predict(model, valid, device=device))
        scores = torch.sigmoid(logits).numpy()
        metrics = {} if self.metric is None else {self.metric_name: self.metric(scores, valid)}
        assert valid.labels is not None
        each = [auc(valid.labels[:, t], scores[:, t]) for t in range(len(self.names))]
        known = [a for a in each if not np.isnan(a)]
        metrics["auc"] = float(np.mean(known)) if known else float("nan")
        if len(self.names) > 1:
            metrics |= {f"auc:{name}": a for name, a in zip(self.names, each, strict=True)}
        return metrics

    def _cross_entropy(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        if self.weights is None:
            return binary_cross_entropy(logits, labels, weights)
        return sum(
            (
                share * binary_cross_entropy(logits[:, t], labels[:, t], weights)
                for t, share in enumerate(self.weights)
            ),
            start=logits.new_zeros(()),
        )

    def _listwise(self, logits: Tensor, batch: Batch) -> Tensor:
        if batch.groups is None or batch.labels is None:
            raise TrainingError("a listwise loss needs `groups` in the Rows: each row's request")
        _, group = torch.unique(batch.groups, return_inverse=True)
        shares = self.weights or [1.0] * len(self.names)
        return sum(
            (
                share * group_softmax(logits[:, t], batch.labels[:, t], group)
                for t, share in enumerate(shares)
            ),
            start=logits.new_zeros(()),
        )
