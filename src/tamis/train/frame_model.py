"""What every scorer of rows shares: research on frames, the cascade's `Rows`, tasks, results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, Self

import numpy as np
import polars as pl
from pydantic import Field

from tamis.data import columns_of
from tamis.features import FrameSpace, Rows
from tamis.runtime import Float32
from tamis.schema import (
    Component,
    ComponentConfig,
    ConfigError,
    DenseFeat,
    Feature,
    NotFittedError,
    TaskConfig,
    TrainingError,
    condition_of,
)
from tamis.train.calibration import Calibration, Method, fit_calibration
from tamis.train.fit_options import Epoch, FitResult
from tamis.train.metrics import auc, log_loss, xauc
from tamis.train.monotone import Monotone
from tamis.train.sampling import corrected, sample_negatives
from tamis.train.tasks import Heads, completed

if TYPE_CHECKING:
    import pandas as pd

    Frame = pl.DataFrame | pd.DataFrame
FEATURES = "features"


class Context(Protocol):
    """What is read of `tamis.cascade.FitContext`."""

    @property
    def seed(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def progress(self) -> bool: ...
    @property
    def former(self) -> Any: ...


class ScorerConfig(ComponentConfig):
    """What every scorer of rows may be told of its negatives and of its probabilities."""

    negatives: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each task's negative rows to learn from; predictions are corrected for it exactly.
    A task's own `negatives` goes before it."""
    calibrate: Method = "auto"
    """How log-odds become probabilities: as they are, by Platt's line, by isotonic regression, or
    by the simplest of these that is as good as the best on held-out rows. Fitted on the validation
    rows of a fit; a fit without them takes `calibration`."""
    calibration: tuple[Calibration, ...] = ()
    """The map of each task, as a former fit with validation rows found it; () = none."""
    seconds: dict[str, Monotone] = {}  # noqa: RUF012
    """Per watch-time task the map from its logit to seconds, as a former fit found it."""


