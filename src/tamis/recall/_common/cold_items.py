"""How a model that embeds items' ids embeds items of which no like is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tamis.runtime import Int32

UNSEEN = 1
"""Row of the item table, which is the first one, for items of which no like is known."""


@dataclass(frozen=True, eq=False)
class Cold:
    """How items without likes are embedded."""

    dropout: float
    """Share of the items whose id is hidden in a training step. If it is not 0, an item without
    likes has the id of an unseen item, in training and when its vector is served."""
    known: NDArray[np.bool_]
    """(I,) whether the item has a like."""

    def ids(self, item_ids: Int32) -> Int32:
        """The items' inputs (I, w), whose first column is the id: with that of an unseen item where
        no like is known."""
        if not self.dropout:
            return item_ids
        shared = item_ids.copy()
        shared[~self.known, 0] = UNSEEN
        return shared

    def hidden(self, ids: Tensor) -> Tensor:
        """Inputs (n, w) of items in a training step: the ids of a random share are hidden."""
        if not self.dropout:
            return ids
        gone = torch.rand(len(ids), device=ids.device) < self.dropout
        first = torch.where(gone, UNSEEN, ids[:, 0])
        return torch.cat([first.unsqueeze(1), ids[:, 1:]], 1)
