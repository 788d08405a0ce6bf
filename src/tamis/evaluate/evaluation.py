"""Several models evaluated side by side: recall channels by a split, rankers on frames."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from tamis.cascade import Channel, FitContext, valid_of
from tamis.data import columns_of, id_text
from tamis.evaluate.bootstrap import Interval, bootstrap_mean
from tamis.evaluate.channel_metrics import evaluate_channel
from tamis.evaluate.evaluation_table import EvaluationTable, ModelResult
from tamis.evaluate.metrics import hit, mrr, ndcg, recall
from tamis.evaluate.probability import group_auc
from tamis.runtime import Float64, Int64
from tamis.schema import ConfigError, DataError, TamisWarning, whole_number
from tamis.splitting import Holdout
from tamis.train import FrameModel, auc, log_loss, mean_absolute_error, undefined_metrics, xauc

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    Frame = pl.DataFrame | pd.DataFrame

PER_USER = {"hit": hit, "recall": recall, "ndcg": ndcg, "mrr": mrr}
REPLICATES = 200
"""Bootstrap replicates of metrics that are no means over users (AUC, GAUC, log loss)."""


def evaluate(
    models: Mapping[str, Any],
    split: Holdout | None = None,
    *,
    k: int | Sequence[int] = (10, 20),
    mask_seen: bool = True,
    train: Frame | None = None,
    valid: Holdout | Frame | None = None,
    test: Frame | None = None,
    label: str | Sequence[str] = "label",
    user: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = False,
) -> EvaluationTable:
    """Fits several models and evaluates them on the same held-out users or rows.

    Recall channels, with a split: each is fitted on `split.train` and ranks all items for the
    users of the split. Metrics are hit, recall, ndcg and mrr at each `k`, and coverage and
    popularity of the lists.

        data = tamis.read_interactions("ratings.csv")
        split = tamis.leave_one_out(data)
        tamis.evaluate({"itemcf": ItemCF(), "ease": EASE()}, split, k=(10, 20))

    Rankers and pre-rankers, with frames: each is fitted on `train` (or was fitted before, where
    `train` is None) and predicts the rows of `test`. Metrics are AUC, log loss and, with `user`,
    GAUC; labels that are numbers have XAUC and mean absolute error.

        tamis.evaluate({"deepfm": DeepFM(features=features)}, train=train, test=test, label="click")

    Args:
        models: {name in the table: model}.
        split: from `leave_one_out`, `by_time` or `given` (`tamis.splitting`).
        k: list length or lengths.
        mask_seen: items that a user has met are not recommended (and are a miss if held out).
        train, test: Polars or pandas frames with the features' and the labels' columns.
        valid: what fits stop by, never trained on: a frame, or of channels a split such as
            `leave_one_out(data, "valid")`.
        label: label column(s); not read where models were fitted before.
        user: column of the user, for GAUC; intervals are then drawn over users instead of rows.
        seed: of the fits and of the bootstrap.
        device: where models train: "cpu", "cuda", …
        progress: whether fits show their progress.

    Returns the table of all models. Its 95 % intervals are bootstrapped: of channels over users
    (2,000 resamples), of rankers with Poisson weights over users or rows (200 replicates, the same
    ones for every model).

    Raises ConfigError where the arguments do not fit each other or a model, DataError where a
    frame lacks a column or has no row.
    """
    if not isinstance(models, Mapping):
        raise ConfigError(
            f"models is a {type(models).__name__}: give {{name: model}}, for example "
            "{'itemcf': ItemCF()}"
        )
    for name, model in models.items():
        if isinstance(model, type):
            raise ConfigError(f"{name!r} is the class {model.__name__}: give {model.__name__}()")
    if not models:
        raise ConfigError("models is empty: give {name: model}, for example {'itemcf': ItemCF()}")
    context = FitContext(seed=seed, device=device, progress=progress)
    if split is not None and not isinstance(split, Holdout):
        raise ConfigError(
            f"split is a {type(split).__name__}: give a split of a data set, such as "
            "tamis.leave_one_out(data)"
        )
    if split is not None:
        if train is not None or test is not None:
            raise ConfigError("give either a split (channels) or train and test frames (rankers)")
        return _channels(models, split, valid, k, mask_seen, context)
    if test is None:
        raise ConfigError(
            "nothing to evaluate on: give a split for channels (leave_one_out(data)), or "
            "test=frame for rankers"
        )
    if isinstance(valid, Holdout):
        raise ConfigError("valid is a split, and rankers are fitted on frames: give a frame")
    return _rankers(models, train, valid, test, label, user, context)


def _channels(
    models: Mapping[str, Any],
    split: Holdout,
    valid: Any,
    k: int | Sequence[int],
    mask_seen: bool,
    context: FitContext,
) -> EvaluationTable:
    lengths: Sequence[Any] = [k] if isinstance(k, str) or not isinstance(k, Iterable) else [*k]
    ks = tuple(dict.fromkeys(whole_number("k", length) for length in lengths))
    if valid is not None and not isinstance(valid, Holdout):
        raise ConfigError("valid is a frame, and channels stop by a split: leave_one_out(…)")
    if valid is not None:
        context = FitContext(
            seed=context.seed,
            device=context.device,
            progress=context.progress,
            valid=valid_of(valid, mask_seen),
        )
    results: dict[str, ModelResult] = {}
    for name, channel in models.items():
        if not isinstance(channel, Channel):
            raise ConfigError(
                f"{name!r} is a {type(channel).__name__}, which is no recall channel: with a split "
                "only channels are evaluated (tamis.recall); rankers take train= and test= frames"
            )
        began = perf_counter()
        channel.fit(split.train, context)
        seconds = perf_counter() - began
        evaluated = evaluate_channel(channel, split, ks, exclude_seen=mask_seen)
        samples = {
            f"{metric}@{n}": of(evaluated.lists, split.targets, n)
            for n in ks
            for metric, of in PER_USER.items()
        }
        intervals = {m: bootstrap_mean(v, seed=context.seed) for m, v in samples.items()}
        known = {m: _without_bounds(v) for m, v in evaluated.metrics.items() if m not in samples}
        costs = {"fit_seconds": seconds, "users_per_second": evaluated.users_per_second}
        results[name] = ModelResult({**intervals, **known}, samples, costs)
    shown = [f"{metric}@{n}" for metric in ("ndcg", "recall") for n in ks]
    protocol = (
        f"full ranking of {len(split.train.items):,} items, seen items "
        f"{'masked' if mask_seen else 'kept'}, users: {len(split):,}\n{split.protocol}\n"
        f"trained on {len(split.train.events):,} events"
        f"{', stopped by the validation split' if valid is not None else ''}; "
        "± half of the 95 % bootstrap interval over users"
    )
    return EvaluationTable(
        results, protocol, [*shown, f"coverage@{max(ks)}"], True, seed=context.seed
    )


def _rankers(
    models: Mapping[str, Any],
    train: Frame | None,
    valid: Frame | None,
    test: Frame,
    label: str | Sequence[str],
    user: str | None,
    context: FitContext,
) -> EvaluationTable:
    groups, users = None, ""
    columns_of(test, [])  # raises for what is no frame
    if not len(test):
        raise DataError("the test frame has no row: there is nothing to evaluate on")
    if user is not None:
        groups, users = _groups(test, user)
    results: dict[str, ModelResult] = {}
    undefined: dict[str, dict[str, str]] = {}
    notes: dict[str, Sequence[str]] = {}
    for name, model in models.items():
        if not isinstance(model, FrameModel):
            raise ConfigError(
                f"{name!r} is a {type(model).__name__}, which is no ranker or pre-ranker of frames "
                "(tamis.rank, tamis.prerank); recall channels take a split"
            )
        began = perf_counter()
        if train is not None:
            with warnings.catch_warnings():  # the table shows the notes
                warnings.simplefilter("ignore", TamisWarning)
                model.fit(train, valid, label=label, context=context)
            if model.notes:
                notes[name] = model.notes
        seconds = perf_counter() - began if train is not None else 0.0
        intervals, samples, reasons = _of_ranker(model, test, groups, context.seed)
        if reasons:
            undefined[name] = reasons
        results[name] = ModelResult(intervals, samples, {"fit_seconds": seconds})
    trained = "fitted before" if train is None else f"trained on {len(train):,} rows"
    stopped = "" if train is None or valid is None else f", stopped by {len(valid):,} rows"
    units = users or "rows"
    protocol = (
        f"{len(test):,} test rows; {trained}{stopped}\n"
        f"± half of the 95 % bootstrap interval over {units}"
    )
    first = next(iter(results.values()))
    return EvaluationTable(
        results,
        protocol,
        list(first.intervals),
        False,
        seed=context.seed,
        undefined=undefined,
        notes=notes,
    )


def _of_ranker(
    model: FrameModel, test: Frame, groups: Int64 | None, seed: int
) -> tuple[dict[str, Interval], dict[str, Float64], dict[str, str]]:
    """(values with intervals, bootstrap replicates, reasons why values are undefined) of a fitted
    model's tasks on labelled rows."""
    rows = model.labelled(test)
    assert rows.labels is not None
    scores = model.probabilities(rows)
    intervals: dict[str, Interval] = {}
    samples: dict[str, Float64] = {}
    undefined: dict[str, str] = {}
    for t, task in enumerate(model.heads.tasks):
        suffix = "" if len(model.tasks) == 1 else f":{task.name}"
        labels = model.heads.label(t, rows.labels[:, t])
        known = ~np.isnan(labels)
        label, score = labels[known].astype(np.float64), scores[known, t].astype(np.float64)
        if task.kind != "binary":
            values = {"xauc": xauc(label, score), "mae": mean_absolute_error(label, score)}
            undefined |= _suffixed(undefined_metrics(values, labels), suffix)
            intervals |= {name + suffix: _without_bounds(value) for name, value in values.items()}
            continue
        its_groups = None if groups is None else groups[known]
        found = _rate_metrics(label, score, its_groups, seed)
        values = {metric: value for metric, (value, _) in found.items()}
        undefined |= _suffixed(undefined_metrics(values, labels, its_groups), suffix)
        for metric, (value, replicates) in found.items():
            low, high = np.quantile(replicates, [0.025, 0.975])
            intervals[metric + suffix] = Interval(value, float(low), float(high))
            samples[metric + suffix] = replicates
    return intervals, samples, undefined


