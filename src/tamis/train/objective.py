"""What a fit minimises and by what it stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.features import Batch, Rows
from tamis.nn import group_softmax, log_odds_of_product
from tamis.schema import ConfigError, TaskConfig, TrainingError
from tamis.train.metrics import auc, xauc
from tamis.train.tasks import Heads

Metric = Callable[[NDArray[np.float32], Rows], float]
"""(predictions (n, T) in the terms of the labels, the validation rows) → higher is better."""


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
class TaskObjective:
    """The loss of all tasks on a model whose forward gives logits (B, L); batches bring the targets
    (B, T) that `Heads.targets` makes of labels, NaN = does not count.

    Σ_t w_t Σ_i ω_i ℓ_t(i) over the labels of the task that has most: a label of a rare task weighs
    as much as one of a frequent task, times the task's weight w and the row's ω.

    `kind="bce"` is each task's own loss per row; `kind="listwise"` a softmax within `Rows.groups`,
    which orders but does not calibrate; `kind="both"` is their sum.
    """

    heads: Heads
    kind: Literal["bce", "listwise", "both"] = "bce"
    metric: Metric | None = None
    """Decides when to stop; None = the mean over tasks of AUC, or of XAUC where labels are numbers.
    """
    metric_name: str = "metric"

    @property
    def by_group(self) -> bool:
        return self.kind != "bce"

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        if batch.labels is None:
            raise TrainingError("the rows to train on have no labels; give `labels` to their Rows")
        logits = model(batch).float()  # (B, L)
        total = logits.new_zeros(())
        if self.kind != "listwise":
            total = total + self._pointwise(logits, batch.labels, batch.weights)
        if self.kind != "bce":
            total = total + self._listwise(logits, batch)
        return total

    def evaluate(self, model: nn.Module, valid: Rows, device: torch.device) -> dict[str, float]:
        from tamis.train.prediction import predict

        values = self.heads.values(predict(model, valid, device=device))
        metrics = {} if self.metric is None else {self.metric_name: self.metric(values, valid)}
        assert valid.labels is not None
        return metrics | self.figures(values, valid.labels)

    def figures(self, values: NDArray[np.float32], labels: NDArray[np.float32]) -> dict[str, float]:
        """The tasks' mean AUC (XAUC of numbers), and each task's where there are several."""
        tasks = self.heads.tasks
        names = ["auc" if task.kind == "binary" else "xauc" for task in tasks]
        each = [_ordered(task, labels[:, t], values[:, t]) for t, task in enumerate(tasks)]
        known = [a for a in each if not np.isnan(a)]
        metrics = {"auc" if "auc" in names else "xauc": float(np.mean(known)) if known else np.nan}
        if len(tasks) > 1:
            metrics |= {f"{m}:{t.name}": a for m, t, a in zip(names, tasks, each, strict=True)}
        return metrics

    def _pointwise(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        weight = (~torch.isnan(target)).to(logits.dtype)
        if weights is not None:
            weight = weight * (weights if weights.dim() == 2 else weights.unsqueeze(1))
        loss = self._losses(logits, target.nan_to_num(0.0))  # (B, T)
        shares = logits.new_tensor([task.weight for task in self.heads.tasks])
        most = weight.sum(0).amax().clamp(min=1e-12)
        return ((loss * weight).sum(0) * shares).sum() / most

    def _losses(self, logits: Tensor, target: Tensor) -> Tensor:
        """(B, T) of logits (B, L) and targets (B, T) without NaN."""
        if not self._others and not self.heads.chains:
            return F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        columns: list[Tensor] = []
        for t, part in enumerate(self.heads.slices):
            y = target[:, t]
            if t in self._others:
                columns.append(self._others[t](logits[:, part], y))
                continue
            z = logits[:, part.start]
            if t in self.heads.chains:
                starts = [self.heads.slices[link].start for link in self.heads.chains[t]]
                z = log_odds_of_product(logits[:, starts])
            columns.append(F.binary_cross_entropy_with_logits(z, y, reduction="none"))
        return torch.stack(columns, 1)

    @cached_property
    def _others(self) -> dict[int, Callable[[Tensor, Tensor], Tensor]]:
        """The tasks whose loss is no cross entropy of a log-odds."""
        return {
            t: _KINDS[task.kind, task.loss]
            for t, task in enumerate(self.heads.tasks)
            if task.kind in ("regression", "multiclass")
        }

    def _listwise(self, logits: Tensor, batch: Batch) -> Tensor:
        if batch.groups is None or batch.labels is None:
            raise TrainingError("a listwise loss needs `groups` in the Rows: each row's request")
        if self._others:
            names = ", ".join(self.heads.names[t] for t in self._others)
            raise ConfigError(f"a listwise loss orders rates and times, not {names}: loss = 'bce'")
        _, group = torch.unique(batch.groups, return_inverse=True)
        return sum(
            (
                task.weight * group_softmax(logits[:, t], batch.labels[:, t], group)
                for t, task in enumerate(self.heads.tasks)
            ),
            start=logits.new_zeros(()),
        )


class BinaryTasks(TaskObjective):
    """Plain binary tasks by name, for a module of one's own; `weights` None = equal."""

    def __init__(
        self,
        names: Sequence[str] = ("label",),
        weights: Sequence[float] | None = None,
        kind: Literal["bce", "listwise", "both"] = "bce",
        metric: Metric | None = None,
        metric_name: str = "metric",
    ) -> None:
        shares = weights or [1.0] * len(names)
        tasks = tuple(
            TaskConfig.model_construct(name=name, weight=share, behaviour=(name,))
            for name, share in zip(names, shares, strict=True)
        )
        super().__init__(Heads(tasks), kind, metric, metric_name)


def _absolute(z: Tensor, y: Tensor) -> Tensor:
    return (z[:, 0] - y).abs()


def _squared(z: Tensor, y: Tensor) -> Tensor:
    return 0.5 * (z[:, 0] - y).square()


def _softmax(z: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(z, y.long(), reduction="none")


_KINDS: dict[tuple[str, str | None], Callable[[Tensor, Tensor], Tensor]] = {
    ("regression", None): _squared,
    ("regression", "mse"): _squared,
    ("regression", "mae"): _absolute,
    ("multiclass", None): _softmax,
}


def _ordered(task: TaskConfig, label: NDArray[np.float32], value: NDArray[np.float32]) -> float:
    """AUC of a binary task, XAUC of numbers; a class counts by the number it stands for."""
    return auc(label, value) if task.kind == "binary" else xauc(label, value)
