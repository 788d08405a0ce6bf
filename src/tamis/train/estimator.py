"""A model with its data around it: fitted on frames or on the cascade's rows, asked for scores."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from tamis.features import FrameSpace, Layout, Rows
from tamis.schema import (
    ConfigError,
    DenseFeat,
    Feature,
    NotFittedError,
    TrainingError,
    VersionError,
)
from tamis.train.checkpoint import load_weights, save_weights
from tamis.train.loop import fit, predict
from tamis.train.metrics import auc, grouped_ndcg, log_loss
from tamis.train.objective import BinaryTasks, Metric
from tamis.train.options import Epoch, FitOptions, FitResult

if TYPE_CHECKING:
    import pandas as pd

    Frame = pl.DataFrame | pd.DataFrame

Float32 = NDArray[np.float32]
SAVED = "estimator.json"


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


class EstimatorConfig(BaseModel):
    """Hyper-parameters that every trained scorer has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Annotated[int, Field(ge=1)] = 20
    """Most passes over the rows."""
    patience: Annotated[int, Field(ge=1)] = 2
    """Epochs without a better validation metric before the fit stops."""
    batch_size: Annotated[int, Field(ge=1)] = 2048
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Of the dense weights (Adam)."""
    embedding_learning_rate: Annotated[float, Field(gt=0)] = 0.1
    """Of the id features' rows."""
    embedding_optimiser: Literal["rowadagrad", "lazyadam"] = "rowadagrad"
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the id features' rows, applied to rows in the batch."""
    dense_l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the dense weights."""
    loss: Literal["bce", "listwise", "both"] = "bce"
    """Cross entropy per row (calibrated), a softmax within requests (order only), or their sum."""
    metric: Literal["auc", "ndcg"] = "auc"
    """What stops the fit: AUC over all rows, or NDCG@10 within requests (first task)."""
    bfloat16: Literal["auto", "on", "off"] = "auto"
    """Matrix products of training in bfloat16; auto = where the hardware has it."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of training; None = as torch is set."""
    seed: int = 0
    """Used when a fit is given no context (research on frames)."""


