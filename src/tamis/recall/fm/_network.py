"""Factorisation machine with a user side and an item side; its examples and its objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tamis.features import Layout
from tamis.nn import FieldPooling, FusedEmbedding, fused_table, mapped_table, sampled_softmax
from tamis.recall._common.cold_items import Cold
from tamis.recall._common.moving_inputs import (
    ItemMoments,
    MomentInputs,
    batches_by_period,
)
from tamis.recall._common.side_features import FIRST, SideInputs, divided
from tamis.recall._common.user_item_examples import Likes
from tamis.runtime import Float32, Int32
from tamis.runtime.compiled import njit
from tamis.train import Order

INIT_STD = 0.05


class FieldSum(nn.Module):
    """The fields of one side: their sum S = Σ v, and the terms that depend on this side only.

    v is the (pooled) vector of each id feature, and x_k v_k for each number x_k. The terms of this
    side are the first order Σ w plus ½ [(Σv)² − Σv²], summed over the width (Rendle 2010).
    """

    def __init__(self, layout: Layout, dense: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.pool = FieldPooling(layout, dim=dim, generator=generator)
        vectors = torch.randn((dense, dim), generator=generator) * INIT_STD
        self.numbers = nn.Parameter(vectors)
        self.first = nn.Parameter(torch.zeros(dense))

    def forward(self, table: FusedEmbedding, ids: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """S (n, dim) and the side's own terms (n,), of ids int32 (n, W) and numbers (n, K)."""
        vectors, first = self.pool.split(table, ids)  # (n, F, dim), (n, F, 1)
        total = vectors.sum(1) + dense @ self.numbers
        squares = vectors.square().sum(1) + dense.square() @ self.numbers.square()
        rest = first.sum((1, 2)) + dense @ self.first + 0.5 * (total.square() - squares).sum(1)
        return total, rest


