"""The result of `tamis.evaluate`: models side by side, with intervals and the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan

import polars as pl

from tamis.evaluate.bootstrap import Interval, paired_bootstrap
from tamis.runtime import Float64
from tamis.schema import ConfigError, suggest
from tamis.train import reason_lines


@dataclass(frozen=True, eq=False)
class ModelResult:
    """What one model reached."""

    intervals: Mapping[str, Interval]
    """{metric: value with its 95 % bootstrap interval}; bounds are NaN where none is estimated."""
    samples: Mapping[str, Float64]
    """{metric: (U,) values per user} of channels, {metric: (R,) bootstrap replicates} of rankers:
    what differences between models are estimated from."""
    costs: Mapping[str, float]
    """fit_seconds (0 of a model that was fitted before); of channels also users_per_second."""


@dataclass(frozen=True, eq=False, repr=False)
class EvaluationTable:
    """Models evaluated on the same users or rows; `print` shows the table.

    table.to_frame()                       # Polars: one row per model, one column per metric
    table.intervals()                      # Polars: model, metric, mean, low, high
    table.difference("ease", "itemcf", "ndcg@10")
    """

    results: Mapping[str, ModelResult]
    """By the model's name, in the order given to `evaluate`."""
    protocol: str
    """What was ranked, masked and evaluated, and how intervals were made."""
    shown: Sequence[str]
    """Metrics that `repr` shows; `to_frame` holds all."""
    per_user: bool
    """Whether `samples` are values per user (channels) or bootstrap replicates (rankers)."""
    seed: int = 0
    undefined: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """{model: {metric: why it is NaN}}; without the models that have none."""
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """{model: remarks on the labels of its fit}; without the models that have none."""

    def __getitem__(self, model: str) -> dict[str, float]:
        """The metrics of one model. Raises ConfigError for an unknown name."""
        return {name: one.mean for name, one in self._result(model).intervals.items()}

    def to_frame(self) -> pl.DataFrame:
        """One row per model: `model`, its metrics, then its costs."""
        return pl.DataFrame(
            [{"model": name, **self[name], **r.costs} for name, r in self.results.items()]
        )

    def intervals(self) -> pl.DataFrame:
        """One row per model and metric: `model`, `metric`, `mean`, `low`, `high` (95 %)."""
        return pl.DataFrame(
            [
                {"model": name, "metric": metric, **interval.to_dict()}
                for name, result in self.results.items()
                for metric, interval in result.intervals.items()
            ]
        )

    def difference(self, model: str, other: str, metric: str) -> Interval:
        """`model` − `other` on the same users or rows, with its 95 % interval.

        `model` is better than chance explains where `low > 0` (metrics where more is better).
        Raises ConfigError for an unknown model or metric, or a metric without intervals.
        """
        samples = [self._result(name).samples for name in (model, other)]
        for name, found in zip((model, other), samples, strict=True):
            if metric not in found:
                raise ConfigError(
                    f"{metric!r} has no intervals for {name!r}.{suggest(metric, found)} "
                    f"Those with intervals: {', '.join(found)}"
                )
        ours, theirs = (found[metric] for found in samples)
        if self.per_user:
            return paired_bootstrap(ours, theirs, seed=self.seed)
        gap = pl.Series(ours - theirs)  # replicate r of both models drew the same rows
        low, high = gap.quantile(0.025, "linear"), gap.quantile(0.975, "linear")
        value = self[model][metric] - self[other][metric]
        return Interval(value, float(low or 0.0), float(high or 0.0))

    def __repr__(self) -> str:
        """A plain table of the main metrics (± half of the 95 % interval) and the protocol."""
        costs = list(next(iter(self.results.values())).costs)
        rows = [["model", *self.shown, *(cost.replace("_", " ") for cost in costs)]]
        for name, result in self.results.items():
            values = [_cell(result.intervals[metric]) for metric in self.shown]
            rows.append([name, *values, *(f"{result.costs[cost]:,.1f}" for cost in costs)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([*lines, "", *self._reasons(), self.protocol])

    def _reasons(self) -> list[str]:
        """A line per remark on the labels, and per reason why metrics are undefined.

        A remark on several models names them all.
        """
        remarks: dict[str, list[str]] = {}
        for model, notes in self.notes.items():
            for note in notes:
                remarks.setdefault(note, []).append(model)
        for model, reasons in self.undefined.items():
            for line in reason_lines(reasons):
                remarks.setdefault(line, []).append(model)
        return [f"{', '.join(models)}: {remark}" for remark, models in remarks.items()]

    def _result(self, model: str) -> ModelResult:
        if model not in self.results:
            raise ConfigError(
                f"no model {model!r} in this table.{suggest(model, self.results)} "
                f"It holds {', '.join(self.results)}"
            )
        return self.results[model]


def _cell(interval: Interval) -> str:
    """A value with half the width of its interval."""
    half = (interval.high - interval.low) / 2
    return f"{interval.mean:.4f}" if isnan(half) else f"{interval.mean:.4f} ±{half:.4f}"
