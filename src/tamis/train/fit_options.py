"""What a fit may be told, and what it hands back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class FitOptions:
    """Everything about a fit that is neither the model nor the data."""

    epochs: int = 10
    """Most passes over the rows."""
    batch_size: int = 2048
    learning_rate: float = 1e-3
    """Of the dense weights (Adam)."""
    embedding_learning_rate: float = 0.1
    """Of the fused embedding's rows."""
    embedding_optimiser: Literal["rowadagrad", "lazyadam", "adam"] = "rowadagrad"
    """Row-wise Adagrad or Adam on the rows of the batch, or Adam on all rows ever touched."""
    l2: float = 0.0
    """Weight decay of the embedding rows as a gradient, `l2 · w`. (A loss that adds `r · |w|²`, as
    DeepCTR's and Torch-RecHub's do, is l2 = 2r; FuxiCTR's `½ r · |w|²` is l2 = r.)"""
    l2_rows: Literal["batch", "all"] = "batch"
    """The rows that `l2` decays at each step: those of the batch, or all of the table, which costs
    what the table costs and is what those losses do."""
    dense_l2: float = 0.0
    """Weight decay of all other weights, as a gradient."""
    dense_l1: float = 0.0
    """Gradient `dense_l1 · sign(w)` of all other weights."""
    weight_decay: float = 0.0
    """Decoupled decay of the other weights' matrices (AdamW); excludes `dense_l2`."""
    beta2: float = 0.999
    """Of Adam's second moment, for the dense weights."""
    patience: int = 1
    """Epochs without a better validation metric before the fit stops; needs validation rows."""
    decay_on_plateau: float = 1.0
    """Factor of both learning rates after a validation that was not the best so far; 1 = constant.
    It has its say before `patience` ends."""
    decay_after: tuple[int, ...] = ()
    """Without validation rows: epochs (from 1) after which that factor applies."""
    evaluate_every: int = 1
    """Epochs between two validations; the last epoch is always validated."""
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    """Threads of torch during the fit; None = as torch is set."""
    bfloat16: Literal["auto", "on", "off"] = "auto"
    """Matrix products in bfloat16 (weights stay float32); auto = where the hardware has it."""
    progress: bool = False
    """Show the progress: a bar on a terminal, else one line (`tamis.runtime.Progress`)."""


@dataclass(frozen=True)
class Epoch:
    """One point of the learning curves."""

    epoch: int
    """From 1."""
    loss: float
    """Mean training loss of the epoch's batches."""
    metrics: dict[str, float]
    """Validation metrics after the epoch; empty without validation rows."""
    seconds: float
    """Training alone, without the validation."""


@dataclass(frozen=True)
class FitResult:
    """How a fit went; the model holds the best epoch's weights."""

    best_epoch: int
    """From 1; the last epoch without validation rows; 0 if no epoch ran."""
    history: list[Epoch] = field(repr=False)
    seconds: float
    """Wall time of the whole fit, validation included."""
    samples_per_second: float
    """Rows of an epoch over the median epoch's training time."""
    peak_mb: float
    """Highest resident memory of the process so far, in MB."""
    bfloat16: bool
    """Whether matrix products ran in bfloat16."""
    decays: tuple[int, ...] = ()
    """Epochs after which the learning rates were lowered."""

    @property
    def best(self) -> dict[str, float]:
        """The best epoch's validation metrics."""
        return next((e.metrics for e in self.history if e.epoch == self.best_epoch), {})
