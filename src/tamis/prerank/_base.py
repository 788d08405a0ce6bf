"""Base classes of the trained pre-rankers, which may learn from the ranker (distillation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from pydantic import BaseModel, Field

from tamis.cascade import FitContext, Scorer
from tamis.features import Layout, Rows
from tamis.runtime import Float32, mean_ranks
from tamis.schema import ComponentConfig, TaskConfig
from tamis.train import Calibration, Estimator, EstimatorConfig, FrameModel, Metric


class DistillationConfig(ComponentConfig):
    """The option that every trained pre-ranker has beside those of its model."""

    teacher: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight of the fitted ranker's prediction in a label. 0: learns from what users did. 1: learns
    the ranker's predictions, so that the candidates that the ranker prefers pass the pre-ranker.
    From 0.5 on, the agreement with the ranker on the validation rows also decides when to stop.
    Without a ranker (a fit on data frames), labels are what users did."""


class PrerankConfig(DistillationConfig, EstimatorConfig):
    """Options that all pre-rankers with a network have in common."""


@runtime_checkable
class HasLayout(Protocol):
    """A scorer that knows which columns its rows have."""

    layout: Layout | None


class Distilled(FrameModel):
    """A scorer that may learn from a teacher, the fitted ranker (`FitContext.teacher`).

    A mixin: it precedes the model's class among the bases. If the teacher's weight is at least 0.5,
    the fit stops by agreement with the teacher on the validation rows, and no calibration is fitted
    with `calibrate = "auto"`, as the teacher's probabilities are calibrated.
    """

    _teacher_ranks: Float32 | None = None
    """(n, T) centred ranks of the teacher's predictions on the validation rows, during a fit."""
    _teacher_leads = False
    """Whether the last fit gave the teacher a weight of at least 0.5."""

    def fit_rows(
        self, rows: Rows, valid: Rows | None, tasks: Sequence[TaskConfig], context: Any
    ) -> Self:
        """Fits labels that are mixed with the predictions of `context.teacher`, if there is one."""
        teacher = context.teacher if isinstance(context, FitContext) else None
        share = self.config.teacher
        self._teacher_leads = teacher is not None and share >= 0.5
        if teacher is not None and share > 0:
            rows = distilled_rows(rows, tasks, teacher, share, self.rates)
        if teacher is not None and self._teacher_leads and valid is not None and len(valid):
            predictions = teacher.score_rows(_teacher_rows(teacher, valid))
            known = [predictions.get(task.name) for task in tasks]
            if all(p is not None for p in known):
                self._teacher_ranks = _centred_ranks(np.stack(known, axis=1))
        try:
            return super().fit_rows(rows, valid, tasks, context)
        finally:
            self._teacher_ranks = None

    def agreement(self, scores: Float32, valid: Rows) -> float:
        """Mean over tasks of Spearman's correlation between predictions (n, T) and the teacher's.

        Tasks whose predictions are constant are left out; 0 if there are no others.
        """
        assert self._teacher_ranks is not None
        ours, theirs = _centred_ranks(scores), self._teacher_ranks
        spread = np.sqrt((ours**2).sum(0) * (theirs**2).sum(0))
        varied = spread > 0
        if not varied.any():
            return 0.0
        return float(((ours * theirs).sum(0)[varied] / spread[varied]).mean())

    def _maps(self, valid: Rows, logits: Float32) -> tuple[Calibration, ...]:
        if self._teacher_leads and self.config.calibrate == "auto":
            return (Calibration(),) * len(self.tasks)
        return super()._maps(valid, logits)


class Preranker(Distilled, Estimator):
    """Base class of the pre-rankers with a network."""

    Config: ClassVar[type[BaseModel]] = PrerankConfig

    def _metric(self) -> tuple[Metric | None, str]:
        return super()._metric() if self._teacher_ranks is None else (self.agreement, "agreement")


def _centred_ranks(values: Float32) -> Float32:
    """Ranks within each column, minus their mean; equal values share their mean rank."""
    ranks = np.stack([mean_ranks(column) for column in values.T], axis=1)
    return (ranks - ranks.mean(axis=0)).astype(np.float32)


def distilled_rows(
    rows: Rows,
    tasks: Sequence[TaskConfig],
    teacher: Scorer,
    share: float,
    rates: Sequence[float] = (),
) -> Rows:
    """The rows with labels `(1 − share) · y + share · p`, where p is the teacher's prediction.

    Cross entropy is linear in the label, so this equals the weighted sum of both losses (Hinton et
    al. 2015). A row without a label takes the teacher's prediction: the teacher estimates what
    would have followed a click that did not happen. Labels of regression tasks are mixed as
    numbers, watch times as the y = t / (1 + t) of their loss. Labels of multiclass and completion
    tasks, and of tasks that the teacher does not predict, are kept.

    For a task whose negatives are sampled at rate α, labels that were left out stay missing, and p
    is converted to the probability among the sampled rows, `p / (p + α (1 − p))`.

    Args:
        rows: training rows with labels (n, T).
        tasks: the T tasks.
        teacher: the fitted ranker.
        share: weight of the teacher, [0, 1].
        rates: for each task α, (0, 1]; empty: all 1.
    """
    assert rows.labels is not None
    predictions = teacher.score_rows(_teacher_rows(teacher, rows))
    labels = rows.labels.copy()
    for t, task in enumerate(tasks):
        if task.name not in predictions or task.kind in ("multiclass", "completion"):
            continue
        label, p, rate = labels[:, t], predictions[task.name], rates[t] if rates else 1.0
        if task.kind == "watch_time":
            mixed = _mixed_times(label, p, share, task.seconds / task.scale)
        else:
            p = p / (p + rate * (1 - p)) if task.kind == "binary" else p
            mixed = np.where(np.isnan(label), p, (1 - share) * label + share * p)
        labels[:, t] = mixed if rate == 1 else np.where(np.isnan(label), np.nan, mixed)
    return replace(rows, labels=labels, _tensors={})


def _mixed_times(label: Float32, predicted: Float32, share: float, factor: float) -> Float32:
    """Watch times (n,) mixed on the scale of their loss, y = t / (1 + t).

    Args:
        label: watch times in the task's unit, NaN where missing.
        predicted: the teacher's t.
        share: weight of the teacher.
        factor: what a label is multiplied by to give t.
    """
    t = label * factor
    y, p = t / (1 + t), predicted / (1 + predicted)
    y = np.minimum(np.where(np.isnan(y), p, (1 - share) * y + share * p), 1 - 1e-6)
    return (y / (1 - y) / factor).astype(np.float32)


def _teacher_rows(teacher: Scorer, rows: Rows) -> Rows:
    """The rows without blocks that only the pre-ranker reads (a channel's vectors)."""
    layout = teacher.layout if isinstance(teacher, HasLayout) else None
    if layout is None or layout.dense_width == rows.layout.dense_width:
        return rows
    ends = np.cumsum([block.dense.shape[1] for block in rows.blocks])
    known = int(np.searchsorted(ends, layout.dense_width, side="right"))
    return replace(rows, layout=layout, blocks=rows.blocks[:known], _tensors={})
