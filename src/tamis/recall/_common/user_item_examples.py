"""Training examples of user-item models: a user at a moment, his history and his targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tamis.data import Dataset
from tamis.recall._common.interactions import grouped
from tamis.recall._common.moving_inputs import ItemMoments, MomentInputs, batches_by_period
from tamis.recall._common.side_features import FIRST
from tamis.runtime import Float32, Int32, Int64
from tamis.runtime.compiled import njit
from tamis.train import Order

Kind = Literal["moments", "pairs", "splits", "whole"]


@dataclass(frozen=True, eq=False)
class UserItemBatch:
    """B users, each at one moment, and the n items that they liked from then on."""

    user: Tensor
    """int64 (B,) user rows."""
    history: Tensor
    """int32 (B, L) rows of the fused table, most recent first, padded."""
    owner: Tensor
    """int64 (n,) index in [0, B) of each target's example, ascending."""
    target: Tensor
    """int64 (n,) item rows."""
    weight: Tensor
    """float32 (n,) weight of each target in the loss."""
    positives: Positives
    """All items that the users like at any time; they must not be used as their negatives."""
    in_history: Tensor | None = None
    """bool (n,) whether the target is also in its example's history, from which the model must
    remove it; None if no target is."""
    moving: tuple[Tensor, Tensor] | None = None
    """int32 (B, w) and float32 (B, d): inputs of the users as of the examples' moments; None: the
    model has none."""
    period: int | None = None
    """The period (`ItemMoments`) in which the examples' moments lie; None: the model has none."""

    def __len__(self) -> int:
        return len(self.user)

    @property
    def liked(self) -> tuple[Tensor, Tensor]:
        """int64 (example, item row) pairs (m,) of all items that the examples' users like."""
        pairs = self.positives.pairs(self.user.cpu().numpy())
        example, item = (torch.from_numpy(x).to(self.user.device) for x in pairs)
        return example, item


@dataclass(frozen=True, eq=False)
class Positives:
    """Each user's liked items: list u is `item[indptr[u]:indptr[u + 1]]`, ascending."""

    indptr: Int64
    item: Int32

    def pairs(self, users: Int64) -> tuple[Int64, Int64]:
        """(index into `users`, item row) pairs (m,) of all liked items of `users` (B,)."""
        sizes = self.indptr[users + 1] - self.indptr[users]
        ends = np.cumsum(sizes)
        place = np.repeat(self.indptr[users] - (ends - sizes), sizes) + np.arange(sizes.sum())
        return np.repeat(np.arange(len(users)), sizes), self.item[place].astype(np.int64)

    def contain(self, users: Int64, items: Int64) -> NDArray[np.bool_]:
        """(n, N) whether the user in the same row of `users` (n,) likes each of `items` (n, N)."""
        found = np.empty(items.shape, np.bool_)
        _contain(self.indptr, self.item, users, items, found)
        return found


@dataclass(frozen=True, eq=False)
class Likes:
    """Each user's first positive event with each item, in order of time.

    User u's are `[indptr[u], indptr[u + 1])` of the columns (n,).
    """

    indptr: Int64
    """(users + 1,)"""
    item: Int32
    """(n,) item rows."""
    time: Int64
    """(n,) ms when the event happened."""
    arrival: Int64
    """(n,) ms when the event reached the log."""
    event: Int64
    """(n,) rows of the events."""
    strength: Float32
    """(n,) 1; less for a weak positive (an item that was shown and not liked), which is used as a
    target and never as history."""

    @classmethod
    def of(cls, data: Dataset, weak: float = 0.0) -> Likes:
        """The likes of a log.

        weak: strength in [0, 1) of impressions of user-item pairs without a positive event; 0: they
        are left out.
        """
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
            at,
            np.where(data.positive[at], 1.0, weak).astype(np.float32),
        )

    def positives(self) -> Positives:
        """Each user's items, ascending."""
        owner = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))
        return Positives(self.indptr, self.item[np.lexsort((self.item, owner))])

    def first_since(self, time: int) -> Int64:
        """The first like of each user that arrived at `time` (ms) or later, of those who have one
        that is not their first like: (n,) positions in the columns."""
        sizes = np.diff(self.indptr)
        owner = np.repeat(np.arange(len(sizes)), sizes)
        later = np.arange(len(owner)) > self.indptr[owner]
        found = np.flatnonzero(later & (self.arrival >= time))
        return found[np.unique(owner[found], return_index=True)[1]]

    def lacks_order(self) -> bool:
        """True if most users with at least two likes have all of them at the same time."""
        several = np.diff(self.indptr) >= 2
        begin, end = self.indptr[:-1][several], self.indptr[1:][several]
        if not len(begin):
            return False
        return bool((self.time[begin] == self.time[end - 1]).mean() > 0.5)


def _liked_pairs(data: Dataset) -> NDArray[np.bool_]:
    """(events,) whether the event's user has a positive event with the event's item."""
    events, n = data.events, max(len(data.items), 1)
    key = events.user.astype(np.int64) * n + events.item
    return np.isin(key, key[data.positive])


