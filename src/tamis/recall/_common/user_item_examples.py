"""Training examples of a two-tower model: a user at a moment, what came before, what came next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from tamis.data import Dataset
from tamis.recall._common.interactions import grouped
from tamis.recall._common.side_features import FIRST
from tamis.runtime import Float32, Int32, Int64

Kind = Literal["moments", "pairs", "splits", "whole"]


@dataclass(frozen=True, eq=False)
class TowerBatch:
    """B users, each at one moment of his past, and the n items that he liked next."""

    user: Tensor
    """int64 (B,) rows."""
    history: Tensor
    """int32 (B, L) fused rows, most recent first, padded."""
    owner: Tensor
    """int64 (n,) example of each target, ascending."""
    target: Tensor
    """int64 (n,) item rows."""
    weight: Tensor
    """float32 (n,) of each target in the loss."""
    positives: Positives
    """What users like at any time, targets included: no negatives of theirs."""
    inside: Tensor | None = None
    """bool (n,) is the target in its own history, out of which it is to be left? None = none is."""

    def __len__(self) -> int:
        return len(self.user)

    @property
    def liked(self) -> tuple[Tensor, Tensor]:
        """int64 (example, item row) pairs of all that the examples' users like."""
        pairs = self.positives.pairs(self.user.cpu().numpy())
        example, item = (torch.from_numpy(x).to(self.user.device) for x in pairs)
        return example, item


@dataclass(frozen=True, eq=False)
class Positives:
    """Each user's liked items: list u is `item[indptr[u]:indptr[u + 1]]`, ascending."""

    indptr: Int64
    item: Int32

    def pairs(self, users: Int64) -> tuple[Int64, Int64]:
        """All (place in `users`, item) of their lists."""
        sizes = self.indptr[users + 1] - self.indptr[users]
        ends = np.cumsum(sizes)
        place = np.repeat(self.indptr[users] - (ends - sizes), sizes) + np.arange(sizes.sum())
        return np.repeat(np.arange(len(users)), sizes), self.item[place].astype(np.int64)

    def contain(self, users: Int64, items: Int64) -> NDArray[np.bool_]:
        """(n, N) which of `items` (n, N) the user in the same row of `users` (n,) likes."""
        found = np.empty(items.shape, np.bool_)
        _contain(self.indptr, self.item, users, items, found)
        return found


@dataclass(frozen=True, eq=False)
class Likes:
    """Each user's first positive event with each item, in order of time."""

    indptr: Int64
    item: Int32
    time: Int64
    arrival: Int64
    strength: Float32
    """1, or less where the item was merely shown (a weak positive): then it is only a target."""

    @classmethod
    def of(cls, data: Dataset, weak: float = 0.0) -> Likes:
        """weak: strength of impressions that no positive event of the pair answers; 0 = none."""
        shown = np.array([b.impression for b in data.behaviours], np.bool_)
        counts = data.positive
        if weak > 0 and len(data.events):
            counts = counts | (shown[data.events.behaviour] & ~_liked_pairs(data))
        events = data.events
        chosen = np.flatnonzero(counts)
        indptr, order = grouped(events.user[chosen], len(data.users))
        at = chosen[order]
        first = _first_of_pair(indptr, events.item[at], len(data.items))
        kept = np.add.reduceat(np.append(first, False), indptr[:-1]) * (np.diff(indptr) > 0)
        at = at[first]
        return cls(
            np.concatenate([[0], np.cumsum(kept)]).astype(np.int64),
            events.item[at],
            events.time[at],
            events.arrival[at],
            np.where(data.positive[at], 1.0, weak).astype(np.float32),
        )

    def positives(self) -> Positives:
        owner = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))
        return Positives(self.indptr, self.item[np.lexsort((self.item, owner))])

    def without_order(self) -> bool:
        """Do most users with two likes or more have them all at one time?"""
        several = np.diff(self.indptr) >= 2
        begin, end = self.indptr[:-1][several], self.indptr[1:][several]
        if not len(begin):
            return False
        return bool((self.time[begin] == self.time[end - 1]).mean() > 0.5)


def _liked_pairs(data: Dataset) -> NDArray[np.bool_]:
    """(n,) events whose user has a positive event with their item."""
    events, n = data.events, max(len(data.items), 1)
    key = events.user.astype(np.int64) * n + events.item
    return np.isin(key, key[data.positive])


