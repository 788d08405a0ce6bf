"""Options and result of the training loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tamis.runtime import Float32, peak_mb

TIE = 1e-6
"""Validation metrics that differ by no more are equal, and the earlier epoch (fewer trees) is kept:
such differences come from rounding, which depends on the number of threads."""


@dataclass(frozen=True)
class FitOptions:
    """Options of the training loop."""

    epochs: int = 10
    """Maximum number of passes over the rows."""
    batch_size: int = 2048
    learning_rate: float = 1e-3
    """Learning rate of the dense weights (Adam)."""
    embedding_learning_rate: float = 0.1
    """Learning rate of fused embeddings."""
    embedding_optimiser: Literal["rowadagrad", "lazyadam", "adam"] = "rowadagrad"
    """Row-wise Adagrad or Adam on the rows of the batch, or Adam on all rows updated so far."""
    l2: float = 0.0
    """Weight decay of embedding rows, added to the gradient as `l2 · w`. (A loss with `r · |w|²`,
    as in DeepCTR and Torch-RecHub, corresponds to l2 = 2r; FuxiCTR's `½ r · |w|²` to l2 = r.)"""
    l2_rows: Literal["batch", "all"] = "batch"
    """The rows that `l2` decays at each step: those of the batch, or the whole table as in those
    libraries, at a cost per step proportional to the size of the table."""
    dense_l2: float = 0.0
    """Weight decay of all other weights, added to the gradient."""
    dense_l1: float = 0.0
    """L1 penalty of all other weights, added to the gradient as `dense_l1 · sign(w)`."""
    weight_decay: float = 0.0
    """Decoupled decay of the other weight matrices (AdamW); cannot be combined with `dense_l2`."""
    beta2: float = 0.999
    """Decay rate of Adam's second moment, for the dense weights."""
    patience: int = 1
    """Epochs without a better validation metric before the fit stops; unused without validation."""
    decay_on_plateau: float = 1.0
    """Factor applied to both learning rates after a validation metric that was not the best so far;
    1 = constant. Only effective with a patience of at least 2."""
    decay_after: tuple[int, ...] = ()
    """Without validation rows: epochs (from 1) after which `decay_on_plateau` is applied."""
    evaluate_every: int = 1
    """Epochs between two validations; the last epoch is always validated."""
    seed: int = 0
    """Seed of the order of rows, dropout and other random numbers of the fit."""
    device: str = "cpu"
    """Device of training, as torch names it."""
    threads: int | None = None
    """Threads of torch during the fit; None = torch's current setting."""
    bfloat16: Literal["auto", "on", "off"] = "auto"
    """Matrix products in bfloat16 (weights stay float32); "auto" = if the hardware supports it."""
    progress: bool = False
    """Show the progress: a bar on a terminal, else one line (`tamis.runtime.Progress`)."""
    squares: tuple[Float32, ...] = ()
    """Accumulated squares to start from, as `FitResult.squares`; empty: from none."""


@dataclass(frozen=True)
class Epoch:
    """One point of the learning curves."""

    epoch: int
    """Number of the epoch, from 1."""
    loss: float
    """Mean training loss over the batches of the epoch."""
    metrics: dict[str, float]
    """Validation metrics after the epoch; empty without validation rows."""
    seconds: float
    """Training time of the epoch, without validation."""


@dataclass(frozen=True)
class FitResult:
    """Learning curves and costs of a fit; the model holds the weights of the best epoch."""

    best_epoch: int
    """Epoch (from 1) of the best validation metric; without validation rows the last one; 0 if no
    epoch ran."""
    history: list[Epoch] = field(repr=False)
    """Learning curves, one entry per epoch."""
    seconds: float
    """Wall time of the whole fit, validation included."""
    samples_per_second: float
    """Rows of an epoch divided by the median training time of an epoch."""
    peak_mb: float
    """Highest resident memory of the process so far, in MB."""
    bfloat16: bool
    """Whether matrix products ran in bfloat16."""
    decays: tuple[int, ...] = ()
    """Epochs after which the learning rates were lowered."""
    squares: tuple[Float32, ...] = field(default=(), repr=False)
    """(rows,) accumulated squares of Adagrad, for each fused embedding; empty: another optimiser.
    A fit that starts from the weights starts from these, too: without them, its first step would
    move each row by the whole learning rate."""

    @classmethod
    def nothing(cls) -> FitResult:
        """The result of a fit without rows."""
        return cls(0, [], 0.0, 0.0, peak_mb(), bfloat16=False)

    @property
    def best(self) -> dict[str, float]:
        """Validation metrics of the best epoch."""
        return next((e.metrics for e in self.history if e.epoch == self.best_epoch), {})
