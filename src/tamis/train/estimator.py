"""Scorers that are modules: built from a layout, trained by the one loop, saved as arrays."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from tamis.features import Layout, Rows
from tamis.schema import ConfigError, Feature, NotFittedError, TrainingError, VersionError
from tamis.train.checkpoint import load_weights, save_weights
from tamis.train.frames import Context, FrameModel, check_labels
from tamis.train.loop import fit, predict
from tamis.train.metrics import grouped_ndcg
from tamis.train.objective import BinaryTasks, Metric
from tamis.train.options import FitOptions
from tamis.train.platt import calibrated, platt

Float32 = NDArray[np.float32]
SAVED = "estimator.json"


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
    calibration: tuple[tuple[float, float], ...] = ()
    """Per task the (slope, intercept) that turns logits into probabilities; () = none. A fit with
    validation rows whose loss orders without calibrating finds them there (Platt)."""
    seed: int = 0
    """Used when a fit is given no context (research on frames)."""


class Estimator(FrameModel):
    """Base of the models that the training loop trains.

    A subclass names its `Config` and builds its module.
    """

    Config: ClassVar[type[BaseModel]] = EstimatorConfig

    def __init__(
        self,
        config: EstimatorConfig | None = None,
        *,
        features: Sequence[Feature] = (),
        **options: Any,
    ) -> None:
        super().__init__(config, features=features, **options)
        self.layout: Layout | None = None
        self.model: nn.Module | None = None
        self._lines: tuple[tuple[float, float], ...] = self.config.calibration

    @abstractmethod
    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        """A fresh module whose `forward(batch)` gives logits (B, n_tasks)."""

    def fit_rows(
        self, rows: Rows, valid: Rows | None, tasks: Sequence[str], context: Context | None
    ) -> Self:
        """Trains a fresh module, or one that starts from `context.former`; see `FrameModel.fit`."""
        check_labels(rows, tasks)
        self.layout, self.tasks = rows.layout, tuple(tasks)
        seed = self.config.seed if context is None else context.seed
        self.model = self.build(self.layout, len(tasks), torch.Generator().manual_seed(seed))
        if context is not None and context.former is not None:
            self._start_from(context.former)
        objective = BinaryTasks(self.tasks, None, self.config.loss, *self._metric())
        options = self._options(seed, context)
        self.result = fit(self.model, rows, objective, valid=valid, options=options)
        self.model.to("cpu")
        if valid is not None and valid.labels is not None and self.config.loss != "bce":
            logits = self.logits(valid)
            self._lines = tuple(
                platt(valid.labels[:, t], logits[:, t]) for t in range(len(self.tasks))
            )
        return self

    @property
    def chosen(self) -> dict[str, Any]:
        """What a fit with validation rows chose, as options of the next fit."""
        calibration = {"calibration": self._lines} if self._lines else {}
        return {"epochs": self.best_epoch, **calibration}

    def logits(self, rows: Rows) -> Float32:
        """(n, T) in the rows' order, before calibration. Raises NotFittedError before a fit."""
        return predict(self._module(), rows)

    def probabilities(self, rows: Rows) -> Float32:
        """(n, T) in the rows' order. Raises NotFittedError before a fit."""
        return calibrated(self.logits(rows), self._lines)

    def save(self, directory: Path | str) -> None:
        """Writes config, layout and weights (and, of a research fit, the features)."""
        directory, model = Path(directory), self._module()
        assert self.layout is not None
        directory.mkdir(parents=True, exist_ok=True)
        self.save_space(directory)
        save_weights(model, directory / "weights")
        about = {
            "model": type(self).__name__,
            "config": {**self.config.model_dump(mode="json"), "calibration": self._lines},
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
        self = cls(**about["config"])
        self.layout, self.tasks = Layout.from_dict(about["layout"]), tuple(about["tasks"])
        self.model = self.build(self.layout, len(self.tasks), torch.Generator()).eval()
        load_weights(self.model, directory / "weights")
        self.load_space(directory)
        return self

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
