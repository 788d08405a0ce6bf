"""Metrics of the predictions of all tasks, chosen by the kind of each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.evaluate.probability import CalibrationBin
from tamis.evaluate.streams import Buckets
from tamis.evaluate.task_metrics import NumberMetrics, RateMetrics
from tamis.runtime import Float32
from tamis.schema import TaskConfig, product
from tamis.train import Heads

Scores = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Measured:
    """A prediction that is evaluated: a task, or the product of a rate with its conditions."""

    name: str
    kind: str
    """`binary`, `share` (in [0, 1]) or `number`."""
    tasks: tuple[int, ...]
    """Columns of the labels; if there are several, the label is their product."""
    predicted: str
    """Name of the prediction, which has the unit of the label."""
    score: str
    """Name of the prediction that orders the rows."""

    def label(self, heads: Heads, labels: Float32) -> Float32:
        """(n,) label of each row from labels (n, T); NaN is ignored."""
        first, *rest = self.tasks
        label = heads.label(first, labels[:, first])
        for t in rest:  # the product is 0 if a condition does not hold
            label = np.where(label == 0, np.float32(0), label * labels[:, t])
        return label


def measured(tasks: Sequence[TaskConfig]) -> list[Measured]:
    """The predictions of these tasks that have a label."""
    found: list[Measured] = []
    for t, task in enumerate(tasks):
        kinds = {
            "watch_time": ("number", f"{task.base}_seconds"),
            "completion": ("binary" if task.threshold else "share", f"{task.base}_share"),
            "binary": ("binary", task.name),
        }
        kind, predicted = kinds.get(task.kind, ("number", task.name))
        score = task.name if task.kind == "watch_time" else predicted
        found.append(Measured(task.name, kind, (t,), predicted, score))
    for task in tasks:
        links = product(task, tasks)
        if links is not None:
            numbers = tuple(list(tasks).index(link) for link in links)
            found.append(Measured(task.base, "binary", numbers, task.base, task.base))
    return found


class TaskEvaluation:
    """Metrics of every task, batch by batch.

    Args:
        tasks: in the order of the labels' columns.
        buckets: {feature: number of its buckets} whose predictions and outcomes are compared.
        most: largest number of distinct scores and of rows of pairs, as in `RateMetrics` and
            `NumberMetrics`.
    """

    def __init__(
        self,
        tasks: Sequence[TaskConfig],
        buckets: Mapping[str, int] | None = None,
        most: int = 1 << 18,
    ) -> None:
        self.heads = Heads.of(tasks)
        self.measured = measured(tasks)
        self._rates = {
            m.name: RateMetrics(m.kind == "binary", most=most)
            for m in self.measured
            if m.kind != "number"
        }
        self._numbers = {m.name: NumberMetrics(most) for m in self.measured if m.kind == "number"}
        self._buckets = {
            name: {feature: Buckets(n) for feature, n in (buckets or {}).items()}
            for name in self._rates
        }

    def add(
        self,
        labels: Float32,
        scores: Scores,
        users: NDArray[Any],
        requests: NDArray[Any],
        buckets: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """labels (n, T), scores (n,) by name, users and requests (n,) ascending, the rows' buckets
        (n,) by feature."""
        for m in self.measured:
            label, predicted = m.label(self.heads, labels), scores[m.predicted]
            if m.kind == "number":
                self._numbers[m.name].add(label, predicted, scores[m.score])
                continue
            self._rates[m.name].add(label, predicted, users, requests)
            for feature, number in (buckets or {}).items():
                self._buckets[m.name][feature].add(label, predicted, number)

    def result(self) -> dict[str, dict[str, float]]:
        """{task: {measure: value}}; the measures are those of the task's kind."""
        every = {**self._rates, **self._numbers}
        return {m.name: every[m.name].result() for m in self.measured}

    def undefined(self) -> dict[str, dict[str, str]]:
        """{task: {measure: why it is NaN}}; without the tasks whose measures are all defined."""
        every = {**self._rates, **self._numbers}
        found = {m.name: every[m.name].undefined() for m in self.measured}
        return {task: reasons for task, reasons in found.items() if reasons}

    def curve(self, task: str, bins: int = 12) -> list[CalibrationBin]:
        """The reliability curve of a task; [] where it predicts no rate."""
        return self._rates[task].curve(bins) if task in self._rates else []

    def by_bucket(self) -> dict[str, dict[str, list[CalibrationBin | None]]]:
        """{task: {feature: its buckets}} of the rates."""
        return {
            task: {feature: buckets.result() for feature, buckets in features.items()}
            for task, features in self._buckets.items()
        }
