"""What every scorer of rows shares: research on frames, the cascade's `Rows`, tasks, results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from tamis.features import FrameSpace, Rows
from tamis.schema import ConfigError, DenseFeat, Feature, NotFittedError, TrainingError
from tamis.train.metrics import auc, log_loss
from tamis.train.options import Epoch, FitResult

if TYPE_CHECKING:
    import pandas as pd

    Frame = pl.DataFrame | pd.DataFrame
Float32 = NDArray[np.float32]
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


class FrameModel(ABC):
    """A model of tasks over rows, for research on a Polars or pandas frame and for the cascade.

        model = DeepFM(features=[SparseFeat("user_id"), SparseFeat("item_id")])
        model.fit(train, label="click", valid=valid).evaluate(test)

    In the cascade, on `Rows`: `fit(rows, valid, tasks, context)` and `score_rows(rows)`.

    A subclass names its `Config` and gives `fit_rows`, `probabilities`, `chosen`, `save`, `load`.
    """

    Config: ClassVar[type[BaseModel]]

    def __init__(
        self, config: Any = None, *, features: Sequence[Feature] = (), **options: Any
    ) -> None:
        self.config: Any = self._configured(config, options)
        self.features = tuple(features)
        self.space: FrameSpace | None = None
        self.tasks: tuple[str, ...] = ()
        self.result: FitResult | None = None

    @abstractmethod
    def fit_rows(self, rows: Rows, valid: Rows | None, tasks: Sequence[str], context: Any) -> Self:
        """Learns the tasks, the columns of `rows.labels`; sets `tasks` and `result`."""

    @abstractmethod
    def probabilities(self, rows: Rows) -> Float32:
        """(n, T) in the rows' order. Raises NotFittedError before a fit."""

    @property
    @abstractmethod
    def chosen(self) -> dict[str, Any]:
        """What a fit with validation rows chose, as options of the next fit."""

    def fit(
        self,
        data: Rows | Frame,
        valid: Rows | Frame | None = None,
        tasks: Sequence[str] | None = None,
        context: Context | None = None,
        *,
        label: str | Sequence[str] = "label",
    ) -> Self:
        """Learns from rows with labels, or from a frame whose column(s) `label` are 0 or 1.

        Args:
            data: `Rows` (the cascade) or a frame (research; needs `features`).
            valid: the same kind; stops the fit and picks the best epoch. None = all epochs are run.
            tasks: names of the label columns of `Rows`; None = "label".
            context: seed, device, progress, and a former fit to start from.
            label: label column, or several: one task each.

        Raises TrainingError (no rows, no positive label, NaN), ConfigError and DataError.
        """
        if not isinstance(data, Rows):
            tasks = [label] if isinstance(label, str) else list(label)
            data, valid = self._rows_of(data, valid, tasks)
        if valid is not None and not isinstance(valid, Rows):
            raise TrainingError("`valid` must be Rows as the training rows are")
        return self.fit_rows(data, valid, tuple(tasks or ["label"]), context)

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
        """Probability (n,) per task, in the rows' order."""
        scores = self.probabilities(rows)
        return {task: scores[:, t] for t, task in enumerate(self.tasks)}

    def predict(self, frame: Frame) -> Float32:
        """Probabilities of the frame's rows: (n,), or (n, T) with several labels."""
        scores = self.probabilities(self._space().rows(frame))
        return scores[:, 0] if len(self.tasks) == 1 else scores

    def evaluate(self, frame: Frame) -> dict[str, float]:
        """AUC and log loss on a frame with labels; `auc:NAME` each with several labels."""
        rows = self._space().rows(frame, labels=self.tasks)
        assert rows.labels is not None
        scores = self.probabilities(rows)
        out: dict[str, float] = {}
        for t, task in enumerate(self.tasks):
            suffix = "" if len(self.tasks) == 1 else f":{task}"
            out[f"auc{suffix}"] = auc(rows.labels[:, t], scores[:, t])
            out[f"logloss{suffix}"] = log_loss(rows.labels[:, t], scores[:, t])
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

    def _rows_of(self, data: Frame, valid: Any, tasks: Sequence[str]) -> tuple[Rows, Rows | None]:
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
        rows = self.space.rows(data, labels=tasks)
        return rows, None if valid is None else self.space.rows(valid, labels=tasks)

    def _space(self) -> FrameSpace:
        name = type(self).__name__
        if self.space is None and self.tasks:
            raise NotFittedError(f"this {name} was fitted on the cascade's rows; use score_rows")
        if self.space is None:
            raise NotFittedError(f"this {name} is not fitted; call fit, or load one")
        return self.space

    @classmethod
    def _configured(cls, config: BaseModel | None, options: dict[str, Any]) -> Any:
        given = {} if config is None else config.model_dump()
        if config is not None and not options:
            return config
        try:
            return cls.Config(**{**given, **options})
        except ValidationError as error:
            known = ", ".join(sorted(cls.Config.model_fields))
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ConfigError(
                f"{cls.__name__}: {place} = {first['input']!r}: {first['msg']}. Options: {known}"
            ) from error


def check_labels(rows: Rows, tasks: Sequence[str]) -> None:
    """Every task needs a positive label."""
    if len(rows) == 0:
        raise TrainingError("there are no rows to train on; check the split and the labels")
    if rows.labels is None or rows.labels.shape[1] != len(tasks):
        shape = None if rows.labels is None else rows.labels.shape
        raise TrainingError(f"labels have shape {shape}; {len(tasks)} tasks want (n, {len(tasks)})")
    for t, task in enumerate(tasks):
        if not np.nanmax(np.nan_to_num(rows.labels[:, t]), initial=0.0) > 0:
            raise TrainingError(
                f"task {task!r} has no positive label in {len(rows)} rows; "
                "check its behaviours and the training windows"
            )
