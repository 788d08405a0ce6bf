"""Batches of sequence models: windows of users' events, grouped by length, and the next items."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from tamis.cascade import Queries
from tamis.data import Dataset
from tamis.recall._common.interactions import grouped
from tamis.runtime import Bool, Int32, Int64
from tamis.runtime.compiled import njit
from tamis.train import Order

POSITIONS = 2**13
"""Most positions of a batch, including padding: it bounds the memory of a step, and gives long
histories smaller batches, so that an epoch has enough steps."""


@dataclass(frozen=True, eq=False)
class KnownItems:
    """All items of the users of B rows: those of row b are `item[indptr[b] : indptr[b + 1]]`."""

    indptr: Int64
    """(B + 1,)"""
    item: Int32
    """Item rows, an item once per event."""

    def among(self, drawn: Int64, row: Int64) -> tuple[Int64, Int64]:
        """Pairs (v, c) of int64, each once: `drawn[c]` is an item of the user of target v.

        Args:
            drawn: (C,) distinct item rows, ascending.
            row: (V,) the row of each target.
        """
        at = np.searchsorted(drawn, self.item).clip(max=len(drawn) - 1)
        known = np.flatnonzero(drawn[at] == self.item)
        owner = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))[known]
        owner, column = np.divmod(np.unique(owner * len(drawn) + at[known]), len(drawn))
        indptr = np.searchsorted(owner, np.arange(len(self.indptr)))
        bounds, places = _lists(indptr, row)
        return np.repeat(np.arange(len(row)), np.diff(bounds)), column[places]


@dataclass(frozen=True, eq=False)
class SequenceBatch:
    """B windows of events, oldest first, padded at the end; V positions are not padding."""

    item: Tensor
    """int64 (B, L) item rows; any row at padding."""
    length: Tensor
    """int64 (B,) number of events."""
    time: Tensor
    """int64 (B, L) ms of the events."""
    request_time: Tensor
    """int64 (B, L) ms at which each position's next item is predicted: the next event's time."""
    place: Tensor
    """int64 (V,) the positions without padding, as indices into B · L, ascending."""
    target: Tensor
    """int64 (V,) the next item at each of them; empty when serving."""
    positives: KnownItems | None = None
    """All items of the rows' users; None unless `Windows` has `positives`."""

    def __len__(self) -> int:
        return len(self.length)


@dataclass(frozen=True, eq=False)
class Sequences:
    """Every user's events of some behaviours in order of time: `[indptr[u], indptr[u + 1])`."""

    indptr: Int64
    """(U + 1,)"""
    item: Int32
    """(n,) item rows."""
    time: Int64
    """(n,) ms."""

    @classmethod
    def of(cls, data: Dataset, counts: Bool) -> Sequences:
        """The events of a log whose behaviour code is True in `counts` (behaviours,)."""
        events = data.events
        kept = np.flatnonzero(counts[events.behaviour] & (events.user >= 0) & (events.item >= 0))
        indptr, order = grouped(events.user[kept], len(data.users))
        at = kept[order]
        return cls(indptr, events.item[at], events.time[at])

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def sizes(self) -> Int64:
        """(U,) number of events of each user."""
        return np.diff(self.indptr)

    def without_last(self, users: Int64) -> Sequences:
        """The same without the last event of each of `users`, who must have at least one."""
        keep = np.ones(len(self.item), np.bool_)
        keep[self.indptr[users + 1] - 1] = False
        sizes = self.sizes
        sizes[users] -= 1
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return Sequences(indptr, self.item[keep], self.time[keep])