class UserItemExamples:
    """Training examples as pointers (user, moment); histories and targets are gathered per batch.

    In `moments` and `pairs` the history consists of the last `history` likes that happened and
    arrived strictly before the moment, so no item is both in the history and a target.

    - `moments`: one example per user and epoch, at the time of one of his likes other than the
      first, drawn at random in each epoch. The targets are the likes from that time on, at most
      `targets`, each with weight 1 / their number.
    - `pairs`: one example per like other than a user's first; that like is the only target.
    - `splits`, for logs without an order: one example per user and epoch. A share of his likes,
      drawn uniformly from [0, 1) in each epoch, is the history; the others are the targets, each
      with weight 1.
    - `whole`, for logs without an order: one example per user and epoch. All likes are both history
      and targets; the model removes each target from its own history
      (`UserItemBatch.in_history`).

    Weights are multiplied by the likes' strength. Users with fewer than two likes have no example.

    Args:
        likes: the likes of the log.
        history: most items of a history.
        targets: most targets of an example.
        history_start: padding row of the history's table in the fused table.
        seed: seed of the random moments and splits.
        kind: one of the four above.
        moments: makes the users' moving inputs; None: the model has none. For `moments`, `pairs`.
        periods: divides the moments into periods; a batch then lies in one period. For `moments`
            and `pairs`.
        since: time in ms; only likes that arrived from then on are targets, and the moment of
            `moments` is the first of these. For `moments` and `pairs`; None: all likes.
    """

    def __init__(
        self,
        likes: Likes,
        history: int,
        targets: int,
        history_start: int,
        seed: int,
        kind: Kind = "moments",
        moments: MomentInputs | None = None,
        periods: ItemMoments | None = None,
        since: int | None = None,
    ) -> None:
        self._moment_inputs, self._periods = moments, periods
        self.likes, self.history, self.kind = likes, history, kind
        self.targets = 1 if kind == "pairs" else targets
        self.positives = likes.positives()
        self._start = history_start
        self._random = np.random.default_rng(seed)
        sizes = np.diff(likes.indptr)
        if kind == "pairs":
            owner = np.repeat(np.arange(len(sizes)), sizes)
            first = np.repeat(likes.indptr[:-1], sizes)
            fine = np.arange(len(owner)) > first
            self._cut = np.flatnonzero(fine if since is None else fine & (likes.arrival >= since))
            self.users = owner[self._cut]
        elif since is not None:
            self._cut = likes.first_since(since)
            owner = np.repeat(np.arange(len(sizes)), sizes)
            self.users = owner[self._cut]
        else:
            self._cut = None
            self.users = np.flatnonzero(sizes >= 2)
        self.order = None if periods is None else self._order_by_period
        """Makes the batches of an epoch (see `RowSource`); None: batches are drawn at random."""
        self._drawn: Int64 | None = None

    def __len__(self) -> int:
        return len(self.users)

    def take(self, index: Tensor, device: torch.device | str = "cpu") -> UserItemBatch:
        """The batch of the examples `index` int64 (B,)."""
        rows = index.numpy()
        users = self.users[rows]
        n, likes = len(users), self.likes
        sizes = (likes.indptr[users + 1] - likes.indptr[users]).astype(np.int64)
        total = int(sizes.sum())
        history = np.full((n, self.history), self._start, np.int32)
        owner, target = np.empty(total, np.int64), np.empty(total, np.int64)
        weight = np.empty(total, np.float32)
        columns = _LikeColumns(likes.indptr, likes.item, likes.time, likes.arrival, likes.strength)
        out = _Output(history, owner, target, weight)
        first_row = self._start + FIRST
        in_history = cut = None
        if self.kind == "splits":
            draws = self._random.random(total + 2 * n)
            found, length = _split(
                likes=columns,
                users=users,
                draws=draws,
                first_row=first_row,
                most=self.targets,
                out=out,
            )
        elif self.kind == "whole":
            in_history = np.zeros(total, np.bool_)
            found, length = _whole(
                likes=columns,
                users=users,
                first_row=first_row,
                most=self.targets,
                out=out,
                in_history=in_history,
            )
        else:
            cut = self._cuts(rows)
            found, length = _cut(
                likes=columns,
                users=users,
                cuts=cut,
                first_row=first_row,
                most=self.targets,
                out=out,
            )

        def tensor(x: NDArray[Any]) -> Tensor:
            return torch.from_numpy(x).to(device)

        return UserItemBatch(
            user=tensor(users),
            history=tensor(np.ascontiguousarray(history[:, : max(length, 1)])),
            owner=tensor(owner[:found]),
            target=tensor(target[:found]),
            weight=tensor(weight[:found]),
            positives=self.positives,
            in_history=None if in_history is None else tensor(in_history[:found]),
            moving=None if cut is None else self._moving(cut, tensor),
            period=None if cut is None else self._period(cut),
        )

    def _cuts(self, rows: Int64) -> Int64:
        """(B,) the like at whose time each example lies: drawn before the epoch, or now."""
        if self._drawn is not None:
            return self._drawn[rows]
        return self._moments(self.users[rows]) if self._cut is None else self._cut[rows]

    def _moments(self, users: Int64) -> Int64:
        """(B,) index of one like of each user, drawn among all but his first."""
        begin, sizes = self.likes.indptr[users], np.diff(self.likes.indptr)[users]
        draw = self._random.random(len(users))
        return begin + 1 + (draw * (sizes - 1)).astype(np.int64)

    def _moving(
        self, cut: Int64, tensor: Callable[[NDArray[Any]], Tensor]
    ) -> tuple[Tensor, Tensor] | None:
        """The moving inputs of examples at the likes `cut` (B,)."""
        if self._moment_inputs is None:
            return None
        found = self._moment_inputs(cut)
        return tensor(found.ids), tensor(found.dense)

    def _period(self, cut: Int64) -> int | None:
        """The earliest period of the likes `cut` (B,)."""
        if self._periods is None or not len(cut):
            return None
        return int(self._periods.period(self.likes.time[cut]).min())

    def _order_by_period(self, batch_size: int, generator: torch.Generator) -> Order:
        """Draws the epoch's moments, and batches of examples of one period in random order."""
        assert self._periods is not None
        self._drawn = self._moments(self.users) if self._cut is None else self._cut
        period = self._periods.period(self.likes.time[self._drawn])
        return batches_by_period(period, batch_size, generator)


