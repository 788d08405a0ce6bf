"""Gradient-boosted trees over rows (Ke et al. 2017, LightGBM)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
import torch
from pydantic import BaseModel, Field
from scipy.special import expit, softmax

from tamis.features import Layout, Rows
from tamis.runtime import Float32, peak_mb
from tamis.schema import (
    ConfigError,
    NotFittedError,
    TaskConfig,
    TrainingError,
    VersionError,
    class_values,
)
from tamis.train.fit_options import Epoch, FitResult
from tamis.train.frame_model import FrameModel, ScorerConfig
from tamis.train.metrics import grouped_ndcg, log_loss

if TYPE_CHECKING:  # LightGBM takes a second to import: only who grows or opens trees waits for it
    import lightgbm as lgb
SAVED = "gbdt.json"
SCORE = 8192
"""Rows that are gathered and scored at once."""


class TreesConfig(ScorerConfig):
    """The trees and how they grow."""

    trees: Annotated[int, Field(ge=1)] = 200
    """Boosting rounds, at most."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.03
    leaves: Annotated[int, Field(ge=2, le=4096)] = 31
    """Leaves per tree."""
    min_leaf: Annotated[int, Field(ge=1)] = 200
    """Fewest rows in a leaf."""
    rows_share: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of the rows that a tree sees."""
    columns_share: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of the inputs that a tree sees."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    categories: Annotated[int, Field(ge=0)] = 64
    """Id features of at most this many ids are inputs, as categories; larger ones and those of
    several ids per row are left to the numbers made of them (rates, shares, channel scores)."""
    patience: Annotated[int, Field(ge=1)] = 50
    """Rounds without a better validation metric before the fit stops."""
    seed: int = 0


class Trees(FrameModel):
    """One ensemble per task. A subclass names its `Config`."""

    Config: ClassVar[type[BaseModel]] = TreesConfig
    centred = False  # boosting begins at the mean and keeps it

    def __init__(self, config: TreesConfig | None = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.layout: Layout | None = None
        self.boosters: list[lgb.Booster] = []

    def fit_rows(
        self, rows: Rows, valid: Rows | None, tasks: Sequence[TaskConfig], context: Any
    ) -> Self:
        """Grows every task's trees; with `valid`, as many as its NDCG@10 within requests wants."""
        import lightgbm as lgb

        if self.heads.chains:
            names = ", ".join(tasks[t].name for t in self.heads.chains)
            raise ConfigError(f"esmm = true of {names}: trees learn a task alone; take a network")
        self.layout = rows.layout
        seed = self.config.seed if context is None else context.seed
        start = perf_counter()
        inputs, categories = _inputs(rows, self.config.categories)
        assert rows.labels is not None
        targets = self.heads.targets(rows.labels)
        history: list[Epoch] = []
        self.boosters = []
        for t, task in enumerate(tasks):
            known = ~np.isnan(targets[:, t])
            weights = rows.weights
            weight = None if weights is None else (weights if weights.ndim == 1 else weights[:, t])
            data = lgb.Dataset(
                inputs[known],
                targets[known, t],
                weight=None if weight is None else weight[known],
                categorical_feature=categories,
                params={"verbose": -1},
                free_raw_data=False,
            )
            objective = _objective(task, self.heads.widths[t], targets[known, t])
            parameters = self._parameters(seed) | objective
            booster = lgb.train(parameters, data, num_boost_round=self.config.trees)
            self.boosters.append(booster)
            if valid is not None and not history:
                history = self._curve(booster, valid, perf_counter() - start)
        seconds = perf_counter() - start
        best = max(history, key=lambda e: next(iter(e.metrics.values())), default=None)
        self.result = FitResult(
            best_epoch=self.config.trees if best is None else best.epoch,
            history=history,
            seconds=seconds,
            samples_per_second=len(rows) / seconds,
            peak_mb=peak_mb(),
            bfloat16=False,
        )
        return self

    @property
    def chosen(self) -> dict[str, Any]:
        """What a fit with validation rows chose, as options of the next fit."""
        return {"trees": self.best_epoch, **self.chosen_calibration}

    def logits(self, rows: Rows) -> Float32:
        """Raw scores (n, L) in the rows' order, before correction and calibration."""
        if self.layout is None:
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit, or load one")
        scores = np.empty((len(rows), self.heads.n_logits), np.float32)
        for start in range(0, len(rows), SCORE):
            part = np.arange(start, min(start + SCORE, len(rows)))
            inputs, _ = _inputs(rows.select(part), self.config.categories)
            for t, booster in enumerate(self.boosters):
                raw = np.asarray(booster.predict(inputs, raw_score=True, num_threads=1))
                scores[part, self.heads.slices[t]] = raw.reshape(len(part), -1)
        return scores

    def importance(self) -> dict[str, float]:
        """Share of the first task's gain that each input brought, largest first."""
        if self.layout is None:
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit, or load one")
        gain = self.boosters[0].feature_importance("gain")
        names = _names(self.layout, self.config.categories)
        order = np.argsort(-gain, kind="stable")
        return {names[k]: float(gain[k] / max(gain.sum(), 1e-12)) for k in order}

    def save(self, directory: Path | str) -> None:
        """Writes the trees as text and what is needed to read rows."""
        if self.layout is None:
            raise NotFittedError(f"this {type(self).__name__} has nothing to save: call fit first")
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        for t, booster in enumerate(self.boosters):
            (directory / f"task{t}.txt").write_text(booster.model_to_string(), "utf-8")
        self.save_space(directory)
        about = {
            "config": self.config.model_dump(mode="json"),
            **self.saved_calibration(),
            "layout": self.layout.to_dict(),
        }
        (directory / SAVED).write_text(json.dumps(about, indent=1), "utf-8")

    @classmethod
    def load(cls, directory: Path | str, config: Any = None) -> Self:
        """Opens what `save` wrote. Raises VersionError where files are missing."""
        import lightgbm as lgb

        directory = Path(directory)
        try:
            about = json.loads((directory / SAVED).read_text("utf-8"))
            model = cls(**about["config"])
            model.open_calibration(about)
            model.layout = Layout.from_dict(about["layout"])
            model.boosters = [
                lgb.Booster(model_str=(directory / f"task{t}.txt").read_text("utf-8"))
                for t in range(len(model.tasks))
            ]
        except FileNotFoundError as error:
            raise VersionError(f"{error.filename} is missing: train the version again") from None
        model.load_space(directory)
        return model

    def _parameters(self, seed: int) -> dict[str, Any]:
        c = self.config
        return {
            "num_leaves": c.leaves,
            "learning_rate": c.learning_rate,
            "min_data_in_leaf": c.min_leaf,
            "bagging_fraction": c.rows_share,
            "bagging_freq": 1,
            "feature_fraction": c.columns_share,
            "lambda_l2": c.l2,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
            "num_threads": torch.get_num_threads(),
        }

    def _curve(self, booster: lgb.Booster, valid: Rows, seconds: float) -> list[Epoch]:
        """The validation metric after every tenth round."""
        assert valid.labels is not None
        inputs, _ = _inputs(valid, self.config.categories)
        if valid.groups is None:
            raise TrainingError("trees stop by NDCG within requests; validation rows need groups")
        curve: list[Epoch] = []
        target = self.heads.targets(valid.labels)[:, 0]
        first, gain = self.heads.tasks[0], self.heads.label(0, valid.labels[:, 0])
        rate = first.kind not in ("regression", "multiclass")
        for trees in range(10, self.config.trees + 1, 10):
            score = np.asarray(booster.predict(inputs, raw_score=True, num_iteration=trees))
            loss = log_loss(target, expit(score)) if rate else float("nan")
            if first.kind == "multiclass":
                score = softmax(score, axis=1) @ np.asarray(class_values(first))
            metric = grouped_ndcg(gain, score, valid.groups)
            curve.append(Epoch(trees, loss, {"ndcg": metric}, seconds))
        return curve


