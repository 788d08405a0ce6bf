"""Base of scorers that are PyTorch modules: build from a layout, train, predict, save, load."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import nn

from tamis.features import UNSEEN, Layout, Rows
from tamis.nn import FusedEmbedding
from tamis.runtime import Float32, Int32
from tamis.schema import (
    Conditions,
    ConfigError,
    Feature,
    Needs,
    NotFittedError,
    TaskConfig,
    TrainingError,
    VersionError,
    known_options,
    read_array,
    read_json,
    reading,
)
from tamis.train.checkpoint import load_weights, save_weights
from tamis.train.chosen import Chosen
from tamis.train.fit_options import FitOptions
from tamis.train.fit_settings import FitSettings, ScorerConfig
from tamis.train.frame_model import LEARNT, FrameModel
from tamis.train.loop import fit
from tamis.train.metrics import mean_group_ndcg
from tamis.train.objective import Metric, Objective, ScaledObjective, TaskObjective
from tamis.train.prediction import predict
from tamis.train.row_optimisers import INITIAL, tables_of

SAVED = "estimator.json"


class EstimatorConfig(ScorerConfig):
    """Hyper-parameters that every trained scorer has."""

    only_with: ClassVar[Conditions] = {
        "decay_on_plateau": (Needs("patience", none_of=(1,)),),
        "l2_rows": (Needs("l2", none_of=(0,)),),
    }

    epochs: Annotated[int, Field(ge=1)] = 20
    """Maximum number of passes over the rows."""
    patience: Annotated[int, Field(ge=1)] = 2
    """Epochs without a better validation metric before the fit stops."""
    batch_size: Annotated[int, Field(ge=1)] = 2048
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of the dense weights (Adam)."""
    embedding_learning_rate: Annotated[float, Field(gt=0)] = 0.1
    """Learning rate of the embeddings of id features."""
    decay_on_plateau: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor applied to both learning rates after an epoch whose validation metric was not the best
    so far; 1 = constant. Use it with a `patience` of at least 2."""
    embedding_optimiser: Literal["rowadagrad", "lazyadam", "adam"] = "rowadagrad"
    """Optimiser of the embeddings: Adagrad with one step size per row, Adam on the rows of a batch,
    or Adam on all rows that any batch has held so far."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the embeddings, added to the gradient as l2 · w."""
    l2_rows: Literal["batch", "all"] = "batch"
    """The rows that `l2` decays at each step: those in the batch, or the whole table, which is what
    libraries do whose loss holds the norm of all embeddings. A step with "all" costs time
    proportional to the size of the table."""
    dense_l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the dense weights, added to the gradient as dense_l2 · w."""
    dense_l1: Annotated[float, Field(ge=0)] = 0.0
    """L1 penalty of the dense weights, added to the gradient as dense_l1 · sign(w)."""
    loss: Literal["bce", "listwise", "both"] = "bce"
    """Training loss: "bce" is cross entropy per row, "listwise" a softmax within each request
    (learns the order only), "both" their sum."""
    metric: Literal["auc", "ndcg"] = "auc"
    """Validation metric that stops the fit: "auc" over all rows (mean over tasks), or "ndcg",
    NDCG@10 within requests (first task)."""
    bfloat16: Literal["auto", "on", "off"] = "auto"
    """Matrix products of training in bfloat16; "auto" uses it where the hardware supports it."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of training. If omitted: PyTorch's setting."""
    seed: int = 0
    """Random seed of a fit on frames. In the cascade the project's `seed` is used."""


