"""Scorers that are modules: built from a layout, trained by the one loop, saved as arrays."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, Field
from torch import nn

from tamis.features import Layout, Rows
from tamis.runtime import Float32
from tamis.schema import (
    ConfigError,
    Feature,
    NotFittedError,
    TaskConfig,
    TrainingError,
    VersionError,
)
from tamis.train.checkpoint import load_weights, save_weights
from tamis.train.fit_options import FitOptions
from tamis.train.frame_model import Context, FrameModel, ScorerConfig
from tamis.train.loop import fit
from tamis.train.metrics import grouped_ndcg
from tamis.train.objective import Metric, TaskObjective
from tamis.train.prediction import predict

SAVED = "estimator.json"


class EstimatorConfig(ScorerConfig):
    """Hyper-parameters that every trained scorer has."""

    epochs: Annotated[int, Field(ge=1)] = 20
    """Most passes over the rows."""
    patience: Annotated[int, Field(ge=1)] = 2
    """Epochs without a better validation metric before the fit stops."""
    batch_size: Annotated[int, Field(ge=1)] = 2048
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Of the dense weights (Adam)."""
    embedding_learning_rate: Annotated[float, Field(gt=0)] = 0.1
    """Of the id features' rows."""
    decay_on_plateau: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor of both learning rates after an epoch whose validation metric was not the best so far;
    1 = constant. Give `patience` at least 2 with it."""
    decay_after: tuple[int, ...] = ()
    """Epochs after which that factor applies in a fit without validation rows, as a former fit with
    them found."""
    embedding_optimiser: Literal["rowadagrad", "lazyadam", "adam"] = "rowadagrad"
    """Of the id features' rows: Adagrad with one step size per row, Adam on the rows of a batch, or
    Adam on all rows that were ever in one."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the id features' rows, as a gradient l2 · w."""
    l2_rows: Literal["batch", "all"] = "batch"
    """The rows that `l2` decays at each step: those in the batch, or the whole table's, as do those
    libraries whose loss holds the norm of all embeddings; that costs what the table costs."""
    dense_l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the dense weights."""
    dense_l1: Annotated[float, Field(ge=0)] = 0.0
    """Gradient dense_l1 · sign(w) of the dense weights."""
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
        self.orders_only = self.config.loss == "listwise"

    @abstractmethod
    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        """A fresh module whose `forward(batch)` gives logits (B, n_tasks). Where there are
        multiclass tasks, `n_tasks` is the number of logits; `heads` say whose they are."""

    def fit_rows(
        self, rows: Rows, valid: Rows | None, tasks: Sequence[TaskConfig], context: Context | None
    ) -> Self:
        """Trains a fresh module, or one that starts from `context.former`; see `FrameModel.fit`."""
        self.layout = rows.layout
        seed = self.config.seed if context is None else context.seed
        generator = torch.Generator().manual_seed(seed)
        self.model = self.build(self.layout, self.heads.n_logits, generator)
        if context is not None and context.former is not None:
            self._start_from(context.former)
        assert rows.labels is not None
        rows = rows.relabelled(self.heads.targets(rows.labels))
        objective = TaskObjective(self.heads, self.config.loss, *self._metric())
        options = self._options(seed, context)
        self.result = fit(self.model, rows, objective, valid=valid, options=options)
        self.model.to("cpu")
        return self

    @property
    def chosen(self) -> dict[str, Any]:
        """What a fit with validation rows chose, as options of the next fit."""
        decays = () if self.result is None else self.result.decays
        found = {"decay_after": [e for e in decays if e < self.best_epoch]} if decays else {}
        return {"epochs": self.best_epoch, **found, **self.chosen_calibration}

    def logits(self, rows: Rows) -> Float32:
        """(n, L) in the rows' order, before correction and calibration; see `FrameModel.logits`."""
        return predict(self._module(), rows)

    def save(self, directory: Path | str) -> None:
        """Writes config, layout and weights (and, of a research fit, the features)."""
        directory, model = Path(directory), self._module()
        assert self.layout is not None
        directory.mkdir(parents=True, exist_ok=True)
        self.save_space(directory)
        save_weights(model, directory / "weights")
        about = {
            "model": type(self).__name__,
            "config": self.config.model_dump(mode="json"),
            **self.saved_calibration(),
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
        self.layout = Layout.from_dict(about["layout"])
        self.open_calibration(about)
        self.model = self.build(self.layout, self.heads.n_logits, torch.Generator()).eval()
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
