"""Gradient-boosted trees over rows (Ke et al. 2017, LightGBM)."""

from __future__ import annotations

import json
import re
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
    class_values,
    known_options,
    read_json,
    reading,
)
from tamis.train.chosen import Chosen
from tamis.train.fit_options import TIE, Epoch, FitResult
from tamis.train.fit_settings import ScorerConfig
from tamis.train.frame_model import LEARNT, FrameModel
from tamis.train.metrics import auc, log_loss, mean_group_ndcg, xauc

if TYPE_CHECKING:  # importing LightGBM takes a second, so only fit and load do it
    import lightgbm as lgb
SAVED = "gbdt.json"
SCORE = 8192
"""Rows that are gathered and scored at once."""
STEP = 10
"""Trees between two evaluations of the validation metric."""


class TreesConfig(ScorerConfig):
    """Options of gradient-boosted trees."""

    trees: Annotated[int, Field(ge=1)] = 200
    """Maximum number of boosting rounds."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.03
    """Factor of each tree's contribution."""
    leaves: Annotated[int, Field(ge=2, le=4096)] = 31
    """Maximum number of leaves per tree."""
    min_leaf: Annotated[int, Field(ge=1)] = 200
    """Minimum number of rows in a leaf."""
    rows_share: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of the rows that each tree is grown on."""
    columns_share: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of the inputs that each tree may split on."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """L2 penalty of the leaf values."""
    categories: Annotated[int, Field(ge=0)] = 64
    """Single-valued id features with at most this many ids are categorical inputs. Other id
    features are not inputs; the numbers derived from them (rates, shares, channel scores) are."""
    patience: Annotated[int, Field(ge=1)] = 50
    """Rounds without a better validation metric after which no larger number of trees is tried."""
    seed: int = 0
    """Random seed of a fit on frames. In the cascade the project's `seed` is used."""