def _inputs(rows: Rows, categories: int) -> tuple[Float32, list[int]]:
    """(n, D + C) numbers, then the small single ids as categories; and the places of those."""
    batch = rows.take(torch.arange(len(rows)))
    small = _small(rows.layout, categories)
    dense = batch.dense.numpy()
    if not small:
        return dense, []
    starts = np.array([rows.layout.table[c.table].start for c in small], dtype=np.int32)
    ids = batch.ids.numpy()[:, [c.first for c in small]] - starts
    width = dense.shape[1]
    return np.concatenate([dense, ids], axis=1, dtype=np.float32), list(
        range(width, width + len(small))
    )


def _small(layout: Layout, categories: int) -> list[Any]:
    return [c for c in layout.ids if not c.ragged and layout.table[c.table].size - 2 <= categories]


def _objective(task: TaskConfig, width: int, target: Float32) -> dict[str, Any]:
    """LightGBM's words for a task's loss; raw scores are log-odds of all but numbers."""
    if task.kind == "multiclass":
        return {"objective": "multiclass", "num_class": width}
    if task.kind == "regression":
        return {"objective": "regression_l1" if task.loss == "mae" else "regression"}
    hard = task.kind == "binary" and bool(np.isin(target, (0, 1)).all())
    return {"objective": "binary" if hard else "cross_entropy"}


def _names(layout: Layout, categories: int) -> list[str]:
    names: list[str] = []
    for column in layout.dense:
        many = column.width > 1
        names += [f"{column.name}[{k}]" if many else column.name for k in range(column.width)]
    return names + [c.name for c in _small(layout, categories)]
