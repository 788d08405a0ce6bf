"""The two towers and their list-wise losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tamis.nn import MLP, FieldPooling, FusedEmbedding, fused_table, linear
from tamis.recall.tower_examples import TowerBatch
from tamis.recall.tower_features import TowerInputs


class Tower(nn.Module):
    """Sum of the fields' vectors and the projected numbers, plus an MLP of that sum; unit length.

    The zero vector (nothing known) stays zero.
    """

    def __init__(
        self,
        layout: object,
        dense: int,
        dim: int,
        hidden_units: Sequence[int],
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.pool = FieldPooling(layout)  # type: ignore[arg-type]
        self.drop = nn.Dropout(dropout)
        self.dense = linear(dense, dim, generator=generator) if dense else None
        self.mlp = (
            MLP(dim, hidden_units, dim, dropout=dropout, generator=generator)
            if hidden_units
            else None
        )

    def combined(self, table: FusedEmbedding, ids: Tensor, dense: Tensor) -> Tensor:
        """(B, dim): the sum of all fields."""
        x = self.drop(self.pool(table, ids)).sum(1)  # (B, F, dim) -> (B, dim)
        if self.dense is not None:
            x = x + self.dense(dense) * (dense != 0).any(1, keepdim=True)
        return x

    def forward(self, table: FusedEmbedding, ids: Tensor, dense: Tensor) -> Tensor:
        x = self.combined(table, ids, dense)
        if self.mlp is not None:
            x = x + self.mlp(x)
        return F.normalize(x.float(), dim=-1)


class TwoTowers(nn.Module):
    """User tower, item tower, one fused table."""

    user_ids: Tensor
    user_dense: Tensor
    item_ids: Tensor
    item_dense: Tensor

    def __init__(
        self,
        inputs: TowerInputs,
        embedding_dim: int,
        hidden_units: Sequence[int],
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.table = fused_table(
            inputs.user, embedding_dim, init_std=embedding_dim**-0.5, generator=generator
        )
        self.history = inputs.user.ids[0]
        self.history_pad = inputs.user.table[self.history.table].start
        user_dense, item_dense = inputs.user_dense.shape[1], inputs.item_dense.shape[1]
        shape = (embedding_dim, hidden_units)
        self.user_tower = Tower(inputs.user, user_dense, *shape, dropout, generator)
        self.item_tower = Tower(inputs.item, item_dense, *shape, 0.0, generator)
        self.register_buffer("user_ids", torch.from_numpy(inputs.user_ids), persistent=False)
        self.register_buffer("user_dense", torch.from_numpy(inputs.user_dense), persistent=False)
        self.register_buffer("item_ids", torch.from_numpy(inputs.item_ids), persistent=False)
        self.register_buffer("item_dense", torch.from_numpy(inputs.item_dense), persistent=False)

    def users(self, user: Tensor, history: Tensor) -> Tensor:
        """(B, dim) of user rows int64 (B,), -1 = a stranger, and histories int32 (B, L)."""
        ids = torch.cat([history, self.user_ids[user]], 1)
        return self.user_tower(self.table, ids, self.user_dense[user])

    def profiles(self) -> Tensor:
        """(U + 1, dim): the sum of each user's fields but the history; last, a stranger's."""
        none = self.user_ids.new_full((len(self.user_ids), self.history.width), self.history_pad)
        ids = torch.cat([none, self.user_ids], 1)
        return self.user_tower.combined(self.table, ids, self.user_dense)

    def items(self, item: Tensor | None = None) -> Tensor:
        """(n, dim) of item rows int64 (n,); None = all."""
        if item is None:
            return self.item_tower(self.table, self.item_ids, self.item_dense)
        return self.item_tower(self.table, self.item_ids[item], self.item_dense[item])


@dataclass(frozen=True, eq=False)
class Sampler:
    """Negatives of a sampled softmax: a share of them by popularity^0.75, the rest uniform."""

    q: NDArray[np.float64]
    """(I,) probability of one draw."""
    negatives: int
    random: np.random.Generator

    @classmethod
    def mixed(
        cls, popularity: NDArray[np.int64], share: float, negatives: int, seed: int
    ) -> Sampler:
        n = len(popularity)
        popular = popularity.astype(np.float64) ** 0.75
        q = share * popular / max(popular.sum(), 1e-12) + (1 - share) / n
        return cls(q / q.sum(), negatives, np.random.default_rng(seed))

    def draw(self) -> NDArray[np.int64]:
        """`negatives` item rows, repeats possible."""
        return np.searchsorted(np.cumsum(self.q), self.random.random(self.negatives)).clip(
            0, len(self.q) - 1
        )


@dataclass(eq=False)
class Listwise:
    """The objective: softmax of each target among all items, or among sampled negatives.

    An example's other liked items never count as its negatives. logit = cosine / temperature; in
    the sampled softmax every logit, the target's too, is corrected by -log q of the mixture.
    """

    temperature: float
    sampler: Sampler | None
    """None = full softmax."""
    by_group: bool = False

    def evaluate(self, model: nn.Module, valid: object, device: torch.device) -> dict[str, float]:
        return {}

    def loss(self, model: Any, batch: TowerBatch) -> Tensor:
        users = model.users(batch.user, batch.history) / self.temperature  # (B, dim)
        if self.sampler is None:
            return self._full(users, model.items(), batch)
        return self._sampled(users, model, batch, self.sampler)

    def _full(self, users: Tensor, items: Tensor, batch: TowerBatch) -> Tensor:
        logits = (users @ items.T).float()  # (B, I)
        refused = torch.zeros_like(logits, dtype=torch.bool)
        refused[batch.known] = True
        logits = logits.masked_fill(refused, -torch.inf)
        found = logits.gather(1, batch.target) - torch.logsumexp(logits, 1, keepdim=True)
        found = torch.where(batch.weight > 0, found, 0.0)
        return -(found * batch.weight).sum() / len(batch)

    def _sampled(
        self, users: Tensor, model: TwoTowers, batch: TowerBatch, sampler: Sampler
    ) -> Tensor:
        drawn = torch.from_numpy(sampler.draw()).to(users.device)
        column, times = torch.unique(drawn, return_counts=True)
        rows, place = torch.unique(
            torch.cat([batch.target.reshape(-1), column]), return_inverse=True
        )
        items = model.items(rows)
        log_q = torch.from_numpy(np.log(sampler.q)).to(users.device, torch.float32)
        n = batch.target.numel()
        targets = items[place[:n]].view(*batch.target.shape, -1)  # (B, P, dim)
        positive = (users.unsqueeze(1) * targets).sum(-1) - log_q[batch.target]  # (B, P)
        logits = (users @ items[place[n:]].T).float() - log_q[column]  # (B, distinct)
        logits = logits + torch.log(times.float())  # a row drawn twice counts twice
        logits = logits.masked_fill(_liked(batch, column), -torch.inf)
        rest = torch.logsumexp(logits, 1, keepdim=True)
        loss = torch.logaddexp(positive, rest) - positive
        return (torch.where(batch.weight > 0, loss, 0.0) * batch.weight).sum() / len(batch)


def _liked(batch: TowerBatch, column: Tensor) -> Tensor:
    """bool (B, C): does the example's user like the item row `column` (ascending), ever?"""
    example = torch.cat([batch.known[0], torch.nonzero(batch.weight)[:, 0]])
    item = torch.cat([batch.known[1], batch.target[batch.weight > 0]])
    at = torch.searchsorted(column, item).clamp(max=len(column) - 1)
    here = column[at] == item
    liked = torch.zeros((len(batch), len(column)), dtype=torch.bool, device=column.device)
    liked[example[here], at[here]] = True
    return liked
