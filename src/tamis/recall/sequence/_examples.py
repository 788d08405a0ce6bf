"""What sequence models read: windows of users' events, batched by length, and their next items."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numba import njit
from torch import Tensor

from tamis.cascade import Queries
from tamis.data import Dataset
from tamis.recall._common.interactions import grouped
from tamis.runtime import Bool, Int32, Int64
from tamis.train import Order

POSITIONS = 2**13
"""Most positions of a batch, pads included: long histories make steps of fewer windows, and so as
many steps an epoch as short ones; it bounds a step's memory, too."""


@dataclass(frozen=True, eq=False)
class SequenceBatch:
    """B windows, oldest event first, padded at the end."""

    item: Tensor
    """int64 (B, L) rows; any row where padded."""
    length: Tensor
    """int64 (B,)."""
    time: Tensor
    """int64 (B, L) ms of the events."""
    asked: Tensor
    """int64 (B, L) ms at which each position's next item is asked for: the next event's time."""
    place: Tensor
    """int64 (V,) the real positions in B · L, row after row."""
    target: Tensor
    """int64 (V,) the item that came next at each of them; empty at serving."""

    def __len__(self) -> int:
        return len(self.length)


@dataclass(frozen=True, eq=False)
class Sequences:
    """Every user's events of the chosen behaviours in order of time, as a CSR."""

    indptr: Int64
    item: Int32
    time: Int64

    @classmethod
    def of(cls, data: Dataset, counts: Bool) -> Sequences:
        """counts: (behaviours,) whose events count."""
        events = data.events
        kept = np.flatnonzero(counts[events.behaviour] & (events.user >= 0) & (events.item >= 0))
        indptr, order = grouped(events.user[kept], len(data.users))
        at = kept[order]
        return cls(indptr, events.item[at], events.time[at])

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def sizes(self) -> Int64:
        """(users,) events of each."""
        return np.diff(self.indptr)

    def without_last(self, users: Int64) -> Sequences:
        """The same but for the last event of each of `users`, who must have one."""
        keep = np.ones(len(self.item), np.bool_)
        keep[self.indptr[users + 1] - 1] = False
        sizes = self.sizes
        sizes[users] -= 1
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return Sequences(indptr, self.item[keep], self.time[keep])


