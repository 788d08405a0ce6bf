"""Base of every scorer of rows: fitting on frames or `Rows`, calibration, evaluation."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from scipy.special import expit

from tamis.data import columns_of
from tamis.features import FrameSpace, Rows
from tamis.runtime import Float32, one_blas_thread
from tamis.schema import (
    Component,
    ConfigError,
    DataError,
    Feature,
    NotFittedError,
    TamisWarning,
    TaskConfig,
    TrainingError,
    feature_tuple,
)
from tamis.train._frames import label_columns, raw_columns, with_conditional_labels
from tamis.train.calibration import Calibration, fit_calibration
from tamis.train.chosen import Chosen
from tamis.train.fit_options import Epoch, FitResult
from tamis.train.fit_settings import FitSettings
from tamis.train.intercept import centre, rate_beyond_chance
from tamis.train.label_checks import (
    Metrics,
    check_labels,
    one_class_notes,
    undefined_metrics,
    unlearnable,
)
from tamis.train.metrics import auc, log_loss, mean_absolute_error, xauc
from tamis.train.sampling import corrected, sample_negatives
from tamis.train.tasks import Heads, completed

if TYPE_CHECKING:
    from tamis.train._frames import Frame
FEATURES = "features"
LEARNT = {"heads": dict, "shifts": list, "negatives": list, "calibrations": list}
"""Keys, and their types, that `FrameModel.restore_learnt_values` needs."""


class FrameModel(Component, ABC):
    """A model of one or more tasks over rows of features.

    On a Polars or pandas frame (research):

        model = DeepFM(features=[SparseFeat("user_id"), SparseFeat("item_id")])
        model.fit(train, label="click", valid=valid).evaluate(test)

    On `Rows` (the cascade): `fit(rows, valid, tasks, context)` and `score_rows(rows)`.

    A subclass declares its `Config` and implements `fit_rows`, `logits`, `save` and `load`.
    """

    centred: ClassVar[bool] = True
    """Whether `fit` corrects the intercepts on the training rows; see `intercept.centre`."""
    orders_only: bool = False
    """Whether the loss defines only an order, so that logits are not log-odds until calibrated."""

    def __init__(
        self, config: Any = None, *, features: Sequence[Feature] = (), **options: Any
    ) -> None:
        super().__init__(config, **options)
        self.features = feature_tuple(features)
        self.space: FrameSpace | None = None
        """Encoders of a fit on frames; None after a fit on rows."""
        self.heads = Heads(())
        """The tasks, their logits, and the constants fitted to their labels."""
        self.notes: tuple[str, ...] = ()
        """Remarks on the labels of the last fit, for the user."""
        self.result: FitResult | None = None
        self.scales: tuple[float, ...] = ()
        """(L,) factors of the logits, of a fit that started from a former one; empty: all 1."""
        self.shifts: tuple[float, ...] = ()
        """(L,) intercept corrections, added to the logits times their factors; empty: none."""
        self.begun: tuple[float, ...] = ()
        """(L,) intercept corrections with which a fit from a former one began; empty: none."""
        self.rates: tuple[float, ...] = ()
        """(T,) share of all negatives of each task that the fit learnt from; empty: all."""
        self.calibrations: tuple[Calibration, ...] = ()
        """(T,) calibration maps of the tasks' log-odds; empty: none."""
        self.chosen = Chosen()
        """What the last fit chose on its validation rows; without them, what it was given."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the labels' columns."""
        return self.heads.names

    # ------------------------------------------------------------------ fitting

    def fit(
        self,
        data: Rows | Frame,
        valid: Rows | Frame | None = None,
        tasks: Sequence[str | TaskConfig] | None = None,
        context: FitSettings | None = None,
        *,
        label: str | Sequence[str] = "label",
        weight: str | None = None,
    ) -> Self:
        """Learns from rows with labels, or from a frame whose column(s) `label` are 0 or 1.

        With `valid`, the fit stops by it, fits the calibration on it and records both in `chosen`.
        Without it, `context.chosen` takes the place of both.

        Args:
            data: `Rows` (the cascade) or a frame (research; needs `features`).
            valid: validation rows of the same kind; None: all epochs are run.
            tasks: of the label columns of `Rows`: names (binary) or `TaskConfig`s. Of a frame, the
                columns of those names; a missing `like|click` is `like` where `click` is 1.
            context: seed, device, progress, a former fit to start from, and what an earlier fit
                chose; None: the option `seed`, the CPU, no progress bar.
            label: label column, or several: one binary task each. Ignored where `tasks` are given.
            weight: a frame's column of sample weights.

        Labels are checked before anything is fitted (`check_labels`): those of a binary task lie in
        [0, 1], NaN and null are missing. Tasks whose training or validation labels are all equal
        are reported in `notes`, and after a fit on frames also as a `TamisWarning`.

        Raises LabelError (no rows, no positive label, labels or weights that the task cannot have;
        the message names values and rows), TrainingError (a loss that is not finite), ConfigError
        and DataError.
        """
        if tasks is None:
            rows_given = isinstance(data, Rows)
            tasks = ["label"] if rows_given else label
        heads = Heads.of(tasks)
        framed = not isinstance(data, Rows)
        if not isinstance(data, Rows):
            data, valid = self._rows_of(data, valid, heads.tasks, weight)
        if valid is not None and not isinstance(valid, Rows):
            raise TrainingError(
                f"`valid` is a {type(valid).__name__}, but the training rows are Rows; give Rows"
            )
        former = None if context is None else context.former
        self.heads = heads.fitted(data) if former is None else heads.continued(former.heads, data)
        self.notes = tuple(self._notes(data, valid, goes_on=former is not None))
        if former is not None:
            data = self._learnable(data)
        if framed:
            for note in self.notes:
                warnings.warn(note, TamisWarning, stacklevel=2)
        own = tuple(self._rate(task) for task in heads.tasks)
        before = 1.0 if context is None else context.negatives
        self.rates = tuple(
            rate * before if task.kind == "binary" else rate
            for rate, task in zip(own, heads.tasks, strict=True)
        )
        given = self._given(valid, context)
        seed = self.config.seed if context is None else context.seed
        kept = sample_negatives(data, own, seed)
        self.scales, self.begun = (), ()
        with one_blas_thread():
            self.fit_rows(kept, valid, heads.tasks, context)
            self.shifts = self._intercepts(kept)
            if given is None:
                assert valid is not None
                self._calibrate(valid)
        if given is not None:
            self.chosen, self.calibrations = given, given.calibrations
            self.heads = self.heads.with_seconds(given.seconds)
        return self

    @abstractmethod
    def fit_rows(
        self, rows: Rows, valid: Rows | None, tasks: Sequence[TaskConfig], context: Any
    ) -> Self:
        """Fits the tasks, the columns of `rows.labels`, and sets `self.result`.

        With `valid`, also sets `self.chosen` to the number of epochs or trees; without it, runs as
        many as `context.chosen` names. `self.heads` and `self.rates` are set before the call.
        """

    def _notes(self, rows: Rows, valid: Rows | None, *, goes_on: bool) -> list[str]:
        """Remarks on the labels. Raises LabelError for wrong validation labels.

        goes_on: whether the fit starts from a former one, which knows other labels, too.
        """
        found = self.heads.notes(rows)
        if not goes_on:
            found += one_class_notes(rows, self.heads.tasks, "training")
        if valid is not None and valid.labels is not None:
            check_labels(valid, self.heads.tasks, "validation")
            found += one_class_notes(valid, self.heads.tasks, "validation")
        return found

    def _learnable(self, rows: Rows) -> Rows:
        """Rows without the labels of tasks that cannot learn from them, which keep what a former
        fit has learnt, with a note."""
        assert rows.labels is not None
        faults = unlearnable(rows.labels, self.heads.tasks)
        if not faults:
            return rows
        labels = rows.labels.copy()
        labels[:, list(faults)] = np.nan
        self.notes += tuple(
            f"task {self.heads.tasks[t].name!r} {fault} in {len(rows):,} new rows: it keeps what "
            "it has learnt"
            for t, fault in faults.items()
        )
        return rows.relabelled(labels)

    def _rate(self, task: TaskConfig) -> float:
        """Share of a task's negatives to learn from, in (0, 1]; 1 for tasks that are not binary."""
        if task.kind != "binary":
            return 1.0
        rate = self.config.negatives if task.negatives is None else task.negatives
        if rate < 1 and self.heads.chains:
            raise ConfigError(
                f"task {task.name!r}: negatives = {rate} cannot be combined with an ESMM task, "
                "which learns products over all rows; set negatives = 1, or esmm = false"
            )
        return float(rate)

    def _given(self, valid: Rows | None, context: FitSettings | None) -> Chosen | None:
        """What an earlier fit chose, checked; None: this fit chooses on its validation rows."""
        if valid is not None and valid.labels is not None:
            return None
        chosen = Chosen() if context is None else context.chosen or Chosen()
        maps, how = chosen.calibrations, self.config.calibrate
        if maps and len(maps) != len(self.tasks):
            raise ConfigError(
                f"the chosen calibration holds {len(maps)} maps for {len(self.tasks)} tasks; "
                "pass what a fit of the same tasks chose"
            )
        goes_on = context is not None and context.former is not None
        if not maps and how not in ("none", "auto") and not goes_on:
            raise ConfigError(
                f"calibrate = {how!r} needs held-out rows: pass `valid` to fit, or a context whose "
                "`chosen` comes from a fit with validation rows"
            )
        return chosen

    def _intercepts(self, rows: Rows) -> tuple[float, ...]:
        """(L,) intercept corrections on the training rows; () where the class needs none."""
        if not self.centred or rows.labels is None:
            return ()
        logits = self._scaled(self.logits(rows))
        shifts = self.heads.shifts(rows.labels, logits, rows.weights, self.begun)
        return tuple(shifts.tolist())

    def calibrate_on(self, held_out: Rows) -> Chosen:
        """Fits the maps to seconds and the calibrations on rows that the fit has not seen; returns
        `chosen` with them, for the next fit.

        Raises LabelError for labels that the tasks cannot have.
        """
        check_labels(held_out, self.heads.tasks, "held-out")
        with one_blas_thread():
            self._calibrate(held_out)
        return self.chosen

    def centre_on(self, rows: Rows, former: FrameModel) -> None:
        """Sets the level of the predictions as they are served, calibrations included: their mean
        becomes that of the labels of `rows`, as far as it differs beyond chance from what `former`
        predicts. Of tasks of few labels it becomes the mean of the former predictions. Of watch
        times this holds for t / (1 + t), of products for each of their factors.

        A calibration is fitted on held-out rows, which may be few, relative to a fit that did not
        know them. After that fit has learnt them, too, its own level corrects what was learnt.

        rows: labelled rows with inputs as a request has them, without weights.
        former: what was served before, of the same tasks and columns of inputs.
        """
        assert rows.labels is not None
        with one_blas_thread():
            now = self.log_odds(self.logits(rows))
            before = former.log_odds(former.logits(rows))
        shifts = np.asarray(self.shifts or (0.0,) * self.heads.n_logits, np.float64)
        maps = list(self.calibrations)
        for t, column in self.heads.odds:
            target = self.heads.own_target(t, rows.labels[:, t])
            known = ~np.isnan(target)
            if not known.any():
                continue
            predicted = expit(before[known, column])
            if self.heads.few(t, rows.labels):
                rate = float(np.mean(predicted, dtype=np.float64))
            else:
                own = None if rows.groups is None else rows.groups[known]
                rate = rate_beyond_chance(target[known], predicted, own)
            odds = now[known, column]
            shift = centre(np.full(len(odds), rate), odds)
            if maps and maps[t].kind != "none":
                maps[t] = maps[t].moved(shift)  # after the map, whose shape stays as it was fitted
            else:
                shifts[column] += shift
        self.shifts, self.calibrations = tuple(shifts.tolist()), tuple(maps)

    def _calibrate(self, valid: Rows) -> None:
        """Fits the maps to seconds and the calibrations on the validation rows."""
        logits = self.logits(valid)
        self.heads = self.heads.timed(valid, self._uncalibrated(logits))
        self.calibrations = () if self.config.calibrate == "none" else self._maps(valid, logits)
        needed = self.config.calibrate != "auto" or any(m.kind != "none" for m in self.calibrations)
        self.chosen = self.chosen.model_copy(
            update={
                "calibrations": self.calibrations if needed else (),
                "seconds": self.heads.seconds,
            }
        )

    def _maps(self, valid: Rows, logits: Float32) -> tuple[Calibration, ...]:
        """(T,) calibration maps fitted on the validation rows; the identity for other tasks than
        rates."""
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

    # ------------------------------------------------------------------ predicting

    @abstractmethod
    def logits(self, rows: Rows) -> Float32:
        """Raw outputs (n, L) in the rows' order, before correction and calibration.

        The columns of task t are `heads.slices[t]`: one each, but K for a task of K classes.
        Raises NotFittedError before a fit.
        """

    def log_odds(self, logits: Float32) -> Float32:
        """Corrected and calibrated logits (n, L) of raw logits (n, L).

        Multiplies by the factors and adds the intercept corrections; for binary and completion
        tasks also undoes the sampling of negatives and applies the calibration.
        """
        out = self._uncalibrated(logits)
        if not self.calibrations:
            return out
        maps = self.heads.per_logit(self.calibrations, Calibration())
        return np.stack([m(out[:, k]) for k, m in enumerate(maps)], axis=1)

    def _scaled(self, logits: Float32) -> Float32:
        return logits * np.asarray(self.scales, np.float32) if self.scales else logits

    def _uncalibrated(self, logits: Float32) -> Float32:
        logits = self._scaled(logits)
        if self.shifts:
            logits = logits + np.asarray(self.shifts, np.float32)
        return corrected(logits, self.heads.per_logit(self.rates, 1.0)) if self.rates else logits

    def from_logits(self, logits: Float32) -> Float32:
        """Predictions (n, T) of raw logits (n, L), as `probabilities` makes them.

        For engines that compute `logits` by other means.
        """
        return self.heads.values(self.log_odds(logits))

    def probabilities(self, rows: Rows) -> Float32:
        """Predictions (n, T) in the rows' order and in the units of the labels.

        A probability for binary tasks; a number, seconds or a share for the others.
        Raises NotFittedError before a fit.
        """
        return self.from_logits(self.logits(rows))

    def score_rows(self, rows: Rows) -> dict[str, Float32]:
        """Predictions for fusion, (n,) per name of `prediction_names`, in the rows' order.

        Each task's prediction, and what is derived from it (`like`, the product of `like|click`
        and `click`).
        """
        return self.heads.predictions(self.log_odds(self.logits(rows)), rows)

    def predict(self, frame: Frame) -> Float32:
        """Predictions for the frame's rows: (n,), or (n, T) with several tasks."""
        scores = self.probabilities(self._space().rows(frame))
        return scores[:, 0] if len(self.tasks) == 1 else scores

    def evaluate(self, frame: Frame) -> Metrics:
        """Metrics on a frame with labels: AUC and log loss of binary tasks, XAUC and mean absolute
        error of others. With several tasks the keys are `auc:NAME` and so on.

        A metric that is undefined (AUC where all labels are equal) is NaN; `undefined` of the
        result says why, and so does a `TamisWarning`. Raises LabelError for labels that the
        task cannot have, DataError for a frame without rows.
        """
        rows = self.labelled(frame)
        assert rows.labels is not None
        if not len(rows):
            raise DataError("the frame has no row: there is nothing to evaluate on")
        scores = self.probabilities(rows)
        out = Metrics()
        for t, task in enumerate(self.heads.tasks):
            suffix = "" if len(self.tasks) == 1 else f":{task.name}"
            label, score = self.heads.label(t, rows.labels[:, t]), scores[:, t]
            if task.kind == "binary":
                found = {"auc": auc(label, score), "logloss": log_loss(label, score)}
            else:
                found = {"xauc": xauc(label, score), "mae": mean_absolute_error(label, score)}
            reasons = undefined_metrics(found, label)
            out.update({name + suffix: value for name, value in found.items()})
            out.undefined |= {name + suffix: reason for name, reason in reasons.items()}
        if out.undefined:
            warnings.warn("; ".join(out.reasons()), TamisWarning, stacklevel=2)
        return out

    # ------------------------------------------------------------------ results of the last fit

    @property
    def history(self) -> list[Epoch]:
        """Learning curves of the last fit."""
        return [] if self.result is None else self.result.history

    @property
    def best_epoch(self) -> int:
        """Epoch (from 1) or number of trees of the best validation metric; 0 before a fit."""
        return 0 if self.result is None else self.result.best_epoch

    @property
    def best(self) -> dict[str, float]:
        """Validation metrics of the best epoch."""
        return {} if self.result is None else self.result.best

    # ------------------------------------------------------------------ saving

    @property
    def format(self) -> int:
        """The format of what `save` writes: 2 with `scales`, which releases that know 1 alone
        would leave out."""
        return 2 if self.scales else 1

    @abstractmethod
    def save(self, directory: Path | str) -> None:
        """Writes what the class's `load` opens."""

    def learnt_values(self) -> dict[str, Any]:
        """What a fit learnt besides the weights, as JSON values; see `restore_learnt_values`."""
        return {
            "heads": self.heads.to_dict(),
            "scales": self.scales,
            "shifts": self.shifts,
            "negatives": self.rates,
            "calibrations": [m.model_dump(mode="json") for m in self.calibrations],
            "chosen": self.chosen.to_dict(),
        }

    def restore_learnt_values(self, saved: dict[str, Any]) -> None:
        """Takes over what `learnt_values` returned.

        Raises ValueError if the number of values is not that of the tasks.
        """
        self.heads = Heads.from_dict(saved["heads"])
        self.scales = tuple(saved.get("scales", ()))  # older files lack it
        self.shifts = tuple(saved["shifts"])
        self.rates = tuple(saved["negatives"])
        self.calibrations = tuple(Calibration(**m) for m in saved["calibrations"])
        self.chosen = Chosen.from_dict(saved.get("chosen", {}))  # older files lack it
        n_tasks = len(self.heads.tasks)
        n_logits = self.heads.n_logits
        counts = {"negatives": n_tasks, "calibrations": n_tasks}
        counts |= {"scales": n_logits, "shifts": n_logits}
        for name, count in counts.items():
            found = len(saved.get(name, ()))
            if found and found != count:
                raise ValueError(
                    f"{name} holds {found} values, but the {n_tasks} tasks need {count}"
                )

    def save_space(self, directory: Path) -> None:
        """Writes the encoders of a fit on frames; nothing after a fit on rows."""
        if self.space is not None:
            (directory / FEATURES).mkdir(parents=True, exist_ok=True)
            self.space.save(directory / FEATURES)

    def load_space(self, directory: Path) -> None:
        """Opens what `save_space` wrote."""
        if (directory / FEATURES).is_dir():
            self.space = FrameSpace.load(directory / FEATURES)
            self.features = self.space.features

    # ------------------------------------------------------------------ frames

    def labelled(self, frame: Frame) -> Rows:
        """The rows of a frame with the tasks' labels, as a fit on frames makes them.

        Raises LabelError for labels that the task cannot have, DataError for an absent column.
        """
        rows = self._labelled(frame, self.heads.tasks, None)
        check_labels(rows, self.heads.tasks, "test")
        return rows

    def _rows_of(
        self, data: Frame, valid: Any, tasks: Sequence[TaskConfig], weight: str | None
    ) -> tuple[Rows, Rows | None]:
        """Fits the encoders on `data`; the rows of both frames."""
        name = type(self).__name__
        if not self.features:
            raise ConfigError(
                f"{name} has no features: {name}(features=[SparseFeat('user_id'), …])"
            )
        self.space = FrameSpace.fit(data, self.features)
        return (
            self._labelled(data, tasks, weight),
            None if valid is None else self._labelled(valid, tasks, weight),
        )

    def _labelled(self, frame: Frame, tasks: Sequence[TaskConfig], weight: str | None) -> Rows:
        """The frame's rows with the tasks' labels and the durations that tasks divide by."""
        full = with_conditional_labels(frame, tasks)
        labels = label_columns(columns_of(full, [task.name for task in tasks]), tasks)
        rows = replace(self._space().rows(full, weights=weight), labels=labels)
        lengths = [task.duration for task in tasks if task.duration is not None]
        return replace(rows, raw=raw_columns(full, lengths)) if lengths else rows

    def _space(self) -> FrameSpace:
        name = type(self).__name__
        if self.space is None and self.tasks:
            raise NotFittedError(f"this {name} was fitted on the cascade's rows; use score_rows")
        if self.space is None:
            raise NotFittedError(f"this {name} is not fitted; call fit, or load one")
        return self.space
