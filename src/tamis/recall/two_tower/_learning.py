"""Learns the vectors of ids of a fitted two-tower model from events, one by one in time.

The towers' weights stay as they are. The loss is the softmax over the items of the fit, or over a
sample of them, of a user's vector as of the moment of an event, and the event's item.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tamis.nn import FusedEmbedding, mapped_table
from tamis.recall._common.side_features import FIRST
from tamis.recall.two_tower._online import ItemSide, UserSide
from tamis.runtime import Bool, Float32, Int32

NEGATIVES = 1024
"""Items of a step that are drawn at random and stand for all; fewer items are all taken."""


class OnlineTowers(torch.nn.Module):
    """The towers of a channel over a table that may be trained.

    Args:
        user_side: the user tower.
        item_side: the item tower.
        weight: (rows, d) the table, which both towers read and which is changed in place.
        facts: of the channel.
        own: (start, size) of each range of the table whose rows are of single ids.
    """

    def __init__(
        self,
        user_side: UserSide,
        item_side: ItemSide,
        weight: Float32,
        facts: Mapping[str, Any],
        own: list[tuple[int, int]],
    ) -> None:
        super().__init__()
        self.table: FusedEmbedding = mapped_table(weight)
        self.user, self.item = user_side.tower, item_side.tower
        self.learns: Bool = np.zeros(len(weight), np.bool_)
        """(rows,) the rows that may change: those of ids, not those of missing and unseen ones."""
        for start, size in own:
            self.learns[start + FIRST : start + size] = True
        self.table.learns = torch.from_numpy(self.learns.copy())
        self._item_side = item_side
        self._gamma, self._wide = float(facts["gamma"]), bool(facts["item_bias"])

    def loss(
        self,
        inputs: tuple[Tensor, Tensor, Tensor],
        items: tuple[Int32, Float32, NDArray[np.integer]],
        target: Tensor,
    ) -> Tensor:
        """The sum of the losses of B events.

        Args:
            inputs: of the events' users (B,): ids, numbers and histories.
            items: inputs of the candidates (n,), without one twice: ids, numbers, and the row whose
                bias they have.
            target: int64 (B,) the place of each event's item among the candidates.
        """
        users = self.user(self.table, *inputs)  # (B, out)
        ids, dense = torch.from_numpy(items[0]), torch.from_numpy(items[1])
        vectors = self.item(self.table, ids, dense, self._item_side.text_of(ids))  # (n, out)
        logits = self._gamma * (users @ vectors.T)
        if self._wide:
            bias = torch.from_numpy(self._item_side.bias_of(items[2]))
            known = users.detach().any(1, keepdim=True).float()
            logits = logits + self._gamma * known * bias
        return F.cross_entropy(logits, target, reduction="sum")


def softmax_items(target: Int32, items: int, random: np.random.Generator) -> Int32:
    """The items that the softmax of a step is over, ascending: all, or the targets and a sample."""
    if items <= NEGATIVES:
        return np.arange(items, dtype=np.int32)
    drawn = random.integers(items, size=NEGATIVES, dtype=np.int32)
    return np.unique(np.concatenate([target, drawn]))
