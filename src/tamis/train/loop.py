"""The training loop, for any module, objective and source of batches."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tamis.features import Batch, Rows
from tamis.runtime import Progress, peak_mb
from tamis.schema import TrainingError
from tamis.train.batches import Order, RowSource, batches
from tamis.train.fit_options import TIE, Epoch, FitOptions, FitResult
from tamis.train.hardware import check_device, torch_threads, use_bfloat16
from tamis.train.objective import ChecksRows, Objective
from tamis.train.row_optimisers import LazyAdam, RowAdagrad, RowOptimiser, WholeAdam, tables_of


def fit(
    model: nn.Module,
    rows: RowSource,
    objective: Objective,
    *,
    valid: Any = None,
    options: FitOptions | None = None,
) -> FitResult:
    """Trains `model` in place; afterwards it holds the weights of the best epoch.

    All random numbers derive from `options.seed`; torch's global generator is left unchanged.

    Args:
        model: its `FusedEmbedding`s are updated by a row optimiser, all other weights by Adam.
        rows: training rows.
        objective: the loss, and the validation metric that stops the fit.
        valid: validation rows for `objective.evaluate`; None = all epochs are run.
        options: None = the defaults of `FitOptions`.

    Raises:
        TrainingError: no rows, or a loss that is not finite.
    """
    options = options or FitOptions()
    if len(rows) == 0:
        raise TrainingError("there are no rows to train on; check the split and the labels")
    if isinstance(objective, ChecksRows):
        objective.check(rows, "training")
        if valid is not None:
            objective.check(valid, "validation")
    with torch_threads(options.threads), torch.random.fork_rng():
        torch.manual_seed(options.seed)
        return _Fit(model, rows, objective, valid, options).run()


class _Fit:
    """The state of one fit."""

    def __init__(
        self,
        model: nn.Module,
        rows: RowSource,
        objective: Objective,
        valid: Any,
        options: FitOptions,
    ) -> None:
        self.model, self.rows, self.objective = model, rows, objective
        self.valid, self.options = valid, options
        self.device = check_device(options.device)
        self.bfloat16 = use_bfloat16(options.bfloat16, self.device.type)
        self.generator = torch.Generator().manual_seed(options.seed)
        model.to(self.device)
        self.optimisers = optimisers(model, options)
        for optimiser in self.optimisers:
            if isinstance(optimiser, RowAdagrad) and options.squares:
                optimiser.start_from(options.squares)
        self.dense = dense_weights(model)
        self.decays: list[int] = []

    def run(self) -> FitResult:
        """Trains until the epochs are over or the validation metric stops improving."""
        began = time.perf_counter()
        history: list[Epoch] = []
        best_epoch, best_value, best_weights = 0, -math.inf, None
        per_epoch = -(-len(self.rows) // self.options.batch_size)
        with Progress("fit", self.options.progress) as progress:
            progress.begin(f"at most {self.options.epochs} epochs")
            for epoch in range(1, self.options.epochs + 1):
                history.append(self._epoch(epoch, progress, per_epoch))
                if self.valid is not None and not self._validates(epoch):
                    continue
                value = next(iter(history[-1].metrics.values()), math.nan)
                if math.isnan(value):  # no metric to compare: the last epoch counts as the best
                    best_epoch = epoch
                    self._decay(epoch, epoch in self.options.decay_after)
                elif value > best_value + TIE:
                    best_epoch, best_value = epoch, value
                    best_weights = _copy(self.model)
                elif epoch - best_epoch >= self.options.patience:
                    break
                else:
                    self._decay(epoch, True)
        if best_weights is not None and best_epoch < len(history):
            self.model.load_state_dict(best_weights)
        self.model.eval()
        median = float(np.median([e.seconds for e in history])) if history else math.inf
        return FitResult(
            best_epoch=best_epoch,
            history=history,
            seconds=time.perf_counter() - began,
            samples_per_second=len(self.rows) / median,
            peak_mb=peak_mb(),
            bfloat16=self.bfloat16,
            decays=tuple(self.decays),
            squares=next((o.squares for o in self.optimisers if isinstance(o, RowAdagrad)), ()),
        )

    def _epoch(self, epoch: int, progress: Progress, per_epoch: int) -> Epoch:
        """One pass over the rows, then the validation if it is due."""
        self.model.train()
        began, total, order = time.perf_counter(), 0.0, self._order()
        for number, batch in enumerate(batches(self.rows, order, self.device), start=1):
            loss = self._step(batch)
            if not math.isfinite(loss):
                raise TrainingError(_not_finite(loss, epoch, number, batch, self.rows))
            total += loss
            progress.update(
                (epoch - 1) * per_epoch + number,
                self.options.epochs * per_epoch,
                f"epoch {epoch}/{self.options.epochs}  loss {total / number:.4f}",
            )
        seconds = time.perf_counter() - began
        metrics = {}
        if self.valid is not None and self._validates(epoch):
            metrics = self.objective.evaluate(self.model, self.valid, self.device)
        return Epoch(epoch, total / max(len(order), 1), metrics, seconds)

    def _validates(self, epoch: int) -> bool:
        """Whether the validation metric is computed after `epoch`."""
        return epoch % self.options.evaluate_every == 0 or epoch == self.options.epochs

    def _order(self) -> Order:
        """The order of the next epoch: the source's own, by groups, or shuffled rows."""
        size = self.options.batch_size
        own = getattr(self.rows, "order", None)
        if own is not None:
            return own(size, self.generator)
        if not self.objective.by_group:
            return Order.shuffled(len(self.rows), size, self.generator)
        groups = getattr(self.rows, "groups", None)
        if groups is None:
            raise TrainingError(
                "a listwise loss needs `groups` in the training rows: the request of each row; "
                "give them, or set loss = 'bce'"
            )
        return Order.shuffled_groups(groups, size, self.generator)

    def _step(self, batch: Any) -> float:
        """One gradient step; the loss of the batch before it."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            loss = self.objective.loss(self.model, batch)
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()
        self._add_l1()
        for optimiser in self.optimisers:
            optimiser.step()
        return loss.item()

    @torch.no_grad()
    def _add_l1(self) -> None:
        """Adds the gradient of the L1 penalty to the dense weights' gradients."""
        if not self.options.dense_l1:
            return
        for weight in self.dense:
            if weight.grad is not None:
                weight.grad.add_(weight.sign(), alpha=self.options.dense_l1)

    def _decay(self, epoch: int, due: bool) -> None:
        """Multiplies the learning rates by `decay_on_plateau` after `epoch`, if `due`."""
        factor = self.options.decay_on_plateau
        if not due or factor == 1.0:
            return
        self.decays.append(epoch)
        for optimiser in self.optimisers:
            if isinstance(optimiser, RowOptimiser):
                optimiser.learning_rate *= factor
            else:
                for group in optimiser.param_groups:
                    group["lr"] *= factor