class Trees(FrameModel):
    """One ensemble of trees per task. A subclass declares its `Config`."""

    Config: ClassVar[type[BaseModel]] = TreesConfig
    centred = False  # boosting starts at the mean of the targets and keeps it

    def __init__(self, config: TreesConfig | None = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.layout: Layout | None = None
        self.boosters: list[lgb.Booster] = []

    def fit_rows(
        self, rows: Rows, valid: Rows | None, tasks: Sequence[TaskConfig], context: Any
    ) -> Self:
        """Grows every task's trees.

        With `valid`, chooses the number of trees, which this fit keeps and the next one grows, by
        the first task's NDCG@10 within requests (by its AUC or XAUC where the rows have no
        requests, as on frames).
        """
        if self.heads.chains:
            names = ", ".join(tasks[t].name for t in self.heads.chains)
            raise ConfigError(
                f"esmm = true of {names}: trees learn each task separately; set esmm = false, or "
                "use a neural ranker"
            )
        self.layout = rows.layout
        seed = self.config.seed if context is None else context.seed
        given = None if context is None or valid is not None else context.chosen
        n_trees = self.config.trees if given is None else given.trees or self.config.trees
        start = perf_counter()
        self.boosters = self._grown(rows, tasks, n_trees, seed)
        history: list[Epoch] = []
        if valid is not None:
            history = self._curve(self.boosters[0], valid, perf_counter() - start)
        seconds = perf_counter() - start
        known = [e for e in history if not np.isnan(_metric_of(e))]
        most = max(map(_metric_of, known), default=0.0)
        best = next((e for e in known if _metric_of(e) >= most - TIE), None)
        self.result = FitResult(
            best_epoch=n_trees if best is None else best.epoch,
            history=history,
            seconds=seconds,
            samples_per_second=len(rows) / seconds,
            peak_mb=peak_mb(),
            bfloat16=False,
        )
        if valid is not None:
            self.chosen = Chosen(trees=self.result.best_epoch)
            self._keep(self.result.best_epoch)
        return self

    def _keep(self, trees: int) -> None:
        """Removes the trees after the first `trees` of every task."""
        import lightgbm as lgb

        self.boosters = [
            lgb.Booster(model_str=booster.model_to_string(num_iteration=trees))
            for booster in self.boosters
        ]

    def _grown(
        self, rows: Rows, tasks: Sequence[TaskConfig], n_trees: int, seed: int
    ) -> list[lgb.Booster]:
        """Each task's booster of `n_trees` rounds, fitted on the rows that have its label."""
        import lightgbm as lgb

        inputs, categories = _inputs(rows, self.config.categories)
        assert rows.labels is not None
        targets = self.heads.targets(rows.labels)
        boosters: list[lgb.Booster] = []
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
            boosters.append(lgb.train(parameters, data, num_boost_round=n_trees))
        return boosters

    def logits(self, rows: Rows) -> Float32:
        """Raw outputs (n, L), as `FrameModel.logits`."""
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
        """{input: share of the first task's total gain}, in [0, 1], largest first.

        Raises NotFittedError before a fit.
        """
        if self.layout is None:
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit, or load one")
        gain = self.boosters[0].feature_importance("gain")
        names = _names(self.layout, self.config.categories)
        order = np.argsort(-gain, kind="stable")
        return {names[k]: float(gain[k] / max(gain.sum(), 1e-12)) for k in order}

    def save(self, directory: Path | str) -> None:
        """Writes the trees as text, the options, the layout and what else was learnt."""
        if self.layout is None:
            raise NotFittedError(f"this {type(self).__name__} has nothing to save: call fit first")
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        for t, booster in enumerate(self.boosters):
            text = re.sub(r"\[num_threads: \d+\]", "[num_threads: 0]", booster.model_to_string())
            (directory / f"task{t}.txt").write_text(
                text, "utf-8"
            )  # equal for any number of threads
        self.save_space(directory)
        about = {
            "config": self.config.model_dump(mode="json"),
            **self.learnt_values(),
            "layout": self.layout.to_dict(),
        }
        (directory / SAVED).write_text(json.dumps(about, indent=1), "utf-8")

    @classmethod
    def load(cls, directory: Path | str, config: Any = None) -> Self:
        """Opens what `save` wrote; `config` is ignored. Raises VersionError for missing files."""
        import lightgbm as lgb

        directory = Path(directory)
        file = directory / SAVED
        about = read_json(file, config=dict, layout=dict, **LEARNT)
        with reading(file):
            model = cls(**known_options(cls.Config, about["config"]))
            model.restore_learnt_values(about)
            model.layout = Layout.from_dict(about["layout"])
        for t in range(len(model.tasks)):
            trees = directory / f"task{t}.txt"
            with reading(trees):
                model.boosters.append(lgb.Booster(model_str=trees.read_text("utf-8")))
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
        """The first task's validation metric after every `STEP` trees, until `patience` ends.

        NDCG@10 within requests; AUC (XAUC for numbers) where the rows have no requests.
        """
        assert valid.labels is not None
        inputs, _ = _inputs(valid, self.config.categories)
        curve: list[Epoch] = []
        target = self.heads.targets(valid.labels)[:, 0]
        first, gain = self.heads.tasks[0], self.heads.label(0, valid.labels[:, 0])
        rate = first.kind not in ("regression", "multiclass")
        best_trees, best_metric = 0, -np.inf
        for trees in range(STEP, self.config.trees + 1, STEP):
            score = np.asarray(booster.predict(inputs, raw_score=True, num_iteration=trees))
            loss = log_loss(target, expit(score)) if rate else float("nan")
            if first.kind == "multiclass":
                score = softmax(score, axis=1) @ np.asarray(class_values(first))
            if valid.groups is not None:
                name, metric = "ndcg", mean_group_ndcg(gain, score, valid.groups)
            elif first.kind == "binary":
                name, metric = "auc", auc(gain, score)
            else:
                name, metric = "xauc", xauc(gain, score)
            curve.append(Epoch(trees, loss, {name: metric}, seconds))
            if metric > best_metric + TIE:
                best_trees, best_metric = trees, metric
            elif trees - best_trees >= self.config.patience:
                break
        return curve


def _metric_of(epoch: Epoch) -> float:
    """The metric that the number of trees is chosen by."""
    return next(iter(epoch.metrics.values()))


def _inputs(rows: Rows, categories: int) -> tuple[Float32, list[int]]:
    """(n, D + C): D numbers, then the ids of C small features; and the C categorical columns."""
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
    """Columns of single ids with at most `categories` ids besides padding and unknown."""
    return [c for c in layout.ids if not c.ragged and layout.table[c.table].size - 2 <= categories]


def _objective(task: TaskConfig, width: int, target: Float32) -> dict[str, Any]:
    """LightGBM's parameters for a task's loss; its raw scores are log-odds, or a number in
    regression."""
    if task.kind == "multiclass":
        return {"objective": "multiclass", "num_class": width}
    if task.kind == "regression":
        return {"objective": "regression_l1" if task.loss == "mae" else "regression"}
    hard = task.kind == "binary" and bool(np.isin(target, (0, 1)).all())
    return {"objective": "binary" if hard else "cross_entropy"}


def _names(layout: Layout, categories: int) -> list[str]:
    """Names of the columns of `_inputs`."""
    names: list[str] = []
    for column in layout.dense:
        many = column.width > 1
        names += [f"{column.name}[{k}]" if many else column.name for k in range(column.width)]
    return names + [c.name for c in _small(layout, categories)]