class FactorisationMachine(nn.Module):
    """score(u, i) = S_u · S_i + rest_i: the output without the terms that depend on u only."""

    user_ids: Tensor
    user_dense: Tensor
    item_ids: Tensor
    item_dense: Tensor
    item_moments: Tensor

    def __init__(
        self,
        inputs: SideInputs,
        embedding_dim: int,
        dropout: float,
        generator: torch.Generator,
        cold: Cold | None = None,
    ) -> None:
        """`cold` says how items without likes are embedded; None: by their own ids."""
        super().__init__()
        self.table = fused_table(
            inputs.user,
            embedding_dim + 1,
            init_std=INIT_STD,
            zero_columns=1,
            generator=generator,
        )
        self.history_start = inputs.user.table[inputs.history].start
        self.drop = nn.Dropout(dropout)
        fixed, self.moving_layout = divided(
            inputs.user, inputs.user_ids.shape[1], inputs.user_dense.shape[1]
        )
        self.user = FieldSum(fixed, fixed.dense_width, embedding_dim, generator)
        self.item = FieldSum(inputs.item, inputs.item.dense_width, embedding_dim, generator)
        self.moving = None
        if inputs.moving is not None:
            width = self.moving_layout.dense_width
            self.moving = FieldSum(self.moving_layout, width, embedding_dim, generator)
        arrays = inputs.arrays()
        self.cold = cold or Cold(0.0, np.ones(len(inputs.item_ids), np.bool_))
        arrays["item_ids"] = self.cold.ids(arrays["item_ids"])
        self.has_moments = inputs.moments is not None
        if inputs.moments is not None:
            arrays["item_moments"] = inputs.moments.values
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def past(self, history: Tensor) -> Tensor:
        """(B, dim) mean vectors of histories int32 (B, L), rows of the fused table."""
        present = history != self.history_start
        vectors = self.table(history)[..., :-1] * present.unsqueeze(-1)  # (B, L, dim)
        return vectors.sum(1) / present.sum(1, keepdim=True).clamp(min=1)

    def profiles(self, user: Tensor | None = None) -> Tensor:
        """(B, dim) sums over the fields of user rows int64 (B,), -1 for unknown users.

        If None: of all users, and of an unknown user in the last row.
        """
        if user is None:
            return self.user(self.table, self.user_ids, self.user_dense)[0]
        return self.user(self.table, self.user_ids[user], self.user_dense[user])[0]

    def users(
        self, user: Tensor, history: Tensor, moving: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """(B, dim) S_u of user rows int64 (B,), histories int32 (B, L), and, if the model has such
        inputs, `Moving` ids and numbers."""
        total = self.profiles(user) + self.past(history)
        if moving is not None and self.moving is not None:
            total = total + self.moving(self.table, *moving)[0]
        return self.drop(total)

    def items(self, item: Tensor | None = None, period: int | None = None) -> tuple[Tensor, Tensor]:
        """S_i (n, dim) and rest_i (n,) of item rows int64 (n,); all items if None.

        period: whose start the items' statistics are of, if they are inputs; None: the log's end.
        """
        ids = self.item_ids if item is None else self.item_ids[item]
        dense = self.item_dense if item is None else self.item_dense[item]
        if self.has_moments:
            now = self.item_moments[-1 if period is None else period]
            dense = torch.cat([dense, now if item is None else now[item]], 1)
        if self.training:
            ids = self.cold.hidden(ids)
        return self.item(self.table, ids, dense)


class SavedFields:
    """The fields of one side, or of the moving inputs, of a fitted channel.

    Args:
        table: of the saved embeddings.
        fields: the fitted fields.
    """

    def __init__(self, table: FusedEmbedding, fields: FieldSum) -> None:
        self._table, self._fields = table, fields

    @classmethod
    def of(cls, arrays: Mapping[str, Any], layout: dict[str, Any], prefix: str) -> SavedFields:
        """From the channel's saved arrays, in which their names begin with `prefix`.

        layout: of the fields, as JSON values.
        """
        found, weight = Layout.from_dict(layout), arrays["table"]
        fields = FieldSum(found, found.dense_width, weight.shape[1] - 1, torch.Generator())
        state = {
            name.removeprefix(prefix): torch.from_numpy(np.array(value))
            for name, value in arrays.items()
            if name.startswith(prefix)
        }
        fields.load_state_dict(state)
        return cls(mapped_table(weight, zero_columns=1), fields.eval())

    def sums(self, ids: Int32, dense: Float32) -> Float32:
        """S (n, dim) of inputs (n, w) and (n, d)."""
        return self._computed(ids, dense)[0].numpy()

    def with_own_terms(self, ids: Int32, dense: Float32) -> Float32:
        """(n, dim + 1) S and the side's own terms of inputs (n, w) and (n, d)."""
        total, own = self._computed(ids, dense)
        return torch.cat([total, own.unsqueeze(1)], 1).numpy()

    def _computed(self, ids: Int32, dense: Float32) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            given = torch.from_numpy(np.array(ids)), torch.from_numpy(np.array(dense))
            return self._fields(self._table, *given)


@dataclass(frozen=True, eq=False)
class FMBatch:
    """B likes, each with the items that its user had liked before."""

    user: Tensor
    """int64 (B,) rows."""
    history: Tensor
    """int32 (B, L) rows of the fused table, padded."""
    target: Tensor
    """int64 (B,) item rows."""
    liked: tuple[Tensor, Tensor]
    """int64 (row of the batch, item row) pairs (m,) of all items that the users like."""
    moving: tuple[Tensor, Tensor] | None = None
    """int32 (B, w) and float32 (B, d): inputs of the users as of the likes; None: none."""
    period: int | None = None
    """The period (`ItemMoments`) in which the likes lie; None: the model has none."""

    def __len__(self) -> int:
        return len(self.user)


class FMExamples:
    """One example per like that is not its user's first; histories are gathered per batch.

    The history consists of the last `history` likes that happened before and had arrived strictly
    before the time of the example's like; in a log without an order, of the user's other likes.

    Args:
        likes: the likes of the log.
        history: most items of a history.
        start: padding row of the history's table in the fused table.
        moments: makes the users' moving inputs; None: the model has none.
        periods: divides the likes into periods; a batch then lies in one period.
        since: time in ms; only likes that arrived from then on are examples; None: all.
    """

    def __init__(
        self,
        likes: Likes,
        history: int,
        start: int,
        moments: MomentInputs | None = None,
        periods: ItemMoments | None = None,
        since: int | None = None,
    ) -> None:
        self._moments, self._periods = moments, periods
        self.order = None if periods is None else self._order_by_period
        """Makes the batches of an epoch (see `RowSource`); None: batches are drawn at random."""
        self.likes, self.history, self._start = likes, history, start
        self._positives = likes.positives()
        sizes = np.diff(likes.indptr)
        self.ordered = not likes.lacks_order()
        owner = np.repeat(np.arange(len(sizes)), sizes)
        place = np.arange(len(likes.item)) - likes.indptr[owner]
        fine = (place > 0) if self.ordered else (sizes[owner] > 1)
        if since is not None:
            fine = fine & (likes.arrival >= since)
        self.at = np.flatnonzero(fine)
        self.user = owner[self.at]

    def __len__(self) -> int:
        return len(self.at)

    def take(self, index: Tensor, device: torch.device | str = "cpu") -> FMBatch:
        """The batch of the examples `index` int64 (B,)."""
        at, users = self.at[index.numpy()], self.user[index.numpy()]
        likes = self.likes
        past = np.full((len(at), self.history), self._start, np.int32)
        _gather(
            indptr=likes.indptr,
            item=likes.item,
            time=likes.time,
            arrival=likes.arrival,
            users=users,
            at=at,
            ordered=self.ordered,
            first_row=self._start + FIRST,
            out=past,
        )
        example, item = self._positives.pairs(users)
        arrays = (users, past, likes.item[at].astype(np.int64), example, item)
        user, history, target, row, liked = (torch.from_numpy(x).to(device) for x in arrays)
        moving = None
        if self._moments is not None:
            found = self._moments(at)
            moving = (
                torch.from_numpy(found.ids).to(device),
                torch.from_numpy(found.dense).to(device),
            )
        period = None
        if self._periods is not None and len(at):
            period = int(self._periods.period(likes.time[at]).min())
        return FMBatch(user, history, target, (row, liked), moving, period)

    def _order_by_period(self, batch_size: int, generator: torch.Generator) -> Order:
        """Batches of likes of one period, in random order."""
        assert self._periods is not None
        period = self._periods.period(self.likes.time[self.at])
        return batches_by_period(period, batch_size, generator)


@njit(cache=True, nogil=True)
def _gather(indptr, item, time, arrival, users, at, ordered, first_row, out):
    """Fills each row of `out` with the items that the user liked before his like `at[b]`.

    Args:
        indptr, item, time, arrival: columns of `Likes`.
        users: (B,) int64 rows. at: (B,) int64 indices of the likes.
        ordered: False for logs without an order: the user's other likes are taken.
        first_row: row of item 0 in the fused table. out: (B, L) int32, filled with padding.
    """
    for b in range(len(at)):
        found = 0
        begin, end = indptr[users[b]], indptr[users[b] + 1]
        last = at[b] if ordered else end
        for e in range(last - 1, begin - 1, -1):
            if found == out.shape[1]:
                break
            if (ordered and arrival[e] < time[at[b]]) or (not ordered and e != at[b]):
                out[b, found] = first_row + item[e]
                found += 1


@dataclass(eq=False)
class SampledSoftmaxObjective:
    """The objective: softmax of each target among negatives that the batch shares.

    Negatives are drawn from a mixture of popularity^0.75 and the uniform distribution. All scores,
    including the target's, are corrected by −log q. Items that a user likes at any time are never
    his negatives.
    """

    q: NDArray[np.float64]
    """(I,) probability of each item in one draw."""
    negatives: int
    """Draws per batch."""
    random: np.random.Generator
    by_group: bool = False

    @classmethod
    def of(
        cls, popularity: NDArray[np.int64], share: float, n: int, seed: int
    ) -> SampledSoftmaxObjective:
        """An objective with n draws, the share `share` of them by popularity^0.75.

        popularity: (I,) number of likes per item.
        """
        popular = popularity.astype(np.float64) ** 0.75
        q = share * popular / max(popular.sum(), 1e-12) + (1 - share) / len(popularity)
        return cls(q, n, np.random.default_rng(seed))

    def evaluate(self, model: nn.Module, valid: object, device: torch.device) -> dict[str, float]:
        """No metrics: the fit has no validation data."""
        return {}

    def loss(self, model: Any, batch: FMBatch) -> Tensor:
        """The mean loss over the likes of a batch."""
        at = np.searchsorted(np.cumsum(self.q), self.random.random(self.negatives))
        drawn, times = np.unique(np.minimum(at, len(self.q) - 1), return_counts=True)
        device = batch.user.device
        column = torch.from_numpy(drawn).to(device)
        log_q = torch.from_numpy(np.log(self.q)).to(device, torch.float32)
        # an item drawn twice counts twice
        drawn_log_q = log_q[column] - torch.from_numpy(np.log(times)).to(device, torch.float32)
        users = model.users(batch.user, batch.history, batch.moving)  # (B, dim)
        own, own_rest = model.items(batch.target, batch.period)
        others, others_rest = model.items(column, batch.period)
        return sampled_softmax(
            ((users * own).sum(1) + own_rest).float(),
            ((users @ others.T) + others_rest).float(),
            ~_among(batch, column),
            positive_log_q=log_q[batch.target],
            negative_log_q=drawn_log_q,
        )


def _among(batch: FMBatch, column: Tensor) -> Tensor:
    """bool (B, C): does the example's user like the item `column` (C,) (ascending) at any time?"""
    example, item = batch.liked
    at = torch.searchsorted(column, item).clamp(max=len(column) - 1)
    here = column[at] == item
    liked = torch.zeros((len(batch), len(column)), dtype=torch.bool, device=column.device)
    liked[example[here], at[here]] = True
    return liked
