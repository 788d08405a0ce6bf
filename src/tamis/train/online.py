"""One pass over rows in the order of time, which changes chosen rows of an embedding table only."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from tamis.nn import FusedEmbedding
from tamis.runtime import Bool, Float32, Int32
from tamis.schema import TrainingError
from tamis.train.row_optimisers import RowAdagrad


class _SteadyAdagrad(RowAdagrad):
    """Adagrad on vectors that were trained before: the sum of squares does not begin at zero, so
    that the first event of an id does not move its vector by the whole learning rate."""

    def __init__(self, table: FusedEmbedding, learning_rate: float, start: float) -> None:
        self.start = start
        super().__init__([table], learning_rate)


class OnlineRows:
    """Trains some rows of a fused embedding; all other weights of the model stay bit for bit.

    The model is put in evaluation mode: no dropout, and running statistics do not move.

    Args:
        model: the network that the table belongs to.
        table: its rows are changed in place.
        learns: (n_rows,) the rows that may change.
        learning_rate: of Adagrad with one step size per row.
        steadiness: the sum of squared gradients that every row begins with.
    """

    def __init__(
        self,
        model: nn.Module,
        table: FusedEmbedding,
        learns: Bool,
        learning_rate: float,
        steadiness: float,
    ) -> None:
        model.eval()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        table.weight.requires_grad_(True)
        table.learns.copy_(torch.from_numpy(learns & table.learns.numpy()))
        self.table = table
        self.learns = table.learns.numpy()
        """(n_rows,) the rows that may change, padding left out."""
        self._optimiser = _SteadyAdagrad(table, learning_rate, steadiness)
        self._start = steadiness
        self._changed = np.zeros(table.n_rows, np.bool_)

    @property
    def weight(self) -> Float32:
        """(n_rows, d) the table as it is now."""
        return self.table.weight.detach().numpy()

    @property
    def squares(self) -> Float32:
        """(n_rows,) the sums of squared gradients."""
        return self._optimiser.state[0]["squares"].numpy()

    def step(self, loss: Tensor, ids: Int32) -> float:
        """One step; `ids` are the rows that the batch read. Returns the loss before it.

        Raises TrainingError where the loss is not finite; nothing is changed then.
        """
        value = float(loss.detach())
        if not np.isfinite(value):
            self.table.take_row_gradients()
            raise TrainingError(
                f"the loss of an incremental update became {value}: lower [online] learning_rate, "
                "remove the deltas of this version, and start again"
            )
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self._changed[np.unique(ids)] = True
        return value

    def reset(self, rows: Int32, like: Int32) -> None:
        """Forgets what was learnt of `rows` (m,): each is as its row of `like` (m,) from now on."""
        self.weight[rows] = self.weight[like]
        self.squares[rows] = self._start
        self._changed[rows] = True

    def take_changes(self) -> tuple[Int32, Float32, Float32]:
        """Rows (m,) that may have changed since the last call, ascending, their values (m, d) and
        their sums of squares (m, 1)."""
        rows = np.flatnonzero(self._changed & self.learns).astype(np.int32)
        self._changed[:] = False
        return rows, self.weight[rows], self.squares[rows, None]

    def restore(self, rows: Int32, state: Float32) -> None:
        """Takes over the sums of squares (m, 1) of rows whose values were put in the table."""
        self.squares[rows] = state[:, 0]
