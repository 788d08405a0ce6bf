"""Objectives: the loss that a fit minimises and the validation metric that stops it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.features import Batch, Rows
from tamis.nn import group_softmax, log_odds_of_product
from tamis.schema import ConfigError, TaskConfig, TrainingError
from tamis.train.label_checks import check_labels
from tamis.train.metrics import auc, xauc
from tamis.train.prediction import predict
from tamis.train.tasks import Heads

Metric = Callable[[NDArray[np.float32], Rows], float]
"""(predictions (n, T) in the units of the labels, validation rows) → metric, higher is better."""


class Objective(Protocol):
    """A loss on batches and metrics on validation rows."""

    @property
    def by_group(self) -> bool:
        """Whether batches must hold whole groups (`Rows.groups`)."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The scalar loss of a batch."""
        ...

    def evaluate(self, model: nn.Module, valid: Any, device: torch.device) -> dict[str, float]:
        """Validation metrics; the first one stops the fit (higher is better)."""
        ...


@runtime_checkable
class ChecksRows(Protocol):
    """An objective that checks rows before a fit."""

    def check(self, rows: Any, of: str) -> None:
        """Raises LabelError for rows that cannot be learnt from; `of`: "training" or
        "validation"."""
        ...


@dataclass(frozen=True)
class TaskObjective:
    """The joint loss of all tasks on a model whose forward returns logits (B, L).

    The labels of a batch are the targets (B, T) that `Heads.targets` makes; NaN is left out. The
    loss is Σ_t w_t Σ_i ω_i ℓ_t(i), divided by the total row weight of the task with most labels: a
    label of a rare task counts as much as one of a frequent task, times the task weight w and the
    row weight ω. A softmax within groups weights the positive labels.
    """

    heads: Heads
    kind: Literal["bce", "listwise", "both"] = "bce"
    """Loss: "bce" is each task's own loss per row, "listwise" a softmax within `Rows.groups`, and
    "both" their sum. A softmax learns the order only."""
    metric: Metric | None = None
    """Metric that stops the fit; None = the mean over tasks of AUC (binary) or XAUC (numbers)."""
    metric_name: str = "metric"
    """Key of that metric in the results."""

    @property
    def by_group(self) -> bool:
        return self.kind != "bce"

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The scalar loss of a batch. Raises TrainingError where labels or groups are missing."""
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
        """The metric that stops the fit first, then those of `figures`."""
        values = self.heads.values(predict(model, valid, device=device))
        metrics = {} if self.metric is None else {self.metric_name: self.metric(values, valid)}
        assert valid.labels is not None
        return metrics | self.figures(values, valid.labels)

    def figures(self, values: NDArray[np.float32], labels: NDArray[np.float32]) -> dict[str, float]:
        """Mean AUC (XAUC for numbers) over the tasks, and with several tasks that of each.

        values: predictions (n, T). labels: (n, T).
        """
        tasks = self.heads.tasks
        names = ["auc" if task.kind == "binary" else "xauc" for task in tasks]
        each = [_rank_metric(task, labels[:, t], values[:, t]) for t, task in enumerate(tasks)]
        known = [a for a in each if not np.isnan(a)]
        metrics = {"auc" if "auc" in names else "xauc": float(np.mean(known)) if known else np.nan}
        if len(tasks) > 1:
            metrics |= {f"{m}:{t.name}": a for m, t, a in zip(names, tasks, each, strict=True)}
        return metrics

    def _pointwise(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        """The loss per row, of logits (B, L), targets (B, T) and weights (B,) or (B, T)."""
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
        """{task: loss} of the tasks whose loss is not the cross entropy of a log-odds."""
        return {
            t: _KINDS[task.kind, task.loss]
            for t, task in enumerate(self.heads.tasks)
            if task.kind in ("regression", "multiclass")
        }

    def _listwise(self, logits: Tensor, batch: Batch) -> Tensor:
        """The softmax loss within groups, summed over tasks."""
        if batch.groups is None or batch.labels is None:
            raise TrainingError(
                "a listwise loss needs `groups` in the Rows, the request of each row; give them, "
                "or set loss = 'bce'"
            )
        if self._others:
            names = ", ".join(self.heads.names[t] for t in self._others)
            raise ConfigError(
                f"a listwise loss is defined for rates and times, not for {names}; set loss = 'bce'"
            )
        _, group = torch.unique(batch.groups, return_inverse=True)
        total, weights = logits.new_zeros(()), batch.weights
        for t, task in enumerate(self.heads.tasks):
            own = weights if weights is None or weights.dim() == 1 else weights[:, t]
            softmax = group_softmax(logits[:, t], batch.labels[:, t], group, own)
            total = total + task.weight * softmax
        return total


@dataclass(frozen=True)
class ScaledObjective:
    """An objective on `scale · logit + shift` of a model whose forward returns logits (B, L).

    scales, shifts: (L,), constants of the fit.
    """

    objective: Objective
    scales: Tensor
    shifts: Tensor

    @property
    def by_group(self) -> bool:
        return self.objective.by_group

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss of the model's scaled logits."""
        return self.objective.loss(_Scaled(model, self.scales, self.shifts), batch)

    def evaluate(self, model: nn.Module, valid: Any, device: torch.device) -> dict[str, float]:
        """The metrics of the model's scaled logits."""
        return self.objective.evaluate(_Scaled(model, self.scales, self.shifts), valid, device)


class _Scaled(nn.Module):
    """`scale · logit + shift` of a model's logits (B, L)."""

    def __init__(self, model: nn.Module, scales: Tensor, shifts: Tensor) -> None:
        super().__init__()
        self._model, self._scales, self._shifts = model, scales, shifts

    def forward(self, batch: Any) -> Tensor:
        logits = self._model(batch).float()  # (B, L)
        return self._scales.to(logits.device) * logits + self._shifts.to(logits.device)


class BinaryTasks(TaskObjective):
    """The objective of binary tasks, by name, for training a module of one's own with `fit`.

    weights: weight of each task; None = equal. Other arguments as for `TaskObjective`.
    """

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

    def check(self, rows: Any, of: str) -> None:
        """Raises LabelError for labels outside [0, 1] of `Rows`; see `check_labels`."""
        if isinstance(rows, Rows):
            check_labels(rows, self.heads.tasks, of)


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


def _rank_metric(task: TaskConfig, label: NDArray[np.float32], value: NDArray[np.float32]) -> float:
    """AUC for a binary task, XAUC for numbers and for the classes' values."""
    return auc(label, value) if task.kind == "binary" else xauc(label, value)
