"""Losses of user-item models: pointwise, pairwise and listwise, sampled or over all items.

Rows are selected by `index_select`: the gradient of plain indexing is summed in an order that
depends on the threads, and the same seed must give the same version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tamis.nn import gbce, gbce_power, pairwise_hinge, pairwise_logistic, pointwise, shared_softmax
from tamis.recall._common.user_item_examples import UserItemBatch
from tamis.train import FrequencyEstimator, Mixture

Loss = Literal["full", "sampled", "in_batch", "gbce", "pointwise", "hinge", "logistic"]


class UserItemModel(Protocol):
    """A model that the objective trains: logit = gamma · (user · item) + bias."""

    item_ids: Any
    """Of length I, the number of items."""
    bias: Any
    """Scalar, read by the losses gbce and pointwise."""

    @property
    def gamma(self) -> Any:
        """Scalar scale of the logits."""
        ...

    def users(
        self, user: Tensor, history: Tensor, moving: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """(B, dim) of user rows int64 (B,), histories int32 (B, L), and, for batches that have
        them, inputs as of moments."""
        ...

    def users_without(
        self, user: Tensor, history: Tensor, owner: Tensor, target: Tensor, in_history: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, dim) users, and (n, dim) each target's user without the target in his history.

        Needed only for batches with `in_history`.
        """
        ...

    def items(self, item: Tensor | None = None, period: int | None = None) -> Tensor:
        """(n, dim) of item rows int64 (n,), all items if None; for batches that lie in a period,
        with the items' statistics as of its start."""
        ...


@dataclass(eq=False)
class UserItemObjective:
    """The objective of a fit: one of the losses, with the batch's weight of each target.

    Items that the example's user likes at any time are never his negatives. In the sampled and the
    in-batch softmax every logit, including the target's, is corrected by −log q, where q is the
    item's sampling probability.
    """

    kind: Loss
    """The loss."""
    negatives: Mixture
    """Where negatives are sampled from."""
    margin: float = 1.0
    """Margin of the hinge loss, in units of user · item."""
    calibration: float = 0.75
    """t of gBCE, in [0, 1]."""
    by_group: bool = False

    def __post_init__(self) -> None:
        self.stream = FrequencyEstimator()

    def evaluate(self, model: nn.Module, valid: Any, device: torch.device) -> dict[str, float]:
        """The metrics of `valid.measure`."""
        return valid.measure(model, device)

    def loss(self, model: Any, batch: UserItemBatch) -> Tensor:
        """The loss of a batch: a scalar."""
        users, own = _users(model, batch)  # (B, dim), (n, dim)
        self.negatives.observe(batch.target.cpu().numpy())
        kinds = {
            "full": self._full,
            "sampled": self._sampled,
            "in_batch": self._in_batch,
            "gbce": self._gbce,
        }
        return kinds.get(self.kind, self._each)(users, own, model, batch)

    def _full(
        self, users: Tensor, own: Tensor, model: UserItemModel, batch: UserItemBatch
    ) -> Tensor:
        """Softmax over all items."""
        users, items = users * model.gamma, _items(model, None, batch.period)
        positive = _products(own * model.gamma, items.index_select(0, batch.target))
        return shared_softmax(users, items, positive, batch.owner, batch.weight, batch.liked)

    def _in_batch(
        self, users: Tensor, own: Tensor, model: UserItemModel, batch: UserItemBatch
    ) -> Tensor:
        """Softmax over the batch's distinct targets; q is estimated from the batches so far."""
        column, place = torch.unique(batch.target, return_inverse=True)
        self.stream.update(column.cpu().numpy())
        log_q = _log(self.stream.frequency(column.cpu().numpy()), column)
        users, items = users * model.gamma, _items(model, column, batch.period)
        positive = _products(own * model.gamma, items.index_select(0, place)) - log_q[place]
        liked = _columns(column, batch.liked)
        return shared_softmax(
            users, items, positive, batch.owner, batch.weight, liked, shift=-log_q
        )

    def _sampled(
        self, users: Tensor, own: Tensor, model: UserItemModel, batch: UserItemBatch
    ) -> Tensor:
        """Softmax over negatives that the batch shares, and each user\'s hard negatives."""
        users = users * model.gamma
        mixture, device = self.negatives, users.device
        drawn = mixture.shared(batch.target.cpu().numpy())
        column, times = torch.unique(torch.from_numpy(drawn).to(device), return_counts=True)
        items, (at, place) = _vectors(model, batch.period, batch.target, column)
        # corrected by the expected number of draws; a row drawn twice counts twice
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
        self, batch: UserItemBatch, column: Tensor, expected: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Correction of the users' hard negatives among the shared ones: (row of the batch, index
        into `column`, −log of how many times more often the user's negatives contain them)."""
        hard, who = self.negatives.hard, batch.user.cpu().numpy()
        assert hard is not None
        pairs = (torch.from_numpy(x).to(column.device) for x in hard.pairs(who))
        row, place = _columns(column, (next(pairs), next(pairs)))
        at, of = place.cpu().numpy(), hard.counts(who)[row.cpu().numpy()]
        return row, place, -_log(1 + self.negatives.hard_draws / of / expected[at], column)

    def _hard(self, users: Tensor, model: UserItemModel, batch: UserItemBatch) -> Tensor:
        """(B,) logsumexp of each user's hard negatives, corrected by their expected number."""
        mixture, who = self.negatives, batch.user.cpu().numpy()
        assert mixture.hard is not None
        n = mixture.hard_draws
        drawn = mixture.hard.draw(who, n, mixture.random)  # (B, n)
        found = torch.from_numpy(drawn >= 0).to(users.device)
        rows = np.maximum(drawn, 0)
        expected = mixture.negatives * mixture.q(rows.reshape(-1)).reshape(rows.shape)
        expected += n / np.maximum(mixture.hard.counts(who), 1)[:, None]
        flat = torch.from_numpy(rows.reshape(-1)).to(users.device)
        items, (at,) = _vectors(model, batch.period, flat)
        logits = (users.unsqueeze(1) * items.index_select(0, at).view(*drawn.shape, -1)).sum(
            2
        )  # (B, n)
        logits = logits.float() - _log(expected, users)
        return logits.masked_fill(~found, -torch.inf).logsumexp(1)

    def _gbce(
        self, users: Tensor, own: Tensor, model: UserItemModel, batch: UserItemBatch
    ) -> Tensor:
        """gBCE of every target against all negatives, which the batch shares."""
        users = users * model.gamma
        drawn = torch.from_numpy(self.negatives.shared(batch.target.cpu().numpy()))
        column, times = torch.unique(drawn.to(users.device), return_counts=True)
        items, (at, place) = _vectors(model, batch.period, batch.target, column)
        logits = (users @ items.index_select(0, place).T).float() + model.bias  # (B, distinct)
        counts = times.float().repeat(len(batch), 1)
        counts[_columns(column, batch.liked)] = 0.0
        power = gbce_power(len(drawn), len(model.item_ids), self.calibration)
        positive = _products(own * model.gamma, items.index_select(0, at)) + model.bias
        return gbce(positive, logits, counts, power=power, weights=batch.weight, owner=batch.owner)

    def _each(
        self, users: Tensor, own: Tensor, model: UserItemModel, batch: UserItemBatch
    ) -> Tensor:
        """Pointwise and pairwise losses, with separate negatives for every target."""
        who = batch.user[batch.owner].cpu().numpy()
        drawn = self.negatives.each(who, batch.target.cpu().numpy())  # (n, N)
        rows = torch.from_numpy(drawn).to(users.device)
        items, (at, place) = _vectors(model, batch.period, batch.target, rows.reshape(-1))
        negative = (own.unsqueeze(1) * items.index_select(0, place).view(*drawn.shape, -1)).sum(
            2
        )  # (n, N)
        positive = (own * items.index_select(0, at)).sum(1)
        counts = ~torch.from_numpy(batch.positives.contain(who, drawn)).to(users.device)
        if self.kind == "hinge":  # on the unscaled products: the margin is in their units
            return pairwise_hinge(positive, negative, counts, self.margin, batch.weight)
        gamma, bias = model.gamma, model.bias
        if self.kind == "logistic":
            return pairwise_logistic(gamma * positive, gamma * negative, counts, batch.weight)
        return pointwise(gamma * positive + bias, gamma * negative + bias, counts, batch.weight)


