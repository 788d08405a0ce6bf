"""Which experts a mixture uses: the mean gate weights of each task, and those that nobody asks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from tamis.features import Rows
from tamis.rank._backbone import Backbone
from tamis.rank._network import Network
from tamis.schema import NotFittedError
from tamis.train import EstimatorConfig, Order, batches

DEAD = 0.1
"""An expert is dead whose mean weight is below this part of an even share for every task."""
MOST = 100_000
"""Most training rows that a report is made of."""
SAVED = "gates.json"


@dataclass(frozen=True)
class GateReport:
    """Each task's mean gate weights over some rows."""

    experts: tuple[str, ...]
    """Names, in the order of the weights."""
    weights: dict[str, tuple[float, ...]]
    """Task → one mean weight per expert, NaN where the task has no gate to it; the rest sums to 1.
    """

    @property
    def dead(self) -> tuple[str, ...]:
        """Experts that no task uses: below `DEAD` of an even share for all of them."""
        table = np.array(list(self.weights.values()), dtype=np.float64).reshape(
            -1, len(self.experts)
        )
        even = 1 / np.maximum((~np.isnan(table)).sum(1, keepdims=True), 1)
        used = (np.nan_to_num(table) >= DEAD * even).any(0)
        return tuple(name for name, alive in zip(self.experts, used, strict=True) if not alive)

    @property
    def warning(self) -> str:
        """What to do about dead experts; "" where there is none."""
        if not self.dead:
            return ""
        return (
            f"no task uses {', '.join(self.dead)} (mean gate weight below {DEAD:.0%} of an even "
            "share): raise expert_dropout, or take fewer experts"
        )

    def __str__(self) -> str:
        wide = max(len(name) for name in ["task", *self.weights])
        lines = ["  ".join([f"{'task':{wide}}", *(f"{name:>8}" for name in self.experts)])]
        for task, weights in self.weights.items():
            cells = ("       –" if np.isnan(w) else f"{w:8.3f}" for w in weights)
            lines.append("  ".join([f"{task:{wide}}", *cells]))
        return "\n".join([*lines, *([self.warning] if self.warning else [])])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; None where a task has no gate to an expert."""
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
        """The report of which `to_dict` made JSON."""
        nan = float("nan")
        weights = {
            t: tuple(nan if w is None else w for w in ws) for t, ws in data["weights"].items()
        }
        return cls(tuple(data["experts"]), weights)


class MixtureBackbone(Backbone):
    """A backbone whose core has gates: `core.weights(fields)` (B, T, own + shared), the tasks' last
    ones, `core.own` experts of each task alone and `core.shared` of all."""

    gates: GateReport | None = None
    """Of the validation rows of the last fit, or of its training rows (`MOST` of them) without
    them; saved with the model."""

    def fit_rows(self, rows: Rows, valid: Rows | None, tasks: Sequence[Any], context: Any) -> Any:
        super().fit_rows(rows, valid, tasks, context)
        if valid is None:
            every = -(-len(rows) // MOST)  # evenly over the log
            valid = rows.select(np.arange(0, len(rows), every))
        self.gates = self.gate_report(valid)
        if self.gates.warning:
            self.notes = (*self.notes, self.gates.warning)
        return self

    def save(self, directory: Path | str) -> None:
        """Writes what a backbone writes, and the gates' report."""
        super().save(directory)
        if self.gates is not None:
            (Path(directory) / SAVED).write_text(json.dumps(self.gates.to_dict(), indent=1))

    @classmethod
    def load(cls, directory: Path | str, config: EstimatorConfig | None = None) -> Self:
        """Opens what `save` wrote; see `Backbone.load`."""
        self = super().load(directory, config)
        if (Path(directory) / SAVED).is_file():
            self.gates = GateReport.from_dict(json.loads((Path(directory) / SAVED).read_text()))
        return self

    def gate_report(self, rows: Rows) -> GateReport:
        """Mean gate weights over rows. Raises NotFittedError before a fit."""
        network = self.model
        if not isinstance(network, Network):
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit, or load one")
        core: nn.Module = network.core
        total, network = 0.0, network.eval()
        with torch.inference_mode():
            for batch in batches(rows, Order.plain(len(rows), 8192), "cpu"):
                total = total + core.weights(network.inputs(batch)).double().sum(0)  # type: ignore[operator]
        mean = np.asarray(total) / max(len(rows), 1)
        return _named(self.tasks, mean, int(core.own), int(core.shared))  # type: ignore[arg-type]


def _named(tasks: Sequence[str], mean: np.ndarray[Any, Any], own: int, shared: int) -> GateReport:
    """Of mean weights (T, own + shared); experts stand task by task, the shared ones last."""
    names = [f"{task} {k + 1}" for task in tasks for k in range(own)]
    names += [f"shared {k + 1}" if own else f"expert {k + 1}" for k in range(shared)]
    weights: dict[str, tuple[float, ...]] = {}
    for t, task in enumerate(tasks):
        row = np.full(len(names), np.nan)
        row[t * own : (t + 1) * own] = mean[t, :own]
        row[len(tasks) * own :] = mean[t, own:]
        weights[task] = tuple(row.tolist())
    return GateReport(tuple(names), weights)