class Windows:
    """Training examples: windows of at most `history` events, each with the event after it.

    A user's last window ends with his last event but one; where he has more than `history` + 1
    events, up to `windows` earlier ones come before it, so that every event is a target at most
    once. A row is a pointer into the sequences.
    """

    def __init__(self, sequences: Sequences, history: int, windows: int = 1) -> None:
        self.sequences, self.history = sequences, history
        sizes = sequences.sizes
        many = np.minimum(-(-np.maximum(sizes - 1, 0) // history), windows)
        user = np.repeat(np.arange(len(sizes)), many)
        number = np.arange(len(user)) - np.repeat(np.cumsum(many) - many, many)  # 0 = the last
        first = sequences.indptr[user]
        end = sequences.indptr[user + 1] - 1 - number * history  # the last target
        self.begin = np.maximum(first, end - history).astype(np.int64)
        self.length = (end - self.begin).astype(np.int64)

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def targets(self) -> int:
        """Positions that are scored in an epoch."""
        return int(self.length.sum())

    def order(self, batch_size: int, generator: torch.Generator) -> Order:
        """Windows of about the same length in a batch, in an order drawn anew each epoch."""
        random = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        jitter = self.length * (1 + 0.1 * random.random(len(self)))  # not always the same company
        rows = np.argsort(jitter + random.random(len(self)), kind="stable")
        bounds = _bounds(self.length[rows], batch_size)
        shuffled = random.permutation(len(bounds) - 1)
        sizes = np.diff(bounds)[shuffled]
        places = _spans(bounds[:-1][shuffled], sizes)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        return Order(torch.from_numpy(rows[places]), ends.tolist())

    def take(self, index: Tensor, device: torch.device | str = "cpu") -> SequenceBatch:
        rows, s = index.numpy(), self.sequences
        begin, length = self.begin[rows], self.length[rows]
        asked = np.empty((len(rows), int(length.max(initial=0))), np.int64)
        item, time = np.empty_like(asked), np.empty_like(asked)
        target = np.empty(int(length.sum()), np.int64)
        _fill(s.item, s.time, begin, length, item, time, asked)
        _fill_targets(s.item, begin, length, target)
        return _batch(item, length, time, asked, target, device)


@dataclass(frozen=True, eq=False)
class Asked:
    """Q queries' histories as sequences, for serving: the last `history` events that count."""

    sequences: Sequences
    time: Int64
    """(Q,) ms, when each asks."""

    @classmethod
    def of(cls, queries: Queries, counts: Bool, history: int, items: int) -> Asked:
        """items: rows from there on are not known to the model, and are left out."""
        past = queries.history
        part = slice(past.indptr[0], past.indptr[-1])  # a block of queries shares its batch's
        item, time, behaviour = past.item[part], past.time[part], past.behaviour[part]
        bounds = past.indptr - past.indptr[0]
        sizes, at = _last(bounds, item, counts[behaviour], history, items)
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(Sequences(indptr, item[at], time[at]), queries.time)

    def __len__(self) -> int:
        return len(self.time)

    def batches(self, batch_size: int) -> list[Int64]:
        """Queries with a history, those of about the same length together."""
        sizes = self.sequences.sizes
        rows = np.argsort(sizes, kind="stable")
        rows = rows[np.searchsorted(sizes[rows], 1) :]
        bounds = _bounds(sizes[rows], batch_size)
        return [rows[a:b] for a, b in pairwise(bounds)]

    def take(self, rows: Int64, device: torch.device | str = "cpu") -> SequenceBatch:
        """The batch of queries `rows`; the last position is asked at the query's time."""
        s = self.sequences
        begin, length = s.indptr[rows], s.sizes[rows]
        asked = np.empty((len(rows), int(length.max(initial=0))), np.int64)
        item, time = np.empty_like(asked), np.empty_like(asked)
        _fill(s.item, s.time, begin, length, item, time, asked)
        some = np.flatnonzero(length)
        asked[some, length[some] - 1] = self.time[rows[some]]
        return _batch(item, length, time, asked, np.zeros(0, np.int64), device)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Questions to stop a fit by: histories, items that may not be found, items that should be."""

    asked: Asked
    exclude_indptr: Int64
    exclude: Int32
    target_indptr: Int64
    target: Int32

    def take(self, rows: Int64) -> HeldOut:
        """Some of the questions."""
        past = self.asked.sequences
        a, at = _lists(past.indptr, rows)
        b, exclude = _lists(self.exclude_indptr, rows)
        c, target = _lists(self.target_indptr, rows)
        asked = Asked(Sequences(a, past.item[at], past.time[at]), self.asked.time[rows])
        return HeldOut(asked, b, self.exclude[exclude], c, self.target[target])


def last_held_out(sequences: Sequences, users: Int64, history: int) -> HeldOut:
    """The last event of each of `users`, asked for after the events before it.

    Items that a user has had are not to be found again, unless the held-out event repeats one.
    """
    past = sequences.without_last(users)
    end, sizes = past.indptr[users + 1], past.sizes[users]
    last = sequences.indptr[users + 1] - 1
    target = sequences.item[last]
    cut = np.minimum(sizes, history)
    at = _spans(end - cut, cut)
    indptr = np.concatenate([[0], np.cumsum(cut)]).astype(np.int64)
    asked = Asked(Sequences(indptr, past.item[at], past.time[at]), sequences.time[last])
    whole = _spans(end - sizes, sizes)
    owner, had = np.repeat(np.arange(len(users)), sizes), past.item[whole]
    new = had != target[owner]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(owner[new], minlength=len(users)))])
    ones = np.arange(len(users) + 1, dtype=np.int64)
    return HeldOut(asked, bounds.astype(np.int64), had[new], ones, target)


def _lists(indptr: Int64, rows: Int64) -> tuple[Int64, Int64]:
    """Bounds of the lists `rows` end to end, and the places of their values."""
    sizes = np.diff(indptr)[rows]
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), _spans(indptr[rows], sizes)


def _spans(begin: Int64, size: Int64) -> Int64:
    """The places begin, begin + 1 … of every span, end to end."""
    ends = np.cumsum(size)
    return np.repeat(begin - (ends - size), size) + np.arange(int(size.sum()))


def _bounds(length: Int64, batch_size: int) -> Int64:
    """Ends of batches over rows of ascending length: few enough rows, few enough positions."""
    return _cut(np.ascontiguousarray(length), batch_size, POSITIONS)


def _batch(
    item: Int64, length: Int64, time: Int64, asked: Int64, target: Int64, device: object
) -> SequenceBatch:
    real = np.arange(item.shape[1]) < length[:, None]
    place = np.flatnonzero(real)
    tensors = [item, length, time, asked, place, target]
    return SequenceBatch(*(torch.from_numpy(x).to(device) for x in tensors))  # type: ignore[arg-type]


@njit(cache=True, nogil=True)
def _cut(length, batch_size, positions):
    bounds = np.zeros(len(length) + 1, np.int64)
    many, begin = 0, 0
    for row in range(len(length)):
        rows = row - begin
        if rows > 0 and (rows == batch_size or (rows + 1) * length[row] > positions):
            many += 1
            bounds[many] = row
            begin = row
    if len(length) > 0:
        many += 1
        bounds[many] = len(length)
    return bounds[: many + 1].copy()


@njit(cache=True, nogil=True)
def _fill(item, time, begin, length, out_item, out_time, out_asked):
    """Pads the spans; a position's next event is one place further in the log, if it has one."""
    last = len(item) - 1
    for b in range(len(begin)):
        for t in range(out_item.shape[1]):
            if t < length[b]:
                at = begin[b] + t
                out_item[b, t] = item[at]
                out_time[b, t] = time[at]
                out_asked[b, t] = time[min(at + 1, last)]
            else:
                out_item[b, t] = 0
                out_time[b, t] = 0
                out_asked[b, t] = 0


@njit(cache=True, nogil=True)
def _fill_targets(item, begin, length, out):
    at = 0
    for b in range(len(begin)):
        for t in range(length[b]):
            out[at] = item[begin[b] + t + 1]
            at += 1


@njit(cache=True, nogil=True)
def _last(indptr, item, counts, history, items):
    """(how many, where) of each list's last `history` events that count, oldest first."""
    sizes = np.zeros(len(indptr) - 1, np.int64)
    where = np.empty(len(item), np.int64)
    at = 0
    for q in range(len(indptr) - 1):
        begin = indptr[q + 1]
        while begin > indptr[q] and sizes[q] < history:
            begin -= 1
            if counts[begin] and 0 <= item[begin] < items:
                sizes[q] += 1
        for e in range(begin, indptr[q + 1]):
            if counts[e] and 0 <= item[e] < items:
                where[at] = e
                at += 1
    return sizes, where[:at].copy()