def _suffixed(reasons: dict[str, str], suffix: str) -> dict[str, str]:
    return {metric + suffix: reason for metric, reason in reasons.items()}


def _rate_metrics(
    label: Float64, score: Float64, groups: Int64 | None, seed: int
) -> dict[str, tuple[float, Float64]]:
    """{metric: (value, (REPLICATES,) bootstrap replicates)} of AUC, GAUC and log loss.

    label, score, groups: (n,). A replicate weights each user (each row without groups) by a Poisson
    draw of mean 1 (Chamandy et al. 2012), which is the bootstrap without sorting the rows again.
    """
    loss = _losses(label, score)
    order = np.argsort(score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) > 0, True)) if len(score) else order
    unit = np.arange(len(label)) if groups is None else groups
    values = {"auc": auc(label, score), "logloss": log_loss(label, score)}
    each, sizes = (None, None) if groups is None else group_auc(label, score, groups)
    if each is not None and sizes is not None:
        values["gauc"] = _weighted_mean(each, sizes)
    groups_known = np.unique(unit)
    rng = np.random.default_rng(seed)
    replicates = {metric: np.empty(REPLICATES) for metric in values}
    for r in range(REPLICATES):
        drawn = rng.poisson(1.0, int(unit.max(initial=-1)) + 1).astype(np.float64)
        weights = drawn[unit]
        replicates["auc"][r] = _weighted_auc(label[order], weights[order], ends)
        replicates["logloss"][r] = _weighted_mean(loss, weights)
        if each is not None and sizes is not None:
            replicates["gauc"][r] = _weighted_mean(each, sizes * drawn[groups_known])
    return {metric: (values[metric], replicates[metric]) for metric in values}


