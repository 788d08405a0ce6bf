"""Reports which experts a mixture uses: each task's mean gate weights, and unused experts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from tamis.features import Rows
from tamis.rank._backbone import Backbone
from tamis.rank._fields import Fields
from tamis.rank._network import Network
from tamis.schema import NotFittedError, TaskConfig, read_json, reading
from tamis.train import EstimatorConfig, Order, batches

DEAD = 0.1
"""An expert is dead if its mean weight is below this fraction of an even share for every task."""
MAX_ROWS = 100_000
"""Maximum number of training rows that a report reads."""
SAVED = "gates.json"


@runtime_checkable
class GatedCore(Protocol):
    """A core with gates: the tasks' (last) gates weight experts."""

    own: int
    """Experts of each task alone."""
    shared: int
    """Experts of all tasks."""

    def weights(self, fields: Fields) -> Tensor:
        """(B, T, own + shared) gate weights."""
        ...


@dataclass(frozen=True)
class GateReport:
    """Each task's mean gate weights over some rows."""

    experts: tuple[str, ...]
    """Names of the experts, in the order of the weights."""
    weights: dict[str, tuple[float, ...]]
    """Task → one mean weight per expert. NaN where the task's gate does not reach the expert; the
    others sum to 1."""

    @property
    def dead(self) -> tuple[str, ...]:
        """Experts that no task uses: below `DEAD` of an even share for every task."""
        table = np.array(list(self.weights.values()), dtype=np.float64).reshape(
            -1, len(self.experts)
        )
        even = 1 / np.maximum((~np.isnan(table)).sum(1, keepdims=True), 1)
        used = (np.nan_to_num(table) >= DEAD * even).any(0)
        return tuple(name for name, alive in zip(self.experts, used, strict=True) if not alive)

    @property
    def warning(self) -> str:
        """Names the dead experts and how to avoid them; "" if there are none."""
        if not self.dead:
            return ""
        return (
            f"no task uses {', '.join(self.dead)} (mean gate weight below {DEAD:.0%} of an even "
            "share): raise expert_dropout, or use fewer experts"
        )

    def __str__(self) -> str:
        wide = max(len(name) for name in ["task", *self.weights])
        lines = ["  ".join([f"{'task':{wide}}", *(f"{name:>8}" for name in self.experts)])]
        for task, weights in self.weights.items():
            cells = ("       –" if np.isnan(w) else f"{w:8.3f}" for w in weights)
            lines.append("  ".join([f"{task:{wide}}", *cells]))
        return "\n".join([*lines, *([self.warning] if self.warning else [])])

    def to_dict(self) -> dict[str, Any]:
        """JSON values; null where a task's gate does not reach an expert."""
        return {
            "experts": list(self.experts),
            "weights": {
                task: [None if np.isnan(w) else w for w in weights]
                for task, weights in self.weights.items()
            },
            "dead": list(self.dead),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The report that `to_dict` wrote."""
        nan = float("nan")
        weights = {
            t: tuple(nan if w is None else w for w in ws) for t, ws in data["weights"].items()
        }
        return cls(tuple(data["experts"]), weights)


class MixtureBackbone(Backbone):
    """Base class of the backbones whose core is a `GatedCore`; reports the gates after a fit."""

    gates: GateReport | None = None
    """Report of the last fit, saved with the model: over its validation rows, or over `MAX_ROWS` of
    its training rows if it had none."""

    def fit_rows(
        self, rows: Rows, valid: Rows | None, tasks: Sequence[TaskConfig], context: Any
    ) -> Self:
        """Trains as `Estimator.fit_rows`, then makes the report and notes dead experts."""
        super().fit_rows(rows, valid, tasks, context)
        if valid is None:
            step = -(-len(rows) // MAX_ROWS)  # evenly spaced over the log
            valid = rows.select(np.arange(0, len(rows), step))
        self.gates = self.gate_report(valid)
        if self.gates.warning:
            self.notes = (*self.notes, self.gates.warning)
        return self

    def save(self, directory: Path | str) -> None:
        """As `Backbone.save`; also writes the report of the gates."""
        super().save(directory)
        if self.gates is not None:
            (Path(directory) / SAVED).write_text(json.dumps(self.gates.to_dict(), indent=1))

    @classmethod
    def load(cls, directory: Path | str, config: EstimatorConfig | None = None) -> Self:
        """Opens what `save` wrote; see `Backbone.load`."""
        self = super().load(directory, config)
        if (Path(directory) / SAVED).is_file():
            file = Path(directory) / SAVED
            saved = read_json(file, weights=dict, experts=list)
            with reading(file):
                self.gates = GateReport.from_dict(saved)
        return self

    def gate_report(self, rows: Rows) -> GateReport:
        """Each task's mean gate weights over rows. Raises NotFittedError before a fit."""
        network = self.model
        if not isinstance(network, Network):
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit, or load one")
        core = network.core
        assert isinstance(core, GatedCore)
        total = np.zeros((len(self.tasks), core.own + core.shared))
        network.eval()
        with torch.inference_mode():
            for batch in batches(rows, Order.plain(len(rows), 8192), "cpu"):
                total += core.weights(network.fields(batch)).double().sum(0).numpy()
        return _named(self.tasks, total / max(len(rows), 1), core.own, core.shared)


def _named(tasks: Sequence[str], mean: np.ndarray[Any, Any], own: int, shared: int) -> GateReport:
    """The report of mean weights float64 (T, own + shared); experts are ordered by task, the shared
    ones last."""
    names = [f"{task} {k + 1}" for task in tasks for k in range(own)]
    names += [f"shared {k + 1}" if own else f"expert {k + 1}" for k in range(shared)]
    weights: dict[str, tuple[float, ...]] = {}
    for t, task in enumerate(tasks):
        row = np.full(len(names), np.nan)
        row[t * own : (t + 1) * own] = mean[t, :own]
        row[len(tasks) * own :] = mean[t, own:]
        weights[task] = tuple(row.tolist())
    return GateReport(tuple(names), weights)
