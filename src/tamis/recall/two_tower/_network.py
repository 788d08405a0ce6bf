"""The two towers: user and item vectors over one fused embedding table."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from tamis.nn import fused_table
from tamis.recall._common.cold_items import Cold
from tamis.recall._common.side_features import FIRST, SideInputs
from tamis.recall.two_tower._tower import Network, SequencePart, Tower, TowerShape, item_tower


class TwoTowers(nn.Module):
    """User tower and item tower with a shared embedding table.

    logit = γ · sim(user, item) + bias + item_bias[item], where sim is the cosine or, without unit
    length, the inner product.

    Args:
        inputs: the encoded users' and items' tables.
        networks: of the user tower and of the item tower.
        shape: widths; `dropout` applies to the user tower only.
        temperature: initial value of 1 / γ.
        learn: which of `temperature`, `bias` and `item_bias` are trained. The item bias is stored
            as the last coordinate of the item vectors, which meets a 1 in the user vectors.
        generator: source of the initial weights.
        cold: how items without likes are embedded; None: by their own ids.
    """

    user_ids: Tensor
    user_dense: Tensor
    item_ids: Tensor
    item_dense: Tensor
    item_known: Tensor
    item_moments: Tensor

    def __init__(
        self,
        inputs: SideInputs,
        networks: tuple[Network, Network],
        shape: TowerShape,
        temperature: float,
        learn: frozenset[str],
        generator: torch.Generator,
        cold: Cold | None = None,
    ) -> None:
        super().__init__()
        dim = shape.embedding_dim
        self.table = fused_table(inputs.user, dim, init_std=dim**-0.5, generator=generator)
        history = inputs.user.table[inputs.history]
        self.history_pad = history.start
        user, item = networks
        names = [c.name for c in inputs.user.ids]
        self.user_tower = Tower(
            user,
            inputs.user,
            names,
            SequencePart(history.start) if shape.length else None,
            inputs.user.dense_width,
            shape,
            generator,
            fixed=inputs.user_dense.shape[1],
        )
        self.item_tower, self.text = item_tower(item, inputs.item, shape, generator)
        scale = torch.tensor(-math.log(temperature))
        self.log_gamma = nn.Parameter(scale, requires_grad="temperature" in learn)
        self.bias = nn.Parameter(torch.zeros(()), requires_grad="bias" in learn)
        self.item_bias = None
        if "item_bias" in learn:
            self.item_bias = nn.Parameter(torch.zeros(len(inputs.item_ids)))
        self.cold = cold or Cold(0.0, np.ones(len(inputs.item_ids), np.bool_))
        arrays = inputs.arrays()
        arrays["item_ids"] = self.cold.ids(arrays["item_ids"])
        if self.cold.dropout:
            arrays["item_known"] = self.cold.known.astype(np.float32)
        if inputs.moments is not None:
            arrays["item_moments"] = inputs.moments.values
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        self.has_moments = inputs.moments is not None

    @property
    def gamma(self) -> Tensor:
        """γ, the scale of the logits: a positive scalar."""
        return self.log_gamma.exp()

    def users(
        self, user: Tensor, history: Tensor, moving: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """(B, out) of user rows int64 (B,), -1 for unknown users, histories int32 (B, L), and, if
        the model has such inputs, `Moving` ids and numbers."""
        ids, dense = self.user_ids[user], self.user_dense[user]
        if moving is not None:
            ids, dense = torch.cat([ids, moving[0]], 1), torch.cat([dense, moving[1]], 1)
        return self._widened(self.user_tower(self.table, ids, dense, history))

    def users_without(
        self, user: Tensor, history: Tensor, owner: Tensor, target: Tensor, in_history: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, out) as `users`, and (n, out) each target's user without the target in his history.

        Only for the network sum, where an item can be subtracted from the mean of the history.

        Args:
            owner: int64 (n,) row of `history` of each target.
            target: int64 (n,) item rows.
            in_history: bool (n,) whether the target is in that history.
        """
        tower = self.user_tower
        profile = tower.combined(self.table, self.user_ids[user], self.user_dense[user], None)
        kept = tower.drop(torch.ones_like(profile))  # (B, dim)
        mean = tower.history_mean(self.table, history) * kept
        count = (history != self.history_pad).sum(1, keepdim=True)  # (B, 1)
        gone = in_history.unsqueeze(1).to(mean.dtype)  # (n, 1)
        row = (target + self.history_pad + FIRST).to(torch.int32)
        left = (mean * count).index_select(0, owner) - gone * self.table(row) * kept.index_select(
            0, owner
        )
        rest = (count.index_select(0, owner) - gone).clamp(min=1)
        without = profile.index_select(0, owner) + left / rest
        return (
            self._widened(tower.scaled(profile + mean)),
            self._widened(tower.scaled(without)),
        )

    def profiles(self) -> Tensor:
        """(U + 1, dim) sums of each user's fields without the history; last, an unknown user."""
        return self.user_tower.combined(self.table, self.user_ids, self.user_dense, None)

    def items(self, item: Tensor | None = None, period: int | None = None) -> Tensor:
        """(n, out) of item rows int64 (n,), all items if None.

        period: whose start the items' statistics are of, if they are inputs; None: the log's end.
        """
        ids = self.item_ids if item is None else self.item_ids[item]
        dense = self.item_dense if item is None else self.item_dense[item]
        if self.has_moments:
            now = self.item_moments[-1 if period is None else period]
            dense = torch.cat([dense, now if item is None else now[item]], 1)
        if self.training:
            ids = self.cold.hidden(ids)
        text = None
        if self.text is not None:
            text = ids[:, self.text.first : self.text.first + self.text.width]
        vectors = self.item_tower(self.table, ids, dense, text)
        if self.item_bias is None:
            return vectors
        bias = self.item_bias if item is None else self.item_bias.index_select(0, item)
        if self.cold.dropout:
            bias = bias * (self.item_known if item is None else self.item_known[item])
        return torch.cat([vectors, (bias / self.gamma).unsqueeze(1)], 1)

    def _widened(self, users: Tensor) -> Tensor:
        """User vectors with an additional 1 for the items' bias; a zero vector stays zero."""
        if self.item_bias is None:
            return users
        known = (users != 0).any(1, keepdim=True)
        return torch.cat([users, known.to(users.dtype)], 1)