def _users(model: UserItemModel, batch: UserItemBatch) -> tuple[Tensor, Tensor]:
    """(B, dim) users, and (n, dim) the user of each target, without it in his history."""
    if batch.in_history is not None:
        return model.users_without(
            batch.user, batch.history, batch.owner, batch.target, batch.in_history
        )
    given = (batch.user, batch.history)
    users = model.users(*given) if batch.moving is None else model.users(*given, batch.moving)
    return users, users.index_select(0, batch.owner)


def _items(model: UserItemModel, item: Tensor | None, period: int | None) -> Tensor:
    """`model.items`, as of the batch's period if the batches have one."""
    return model.items(item) if period is None else model.items(item, period)


def _products(users: Tensor, targets: Tensor) -> Tensor:
    """(n,) inner products of the rows of two (n, dim) matrices."""
    return (users * targets).sum(1).float()


def _log(q: Any, like: Tensor) -> Tensor:
    """log q of an array, as float32 on the device of `like`."""
    return torch.from_numpy(np.log(q)).to(like.device, torch.float32)


def _vectors(
    model: UserItemModel, period: int | None, *wanted: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Vectors of the distinct item rows in `wanted`, and each list's indices into them."""
    total = sum(len(rows) for rows in wanted)
    if total >= len(model.item_ids):
        return _items(model, None, period), list(wanted)
    rows, place = torch.unique(torch.cat(wanted), return_inverse=True)
    return _items(model, rows, period), list(place.split([len(w) for w in wanted]))


def _columns(column: Tensor, liked: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The (example, item) pairs whose item is in `column` (ascending), as (example, index into
    `column`)."""
    example, item = liked
    at = torch.searchsorted(column, item).clamp(max=len(column) - 1)
    here = column[at] == item
    return example[here], at[here]
