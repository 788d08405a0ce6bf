"""One ranker of a comparison: its metrics, training speed, latency and size."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.features import Rows
from tamis.schema import ConfigError, TamisError
from tamis.service import registry
from tamis.train import (
    FrameModel,
    auc,
    log_loss,
    mean_absolute_error,
    mean_group_ndcg,
    torch_threads,
    undefined_metrics,
    xauc,
)

CANDIDATES = 300
"""Rows of the request whose scoring is timed."""
REPEATS, WARM = 60, 10
"""Timed requests, and untimed ones before them."""


@dataclass(frozen=True)
class Entry:
    """A ranker to compare: its name and its options."""

    use: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    label: str = ""
    """Its name in the table; "" for the ranker's own."""

    @property
    def name(self) -> str:
        return self.label or self.use


@dataclass(frozen=True)
class Standing:
    """The result of one ranker."""

    name: str
    use: str
    options: dict[str, Any]
    error: str = ""
    """Why it could not be fitted; the fields below are then empty."""
    tasks: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    """{task: {metric: value}} on the validation rows."""
    epochs: int = 0
    """The best epoch, which the metrics belong to."""
    samples_per_second: float = 0.0
    seconds: float = 0.0
    """Duration of the fit, including validation."""
    latency_ms: dict[str, float] = field(default_factory=dict[str, float])
    """p50 and p99 of scoring 300 candidates on one thread."""
    mb: float = 0.0
    """Size on disk in MB."""
    undefined: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """{task: {metric: why it is NaN}} on the validation rows."""
    notes: tuple[str, ...] = ()
    """Remarks on the labels of the fit."""
    gates: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of mixtures of experts: mean gate weights per task on the validation rows, and dead experts
    (`GateReport`)."""

    @property
    def quality(self) -> float:
        """Mean AUC over the tasks (XAUC for numbers); NaN if no task has one."""
        values = [m["auc"] if "auc" in m else m["xauc"] for m in self.tasks.values()]
        known = [value for value in values if isfinite(value)]
        return sum(known) / len(known) if known else float("nan")

    @property
    def sort_key(self) -> float:
        """Sort key: the quality; −1 if it is NaN, −2 if the ranker could not be fitted."""
        return -2.0 if self.error else self.quality if isfinite(self.quality) else -1.0

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "quality": self.quality}


def entries(models: Sequence[str], options: Mapping[str, Any]) -> list[Entry]:
    """The rankers of those names, each with the options that it has.

    Raises ConfigError for an unknown ranker, and for an option that none of them has.
    """
    fields = {use: set(_options_of(use)) for use in models}
    for key in options:
        if not any(key in known for known in fields.values()):
            every = sorted(set().union(*fields.values()))
            close = get_close_matches(key, every, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"they have {', '.join(every)}"
            raise ConfigError(f"--set {key}: none of {', '.join(models)} has this option; {hint}")
    return [
        Entry(use, {key: value for key, value in options.items() if key in fields[use]})
        for use in models
    ]


def parsed_options(words: Sequence[str]) -> dict[str, Any]:
    """`key=value` texts as options; values are TOML, or plain text.

    Raises ConfigError for a text without `=`.
    """
    out: dict[str, Any] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"--set {word}: write key=value, for example embedding_dim=8")
        try:
            out[key.strip()] = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            out[key.strip()] = value.strip()
    return out


def _options_of(use: str) -> Sequence[str]:
    stage = registry.find("rank", use, f"--models {use}")
    return list(stage.Config.model_fields)


def _ranker(use: str) -> Any:
    """The class of a ranker: a `FrameModel` with `load`. Raises ConfigError."""
    return registry.find("rank", use)


def build(entry: Entry, **more: Any) -> FrameModel:
    """The unfitted ranker of an entry. Raises ConfigError for a wrong option."""
    return _ranker(entry.use)(**entry.options, **more)


def standing(entry: Entry, model: FrameModel, valid: Rows, began: float) -> Standing:
    """The result of a fitted ranker; `began` is `perf_counter()` at the start of its fit."""
    assert model.result is not None
    seconds = perf_counter() - began
    mb, latency = size_and_latency(entry.use, model, valid)
    metrics = task_metrics(model, valid)
    return Standing(
        name=entry.name,
        use=entry.use,
        options=dict(entry.options),
        tasks=metrics,
        undefined=_undefined(model, metrics, valid),
        notes=model.notes,
        epochs=model.best_epoch,
        samples_per_second=model.result.samples_per_second,
        seconds=seconds,
        latency_ms=latency,
        mb=mb,
        gates=gates_of(model),
    )


def gates_of(model: Any) -> dict[str, Any]:
    """The gate report of a mixture's last fit as plain values; {} for other rankers."""
    report = getattr(model, "gates", None)
    return {} if report is None else report.to_dict()


def failed(entry: Entry, error: TamisError) -> Standing:
    """The result of a ranker that cannot be fitted on these rows (DIN without a history, …)."""
    return Standing(entry.name, entry.use, dict(entry.options), error=str(error))


def _undefined(
    model: FrameModel, metrics: Mapping[str, dict[str, float]], rows: Rows
) -> dict[str, dict[str, str]]:
    """{task: {metric: why it is NaN}} of what `task_metrics` returned."""
    assert rows.labels is not None
    found = {
        task: undefined_metrics(its, rows.labels[:, t], rows.groups)
        for t, (task, its) in enumerate(metrics.items())
    }
    return {task: reasons for task, reasons in found.items() if reasons}


def task_metrics(model: FrameModel, rows: Rows) -> dict[str, dict[str, float]]:
    """{task: metrics} of a fitted ranker on labelled rows.

    AUC, log loss and, if rows have requests, NDCG@10 within them; XAUC and mean absolute error for
    tasks whose labels are numbers.
    """
    assert rows.labels is not None
    predicted = model.probabilities(rows)
    out: dict[str, dict[str, float]] = {}
    for t, task in enumerate(model.heads.tasks):
        label, score = model.heads.label(t, rows.labels[:, t]), predicted[:, t]
        known = ~np.isnan(label)
        if task.kind != "binary":
            error = mean_absolute_error(label, score)
            out[task.name] = {"xauc": xauc(label, score), "mae": error}
            continue
        out[task.name] = {
            "auc": auc(label[known], score[known]),
            "logloss": log_loss(label[known], score[known]),
        }
        if rows.groups is not None:
            out[task.name]["ndcg@10"] = mean_group_ndcg(label, score, rows.groups)
    return out


def size_and_latency(use: str, model: FrameModel, rows: Rows) -> tuple[float, dict[str, float]]:
    """(MB on disk, p50 and p99 in ms of scoring one request's candidates on one thread).

    The model is saved and opened again, so that the model that would serve is timed.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        mb = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 1e6
        if not len(rows):
            return mb, {}
        opened, request = _ranker(use).load(Path(folder)), rows.select(_request(rows))
        took: list[float] = []
        with torch_threads(1):
            for _ in range(WARM + REPEATS):
                began = perf_counter()
                opened.score_rows(request)
                took.append((perf_counter() - began) * 1000)
    p50, p99 = np.percentile(took[WARM:], [50, 99])
    return mb, {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


def _request(rows: Rows) -> NDArray[np.intp]:
    """(CANDIDATES,) rows of the largest request, or the first rows; repeated if there are fewer."""
    first = np.arange(len(rows))
    if rows.groups is not None:
        groups, counts = np.unique(rows.groups, return_counts=True)
        first = np.flatnonzero(rows.groups == groups[counts.argmax()])
    return np.resize(first, CANDIDATES)
