"""What the trained pre-rankers share: they may learn from the ranker whose work they sift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import BaseModel, Field
from scipy.stats import rankdata

from tamis.features import Rows
from tamis.runtime import Float32
from tamis.train import Calibration, Estimator, EstimatorConfig, FrameModel, Metric


class Teachable(BaseModel):
    """What every trained pre-ranker can be told."""

    teacher: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How much of a label is the fitted ranker's prediction: 0 = learns what people did, 1 = learns
    what the ranker would say, so that what the ranker wants survives the cut; from 0.5 on the fit
    also stops by its agreement with the ranker. Without a ranker (a fit on frames) the labels are
    what people did."""


class PrerankConfig(Teachable, EstimatorConfig):
    """Hyper-parameters that every trained pre-ranker has."""


class Taught(FrameModel):
    """A scorer that may have a teacher: put before the model that it teaches.

    Where at least half of the labels are the teacher's, its word also decides when to stop (by
    agreement with it on the validation rows), and its probabilities are taken as calibrated.
    """

    _said: Float32 | None = None
    """(n, T) ranks of the teacher's predictions on the validation rows, while a fit runs."""
    _follows = False

    def fit_rows(self, rows: Rows, valid: Rows | None, tasks: Sequence[Any], context: Any) -> Self:
        """Learns labels mixed with `context.teacher`'s predictions."""
        teacher, share = getattr(context, "teacher", None), self.config.teacher
        self._follows = teacher is not None and share >= 0.5
        if teacher is not None and share > 0:
            rows = taught(rows, tasks, teacher, share, self.rates)
        if teacher is not None and self._follows and valid is not None and len(valid):
            said = teacher.score_rows(_as_seen_by(teacher, valid))
            known = [said.get(getattr(task, "name", task)) for task in tasks]
            if all(p is not None for p in known):
                self._said = _ranks(np.stack(known, axis=1))
        try:
            return super().fit_rows(rows, valid, tasks, context)
        finally:
            self._said = None

    def agreement(self, scores: Float32, valid: Rows) -> float:
        """Mean over tasks of Spearman's correlation of (n, T) predictions with the teacher's."""
        assert self._said is not None
        ours, theirs = _ranks(scores), self._said
        spread = np.sqrt((ours**2).sum(0) * (theirs**2).sum(0))
        known = spread > 0
        return float(((ours * theirs).sum(0)[known] / spread[known]).mean()) if known.any() else 0.0

    def _maps(self, valid: Rows, logits: Float32) -> tuple[Calibration, ...]:
        if self._follows and self.config.calibrate == "auto":
            return (Calibration(),) * len(self.tasks)
        return super()._maps(valid, logits)


class Preranker(Taught, Estimator):
    """A trained module that may have a teacher."""

    Config: ClassVar[type[BaseModel]] = PrerankConfig

    def _metric(self) -> tuple[Metric | None, str]:
        return super()._metric() if self._said is None else (self.agreement, "agreement")


def _ranks(values: Float32) -> Float32:
    """Ranks of each column, less their mean; equal values share a rank."""
    ranks = rankdata(values, axis=0)
    return (ranks - ranks.mean(axis=0)).astype(np.float32)


def taught(
    rows: Rows, tasks: Sequence[Any], teacher: Any, share: float, rates: Sequence[float] = ()
) -> Rows:
    """The rows with labels `(1 − share) · y + share · p`, p the teacher's prediction.

    Cross entropy is linear in the label, so this is the mix of both losses (Hinton et al. 2015).
    Where a row has no label it learns from the teacher alone: the teacher knows what would have
    followed a click that never came. Numbers are mixed as numbers, watch times as the y = t/(1+t)
    that their loss reads; classes, completions and tasks the teacher does not know keep theirs.
    Of a task whose negatives are sampled at rate α the labels left out stay so, and p becomes what
    it is among the rest, `p / (p + α (1 − p))`.
    """
    assert rows.labels is not None
    said = teacher.score_rows(_as_seen_by(teacher, rows))
    labels = rows.labels.copy()
    for t, task in enumerate(tasks):
        name, kind = getattr(task, "name", task), getattr(task, "kind", "binary")
        if name in said and kind in ("binary", "regression", "watch_time"):
            true, p, rate = labels[:, t], said[name], rates[t] if rates else 1.0
            if kind == "binary":
                p = p / (p + rate * (1 - p))
            unit = task.seconds / task.scale if kind == "watch_time" else None
            mixed = _mixed(true, p, share, unit)
            labels[:, t] = mixed if rate == 1 else np.where(np.isnan(true), np.nan, mixed)
    return replace(rows, labels=labels, _tensors={})


def _mixed(true: Float32, said: Float32, share: float, unit: float | None) -> Float32:
    """Labels (n,) of two answers; `unit` = what a watch time is multiplied by before t/(1+t), None
    of other tasks."""
    if unit is None:
        return np.where(np.isnan(true), said, (1 - share) * true + share * said)
    time = true * unit
    y, p = time / (1 + time), said / (1 + said)
    y = np.minimum(np.where(np.isnan(y), p, (1 - share) * y + share * p), 1 - 1e-6)
    return (y / (1 - y) / unit).astype(np.float32)


def _as_seen_by(teacher: Any, rows: Rows) -> Rows:
    """Without the blocks that pre-rank reads beside the ranker's: a channel's vectors."""
    layout = getattr(teacher, "layout", None)
    if layout is None or layout.dense_width == rows.layout.dense_width:
        return rows
    ends = np.cumsum([block.dense.shape[1] for block in rows.blocks])
    known = int(np.searchsorted(ends, layout.dense_width, side="right"))
    return replace(rows, layout=layout, blocks=rows.blocks[:known], _tensors={})