def dense_weights(model: nn.Module) -> list[nn.Parameter]:
    """All trainable weights that do not belong to a fused embedding."""
    fused = {id(table.weight) for table in tables_of(model)}
    return [p for p in model.parameters() if id(p) not in fused and p.requires_grad]


def optimisers(
    model: nn.Module, options: FitOptions
) -> Sequence[RowOptimiser | torch.optim.Optimizer]:
    """A row optimiser for the fused embeddings and Adam for the other trainable weights."""
    tables, rest = tables_of(model), dense_weights(model)
    kinds = {"rowadagrad": RowAdagrad, "lazyadam": LazyAdam, "adam": WholeAdam}
    kind = kinds[options.embedding_optimiser]
    chosen: list[RowOptimiser | torch.optim.Optimizer] = []
    if tables:
        rate, all_rows = options.embedding_learning_rate, options.l2_rows == "all"
        chosen.append(kind(tables, rate, options.l2, all_rows=all_rows))
    if rest:
        chosen.append(_adam(rest, options))
    return chosen


def _adam(weights: list[nn.Parameter], options: FitOptions) -> torch.optim.Optimizer:
    """AdamW, which does not decay biases and gains, with `weight_decay`; otherwise Adam."""
    betas = (0.9, options.beta2)
    if not options.weight_decay:
        return torch.optim.Adam(
            weights, options.learning_rate, betas, weight_decay=options.dense_l2, fused=True
        )
    if options.dense_l2:
        raise TrainingError(
            f"dense_l2 = {options.dense_l2:g} and weight_decay = {options.weight_decay:g}: give "
            "either dense_l2 or weight_decay (AdamW), and leave the other at 0"
        )
    groups = [
        {"params": [w for w in weights if w.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [w for w in weights if w.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, options.learning_rate, betas, fused=True)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's weights."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _not_finite(loss: float, epoch: int, number: int, batch: Any, rows: Any) -> str:
    """Message for a loss that is not finite: where it occurred, and the faulty input if any."""
    where = f"the loss became {loss} in epoch {epoch}, batch {number}"
    if isinstance(batch, Batch) and isinstance(rows, Rows):
        for column in rows.layout.dense:
            if not batch.dense[:, column.first : column.first + column.width].isfinite().all():
                return f"{where}: feature {column.name!r} is not finite; clean or clip that column"
        if batch.labels is not None and batch.labels.isinf().any():
            return f"{where}: a label is infinite; clean that column (NaN = no label)"
        if batch.weights is not None and not batch.weights.isfinite().all():
            return f"{where}: a sample weight is not finite; clean that column"
    return f"{where} although the inputs are finite; lower the learning rate"
