"""What the trained pre-rankers share: they may learn from the ranker whose work they sift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import BaseModel, Field

from tamis.features import Rows
from tamis.train import Estimator, EstimatorConfig, FrameModel


class Teachable(BaseModel):
    """What every trained pre-ranker can be told."""

    teacher: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How much of a label is the fitted ranker's prediction: 0 = learns what people did, 1 = learns
    what the ranker would say, so that what the ranker wants survives the cut. Without a ranker (a
    fit on frames) the labels are what people did."""


class PrerankConfig(Teachable, EstimatorConfig):
    """Hyper-parameters that every trained pre-ranker has."""


class Taught(FrameModel):
    """A scorer that may have a teacher: put before the model that it teaches."""

    def fit_rows(self, rows: Rows, valid: Rows | None, tasks: Sequence[Any], context: Any) -> Self:
        """Learns labels mixed with `context.teacher`'s predictions; stops by true labels alone."""
        teacher = getattr(context, "teacher", None)
        if teacher is not None and self.config.teacher > 0:
            rows = taught(rows, tasks, teacher, self.config.teacher, self.rates)
        return super().fit_rows(rows, valid, tasks, context)  # type: ignore[safe-super]


class Preranker(Taught, Estimator):
    """A trained module that may have a teacher."""

    Config: ClassVar[type[BaseModel]] = PrerankConfig


def taught(
    rows: Rows, tasks: Sequence[Any], teacher: Any, share: float, rates: Sequence[float] = ()
) -> Rows:
    """The rows with labels `(1 − share) · y + share · p`, p the teacher's probability.

    Cross entropy is linear in the label, so this is the mix of both losses (Hinton et al. 2015).
    Where a row has no label it learns from the teacher alone; tasks that the teacher does not know,
    and those that are no yes or no, keep theirs. Of a task whose negatives are sampled at rate α
    the labels left out stay so, and p becomes what it is among the rest, `p / (p + α (1 − p))`.
    """
    assert rows.labels is not None
    said = teacher.score_rows(_as_seen_by(teacher, rows))
    labels = rows.labels.copy()
    for t, task in enumerate(tasks):
        name, kind = getattr(task, "name", task), getattr(task, "kind", "binary")
        if kind == "binary" and name in said:
            true, p, rate = labels[:, t], said[name], rates[t] if rates else 1.0
            p = p / (p + rate * (1 - p))
            missing = p if rate == 1 else np.nan
            labels[:, t] = np.where(np.isnan(true), missing, (1 - share) * true + share * p)
    return replace(rows, labels=labels, _tensors={})


def _as_seen_by(teacher: Any, rows: Rows) -> Rows:
    """Without the blocks that pre-rank reads beside the ranker's: a channel's vectors."""
    layout = getattr(teacher, "layout", None)
    if layout is None or layout.dense_width == rows.layout.dense_width:
        return rows
    ends = np.cumsum([block.dense.shape[1] for block in rows.blocks])
    known = int(np.searchsorted(ends, layout.dense_width, side="right"))
    return replace(rows, layout=layout, blocks=rows.blocks[:known], _tensors={})