class Estimator(FrameModel):
    """Base of the models that the training loop trains.

    A subclass declares its `Config` and implements `build`.
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
        self._squares: tuple[Float32, ...] = ()
        self._kept_squares = 0
        """Tables whose squares the folder holds."""
        self._folder: Path | None = None
        """Where a loaded model lies; None after a fit."""

    @abstractmethod
    def build(self, layout: Layout, n_tasks: int, generator: torch.Generator) -> nn.Module:
        """An untrained module whose `forward(batch)` returns logits (B, n_tasks).

        `n_tasks` is the number of logits: of K classes, a multiclass task has K. `self.heads` tells
        which logits belong to which task.
        """

    def objective(self) -> Objective:
        """The loss that a fit minimises and the metric that stops it; a subclass may have another.

        The labels of its batches are the targets (B, T) that `self.heads.targets` makes.
        """
        return TaskObjective(self.heads, self.config.loss, *self._metric())

    def fit_rows(
        self, rows: Rows, valid: Rows | None, tasks: Sequence[TaskConfig], context: Any
    ) -> Self:
        """Trains a new module, which starts from `context.former` where there is one.

        Its loss is then that of the log-odds `scale · logit + shift`. A fit of several passes is
        surer of its predictions than new rows bear out, so that the first thing to learn from their
        labels would be to be less sure; the weights can only learn that at the cost of the order
        of the candidates. A line per task says it better, and leaves the weights what is new.
        """
        self.layout, self._folder = rows.layout, None
        seed = self.config.seed if context is None else context.seed
        generator = torch.Generator().manual_seed(seed)
        self.model = self.build(self.layout, self.heads.n_logits, generator)
        options, objective = self._options(seed, context, reuse=valid is None), self.objective()
        if context is not None and context.former is not None:
            options = replace(options, squares=self._start_from(context.former))
            kept = () if context.chosen is None else context.chosen.scales
            objective = self._scaled_objective(objective, context.former, rows, kept)
        assert rows.labels is not None
        rows = rows.relabelled(self.heads.targets(rows.labels))
        self.result = fit(self.model, rows, objective, valid=valid, options=options)
        self.model.to("cpu")
        self._fill_spare_rows()
        if valid is not None:
            best = self.result.best_epoch
            decays = tuple(epoch for epoch in self.result.decays if epoch < best)
            self.chosen = Chosen(epochs=best, decay_after=decays)
        self._squares = self.result.squares
        return self

    def _scaled_objective(
        self, objective: Objective, former: Estimator, rows: Rows, kept: tuple[float, ...]
    ) -> Objective:
        """The objective on `scale · logit + shift`, and sets `scales`.

        The lines are fitted to the rows with the weights of `former`, which the module holds; where
        `kept` names the scales, they are the former's. Logits of a loss that defines only an order
        are no log-odds, and have none.
        """
        self.begun = former.shifts
        if self.orders_only or not len(rows):
            return objective
        if kept:
            scales = np.asarray(kept, np.float32)
            shifts = np.asarray(former.shifts or [0.0] * len(kept), np.float32)
        else:
            assert rows.labels is not None
            raw = predict(self._module(), rows)
            served = former.log_odds(raw)
            rates = np.asarray(self.heads.per_logit(self.rates, 1.0)) if self.rates else 1.0
            scales, shifts = self.heads.lines(
                rows.labels, raw, served - np.log(rates), rows.weights, rows.groups
            )
        self.scales, self.begun = tuple(scales.tolist()), tuple(shifts.tolist())
        return ScaledObjective(objective, torch.from_numpy(scales), torch.from_numpy(shifts))

    def carried(self, former: Self, rows: Rows) -> Self:
        """The former fit as it is, for rows of a layout that differs in the sizes of tables at
        most: nothing is learnt, and new ids have the vector of unseen ones. What is made of the
        rows for serving is made again.

        Raises ConfigError where its layout is another.
        """
        self.layout, self._folder = rows.layout, None
        self.heads, self.chosen = former.heads, former.chosen
        self.scales, self.shifts, self.rates = former.scales, former.shifts, former.rates
        self.calibrations = former.calibrations
        generator = torch.Generator().manual_seed(self.config.seed)
        self.model = self.build(self.layout, self.heads.n_logits, generator)
        self._squares = self._start_from(former)
        self._fill_new_rows(former)
        self.model.eval()
        return self

    def logits(self, rows: Rows) -> Float32:
        """Raw outputs (n, L), as `FrameModel.logits`."""
        return predict(self._module(), rows)

    def _fill_spare_rows(self) -> None:
        """Gives the rows that are kept free the vector of unseen ids."""
        assert self.layout is not None
        for table in tables_of(self._module()):
            if table.n_rows != self.layout.n_rows:
                continue
            weight = table.weight.detach()
            for part in self.layout.tables:
                end = part.start + part.size
                weight[end - part.spare : end] = weight[part.start + UNSEEN]

    def _fill_new_rows(self, former: Estimator) -> None:
        """Gives the rows of ids that the former fit did not know the vector of unseen ids."""
        assert self.layout is not None
        assert former.layout is not None
        grown = self.layout.grown_rows(former.layout)
        assert grown is not None
        new = np.ones(self.layout.n_rows, np.bool_)
        new[grown] = False
        for table in tables_of(self._module()):
            if table.n_rows != self.layout.n_rows:
                continue
            weight = table.weight.detach().numpy()
            for part in self.layout.tables:
                rows = part.start + np.flatnonzero(new[part.start : part.start + part.size])
                weight[rows] = weight[part.start + UNSEEN]

    @property
    def id_table(self) -> FusedEmbedding:
        """The fused table of the id features. Raises ConfigError for a module that has none."""
        n_rows = 0 if self.layout is None else self.layout.n_rows
        for table in tables_of(self._module()):
            if table.n_rows == n_rows:
                return table
        raise ConfigError(f"a {type(self).__name__} has no table of embeddings for its id features")

    @property
    def table_shape(self) -> tuple[int, int]:
        """Rows of the table of the id features, and their width; see `TakesRows`."""
        table = self.id_table
        return table.n_rows, table.dim

    def take_rows(self, rows: Int32, values: Float32) -> None:
        """New vectors (m, d) of rows (m,) of the table of the id features; see `TakesRows`."""
        self.id_table.weight.detach().numpy()[rows] = values

    def save(self, directory: Path | str) -> None:
        """Writes options, layout, weights, what else was learnt, and the encoders of a frame."""
        directory, model = Path(directory), self._module()
        assert self.layout is not None
        directory.mkdir(parents=True, exist_ok=True)
        self.save_space(directory)
        save_weights(model, directory / "weights")
        kept = self.row_squares()
        for number, squares in enumerate(kept):
            np.save(directory / f"squares{number}.npy", squares)
        about = {
            "squares": len(kept),
            "model": type(self).__name__,
            "config": self.config.model_dump(mode="json"),
            **self.learnt_values(),
            "layout": self.layout.to_dict(),
        }
        (directory / SAVED).write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, directory: Path | str, config: EstimatorConfig | None = None) -> Self:
        """Opens what `save` wrote, weights memory-mapped.

        `config` holds the options that the cascade declares. It is ignored here: the module must
        have the shape of the saved one. A subclass may read options of serving from it.
        Raises VersionError where files are missing or belong to another model.
        """
        directory = Path(directory)
        if not (directory / SAVED).is_file():
            raise VersionError(
                f"{directory / SAVED} is missing: the directory holds no saved model; train it"
            )
        file = directory / SAVED
        about = read_json(file, model=str, config=dict, layout=dict, **LEARNT)
        if about["model"] != cls.__name__:
            raise VersionError(
                f"{directory} holds a {about['model']}, not a {cls.__name__}; "
                f"open it with {about['model']}.load"
            )
        with reading(file):
            self = cls(**known_options(cls.Config, about["config"]))
            self.layout = Layout.from_dict(about["layout"])
            self.restore_learnt_values(about)
            self._kept_squares = int(about.get("squares", 0))  # earlier releases kept none
            self.model = self.build(self.layout, self.heads.n_logits, torch.Generator()).eval()
        load_weights(self.model, directory / "weights")
        self._folder = directory
        _ = self.row_squares()  # damage is found now, not at the next update
        self.load_space(directory)
        return self

    def _options(self, seed: int, context: FitSettings | None, *, reuse: bool) -> FitOptions:
        """Options of the training loop: the config's of the same names, and the context's.

        reuse: whether to train for the epochs that an earlier fit chose.
        """
        names = set(FitOptions.__dataclass_fields__) - {"seed"}
        options = {k: v for k, v in self.config.model_dump().items() if k in names}
        if context is not None:
            options |= {"device": context.device, "progress": context.progress}
            if reuse and context.chosen is not None:
                options["epochs"] = context.chosen.epochs or self.config.epochs
                options["decay_after"] = context.chosen.decay_after
        return FitOptions(seed=seed, **options)

    def _metric(self) -> tuple[Metric | None, str]:
        """The metric that stops the fit, None for the objective's own; and its name."""
        if self.config.metric == "auc":
            return None, "auc"

        def within_requests(scores: Float32, valid: Rows) -> float:
            if valid.groups is None or valid.labels is None:
                raise TrainingError(
                    "metric = 'ndcg' needs labels and `groups` (the request of each row) in the "
                    "validation rows; use metric = 'auc'"
                )
            return mean_group_ndcg(valid.labels[:, 0], scores[:, 0], valid.groups)

        return within_requests, "ndcg"

    def _start_from(self, former: Estimator) -> tuple[Float32, ...]:
        """Copies the weights of a former fit; returns the accumulated squares to go on with.

        Vocabularies may have grown: new ids keep their initial rows. Raises ConfigError where the
        layout differs in more than that.
        """
        old, layout = former._module(), self.layout
        assert layout is not None
        grown = None if former.layout is None else layout.grown_rows(former.layout)
        if type(former) is not type(self) or grown is None:
            raise ConfigError(
                f"a {type(self).__name__} cannot start from this {type(former).__name__}: "
                "their features or vocabularies differ; train it from scratch"
            )
        model, squares = self._module(), list[Float32]()
        weights, tables = old.state_dict(), dict(model.named_modules())
        with torch.no_grad():
            for name, value in model.state_dict().items():
                table = tables.get(name.rpartition(".")[0])
                if isinstance(table, FusedEmbedding) and table.n_rows == layout.n_rows:
                    value[grown] = weights[name]
                else:
                    value.copy_(weights[name])
        known = former.row_squares()
        for number, table in enumerate(tables_of(model)):
            full = np.full(table.n_rows, INITIAL, np.float32)
            if number < len(known):
                full[grown if table.n_rows == layout.n_rows else slice(None)] = known[number]
            squares.append(full)
        return tuple(squares) if known else ()

    def row_squares(self) -> tuple[Float32, ...]:
        """(rows,) Adagrad's accumulated squares of the fit, for each fused embedding; empty: the
        optimiser was another, or the release that wrote the version did not keep them."""
        if self._folder is None:
            return self._squares
        found = list[Float32]()
        for number, table in enumerate(tables_of(self._module())[: self._kept_squares]):
            file = self._folder / f"squares{number}.npy"
            found.append(read_array(file, np.float32, (table.n_rows,)))
        return tuple(found)

    def _module(self) -> nn.Module:
        if self.model is None:
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit, or load one")
        return self.model