class _LikeColumns(NamedTuple):
    """The columns of `Likes`."""

    indptr: Int64
    item: Int32
    time: Int64
    arrival: Int64
    strength: Float32


class _Output(NamedTuple):
    """Arrays that the kernels below fill."""

    history: Int32
    """(B, L) rows of the fused table, filled with padding."""
    owner: Int64
    """(N,) example of each target."""
    target: Int64
    """(N,) item rows."""
    weight: Float32
    """(N,)"""


@njit(cache=True, nogil=True)
def _first_of_pair(indptr, item, n_items):
    """(n,) bool: is the event the first of its user with its item?

    indptr int64 (users + 1,), item int32 (n,): events by user, in order of time.
    """
    last_user = np.full(n_items, -1, np.int64)
    first = np.zeros(len(item), np.bool_)
    for u in range(len(indptr) - 1):
        for e in range(indptr[u], indptr[u + 1]):
            first[e] = last_user[item[e]] != u
            last_user[item[e]] = u
    return first


@njit(cache=True, nogil=True)
def _contain(indptr, item, users, wanted, found):
    """Binary search of each wanted item in its user's list.

    Args:
        indptr, item: CSR int64 (users + 1,), int32 (m,), ascending within a user.
        users: (n,) int64. wanted: (n, N) int64 item rows. found: (n, N) bool, the result.
    """
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
def _cut(likes, users, cuts, first_row, most, out):
    """Splits each user's likes at a moment; returns the number of targets and the longest history.

    Args:
        likes: _LikeColumns. users: (B,) int64 rows.
        cuts: (B,) int64 index of the like at whose time the user's likes are split.
        first_row: row of item 0 in the fused table. most: most targets per example.
        out: _Output.
    """
    indptr, item, time, arrival = likes.indptr, likes.item, likes.time, likes.arrival
    strength = likes.strength
    history, owner, target, weight = out.history, out.owner, out.target, out.weight
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
        # a single target is the chosen like itself, not the first like at the same time
        start = chosen if most == 1 else cut
        wanted = min(end - start, most)
        for t in range(wanted):
            owner[n] = b
            target[n] = item[start + t]
            weight[n] = strength[start + t] / np.float32(wanted)
            n += 1
    return n, longest


@njit(cache=True, nogil=True)
def _split(likes, users, draws, first_row, most, out):
    """Splits each user's likes at random, at least one of them a target.

    draws: (likes of the users + 2 · B,) float64, uniform in [0, 1). Other arguments and the result
    as in `_cut`.
    """
    indptr, item, strength = likes.indptr, likes.item, likes.strength
    history, owner, target, weight = out.history, out.owner, out.target, out.weight
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
def _whole(likes, users, first_row, most, out, in_history):
    """Takes all of each user's likes as targets, and as history while it has free places.

    in_history: (N,) bool, set for targets that are in the history. Other arguments and the result
    as in `_cut`.
    """
    indptr, item, strength = likes.indptr, likes.item, likes.strength
    history, owner, target, weight = out.history, out.owner, out.target, out.weight
    n, longest = 0, 0
    for b in range(len(users)):
        begin, end = indptr[users[b]], indptr[users[b] + 1]
        found = 0
        for e in range(end - 1, max(begin, end - most) - 1, -1):
            owner[n] = b
            target[n] = item[e]
            weight[n] = strength[e]
            in_history[n] = strength[e] == 1.0 and found < history.shape[1]
            if in_history[n]:
                history[b, found] = first_row + item[e]
                found += 1
            n += 1
        longest = max(longest, found)
    return n, longest
