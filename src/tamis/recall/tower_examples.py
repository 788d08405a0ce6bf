"""Training examples of a two-tower model: a user at a moment, what came before, what came next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from tamis.events import Dataset
from tamis.recall.interactions import grouped
from tamis.recall.tower_features import FIRST

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TowerBatch:
    """B users, each at one moment of his past."""

    user: Tensor
    """int64 (B,) rows."""
    history: Tensor
    """int32 (B, L) fused rows, most recent first, padded."""
    target: Tensor
    """int64 (B, P) item rows of what he liked next; padded by 0 where weight is 0."""
    weight: Tensor
    """float32 (B, P), 1 / targets of the example."""
    known: tuple[Tensor, Tensor]
    """(example, item row) pairs of all other items that the user likes: no negatives of his."""

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, eq=False)
class Likes:
    """Each user's first positive event with each item, in order of time."""

    indptr: Int64
    item: Int32
    time: Int64
    arrival: Int64

    @classmethod
    def of(cls, data: Dataset) -> Likes:
        events = data.events
        positive = np.flatnonzero(data.positive)
        indptr, order = grouped(events.user[positive], len(data.users))
        at = positive[order]
        first = _first_of_pair(indptr, events.item[at], len(data.items))
        kept = np.add.reduceat(np.append(first, False), indptr[:-1]) * (np.diff(indptr) > 0)
        at = at[first]
        return cls(
            np.concatenate([[0], np.cumsum(kept)]).astype(np.int64),
            events.item[at],
            events.time[at],
            events.arrival[at],
        )


class TowerExamples:
    """One example per user and epoch, at a moment drawn anew each time it is taken.

    A pointer, not a copy: the moment is the time of one of the user's likes; the history is the
    last `history` likes that had arrived strictly before it (equal times do not count as before),
    the targets are the likes from it on, at most `targets`. No item is in both.
    """

    def __init__(
        self, likes: Likes, history: int, targets: int, history_start: int, seed: int
    ) -> None:
        self.likes, self.history, self.targets = likes, history, targets
        self._start = history_start
        self._random = np.random.default_rng(seed)
        self.users = np.flatnonzero(np.diff(likes.indptr) >= 2)

    def __len__(self) -> int:
        return len(self.users)

    def take(self, index: Tensor, device: torch.device | str = "cpu") -> TowerBatch:
        users = self.users[index.numpy()]
        n = len(users)
        history = np.full((n, self.history), self._start, np.int32)
        target = np.zeros((n, self.targets), np.int64)
        weight = np.zeros((n, self.targets), np.float32)
        likes = self.likes
        counts = (likes.indptr[users + 1] - likes.indptr[users]).astype(np.int64)
        example, item = np.repeat(np.arange(n), counts), np.empty(counts.sum(), np.int64)
        others = np.empty(counts.sum(), np.bool_)
        _draw(
            (likes.indptr, likes.item, likes.time, likes.arrival),
            users,
            self._random.random(n),
            self._start + FIRST,
            history,
            target,
            weight,
            item,
            others,
        )
        tensors = [users, history, target, weight, example[others], item[others]]
        user, past, to, share, row, liked = (torch.from_numpy(x).to(device) for x in tensors)
        return TowerBatch(user, past, to, share, (row, liked))


@njit(cache=True, nogil=True)
def _first_of_pair(indptr, item, n_items):
    last_user = np.full(n_items, -1, np.int64)
    first = np.zeros(len(item), np.bool_)
    for u in range(len(indptr) - 1):
        for e in range(indptr[u], indptr[u + 1]):
            first[e] = last_user[item[e]] != u
            last_user[item[e]] = u
    return first


@njit(cache=True, nogil=True)
def _draw(likes, users, random, first_row, history, target, weight, item_out, others):
    """Fills one example per user; `others` marks his likes that are not among its targets."""
    indptr, item, time, arrival = likes
    at = 0
    for b in range(len(users)):
        begin, end = indptr[users[b]], indptr[users[b] + 1]
        cut = begin + 1 + int(random[b] * (end - begin - 1))
        moment = time[cut]
        while cut > begin and time[cut - 1] == moment:
            cut -= 1
        found = 0
        for e in range(cut - 1, begin - 1, -1):
            if found == history.shape[1]:
                break
            if arrival[e] < moment:
                history[b, found] = first_row + item[e]
                found += 1
        wanted = min(end - cut, target.shape[1])
        for t in range(wanted):
            target[b, t] = item[cut + t]
            weight[b, t] = 1.0 / wanted
        for e in range(begin, end):
            item_out[at] = item[e]
            others[at] = e < cut or e >= cut + wanted
            at += 1
