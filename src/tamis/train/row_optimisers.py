"""Optimisers of fused embeddings that touch only the rows of a batch, L2 included.

Unless L2 is asked for on all rows, the cost of a step does not depend on the table's size. On the
CPU compiled kernels do the work; elsewhere the same arithmetic is a few torch operations. Rows that
do not learn (padding) are left alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from tamis.nn import FusedEmbedding, RowGradient
from tamis.train._row_kernels import (
    FROZEN,
    sum_row_gradients,
    update_adagrad,
    update_adagrad_all,
    update_adam,
    update_adam_all,
)


class RowOptimiser(ABC):
    """Updates the tables' rows that the last backward passes touched.

    Args:
        tables: fused embeddings; see `tables_of`.
        learning_rate: step size.
        l2: weight decay as a gradient, `l2 · w`.
        all_rows: every learning row has that gradient at every step, not the touched rows only.
    """

    state_names: tuple[str, ...]
    """The arrays kept per table beside the weights."""

    def __init__(
        self,
        tables: Iterable[FusedEmbedding],
        learning_rate: float,
        l2: float = 0.0,
        *,
        all_rows: bool = False,
        compiled: bool | None = None,
    ) -> None:
        self.tables = list(tables)
        self.learning_rate, self.l2, self.steps = learning_rate, l2, 0
        self.all_rows = all_rows and l2 > 0
        self._compiled = compiled
        """None = compiled kernels where a table is on the CPU."""
        self.state = [self._begin(table) for table in self.tables]
        self._scratch = [_Scratch(table) for table in self.tables]

    def zero_grad(self) -> None:
        """Forgets row gradients that nobody used."""
        for table in self.tables:
            table.take_row_gradients()

    @torch.no_grad()
    def step(self) -> None:
        """Updates every touched row once and forgets the gradients."""
        self.steps += 1
        for table, state, scratch in zip(self.tables, self.state, self._scratch, strict=True):
            gradients = table.take_row_gradients()
            if not gradients or not table.weight.requires_grad:
                continue
            on_cpu = table.weight.device.type == "cpu"
            if on_cpu if self._compiled is None else self._compiled:
                self._update_compiled(table, state, scratch, scratch.sum(table, gradients))
            else:
                rows, grad = sum_gradients(table, gradients)
                if self.all_rows:
                    grad = torch.zeros_like(table.weight).index_add_(0, rows, grad)[table.learns]
                    rows = table.learns.nonzero().squeeze(1)
                if self.l2:
                    grad = grad + self.l2 * table.weight[rows]
                self._update_torch(table.weight, state, rows, grad)

    @abstractmethod
    def _begin(self, table: FusedEmbedding) -> dict[str, Tensor]:
        """Fresh state of one table."""

    @abstractmethod
    def _update_compiled(
        self, table: FusedEmbedding, state: dict[str, Tensor], scratch: _Scratch, n: int
    ) -> None: ...

    @abstractmethod
    def _update_torch(
        self, weight: Tensor, state: dict[str, Tensor], rows: Tensor, grad: Tensor
    ) -> None: ...


class RowAdagrad(RowOptimiser):
    """Adagrad with one sum per row (Gupta et al. 2014): `s += mean(g²)`, `w -= η g / (√s + ε)`."""

    state_names = ("squares",)
    eps = 1e-8

    def _begin(self, table: FusedEmbedding) -> dict[str, Tensor]:
        return {"squares": torch.full((table.n_rows,), 1e-8, device=table.weight.device)}

    def _update_compiled(
        self, table: FusedEmbedding, state: dict[str, Tensor], scratch: _Scratch, n: int
    ) -> None:
        update = update_adagrad_all if self.all_rows else update_adagrad
        update(
            table.weight.detach().numpy(), state["squares"].numpy(), scratch.slot, scratch.touched,
            scratch.sums, n, np.float32(self.learning_rate), np.float32(self.l2),
            np.float32(self.eps),
        )  # fmt: skip

    def _update_torch(
        self, weight: Tensor, state: dict[str, Tensor], rows: Tensor, grad: Tensor
    ) -> None:
        squares = state["squares"][rows] + grad.square().mean(1)
        state["squares"][rows] = squares
        weight[rows] -= self.learning_rate * grad / (squares.sqrt() + self.eps).unsqueeze(1)


class LazyAdam(RowOptimiser):
    """Adam whose moments move only when their row is touched; bias corrected by the global step."""

    state_names = ("first", "second")
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    whole = False
    """Whether rows that a batch does not touch move."""

    def _begin(self, table: FusedEmbedding) -> dict[str, Tensor]:
        return {name: torch.zeros_like(table.weight.detach()) for name in self.state_names}

    def _corrections(self) -> tuple[float, float]:
        """The learning rate over 1-β1^t, and 1/√(1-β2^t)."""
        first = self.learning_rate / (1.0 - self.beta1**self.steps)
        return first, (1.0 - self.beta2**self.steps) ** -0.5

    def _update_compiled(
        self, table: FusedEmbedding, state: dict[str, Tensor], scratch: _Scratch, n: int
    ) -> None:
        rate, correction = self._corrections()
        given = (
            table.weight.detach().numpy(), state["first"].numpy(), state["second"].numpy(),
            scratch.slot, scratch.touched, scratch.sums, n, np.float32(rate), np.float32(self.l2),
            np.float32(self.beta1), np.float32(self.beta2), np.float32(self.eps),
            np.float32(correction),
        )  # fmt: skip
        if self.whole or self.all_rows:
            update_adam_all(*given, np.float32(self.l2 if self.all_rows else 0.0))
        else:
            update_adam(*given)

    def _update_torch(
        self, weight: Tensor, state: dict[str, Tensor], rows: Tensor, grad: Tensor
    ) -> None:
        rate, correction = self._corrections()
        first = self.beta1 * state["first"][rows] + (1.0 - self.beta1) * grad
        second = self.beta2 * state["second"][rows] + (1.0 - self.beta2) * grad.square()
        state["first"][rows], state["second"][rows] = first, second
        weight[rows] -= rate * first / (second.sqrt() * correction + self.eps)


class WholeAdam(LazyAdam):
    """Adam proper: the moments of rows that a batch does not touch decay and go on moving them.

    A step costs what all rows cost that were ever touched. Worth it where most rows are touched by
    every step anyway (a full softmax) and the others seldom: their few gradients then count as
    much as they should.
    """

    whole = True

    def _update_torch(
        self, weight: Tensor, state: dict[str, Tensor], rows: Tensor, grad: Tensor
    ) -> None:
        rate, correction = self._corrections()
        first, second = state["first"], state["second"]
        first *= self.beta1
        second *= self.beta2
        first[rows] += (1.0 - self.beta1) * grad
        second[rows] += (1.0 - self.beta2) * grad.square()
        weight -= rate * first / (second.sqrt() * correction + self.eps)


def tables_of(model: nn.Module) -> list[FusedEmbedding]:
    """The fused embeddings inside a model."""
    return [m for m in model.modules() if isinstance(m, FusedEmbedding)]


def sum_gradients(table: FusedEmbedding, gradients: list[RowGradient]) -> tuple[Tensor, Tensor]:
    """The distinct learning rows touched int64 (R,) and their summed gradients (R, dim)."""
    ids = torch.cat([g.ids.reshape(-1).long() for g in gradients])
    parts = [(g.whole * g.scale.unsqueeze(-1)).index_select(1, g.field) for g in gradients]
    grad = torch.cat([p.reshape(-1, table.dim) for p in parts])
    keep = table.learns[ids]
    rows, inverse = torch.unique(ids[keep], return_inverse=True)
    return rows, grad.new_zeros(len(rows), table.dim).index_add_(0, inverse, grad[keep])


class _Scratch:
    """Working memory of the compiled kernels for one table; grows to the largest batch seen."""

    def __init__(self, table: FusedEmbedding) -> None:
        # One array says both where a row's sum is and that a row is frozen: one cache miss less.
        self.slot = np.where(table.learns.cpu().numpy(), -1, FROZEN).astype(np.int32)
        self.touched = np.empty(0, dtype=np.int32)
        self.sums = np.empty((0, table.dim), dtype=np.float32)

    def sum(self, table: FusedEmbedding, gradients: list[RowGradient]) -> int:
        """Sums the gradients per row into `sums[:n]` of rows `touched[:n]`; returns n."""
        most = min(sum(g.ids.numel() for g in gradients), len(self.slot))
        if most > len(self.touched):
            self.touched = np.empty(most, dtype=np.int32)
            self.sums = np.empty((most, table.dim), dtype=np.float32)
        n = 0
        for g in gradients:
            tail = g.grad[:, :, :0] if g.tail is None else g.tail
            n = sum_row_gradients(
                g.ids.to(torch.int32).contiguous().numpy(), g.grad.numpy(), tail.numpy(),
                g.field.numpy(), g.scale.contiguous().numpy(), self.slot,
                self.touched, self.sums, n,
            )  # fmt: skip
        return n