def _weighted_auc(label: Float64, weight: Float64, ends: Int64) -> float:
    """AUC of rows with weights; rows ascend by score, `ends` are the last rows of equal scores."""
    positive = np.diff(np.cumsum(label * weight)[ends], prepend=0.0)
    negative = np.diff(np.cumsum((1 - label) * weight)[ends], prepend=0.0)
    below = np.cumsum(negative) - negative
    pairs = positive.sum() * negative.sum()
    return float((positive * (below + negative / 2)).sum() / pairs) if pairs else float("nan")


def _weighted_mean(values: Float64, weights: Float64) -> float:
    """The mean of the values that are not NaN; NaN where no weight is left."""
    known = ~np.isnan(values)
    total = weights[known].sum()
    return float((values[known] * weights[known]).sum() / total) if total else float("nan")


def _losses(label: Float64, score: Float64, epsilon: float = 1e-7) -> Float64:
    """(n,) −log p(label) in nats, predictions held within [ε, 1 − ε] as in `log_loss`."""
    p = np.clip(score, epsilon, 1 - epsilon)
    return -(label * np.log(p) + (1 - label) * np.log1p(-p))


def _groups(frame: Frame, column: str) -> tuple[Int64, str]:
    """(n,) a number from 0 for each user of a column of ids, and how many users there are.

    Rows without a user id are a group of their own each.
    """
    table = columns_of(frame, [column])
    if column not in table.columns:
        raise DataError(
            f"the test frame has no column {column!r} (user); its columns are {table.columns}"
        )
    ids = id_text(table[column], "the test frame")
    missing = ids.is_null().to_numpy()
    codes = ids.rank("dense").fill_null(0).to_numpy().astype(np.int64) - 1
    users = int(codes.max(initial=-1)) + 1
    codes[missing] = users + np.arange(int(missing.sum()))
    without = f", {int(missing.sum()):,} rows without one" if missing.any() else ""
    return codes, f"{users:,} users ({column}{without})"


def _without_bounds(value: float) -> Interval:
    return Interval(float(value), float("nan"), float("nan"))