class Estimator(ABC):
    """Base of the models that predict tasks for rows.

    For research, on a Polars or pandas frame:

        model = DeepFM(features=[SparseFeat("user_id"), SparseFeat("item_id")])
        model.fit(train, label="click", valid=valid).evaluate(test)

    In the cascade, on `Rows`: `fit(rows, valid, tasks, context)` and `score_rows(rows)`.

    A subclass names its `Config` and builds its module.
    """

    Config: ClassVar[type[EstimatorConfig]] = EstimatorConfig

    def __init__(
        self,
        config: EstimatorConfig | None = None,
        *,
        features: Sequence[Feature] = (),
        **options: Any,
    ) -> None:
        self.config = self._configured(config, options)
        self.features = tuple(features)
        self.space: FrameSpace | None = None
        self.layout: Layout | None = None
        self.tasks: tuple[str, ...] = ()
        self.model: nn.Module | None = None
        self.result: FitResult | None = None

    @abstractmethod
    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        """A fresh module whose `forward(batch)` gives logits (B, n_tasks)."""

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
        self.layout, self.tasks = data.layout, tuple(tasks or ["label"])
        _check_labels(data, self.tasks)
        seed = self.config.seed if context is None else context.seed
        self.model = self.build(self.layout, len(self.tasks), torch.Generator().manual_seed(seed))
        if context is not None and context.former is not None:
            self._start_from(context.former)
        objective = BinaryTasks(self.tasks, None, self.config.loss, *self._metric())
        self.result = fit(
            self.model, data, objective, valid=valid, options=self._options(seed, context)
        )
        self.model.to("cpu")
        return self

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
        scores = self._probabilities(rows)
        return {task: scores[:, t] for t, task in enumerate(self.tasks)}

    def predict(self, frame: Frame) -> Float32:
        """Probabilities of the frame's rows: (n,), or (n, T) with several labels."""
        scores = self._probabilities(self._space().rows(frame))
        return scores[:, 0] if len(self.tasks) == 1 else scores

    def evaluate(self, frame: Frame) -> dict[str, float]:
        """AUC and log loss on a frame with labels; `auc:NAME` each with several labels."""
        rows = self._space().rows(frame, labels=self.tasks)
        assert rows.labels is not None
        scores = self._probabilities(rows)
        out: dict[str, float] = {}
        for t, task in enumerate(self.tasks):
            suffix = "" if len(self.tasks) == 1 else f":{task}"
            out[f"auc{suffix}"] = auc(rows.labels[:, t], scores[:, t])
            out[f"logloss{suffix}"] = log_loss(rows.labels[:, t], scores[:, t])
        return out

    def save(self, directory: Path | str) -> None:
        """Writes config, layout and weights (and, of a research fit, the features)."""
        directory, model = Path(directory), self._module()
        assert self.layout is not None
        directory.mkdir(parents=True, exist_ok=True)
        if self.space is not None:
            (directory / "features").mkdir(exist_ok=True)
            self.space.save(directory / "features")
        save_weights(model, directory / "weights")
        about = {
            "model": type(self).__name__,
            "config": self.config.model_dump(mode="json"),
            "tasks": self.tasks,
            "layout": self.layout.to_dict(),
        }
        (directory / SAVED).write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, directory: Path | str, config: EstimatorConfig | None = None) -> Self:
        """Opens what `save` wrote, weights memory-mapped.

        `config` is the cascade's; the shape of the model is the saved one's.
        Raises VersionError where files are missing or belong to another model.
        """
        directory = Path(directory)
        if not (directory / SAVED).is_file():
            raise VersionError(f"{directory / SAVED} is missing: there is no saved model; train it")
        about = json.loads((directory / SAVED).read_text())
        if about["model"] != cls.__name__:
            raise VersionError(f"{directory} holds a {about['model']}, not a {cls.__name__}")
        self = cls(cls.Config(**about["config"]))
        self.layout, self.tasks = Layout.from_dict(about["layout"]), tuple(about["tasks"])
        self.model = self.build(self.layout, len(self.tasks), torch.Generator()).eval()
        load_weights(self.model, directory / "weights")
        if (directory / "features").is_dir():
            self.space = FrameSpace.load(directory / "features")
            self.features = self.space.features
        return self

    def _probabilities(self, rows: Rows) -> Float32:
        logits = torch.from_numpy(predict(self._module(), rows))
        return torch.sigmoid(logits).numpy()

    def _options(self, seed: int, context: Context | None) -> FitOptions:
        names = set(FitOptions.__dataclass_fields__) - {"seed"}
        chosen = {k: v for k, v in self.config.model_dump().items() if k in names}
        if context is not None:
            chosen |= {"device": context.device, "progress": context.progress}
        return FitOptions(seed=seed, **chosen)

    def _metric(self) -> tuple[Metric | None, str]:
        if self.config.metric == "auc":
            return None, "auc"

        def within_requests(scores: Float32, valid: Rows) -> float:
            if valid.groups is None or valid.labels is None:
                raise TrainingError(
                    "metric = 'ndcg' needs `groups` in the validation rows; use metric = 'auc'"
                )
            return grouped_ndcg(valid.labels[:, 0], scores[:, 0], valid.groups)

        return within_requests, "ndcg"

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

    def _start_from(self, former: Estimator) -> None:
        """Takes the weights of a former fit on the same layout."""
        model = former._module()
        if type(former) is not type(self) or former.layout != self.layout:
            raise ConfigError(
                f"a {type(self).__name__} cannot start from this {type(former).__name__}: "
                "their features or vocabularies differ; train it from scratch"
            )
        self._module().load_state_dict(model.state_dict())

    def _module(self) -> nn.Module:
        if self.model is None:
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit, or load one")
        return self.model

    def _space(self) -> FrameSpace:
        self._module()
        if self.space is None:
            raise NotFittedError(
                f"this {type(self).__name__} was fitted on the cascade's rows; use score_rows"
            )
        return self.space

    @classmethod
    def _configured(cls, config: EstimatorConfig | None, options: dict[str, Any]) -> Any:
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


def _check_labels(rows: Rows, tasks: Sequence[str]) -> None:
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
