"""Tasks of a model: their logits, training targets and predictions.

binary       one logit z, cross entropy                        prediction σ(z)
multiclass   K logits, softmax cross entropy                   Σ p_k · value_k
regression   a standardised number, squared or absolute error  μ + s·z
watch_time   cross entropy of y = t/(1+t) on σ(z)               exp(z); seconds by a fitted map
completion   cross entropy of the share watched on σ(z)        σ(z) / f(duration)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, softmax

from tamis.features import Rows
from tamis.runtime import Float32, Ints
from tamis.schema import (
    ConfigError,
    LabelError,
    StageError,
    TaskConfig,
    TrainingError,
    chain,
    check_tasks,
    class_names,
    class_values,
    product,
)
from tamis.train.intercept import centre
from tamis.train.label_checks import check_labels, examples
from tamis.train.monotone import Monotone, monotone
from tamis.train.platt import line_beyond_chance

_T = TypeVar("_T")
ENOUGH = 50
"""Labels of each class from which on a line of the log-odds is fitted to them."""
LEAST_SHARE = 0.01
"""Lower bound of f(duration), as a part of the mean share; avoids dividing by zero."""


def task_configs(tasks: Sequence[str | TaskConfig]) -> tuple[TaskConfig, ...]:
    """Task declarations, made of names (binary tasks; `like|click` is conditional) where needed.

    A bare name or declaration is one task. Raises ConfigError for declarations that do not fit
    together, and for what is neither.
    """
    if isinstance(tasks, str | TaskConfig):
        tasks = [tasks]
    if not isinstance(tasks, Iterable):
        raise ConfigError(f"tasks = {tasks!r}: give names of label columns, or TaskConfigs")
    for task in tasks:
        if not isinstance(task, str | TaskConfig):
            raise ConfigError(f"task {task!r}: give the name of a label column, or a TaskConfig")
    full = tuple(TaskConfig(name=t) if isinstance(t, str) else t for t in tasks)
    check_tasks(full)
    return full


@dataclass(frozen=True)
class Heads:
    """T tasks on L logits: task t has the columns `slices[t]`. L = T without multiclass tasks.

    Converts labels into training targets and logits into predictions, and holds the constants of
    these conversions, which `fitted` and `timed` learn from labels.
    """

    tasks: tuple[TaskConfig, ...]
    scales: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    """Regression task → (mean, standard deviation) of its training labels."""
    durations: Mapping[str, Monotone] = field(default_factory=dict[str, Monotone])
    """Completion task → f, the mean share watched by duration, of its training rows."""
    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    """Completion task → mean share watched, used as f where the duration is 0 or missing."""
    seconds: Mapping[str, Monotone] = field(default_factory=dict[str, Monotone])
    """Watch-time task → map from its logit to seconds, fitted on validation rows."""

    @classmethod
    def of(cls, tasks: Sequence[str | TaskConfig]) -> Self:
        """Heads of the tasks, without fitted constants. Raises ConfigError as `task_configs`."""
        return cls(task_configs(tasks))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(task.name for task in self.tasks)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Number of logits of each task."""
        return tuple(len(class_names(t)) if t.kind == "multiclass" else 1 for t in self.tasks)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The columns of each task among the logits."""
        ends = np.cumsum(self.widths).tolist()
        return tuple(slice(end - width, end) for end, width in zip(ends, self.widths, strict=True))

    @property
    def n_logits(self) -> int:
        """Number of logits L."""
        return sum(self.widths)

    @cached_property
    def odds(self) -> tuple[tuple[int, int], ...]:
        """(task, column) of the tasks whose logit is the log-odds of a target in [0, 1].

        These are the `rates` and watch times, whose target is y = t/(1+t).
        """
        kinds = ("binary", "completion", "watch_time")
        return tuple(
            (t, part.start)
            for t, (task, part) in enumerate(zip(self.tasks, self.slices, strict=True))
            if task.kind in kinds
        )

    @cached_property
    def rates(self) -> tuple[tuple[int, int], ...]:
        """(task, column) of the binary and completion tasks, which can be calibrated."""
        return tuple((t, at) for t, at in self.odds if self.tasks[t].kind != "watch_time")

    @cached_property
    def chains(self) -> dict[int, tuple[int, ...]]:
        """ESMM task → numbers of its conditions, the outermost first, and of itself."""
        found: dict[int, tuple[int, ...]] = {}
        for t, task in enumerate(self.tasks):
            links = chain(task, self.tasks) if task.esmm else None
            if links is not None:
                found[t] = tuple(self.tasks.index(link) for link in links)
        return found

    def number(self, task: str) -> int:
        """Number of a task by name. Raises ConfigError for an unknown name."""
        if task not in self.names:
            raise ConfigError(f"there is no task {task!r}; the tasks are {', '.join(self.names)}")
        return self.names.index(task)

    def shifts(
        self,
        labels: Float32,
        logits: Float32,
        weights: Float32 | None,
        begun: Sequence[float] = (),
    ) -> Float32:
        """(L,) intercept corrections, by `centre`; 0 for tasks other than those of `odds`.

        labels: (n, T) of the training rows. logits: (n, L). weights: (n,), (n, T) or None.
        begun: (L,) corrections with which a fit from a former one began, which tasks of `few`
        labels keep; empty: none.
        """
        out = np.zeros(self.n_logits, np.float32)
        for t, column in self.odds:
            if begun and self.few(t, labels):
                out[column] = begun[column]
                continue
            weight = weights if weights is None or weights.ndim == 1 else weights[:, t]
            out[column] = centre(self.own_target(t, labels[:, t]), logits[:, column], weight)
        return out

    def few(self, t: int, labels: Float32) -> bool:
        """Whether labels (n, T) hold fewer than `ENOUGH` of either class of task t, of `odds`."""
        y = self.own_target(t, labels[:, t])
        known = y[~np.isnan(y)]
        return bool(min(known.sum(), (1 - known).sum()) < ENOUGH)

    def lines(
        self,
        labels: Float32,
        logits: Float32,
        served: Float32,
        weights: Float32 | None,
        groups: Ints | None = None,
    ) -> tuple[Float32, Float32]:
        """(scales (L,), shifts (L,)) by which logits are log-odds of the rows' targets.

        Of rates the line through what was served, corrected by `line_beyond_chance`, unless the
        rows hold few labels of either class. Other logits keep their scale, and the shift that they
        were served with.

        labels: (n, T) of the rows. logits: (n, L). served: (n, L) the log-odds of these that were
        served. weights: (n,), (n, T) or None. groups: (n,) the query of each row, or None.
        """
        scales = np.ones(self.n_logits, np.float32)
        shifts = (served - logits).mean(axis=0).astype(np.float32)
        for t, column in self.rates:
            scale, shift = _line(logits[:, column], served[:, column])
            if not self.few(t, labels):
                y = self.own_target(t, labels[:, t])
                weight = weights if weights is None or weights.ndim == 1 else weights[:, t]
                line = scale * logits[:, column] + shift
                slope, level = line_beyond_chance(y, line, weight, groups)
                scale, shift = slope * scale, slope * shift + level
            scales[column], shifts[column] = scale, shift
        return scales, shifts

    def per_logit(self, given: Sequence[_T], other: _T) -> list[_T]:
        """`given` per task → one value per logit; `other` for tasks that are not `rates`."""
        out = [other] * self.n_logits
        for t, column in self.rates:
            out[column] = given[t]
        return out

    def label(self, t: int, label: Float32) -> Float32:
        """(n,) labels of task t in the units of `values`: seconds, the value of a class, a share
        of at most 1."""
        task = self.tasks[t]
        if task.kind == "watch_time":
            return label * np.float32(task.seconds)
        if task.kind == "completion":
            return completed(task, label)
        if task.kind == "multiclass":
            classes = np.asarray([*class_values(task), np.nan], dtype=np.float32)
            return classes[np.where(np.isnan(label), len(classes) - 1, label).astype(np.intp)]
        return label

    def targets(self, labels: Float32) -> Float32:
        """Training targets (n, T) of labels (n, T); NaN = no label.

        y = t/(1+t) for watch times, standardised numbers for regression, and for an ESMM task the
        product of its label and those of its conditions.
        """
        if not self.chains and all(task.kind in ("binary", "multiclass") for task in self.tasks):
            return labels
        each = [self._target(t, labels) for t in range(len(self.tasks))]
        return np.stack(each, axis=1).astype(np.float32)

    def with_seconds(self, seconds: Mapping[str, Monotone]) -> Self:
        """A copy with the maps to seconds that an earlier fit chose, by task name."""
        return replace(self, seconds={k: v for k, v in seconds.items() if k in self.names})

    def fitted(self, rows: Rows) -> Self:
        """A copy with scales and f(duration) fitted on the training rows.

        Raises LabelError as `check_labels`.
        """
        check_labels(rows, self.tasks)
        assert rows.labels is not None
        scales, durations, shares = {}, {}, {}
        for t, task in enumerate(self.tasks):
            label = rows.labels[:, t]
            if task.kind == "regression":
                scales[task.name] = (float(np.nanmean(label)), float(np.nanstd(label)) or 1.0)
            elif task.kind == "completion":
                target = completed(task, label)
                shares[task.name] = mean = float(np.nanmean(target))
                if task.duration is not None and mean > 0:
                    curve = monotone(self._lengths(task, rows), target, direction="auto")
                    if curve is not None:
                        least = LEAST_SHARE * mean
                        y = tuple(max(value, least) for value in curve.y)
                        durations[task.name] = Monotone(x=curve.x, y=y)
        return replace(self, scales=scales, durations=durations, shares=shares)

    def continued(self, former: Heads, rows: Rows) -> Self:
        """A copy with the constants of a former fit of the same tasks, whose weights a fit on
        `rows` starts from. Raises LabelError as `check_labels`, but where some task can learn from
        the rows, ConfigError for other tasks."""
        if former.tasks != self.tasks:
            raise ConfigError(
                f"a fit of the tasks {', '.join(self.names)} cannot start from one of "
                f"{', '.join(former.names)}, or their declarations differ; train from scratch"
            )
        check_labels(rows, self.tasks, every=False)
        return replace(
            self,
            scales=former.scales,
            durations=former.durations,
            shares=former.shares,
            seconds=former.seconds,
        )

    def timed(self, valid: Rows, logits: Float32) -> Self:
        """A copy with each watch-time task's map from logit to seconds, fitted on validation rows.

        logits: (n, L) of the validation rows, uncalibrated.
        """
        assert valid.labels is not None
        found = dict(self.seconds)
        for t, task in enumerate(self.tasks):
            if task.kind == "watch_time":
                z = logits[:, self.slices[t].start]
                centre = "mean" if task.loss == "mse" else "median"
                curve = monotone(z, valid.labels[:, t] * task.seconds, centre)
                if curve is not None:
                    found[task.name] = curve
        return replace(self, seconds=found)

    def own_target(self, t: int, y: Float32) -> Float32:
        """(n,) training targets of task t from its own labels y (n,), without its conditions."""
        task = self.tasks[t]
        if task.kind == "regression":
            mean, deviation = self.scales[task.name]
            return ((y - mean) / deviation).astype(np.float32)
        if task.kind == "watch_time":
            time = y * (task.seconds / task.scale)
            return (time / (1 + time)).astype(np.float32)
        return completed(task, y)

    def values(self, logits: Float32) -> Float32:
        """Predictions (n, T) of calibrated logits (n, L), in the units of the labels.

        A probability, the expected value of the class, a number, seconds, or a share.
        """
        each = [self._value(t, logits[:, part]) for t, part in enumerate(self.slices)]
        return np.stack(each, axis=1).astype(np.float32) if each else logits[:, :0]

    def predictions(self, logits: Float32, rows: Rows | None = None) -> dict[str, Float32]:
        """Predictions for fusion, (n,) per name of `prediction_names`, of calibrated logits (n, L).

        rows: holds the durations that completion tasks divide by; needed for those only.
        Raises StageError where they are needed and missing.
        """
        values = self.values(logits)
        found: dict[str, Any] = {name: values[:, t] for t, name in enumerate(self.names)}
        extra: dict[str, Any] = {}
        for t, task in enumerate(self.tasks):
            z = logits[:, self.slices[t]]
            if task.kind == "watch_time":
                extra[f"{task.base}_seconds"] = values[:, t]
                found[task.name] = np.exp(z[:, 0])
            elif task.kind == "completion":
                extra[f"{task.base}_share"] = values[:, t]
                found[task.name] = values[:, t] / self.expected_share(task.name, rows, len(z))
            elif task.kind == "multiclass":
                p = softmax(z, axis=1)
                extra |= {f"{task.base}_{c}": p[:, k] for k, c in enumerate(class_names(task))}
            elif (links := product(task, self.tasks)) is not None:
                at = [self.slices[self.tasks.index(link)].start for link in links]
                extra[task.base] = np.exp(log_expit(logits[:, at]).sum(1))
        every = {**{k: v for k, v in extra.items() if k not in found}, **found}
        ordered = [*self.names, *(name for name in every if name not in self.names)]
        return {name: every[name].astype(np.float32, copy=False) for name in ordered}

    def expected_share(self, task: str, rows: Rows | None, n: int) -> NDArray[np.float64]:
        """(n,) f(duration), the divisor of a completion task's prediction.

        1 if the task declares no duration, the mean share where the duration is 0 or missing.
        """
        config = self.tasks[self.number(task)]
        if task not in self.durations:
            return np.ones(n)
        if rows is None:
            raise StageError(
                f"task {task!r} divides by the duration, but no rows were given; use score_rows"
            )
        length = self._lengths(config, rows)
        known = np.where(np.isnan(length), 0.0, length)
        share = np.where(np.isnan(length), self.shares[task], self.durations[task](known))
        return share.astype(np.float64)

    def notes(self, rows: Rows) -> list[str]:
        """Remarks on the labels for the user: missing durations."""
        found: list[str] = []
        for task in self.tasks:
            if task.kind == "completion" and task.duration is not None:
                missing = float(np.isnan(self._lengths(task, rows)).mean()) if len(rows) else 0.0
                if missing:
                    found.append(
                        f"task {task.name}: {missing:.1%} of the rows have no {task.duration} (0 "
                        "or missing); they have no label, and predictions for such items are "
                        "divided by the mean share"
                    )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Tasks and constants as JSON values."""
        return {
            "tasks": [task.model_dump(mode="json", exclude_defaults=True) for task in self.tasks],
            "scales": dict(self.scales),
            "durations": {k: v.model_dump() for k, v in self.durations.items()},
            "shares": dict(self.shares),
            "seconds": {k: v.model_dump() for k, v in self.seconds.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Reads what `to_dict` returned."""
        return cls(
            tuple(TaskConfig(**task) for task in data["tasks"]),
            {k: (v[0], v[1]) for k, v in data["scales"].items()},
            {k: Monotone(**v) for k, v in data["durations"].items()},
            dict(data["shares"]),
            {k: Monotone(**v) for k, v in data["seconds"].items()},
        )

    def _target(self, t: int, labels: Float32) -> Float32:
        """(n,) targets of task t, of the labels (n, T) of all tasks."""
        if t not in self.chains:
            return self.own_target(t, labels[:, t])
        first, *rest = self.chains[t]
        all_hold = labels[:, first]
        for link in rest:  # 0 where a condition does not hold, NaN where it is unknown
            both = all_hold * labels[:, link]
            all_hold = np.where(all_hold == 0, np.float32(0), both).astype(np.float32)
        return all_hold

    def _value(self, t: int, z: Float32) -> NDArray[np.floating[Any]]:
        """(n,) predictions of task t, of its logits z (n, width)."""
        task = self.tasks[t]
        if task.kind == "multiclass":
            return softmax(z, axis=1) @ np.asarray(class_values(task), dtype=np.float32)
        if task.kind == "regression":
            mean, deviation = self.scales.get(task.name, (0.0, 1.0))
            return mean + deviation * z[:, 0]
        if task.kind == "watch_time":
            curve = self.seconds.get(task.name)
            return task.scale * np.exp(z[:, 0]) if curve is None else curve(z[:, 0])
        return expit(z[:, 0])

    def _lengths(self, task: TaskConfig, rows: Rows) -> NDArray[np.float64]:
        """(n,) durations; NaN where 0 or missing. Raises TrainingError for an absent column."""
        assert task.duration is not None
        if task.duration not in rows.raw:
            raise TrainingError(
                f"task {task.name!r} divides by the duration, but the rows have no column "
                f"{task.duration!r}, got {', '.join(rows.raw) or 'no raw columns'}; add it, or "
                "remove `duration` from the task"
            )
        length = rows.raw[task.duration].astype(np.float64)
        return np.where(length > 0, length, np.nan)


def _line(x: Float32, y: Float32) -> tuple[float, float]:
    """(slope, intercept) of least squares; slope 1 where it would not be positive."""
    at, value = x.astype(np.float64), y.astype(np.float64)
    spread = float(at.var())
    slope = float(np.cov(at, value, bias=True)[0, 1]) / spread if spread > 0 else 1.0
    slope = slope if slope > 0 else 1.0
    return slope, float(value.mean() - slope * at.mean())


def completed(task: TaskConfig, share: Float32) -> Float32:
    """Target (n,) of a completion task, of the share watched (n,): min(share, 1), or 0 and 1 by the
    task's threshold. Labels of other kinds of tasks are returned unchanged."""
    if task.kind != "completion":
        return share
    if task.threshold is None:
        return np.minimum(share, np.float32(1))
    done = (share >= np.float32(task.threshold)).astype(np.float32)
    return np.where(np.isnan(share), np.float32(np.nan), done)


def class_numbers(task: TaskConfig, value: NDArray[np.floating[Any]]) -> Float32:
    """Class numbers (n,) of the values (n,) of a multiclass task; NaN where the value is missing.

    Labels of other kinds of tasks, and behaviours (`value = "behaviour"`), which are numbers
    already, are returned unchanged. Raises LabelError for a value that is not one of `classes`.
    """
    value = value.astype(np.float32)
    if task.kind != "multiclass" or task.value == "behaviour":
        return value
    values = np.asarray(class_values(task), dtype=np.float32)
    at = np.minimum(np.searchsorted(values, np.nan_to_num(value)), len(values) - 1)
    wrong = (values[at] != value) & ~np.isnan(value)
    if wrong.any():
        known = int((~np.isnan(value)).sum())
        raise LabelError(
            f"task {task.name!r}: {int(wrong.sum()):,} of {known:,} labels are none of its classes "
            f"{', '.join(f'{v:g}' for v in values)}: {examples(value, wrong)}. Declare every value "
            "in `classes`, or remove these rows' labels (NaN = no label)"
        )
    return np.where(np.isnan(value), np.nan, at).astype(np.float32)
