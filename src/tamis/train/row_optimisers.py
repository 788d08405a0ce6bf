"""Optimisers of fused embeddings that update only the rows of a batch.

With L2 on the batch's rows, the cost of a step does not depend on the size of the table. Compiled
kernels are used on the CPU and the same arithmetic in torch operations on other devices. Padding
rows are never changed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tamis.nn import FusedEmbedding, RowGradient
from tamis.runtime import Float32
from tamis.train._row_kernels import (
    FROZEN,
    sum_row_gradients,
    update_adagrad,
    update_adagrad_all,
    update_adam,
    update_adam_all,
)

INITIAL = 1e-8
"""Accumulated squares of a row before its first step."""


class RowOptimiser(ABC):
    """Updates the rows of fused embeddings for which backward passes left gradients.

    Args:
        tables: fused embeddings; see `tables_of`.
        learning_rate: learning rate; may be changed between steps.
        l2: weight decay, added to the gradient as `l2 · w`.
        all_rows: apply the weight decay to all trained rows at every step, not only to the touched.
        compiled: whether to use the compiled kernels; None = for tables on the CPU.
    """

    state_names: tuple[str, ...]
    """Names of the state arrays of a table."""

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
        self.state = [self._begin(table) for table in self.tables]
        self._scratch = [_Scratch(table) for table in self.tables]

    def zero_grad(self) -> None:
        """Discards row gradients that have not been applied."""
        for table in self.tables:
            table.take_row_gradients()

    @torch.no_grad()
    def step(self) -> None:
        """Updates every touched row once and discards the gradients."""
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
        """Initial state arrays of a table."""

    @abstractmethod
    def _update_compiled(
        self, table: FusedEmbedding, state: dict[str, Tensor], scratch: _Scratch, n: int
    ) -> None:
        """Updates the rows `scratch.touched[:n]` by their gradients `scratch.sums[:n]`."""

    @abstractmethod
    def _update_torch(
        self, weight: Tensor, state: dict[str, Tensor], rows: Tensor, grad: Tensor
    ) -> None:
        """Updates the distinct `rows` int64 (R,) of `weight` by `grad` (R, dim), L2 included."""


class RowAdagrad(RowOptimiser):
    """Adagrad with one step size per row (Gupta et al. 2014).

    `s += mean(g²)`, `w -= η g / (√s + ε)`.
    """

    state_names = ("squares",)
    eps = 1e-8
    start = INITIAL
    """The sum of squares before the first step."""

    def _begin(self, table: FusedEmbedding) -> dict[str, Tensor]:
        return {"squares": torch.full((table.n_rows,), self.start, device=table.weight.device)}

    @property
    def squares(self) -> tuple[Float32, ...]:
        """(rows,) copies of the accumulated squares, for each table."""
        return tuple(state["squares"].cpu().numpy().copy() for state in self.state)

    def start_from(self, squares: Sequence[Float32]) -> None:
        """Continues with the accumulated squares of an earlier fit of the same tables."""
        for state, given in zip(self.state, squares, strict=True):
            state["squares"].copy_(torch.from_numpy(np.array(given, np.float32)))

    def _update_compiled(
        self, table: FusedEmbedding, state: dict[str, Tensor], scratch: _Scratch, n: int
    ) -> None:
        update = update_adagrad_all if self.all_rows else update_adagrad
        update(
            weight=table.weight.detach().numpy(),
            squares=state["squares"].numpy(),
            slot=scratch.slot,
            touched=scratch.touched,
            sums=scratch.sums,
            n=n,
            rate=np.float32(self.learning_rate),
            l2=np.float32(self.l2),
            eps=np.float32(self.eps),
        )

    def _update_torch(
        self, weight: Tensor, state: dict[str, Tensor], rows: Tensor, grad: Tensor
    ) -> None:
        squares = state["squares"][rows] + grad.square().mean(1)
        state["squares"][rows] = squares
        weight[rows] -= self.learning_rate * grad / (squares.sqrt() + self.eps).unsqueeze(1)


class LazyAdam(RowOptimiser):
    """Adam that updates a row's moments only when the row is touched; the bias correction uses the
    number of all steps."""

    state_names = ("first", "second")
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    whole = False
    """Whether a step also updates rows that the batch does not touch."""

    def _begin(self, table: FusedEmbedding) -> dict[str, Tensor]:
        return {name: torch.zeros_like(table.weight.detach()) for name in self.state_names}

    def _corrections(self) -> tuple[float, float]:
        """The learning rate / (1 − β1^t), and 1 / √(1 − β2^t)."""
        first = self.learning_rate / (1.0 - self.beta1**self.steps)
        return first, (1.0 - self.beta2**self.steps) ** -0.5

    def _update_compiled(
        self, table: FusedEmbedding, state: dict[str, Tensor], scratch: _Scratch, n: int
    ) -> None:
        rate, correction = self._corrections()
        arguments = {
            "weight": table.weight.detach().numpy(),
            "first": state["first"].numpy(),
            "second": state["second"].numpy(),
            "slot": scratch.slot,
            "touched": scratch.touched,
            "sums": scratch.sums,
            "n": n,
            "rate": np.float32(rate),
            "l2": np.float32(self.l2),
            "beta1": np.float32(self.beta1),
            "beta2": np.float32(self.beta2),
            "eps": np.float32(self.eps),
            "correction": np.float32(correction),
        }
        if self.whole or self.all_rows:
            idle_l2 = np.float32(self.l2 if self.all_rows else 0.0)
            update_adam_all(**arguments, idle_l2=idle_l2)
        else:
            update_adam(**arguments)

    def _update_torch(
        self, weight: Tensor, state: dict[str, Tensor], rows: Tensor, grad: Tensor
    ) -> None:
        rate, correction = self._corrections()
        first = self.beta1 * state["first"][rows] + (1.0 - self.beta1) * grad
        second = self.beta2 * state["second"][rows] + (1.0 - self.beta2) * grad.square()
        state["first"][rows], state["second"][rows] = first, second
        weight[rows] -= rate * first / (second.sqrt() * correction + self.eps)


class WholeAdam(LazyAdam):
    """Standard Adam: moments of rows that a batch does not touch decay and are still applied.

    The cost of a step is proportional to the number of rows touched so far. Useful where most rows
    are touched at every step anyway (a full softmax) and the others rarely, whose few gradients
    then have their full effect.
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
    """The fused embeddings among a model's modules."""
    return [m for m in model.modules() if isinstance(m, FusedEmbedding)]