class FrameModel(Component, ABC):
    """A model of tasks over rows, for research on a Polars or pandas frame and for the cascade.

        model = DeepFM(features=[SparseFeat("user_id"), SparseFeat("item_id")])
        model.fit(train, label="click", valid=valid).evaluate(test)

    In the cascade, on `Rows`: `fit(rows, valid, tasks, context)` and `score_rows(rows)`.

    A subclass names its `Config` and gives `fit_rows`, `logits`, `chosen`, `save`, `load`.
    """

    centred: ClassVar[bool] = True
    """Whether a fit's means are set right on the rows that it learnt from; see `centre`."""
    orders_only: bool = False
    """Whether the loss promises an order and no probability."""

    def __init__(
        self, config: Any = None, *, features: Sequence[Feature] = (), **options: Any
    ) -> None:
        super().__init__(config, **options)
        self.features = tuple(features)
        self.space: FrameSpace | None = None
        self.heads = Heads(())
        """The tasks, their logits, and what was learnt of their labels."""
        self.notes: tuple[str, ...] = ()
        """What a person should know of the last fit's labels."""
        self.result: FitResult | None = None
        self.shifts: tuple[float, ...] = ()
        """Per logit what sets its mean right; () = nothing."""
        self.rates: tuple[float, ...] = ()
        """Per task the share of its negatives that it learnt from; () = all."""
        self.calibrations: tuple[Calibration, ...] = self.config.calibration
        """Per task the map of its log-odds; () = none."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the labels' columns."""
        return self.heads.names

    @abstractmethod
    def fit_rows(
        self, rows: Rows, valid: Rows | None, tasks: Sequence[TaskConfig], context: Any
    ) -> Self:
        """Learns the tasks, the columns of `rows.labels`; `heads` are set, `result` is to be."""

    @abstractmethod
    def logits(self, rows: Rows) -> Float32:
        """Raw outputs (n, L) in the rows' order, before correction and calibration: the columns of
        task t are `heads.slices[t]`, one each but for multiclass tasks.

        Raises NotFittedError before a fit.
        """

    @property
    @abstractmethod
    def chosen(self) -> dict[str, Any]:
        """What a fit with validation rows chose, as options of the next fit."""

    @abstractmethod
    def save(self, directory: Path | str) -> None:
        """Writes what the class's `load` opens."""

    def probabilities(self, rows: Rows) -> Float32:
        """(n, T) in the rows' order, in the terms of the labels: a probability, a number, seconds.

        Raises NotFittedError before a fit.
        """
        return self.from_logits(self.logits(rows))

    def from_logits(self, logits: Float32) -> Float32:
        """(n, T) of raw logits (n, L), as `probabilities`.

        For engines that compute `logits` by other means.
        """
        return self.heads.values(self.log_odds(logits))

    def log_odds(self, logits: Float32) -> Float32:
        """Logits (n, L) as predictions are made of them: with their means set right; of rates,
        corrected for the negatives that were left out, then calibrated."""
        out = self._uncalibrated(logits)
        if not self.calibrations:
            return out
        maps = self.heads.per_logit(self.calibrations, Calibration())
        return np.stack([m(out[:, k]) for k, m in enumerate(maps)], axis=1)

    def _uncalibrated(self, logits: Float32) -> Float32:
        if self.shifts:
            logits = logits + np.asarray(self.shifts, np.float32)
        return corrected(logits, self.heads.per_logit(self.rates, 1.0)) if self.rates else logits

    def fit(
        self,
        data: Rows | Frame,
        valid: Rows | Frame | None = None,
        tasks: Sequence[str | TaskConfig] | None = None,
        context: Context | None = None,
        *,
        label: str | Sequence[str] = "label",
        weight: str | None = None,
    ) -> Self:
        """Learns from rows with labels, or from a frame whose column(s) `label` are 0 or 1.

        Args:
            data: `Rows` (the cascade) or a frame (research; needs `features`).
            valid: the same kind; stops the fit and picks the best epoch. None = all epochs are run.
            tasks: of the label columns of `Rows`: names (binary) or `TaskConfig`s. Of a frame, the
                columns of those names; where `like|click` is none, it is `like` where `click` is 1.
            context: seed, device, progress, and a former fit to start from.
            label: label column, or several: one binary task each. Not read where `tasks` are given.
            weight: a frame's column of sample weights.

        Raises TrainingError (no rows, no positive label, NaN), ConfigError and DataError.
        """
        if tasks is None:
            rows_given = isinstance(data, Rows)
            tasks = ["label"] if rows_given else [label] if isinstance(label, str) else list(label)
        heads = Heads.of(tasks)
        if not isinstance(data, Rows):
            data, valid = self._rows_of(data, valid, heads.tasks, weight)
        if valid is not None and not isinstance(valid, Rows):
            raise TrainingError("`valid` must be Rows as the training rows are")
        self.heads = heads.fitted(data)
        self.notes = tuple(self.heads.notes(data))
        self.rates = tuple(self._rate(task) for task in heads.tasks)
        seed = self.config.seed if context is None else context.seed
        kept = sample_negatives(data, self.rates, seed)
        self.fit_rows(kept, valid, heads.tasks, context)
        self.shifts = ()
        if self.centred and kept.labels is not None:
            shifts = self.heads.shifts(kept.labels, self.logits(kept), kept.weights)
            self.shifts = tuple(shifts.tolist())
        self._calibrate(valid)
        return self

    def _rate(self, task: TaskConfig) -> float:
        """Share of a task's negatives to learn from; numbers have none."""
        if task.kind != "binary":
            return 1.0
        rate = self.config.negatives if task.negatives is None else task.negatives
        if rate < 1 and self.heads.chains:
            raise ConfigError(
                f"task {task.name!r}: negatives = {rate} beside an ESMM task that learns products "
                "over all rows; set negatives = 1, or esmm = false"
            )
        return float(rate)

    def _calibrate(self, valid: Rows | None) -> None:
        """Fits the maps on the validation rows; without them, takes those of the config."""
        given, how = self.config.calibration, self.config.calibrate
        self.calibrations = given
        logits = None if valid is None or valid.labels is None else self.logits(valid)
        if logits is not None and valid is not None:
            self.heads = self.heads.timed(valid, self._uncalibrated(logits))
        else:
            self.heads = self.heads.with_seconds(self.config.seconds)
        if logits is not None and valid is not None and how != "none":
            self.calibrations = self._maps(valid, logits)
        elif given and len(given) != len(self.tasks):
            raise ConfigError(
                f"calibration holds {len(given)} maps for {len(self.tasks)} tasks; give one each"
            )
        elif not given and how not in ("none", "auto"):
            raise ConfigError(
                f"calibrate = {how!r} needs rows that were not learnt from: give `valid` to fit, "
                "or the `calibration` of a former fit"
            )

    def _maps(self, valid: Rows, logits: Float32) -> tuple[Calibration, ...]:
        """Each task's map, found on the validation rows; tasks that are no rates have none."""
        assert valid.labels is not None
        odds = self._uncalibrated(logits)
        maps = [Calibration()] * len(self.tasks)
        for t, column in self.heads.rates:
            maps[t] = fit_calibration(
                completed(self.heads.tasks[t], valid.labels[:, t]),
                odds[:, column],
                self.config.calibrate,
                groups=valid.groups,
                orders_only=self.orders_only,
            )
        return tuple(maps)

    @property
    def chosen_calibration(self) -> dict[str, Any]:
        """The part of `chosen` that a fit with validation rows found for its probabilities."""
        found: dict[str, Any] = {}
        if self.config.calibrate not in ("auto", "none") or any(
            m.kind != "none" for m in self.calibrations
        ):
            found["calibration"] = [m.model_dump(mode="json") for m in self.calibrations]
        if self.heads.seconds:
            found["seconds"] = {k: m.model_dump() for k, m in self.heads.seconds.items()}
        return found

    def saved_calibration(self) -> dict[str, Any]:
        """What `open_calibration` needs, as JSON."""
        maps = [m.model_dump(mode="json") for m in self.calibrations]
        return {
            "heads": self.heads.to_dict(),
            "shifts": self.shifts,
            "negatives": self.rates,
            "calibrations": maps,
        }

    def open_calibration(self, saved: dict[str, Any]) -> None:
        """Takes what `saved_calibration` gave."""
        self.heads = Heads.from_dict(saved["heads"])
        self.shifts = tuple(saved["shifts"])
        self.rates = tuple(saved["negatives"])
        self.calibrations = tuple(Calibration(**m) for m in saved["calibrations"])

    @property
    def history(self) -> list[Epoch]:
        """Learning curves of the last fit."""
        return [] if self.result is None else self.result.history

    @property
    def best_epoch(self) -> int:
        return 0 if self.result is None else self.result.best_epoch

    @property
    def best(self) -> dict[str, float]:
        """Validation metrics of the best epoch."""
        return {} if self.result is None else self.result.best

    def score_rows(self, rows: Rows) -> dict[str, Float32]:
        """What fusion may use, (n,) per name of `prediction_names`, in the rows' order: each task's
        prediction, and what is made of it (`like`, the product of `like|click` with `click`)."""
        return self.heads.predictions(self.log_odds(self.logits(rows)), rows)

    def labelled(self, frame: Frame) -> Rows:
        """The rows of a frame with the tasks' labels, as a fit on frames made them."""
        return self._labelled(frame, self.heads.tasks, None)

    def predict(self, frame: Frame) -> Float32:
        """Probabilities of the frame's rows: (n,), or (n, T) with several labels."""
        scores = self.probabilities(self._space().rows(frame))
        return scores[:, 0] if len(self.tasks) == 1 else scores

    def evaluate(self, frame: Frame) -> dict[str, float]:
        """AUC and log loss on a frame with labels; `auc:NAME` each with several labels. Of tasks
        whose labels are numbers, XAUC and mean absolute error."""
        rows = self._space().rows(_conditional(frame, self.heads.tasks), labels=self.tasks)
        assert rows.labels is not None
        scores = self.probabilities(rows)
        out: dict[str, float] = {}
        for t, task in enumerate(self.heads.tasks):
            suffix = "" if len(self.tasks) == 1 else f":{task.name}"
            label, score = self.heads.label(t, rows.labels[:, t]), scores[:, t]
            if task.kind == "binary":
                out[f"auc{suffix}"] = auc(label, score)
                out[f"logloss{suffix}"] = log_loss(label, score)
            else:
                out[f"xauc{suffix}"] = xauc(label, score)
                out[f"mae{suffix}"] = float(np.nanmean(np.abs(label - score)))
        return out

    def save_space(self, directory: Path) -> None:
        """Writes the features of a fit on frames; nothing after a fit on rows."""
        if self.space is not None:
            (directory / FEATURES).mkdir(parents=True, exist_ok=True)
            self.space.save(directory / FEATURES)

    def load_space(self, directory: Path) -> None:
        """Opens what `save_space` wrote."""
        if (directory / FEATURES).is_dir():
            self.space = FrameSpace.load(directory / FEATURES)
            self.features = self.space.features

    def _rows_of(
        self, data: Frame, valid: Any, tasks: Sequence[TaskConfig], weight: str | None
    ) -> tuple[Rows, Rows | None]:
        if not self.features:
            name = type(self).__name__
            raise ConfigError(
                f"{name} has no features: {name}(features=[SparseFeat('user_id'), …])"
            )
        own = getattr(self.config, "embedding_dim", None)
        for feature in self.features:
            if feature.embedding_dim not in (None, own) and not isinstance(feature, DenseFeat):
                raise ConfigError(
                    f"feature {feature.name!r} asks for embedding_dim {feature.embedding_dim}, the "
                    f"model's is {own}: all id features of {type(self).__name__} share one width"
                )
        self.space = FrameSpace.fit(data, self.features)
        return (
            self._labelled(data, tasks, weight),
            None if valid is None else self._labelled(valid, tasks, weight),
        )

    def _labelled(self, frame: Frame, tasks: Sequence[TaskConfig], weight: str | None) -> Rows:
        """The frame's rows with the tasks' labels, and the columns that tasks read as they are."""
        full = _conditional(frame, tasks)
        names = [task.name for task in tasks]
        rows = self._space().rows(full, labels=names, weights=weight)
        lengths = [task.duration for task in tasks if task.duration is not None]
        return replace(rows, raw=_raw(full, lengths)) if lengths else rows

    def _space(self) -> FrameSpace:
        name = type(self).__name__
        if self.space is None and self.tasks:
            raise NotFittedError(f"this {name} was fitted on the cascade's rows; use score_rows")
        if self.space is None:
            raise NotFittedError(f"this {name} is not fitted; call fit, or load one")
        return self.space


def _conditional(frame: Frame, tasks: Sequence[TaskConfig]) -> Frame:
    """The frame with a column for every conditional task that has none: the task's own column where
    its condition's is 1, else missing. Raises DataError where a column is not there."""
    absent = [t for t in tasks if t.given is not None and t.name not in frame.columns]
    if not absent:
        return frame
    needed = [name for t in absent for name in (t.base, _condition_column(t, tasks))]
    table = columns_of(frame, list(dict.fromkeys(needed)))
    whole = frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)
    return whole.with_columns(
        pl.when(table[_condition_column(t, tasks)] == 1).then(table[t.base]).alias(t.name)
        for t in absent
    )


def _condition_column(task: TaskConfig, tasks: Sequence[TaskConfig]) -> str:
    other = condition_of(task, tasks)
    assert task.given is not None
    return task.given if other is None else other.base


def _raw(frame: Frame, names: Sequence[str]) -> dict[str, Float32]:
    table = columns_of(frame, list(names))
    return {name: table[name].cast(pl.Float32).fill_null(np.nan).to_numpy() for name in names}