class TowerExamples:
    """Examples as pointers: user and moment; histories and targets are gathered per batch.

    The history is the last `history` likes that had arrived strictly before the moment (equal
    times do not count as before). No item is in both.

    - `moments`: one example per user and epoch, at the time of one of his likes, drawn anew each
      epoch; the targets are the likes from it on, at most `targets`, weighted 1 / their number.
    - `pairs`: one example per like but a user's first; that like is the target.
    - `splits`, for logs without an order: one example per user and epoch; a share of his likes,
      drawn anew from [0, 1), is the history, and the others are the targets, each of weight 1.
    - `whole`, for logs without an order: one example per user and epoch; all likes are history and
      targets, and the model leaves each target out of its own history (`TowerBatch.inside`).
    """

    def __init__(
        self,
        likes: Likes,
        history: int,
        targets: int,
        history_start: int,
        seed: int,
        kind: Kind = "moments",
    ) -> None:
        self.likes, self.history, self.kind = likes, history, kind
        self.targets = 1 if kind == "pairs" else targets
        self.positives = likes.positives()
        self._start = history_start
        self._random = np.random.default_rng(seed)
        sizes = np.diff(likes.indptr)
        if kind == "pairs":
            owner = np.repeat(np.arange(len(sizes)), sizes)
            first = np.repeat(likes.indptr[:-1], sizes)
            self._cut = np.flatnonzero(np.arange(len(owner)) > first)
            self.users = owner[self._cut]
        else:
            self._cut = None
            self.users = np.flatnonzero(sizes >= 2)

    def __len__(self) -> int:
        return len(self.users)

    def take(self, index: Tensor, device: torch.device | str = "cpu") -> TowerBatch:
        rows = index.numpy()
        users = self.users[rows]
        n, likes = len(users), self.likes
        sizes = (likes.indptr[users + 1] - likes.indptr[users]).astype(np.int64)
        total = int(sizes.sum())
        history = np.full((n, self.history), self._start, np.int32)
        owner, target = np.empty(total, np.int64), np.empty(total, np.int64)
        weight = np.empty(total, np.float32)
        columns = (likes.indptr, likes.item, likes.time, likes.arrival, likes.strength)
        first_row = self._start + FIRST
        if self.kind == "splits":
            draws = self._random.random(total + 2 * n)
            found, length = _split(
                columns, users, draws, first_row, self.targets, history, owner, target, weight
            )
        elif self.kind == "whole":
            inside = np.zeros(total, np.bool_)
            found, length = _whole(
                columns, users, first_row, self.targets, history, owner, target, weight, inside
            )
        else:
            cut = self._moments(users, sizes) if self._cut is None else self._cut[rows]
            found, length = _cut(
                columns, users, cut, first_row, self.targets, history, owner, target, weight
            )
        past = np.ascontiguousarray(history[:, : max(length, 1)])
        arrays = (users, past, owner[:found], target[:found], weight[:found])
        u, h, o, t, w = (torch.from_numpy(x).to(device) for x in arrays)
        within = torch.from_numpy(inside[:found]).to(device) if self.kind == "whole" else None
        return TowerBatch(u, h, o, t, w, self.positives, within)

    def _moments(self, users: Int64, sizes: Int64) -> Int64:
        """The place of one like of each user, any but his first."""
        draw = self._random.random(len(users))
        return self.likes.indptr[users] + 1 + (draw * (sizes - 1)).astype(np.int64)


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
def _contain(indptr, item, users, wanted, found):
    """Binary search of each wanted item in its user's ascending list."""
    for b in range(len(users)):
        begin, end = indptr[users[b]], indptr[users[b] + 1]
        for k in range(wanted.shape[1]):
            low, high = begin, end
            while low < high:
                middle = (low + high) // 2
                if item[middle] < wanted[b, k]:
                    low = middle + 1
                else:
                    high = middle
            found[b, k] = low < end and item[low] == wanted[b, k]


@njit(cache=True, nogil=True)
def _cut(likes, users, cuts, first_row, most, history, owner, target, weight):
    """Cuts each user's likes at a moment; returns the number of targets and the longest history."""
    indptr, item, time, arrival, strength = likes
    n, longest = 0, 0
    for b in range(len(users)):
        begin, end = indptr[users[b]], indptr[users[b] + 1]
        chosen = cuts[b]
        cut, moment = chosen, time[chosen]
        while cut > begin and time[cut - 1] == moment:
            cut -= 1
        found = 0
        for e in range(cut - 1, begin - 1, -1):
            if found == history.shape[1]:
                break
            if arrival[e] < moment and strength[e] == 1.0:
                history[b, found] = first_row + item[e]
                found += 1
        longest = max(longest, found)
        # a single target is the very like that was chosen, not the first of its tie
        start = chosen if most == 1 else cut
        wanted = min(end - start, most)
        for t in range(wanted):
            owner[n] = b
            target[n] = item[start + t]
            weight[n] = strength[start + t] / np.float32(wanted)
            n += 1
    return n, longest


@njit(cache=True, nogil=True)
def _split(likes, users, draws, first_row, most, history, owner, target, weight):
    """Splits each user's likes at random; one of them at least is a target."""
    indptr, item, _, _, strength = likes
    n, longest, d = 0, 0, 0
    for b in range(len(users)):
        begin, end = indptr[users[b]], indptr[users[b] + 1]
        share = draws[d]
        sure = begin + int(draws[d + 1] * (end - begin))
        d += 2
        found, wanted = 0, 0
        for e in range(end - 1, begin - 1, -1):
            past = draws[d] < share and e != sure and strength[e] == 1.0
            d += 1
            if past and found < history.shape[1]:
                history[b, found] = first_row + item[e]
                found += 1
            elif not past and wanted < most:
                owner[n] = b
                target[n] = item[e]
                weight[n] = strength[e]
                n += 1
                wanted += 1
        longest = max(longest, found)
    return n, longest


@njit(cache=True, nogil=True)
def _whole(likes, users, first_row, most, history, owner, target, weight, inside):
    """All of each user's likes as targets; those `inside` as history too, while there is room."""
    indptr, item, _, _, strength = likes
    n, longest = 0, 0
    for b in range(len(users)):
        begin, end = indptr[users[b]], indptr[users[b] + 1]
        found = 0
        for e in range(end - 1, max(begin, end - most) - 1, -1):
            owner[n] = b
            target[n] = item[e]
            weight[n] = strength[e]
            inside[n] = strength[e] == 1.0 and found < history.shape[1]
            if inside[n]:
                history[b, found] = first_row + item[e]
                found += 1
            n += 1
        longest = max(longest, found)
    return n, longest