def sum_gradients(table: FusedEmbedding, gradients: list[RowGradient]) -> tuple[Tensor, Tensor]:
    """The distinct trained rows touched, int64 (R,), and their summed gradients (R, dim)."""
    ids = torch.cat([g.ids.reshape(-1).long() for g in gradients])
    parts = [(g.whole * g.scale.unsqueeze(-1)).index_select(1, g.field) for g in gradients]
    grad = torch.cat([p.reshape(-1, table.dim) for p in parts])
    keep = table.learns[ids]
    rows, inverse = torch.unique(ids[keep], return_inverse=True)
    return rows, grad.new_zeros(len(rows), table.dim).index_add_(0, inverse, grad[keep])


class _Scratch:
    """Working memory of the compiled kernels for one table; grows to the largest batch so far.

    Its arrays are described in `_row_kernels`.
    """

    def __init__(self, table: FusedEmbedding) -> None:
        # One array for both the place of a sum and whether a row is frozen saves a cache miss.
        self.slot = np.where(table.learns.cpu().numpy(), -1, FROZEN).astype(np.int32)
        self.touched = np.empty(0, dtype=np.int32)
        self.sums = np.empty((0, table.dim), dtype=np.float32)

    def sum(self, table: FusedEmbedding, gradients: list[RowGradient]) -> int:
        """Sums the gradients per row: `sums[:n]` are those of rows `touched[:n]`; returns n."""
        most = min(sum(g.ids.numel() for g in gradients), len(self.slot))
        if most > len(self.touched):
            self.touched = np.empty(most, dtype=np.int32)
            self.sums = np.empty((most, table.dim), dtype=np.float32)
        n = 0
        for g in gradients:
            tail = g.grad[:, :, :0] if g.tail is None else g.tail
            n = sum_row_gradients(
                ids=g.ids.to(torch.int32).contiguous().numpy(),
                grad=g.grad.numpy(),
                tail=tail.numpy(),
                field=g.field.numpy(),
                scale=g.scale.contiguous().numpy(),
                slot=self.slot,
                touched=self.touched,
                sums=self.sums,
                n=n,
            )
        return n