class Windows:
    """Training examples: windows of at most `history` events, as pointers into the sequences.

    A user has at most `windows` windows, the newest first. The newest one ends with his second to
    last event; the last target of each earlier one is the first event of the next, so that every
    event is a target at most once. With `positives`, a batch holds all items of its users. With
    `since` (ms), only windows whose last target is an event from then on are examples.
    """

    def __init__(
        self,
        sequences: Sequences,
        history: int,
        windows: int = 1,
        *,
        positives: bool = False,
        since: int | None = None,
    ) -> None:
        self.sequences, self.history, self.positives = sequences, history, positives
        sizes = sequences.sizes
        many = np.minimum(-(-np.maximum(sizes - 1, 0) // history), windows)
        user = np.repeat(np.arange(len(sizes)), many)
        number = np.arange(len(user)) - np.repeat(np.cumsum(many) - many, many)  # 0 = the last
        first = sequences.indptr[user]
        end = sequences.indptr[user + 1] - 1 - number * history  # the last target
        if since is not None:
            new = sequences.time[end] >= since
            user, first, end = user[new], first[new], end[new]
        self.begin = np.maximum(first, end - history).astype(np.int64)
        self.length = (end - self.begin).astype(np.int64)
        self.user = user

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def targets(self) -> int:
        """Number of positions with a target in an epoch."""
        return int(self.length.sum())

    def order(self, batch_size: int, generator: torch.Generator) -> Order:
        """Batches of windows of about the same length, in a random order.

        batch_size: most windows per batch; fewer if they have more than POSITIONS positions.
        """
        random = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        jitter = self.length * (1 + 0.1 * random.random(len(self)))  # vary the batches' members
        rows = np.argsort(jitter + random.random(len(self)), kind="stable")
        bounds = _bounds(self.length[rows], batch_size)
        shuffled = random.permutation(len(bounds) - 1)
        sizes = np.diff(bounds)[shuffled]
        places = _spans(bounds[:-1][shuffled], sizes)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        return Order(torch.from_numpy(rows[places]), ends.tolist())

    def take(self, index: Tensor, device: torch.device | str = "cpu") -> SequenceBatch:
        """The batch of the windows `index` int64 (B,)."""
        rows, s = index.numpy(), self.sequences
        begin, length = self.begin[rows], self.length[rows]
        request_time = np.empty((len(rows), int(length.max(initial=0))), np.int64)
        item, time = np.empty_like(request_time), np.empty_like(request_time)
        target = np.empty(int(length.sum()), np.int64)
        _fill(
            item=s.item,
            time=s.time,
            begin=begin,
            length=length,
            out_item=item,
            out_time=time,
            out_request_time=request_time,
        )
        _fill_targets(s.item, begin, length, target)
        positives = None
        if self.positives:
            bounds, at = _lists(s.indptr, self.user[rows])
            positives = KnownItems(bounds, s.item[at])
        return _batch(item, length, time, request_time, target, device, positives)


@dataclass(frozen=True, eq=False)
class QueryHistories:
    """Q queries' histories as sequences: the last events that count."""

    sequences: Sequences
    time: Int64
    """(Q,) ms of the queries."""

    @classmethod
    def of(cls, queries: Queries, counts: Bool, history: int, items: int) -> QueryHistories:
        """The histories of queries.

        Args:
            counts: (behaviours,) whose events count.
            history: most events per query.
            items: number of items that the model knows; events with other items are left out.
        """
        past = queries.history
        part = slice(past.indptr[0], past.indptr[-1])  # the columns may hold other queries' events
        item, time, behaviour = past.item[part], past.time[part], past.behaviour[part]
        bounds = past.indptr - past.indptr[0]
        sizes, at = _last(bounds, item, counts[behaviour], history, items)
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return cls(Sequences(indptr, item[at], time[at]), queries.time)

    def __len__(self) -> int:
        return len(self.time)

    def batches(self, batch_size: int) -> list[Int64]:
        """Batches of the queries with a history, those of about the same length together."""
        sizes = self.sequences.sizes
        rows = np.argsort(sizes, kind="stable")
        rows = rows[np.searchsorted(sizes[rows], 1) :]
        bounds = _bounds(sizes[rows], batch_size)
        return [rows[a:b] for a, b in pairwise(bounds)]

    def take(self, rows: Int64, device: torch.device | str = "cpu") -> SequenceBatch:
        """The batch of queries `rows` (B,); the last request time is the query's."""
        s = self.sequences
        begin, length = s.indptr[rows], s.sizes[rows]
        request_time = np.empty((len(rows), int(length.max(initial=0))), np.int64)
        item, time = np.empty_like(request_time), np.empty_like(request_time)
        _fill(
            item=s.item,
            time=s.time,
            begin=begin,
            length=length,
            out_item=item,
            out_time=time,
            out_request_time=request_time,
        )
        some = np.flatnonzero(length)
        request_time[some, length[some] - 1] = self.time[rows[some]]
        return _batch(item, length, time, request_time, np.zeros(0, np.int64), device)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Validation queries to stop a fit by, with excluded items and targets as two CSRs."""

    queries: QueryHistories
    exclude_indptr: Int64
    """(Q + 1,)"""
    exclude: Int32
    """Item rows that must not be returned."""
    target_indptr: Int64
    """(Q + 1,)"""
    target: Int32
    """Item rows that should be returned."""

    def take(self, rows: Int64) -> HeldOut:
        """The queries `rows` (n,)."""
        past = self.queries.sequences
        a, at = _lists(past.indptr, rows)
        b, exclude = _lists(self.exclude_indptr, rows)
        c, target = _lists(self.target_indptr, rows)
        return HeldOut(
            queries=QueryHistories(
                Sequences(a, past.item[at], past.time[at]), self.queries.time[rows]
            ),
            exclude_indptr=b,
            exclude=self.exclude[exclude],
            target_indptr=c,
            target=self.target[target],
        )


def last_held_out(sequences: Sequences, users: Int64, history: int) -> HeldOut:
    """The last event of each of `users` as target, after the `history` events before it.

    Items of the user's earlier events are excluded, unless the held-out event repeats one.
    """
    past = sequences.without_last(users)
    end, sizes = past.indptr[users + 1], past.sizes[users]
    last = sequences.indptr[users + 1] - 1
    target = sequences.item[last]
    cut = np.minimum(sizes, history)
    at = _spans(end - cut, cut)
    indptr = np.concatenate([[0], np.cumsum(cut)]).astype(np.int64)
    queries = QueryHistories(Sequences(indptr, past.item[at], past.time[at]), sequences.time[last])
    whole = _spans(end - sizes, sizes)
    owner, had = np.repeat(np.arange(len(users)), sizes), past.item[whole]
    new = had != target[owner]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(owner[new], minlength=len(users)))])
    ones = np.arange(len(users) + 1, dtype=np.int64)
    return HeldOut(
        queries=queries,
        exclude_indptr=bounds.astype(np.int64),
        exclude=had[new],
        target_indptr=ones,
        target=target,
    )


def _lists(indptr: Int64, rows: Int64) -> tuple[Int64, Int64]:
    """Bounds of the concatenated lists `rows` (n,), and the indices of their values."""
    sizes = np.diff(indptr)[rows]
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), _spans(indptr[rows], sizes)


def _spans(begin: Int64, size: Int64) -> Int64:
    """The indices begin, begin + 1 … of every span (n,), concatenated."""
    ends = np.cumsum(size)
    return np.repeat(begin - (ends - size), size) + np.arange(int(size.sum()))


def _bounds(length: Int64, batch_size: int) -> Int64:
    """Bounds of batches over rows of ascending length (n,), within `batch_size` and POSITIONS."""
    return _cut(np.ascontiguousarray(length), batch_size, POSITIONS)


def _batch(
    item: Int64,
    length: Int64,
    time: Int64,
    request_time: Int64,
    target: Int64,
    device: torch.device | str,
    positives: KnownItems | None = None,
) -> SequenceBatch:
    """A batch of numpy arrays on `device`."""
    real = np.arange(item.shape[1]) < length[:, None]

    def tensor(x: Int64) -> Tensor:
        return torch.from_numpy(x).to(device)

    return SequenceBatch(
        item=tensor(item),
        length=tensor(length),
        time=tensor(time),
        request_time=tensor(request_time),
        place=tensor(np.flatnonzero(real)),
        target=tensor(target),
        positives=positives,
    )


@njit(cache=True, nogil=True)
def _cut(length, batch_size, positions):
    """int64 bounds of batches: at most `batch_size` rows and `positions` padded positions each.

    length: (n,) int64, ascending. A batch has at least one row.
    """
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
def _fill(item, time, begin, length, out_item, out_time, out_request_time):
    """Copies B spans of the sequences into rows padded with 0.

    Args:
        item, time: (n,) int32 and int64 columns of the sequences.
        begin, length: (B,) int64 spans.
        out_item, out_time, out_request_time: (B, L) int64, the result; the request time of a
            position is the time of the next entry of the columns, if there is one.
    """
    last = len(item) - 1
    for b in range(len(begin)):
        for t in range(out_item.shape[1]):
            if t < length[b]:
                at = begin[b] + t
                out_item[b, t] = item[at]
                out_time[b, t] = time[at]
                out_request_time[b, t] = time[min(at + 1, last)]
            else:
                out_item[b, t] = 0
                out_time[b, t] = 0
                out_request_time[b, t] = 0


@njit(cache=True, nogil=True)
def _fill_targets(item, begin, length, out):
    """Copies the items one place after each span (B,) into `out` (sum of lengths,) int64."""
    at = 0
    for b in range(len(begin)):
        for t in range(length[b]):
            out[at] = item[begin[b] + t + 1]
            at += 1


@njit(cache=True, nogil=True)
def _last(indptr, item, counts, history, items):
    """Each list's last `history` events that count: their number (Q,) and their indices, oldest
    first, both int64.

    Args:
        indptr, item: CSR int64 (Q + 1,), int32 (n,). counts: (n,) bool.
        items: events with an item row outside [0, items) do not count.
    """
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
