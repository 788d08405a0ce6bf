"""What a two-tower model minimises: pointwise, pairwise, list-wise; sampled or over all items.

Rows are taken by `index_select`: what plain indexing adds up on its way back depends on the order
in which threads come, and the same seed must give the same version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tamis.nn import gbce, gbce_power, pairwise_hinge, pairwise_logistic, pointwise, shared_softmax
from tamis.recall._common.user_item_examples import TowerBatch
from tamis.recall.two_tower._network import TwoTowers
from tamis.train import FrequencyEstimator, Mixture

Loss = Literal["full", "sampled", "in_batch", "gbce", "pointwise", "hinge", "logistic"]


@dataclass(eq=False)
class TowerObjective:
    """One of the losses, every target weighted as its batch says.

    No item that the example's user likes at any time is a negative of his. In the sampled and
    in-batch softmax every logit, the target's too, is corrected by −log q of what drew it.
    """

    kind: Loss
    negatives: Mixture
    margin: float = 1.0
    calibration: float = 0.75
    """t of gBCE."""
    by_group: bool = False

    def __post_init__(self) -> None:
        self.stream = FrequencyEstimator()

    def evaluate(self, model: nn.Module, valid: Any, device: torch.device) -> dict[str, float]:
        """What a `TowerValid` measures."""
        return valid.measure(model, device)

    def loss(self, model: Any, batch: TowerBatch) -> Tensor:
        users, own = _users(model, batch)  # (B, dim), (n, dim)
        self.negatives.observe(batch.target.cpu().numpy())
        kinds = {
            "full": self._full,
            "sampled": self._sampled,
            "in_batch": self._in_batch,
            "gbce": self._gbce,
        }
        return kinds.get(self.kind, self._each)(users, own, model, batch)

    def _full(self, users: Tensor, own: Tensor, model: TwoTowers, batch: TowerBatch) -> Tensor:
        users, items = users * model.gamma, model.items()
        positive = _products(own * model.gamma, items.index_select(0, batch.target))
        return shared_softmax(users, items, positive, batch.owner, batch.weight, batch.liked)

    def _in_batch(self, users: Tensor, own: Tensor, model: TwoTowers, batch: TowerBatch) -> Tensor:
        """The batch's distinct targets; q, the chance of being in a batch, from the stream."""
        column, place = torch.unique(batch.target, return_inverse=True)
        self.stream.update(column.cpu().numpy())
        log_q = _log(self.stream.frequency(column.cpu().numpy()), column)
        users, items = users * model.gamma, model.items(column)
        positive = _products(own * model.gamma, items.index_select(0, place)) - log_q[place]
        liked = _columns(column, batch.liked)
        return shared_softmax(
            users, items, positive, batch.owner, batch.weight, liked, shift=-log_q
        )

    def _sampled(self, users: Tensor, own: Tensor, model: TwoTowers, batch: TowerBatch) -> Tensor:
        users = users * model.gamma
        mixture, device = self.negatives, users.device
        drawn = mixture.shared(batch.target.cpu().numpy())
        column, times = torch.unique(torch.from_numpy(drawn).to(device), return_counts=True)
        items, (at, place) = _vectors(model, batch.target, column)
        # what counts is how often an item is expected; a row drawn twice counts twice
        expected = mixture.negatives * mixture.q(column.cpu().numpy())
        shift = times.log() - _log(expected, column)
        log_q = _log(mixture.negatives * mixture.q(batch.target.cpu().numpy()), column)
        hard = bool(mixture.hard_draws)
        return shared_softmax(
            users,
            items.index_select(0, place),
            _products(own * model.gamma, items.index_select(0, at)) - log_q,
            batch.owner,
            batch.weight,
            _columns(column, batch.liked),
            shift=shift,
            pair_shift=self._rejected(batch, column, expected) if hard else None,
            other_log_sum=self._hard(users, model, batch) if hard else None,
        )

    def _rejected(
        self, batch: TowerBatch, column: Tensor, expected: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """How much more often the users' own hard negatives are expected than the others say:
        (row, place in `column`, −log of the ratio)."""
        hard, who = self.negatives.hard, batch.user.cpu().numpy()
        assert hard is not None
        pairs = (torch.from_numpy(x).to(column.device) for x in hard.pairs(who))
        row, place = _columns(column, (next(pairs), next(pairs)))
        at, of = place.cpu().numpy(), hard.counts(who)[row.cpu().numpy()]
        return row, place, -_log(1 + self.negatives.hard_draws / of / expected[at], column)

    def _hard(self, users: Tensor, model: TwoTowers, batch: TowerBatch) -> Tensor:
        """(B,) log-sum of each user's own hard negatives, by how often the mixture gives them."""
        mixture, who = self.negatives, batch.user.cpu().numpy()
        assert mixture.hard is not None
        n = mixture.hard_draws
        drawn = mixture.hard.draw(who, n, mixture.random)  # (B, n)
        found = torch.from_numpy(drawn >= 0).to(users.device)
        rows = np.maximum(drawn, 0)
        expected = mixture.negatives * mixture.q(rows.reshape(-1)).reshape(rows.shape)
        expected += n / np.maximum(mixture.hard.counts(who), 1)[:, None]
        flat = torch.from_numpy(rows.reshape(-1)).to(users.device)
        items, (at,) = _vectors(model, flat)
        logits = (users.unsqueeze(1) * items.index_select(0, at).view(*drawn.shape, -1)).sum(
            2
        )  # (B, n)
        logits = logits.float() - _log(expected, users)
        return logits.masked_fill(~found, -torch.inf).logsumexp(1)

    def _gbce(self, users: Tensor, own: Tensor, model: TwoTowers, batch: TowerBatch) -> Tensor:
        """Negatives shared by the batch; every target is paired with all of them."""
        users = users * model.gamma
        drawn = torch.from_numpy(self.negatives.shared(batch.target.cpu().numpy()))
        column, times = torch.unique(drawn.to(users.device), return_counts=True)
        items, (at, place) = _vectors(model, batch.target, column)
        logits = (users @ items.index_select(0, place).T).float() + model.bias  # (B, distinct)
        counts = times.float().repeat(len(batch), 1)
        counts[_columns(column, batch.liked)] = 0.0
        power = gbce_power(len(drawn), len(model.item_ids), self.calibration)
        positive = _products(own * model.gamma, items.index_select(0, at)) + model.bias
        return gbce(positive, logits, counts, power=power, weights=batch.weight, owner=batch.owner)

    def _each(self, users: Tensor, own: Tensor, model: TwoTowers, batch: TowerBatch) -> Tensor:
        """Pointwise and pairwise: every target has negatives of its own."""
        who = batch.user[batch.owner].cpu().numpy()
        drawn = self.negatives.each(who, batch.target.cpu().numpy())  # (n, N)
        rows = torch.from_numpy(drawn).to(users.device)
        items, (at, place) = _vectors(model, batch.target, rows.reshape(-1))
        negative = (own.unsqueeze(1) * items.index_select(0, place).view(*drawn.shape, -1)).sum(
            2
        )  # (n, N)
        positive = (own * items.index_select(0, at)).sum(1)
        counts = ~torch.from_numpy(batch.positives.contain(who, drawn)).to(users.device)
        if self.kind == "hinge":  # its margin is in cosines
            return pairwise_hinge(positive, negative, counts, self.margin, batch.weight)
        gamma, bias = model.gamma, model.bias
        if self.kind == "logistic":
            return pairwise_logistic(gamma * positive, gamma * negative, counts, batch.weight)
        return pointwise(gamma * positive + bias, gamma * negative + bias, counts, batch.weight)


def _users(model: TwoTowers, batch: TowerBatch) -> tuple[Tensor, Tensor]:
    """(B, dim) users, and (n, dim) the user of each target, who does not know it."""
    if batch.inside is not None:
        pairs = (batch.owner, batch.target, batch.inside)
        return model.users_without(batch.user, batch.history, *pairs)
    users = model.users(batch.user, batch.history)
    return users, users.index_select(0, batch.owner)


def _products(users: Tensor, targets: Tensor) -> Tensor:
    """(n,) of each target with its user."""
    return (users * targets).sum(1).float()


def _log(q: Any, like: Tensor) -> Tensor:
    return torch.from_numpy(np.log(q)).to(like.device, torch.float32)


def _vectors(model: TwoTowers, *wanted: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Item vectors computed once each, and the places among them of every list of rows."""
    asked = sum(len(rows) for rows in wanted)
    if asked >= len(model.item_ids):
        return model.items(), list(wanted)
    rows, place = torch.unique(torch.cat(wanted), return_inverse=True)
    return model.items(rows), list(place.split([len(w) for w in wanted]))


def _columns(column: Tensor, liked: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Those (example, item) pairs whose item is among `column` (ascending), as (row, place)."""
    example, item = liked
    at = torch.searchsorted(column, item).clamp(max=len(column) - 1)
    here = column[at] == item
    return example[here], at[here]
