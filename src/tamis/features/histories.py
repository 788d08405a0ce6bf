"""The events of every user by arrival, read as of any time; later events are appended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.data import Dataset, Events, Ragged
from tamis.features._counting_kernels import NEVER
from tamis.features._gathering_kernels import (
    chain_events,
    find_histories,
    gather_histories,
    sorted_unique,
)
from tamis.features._lists import History
from tamis.features.windows import opened
from tamis.runtime import Bool, Float32, Int32, Int64
from tamis.schema import ADVICE, VersionError, read_array, read_json

_GONE = np.iinfo(np.int64).max
"""Arrival of an event of the base that was forgotten: after all times."""
_COLUMNS = ("item", "behaviour", "time", "arrival", "value")


class Columns(NamedTuple):
    """The columns of E events that a history keeps."""

    item: Int32
    behaviour: NDArray[np.uint8]
    time: Int64
    """ms."""
    arrival: Int64
    """ms."""
    value: Float32


class Chains(NamedTuple):
    """Linked lists of the appended events: each points at the one before it of the same user."""

    head: Int32
    """(users,) the newest appended event of each user; -1 = none."""
    previous: Int32
    """(capacity,) the event before each; -1 = none."""


class Histories:
    """Histories of all users: an immutable, memory-mapped base and the events appended since.

    A history at time t holds the user's events that arrived strictly before t, oldest first by
    arrival, equal arrivals in the order of the log. Impressions are left out unless requested: they
    are actions of the system, not of the user. Memory: 25 bytes per event.
    """

    def __init__(self, indptr: Int64, base: Columns, seen: Bool, end: int) -> None:
        self._indptr = indptr
        self._base = base
        self._seen = seen
        self.end = end
        """First time (ms) before which every event of the base had arrived."""
        users = len(indptr) - 1
        empty: list[Any] = [np.zeros(0, column.dtype) for column in base]
        self._new = Columns(*empty)
        self._new_user = np.zeros(0, np.int32)
        self._chains = Chains(np.full(users, -1, np.int32), np.zeros(0, np.int32))
        self._added = 0
        self._counts: Int64 | None = None
        """Events of each item up to the highest one; None before the first call that needs it."""
        self._frequent = (-1, np.zeros(0, np.int32))
        """Number of items wanted, -1 after a change, and the items with the most events."""
        self._forgot = False

    @classmethod
    def of(cls, data: Dataset, *, impressions: bool = False) -> Histories:
        """The histories of `data`, with its impressions where `impressions` is true."""
        shown = np.array([b.impression for b in data.behaviours], np.bool_)
        events = data.events
        keep = (events.user >= 0) & (events.item >= 0)
        if not impressions:
            keep &= ~shown[events.behaviour]
        return cls._build(events.take(keep), len(data.users), ~shown, data.end)

    @classmethod
    def empty(cls, users: int) -> Histories:
        """Histories of users without events, of any time."""
        none = np.zeros(0, np.int64)
        base = Columns(
            none.astype(np.int32), none.astype(np.uint8), none, none, none.astype(np.float32)
        )
        return cls(np.zeros(users + 1, np.int64), base, np.zeros(256, np.bool_), NEVER)

    @classmethod
    def _build(cls, events: Events, users: int, seen: Bool, end: int) -> Histories:
        order = np.lexsort((events.arrival, events.user))
        counts = np.bincount(events.user, minlength=users)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        base = Columns(*(np.ascontiguousarray(getattr(events, c)[order]) for c in _COLUMNS))
        return cls(indptr, base, seen, end)

    def __len__(self) -> int:
        """Number of events, the appended ones included."""
        return len(self._base.item) + self._added

    @property
    def n_users(self) -> int:
        """Number of users, those without events included."""
        return len(self._indptr) - 1

    def at(self, user: Int32, time: Int64, last: int | None = None) -> History:
        """The histories of Q users at Q times (ms), or only their `last` events.

        An unknown user (-1, or a row beyond the table) has an empty history.
        """
        queries = len(user)
        bounds = np.zeros(queries + 1, np.int64)
        ends, newest = np.empty(queries, np.int64), np.empty(queries, np.int64)
        find_histories(
            user=user,
            time=time,
            limit=len(self) if last is None else last,
            indptr=self._indptr,
            arrival=self._base.arrival,
            head=self._chains.head,
            previous=self._chains.previous,
            new_arrival=self._new.arrival,
            ends=ends,
            newest=newest,
            bounds=bounds,
        )
        n = int(bounds[-1])
        out = History(
            indptr=bounds,
            item=np.empty(n, np.int32),
            behaviour=np.empty(n, np.uint8),
            time=np.empty(n, np.int64),
            value=np.empty(n, np.float32),
        )
        gather_histories(
            bounds=bounds,
            ends=ends,
            newest=newest,
            previous=self._chains.previous,
            base=self._base,
            new=self._new,
            item=out.item,
            behaviour=out.behaviour,
            time=out.time,
            value=out.value,
        )
        return out

    def seen(self, user: Int32, time: Int64) -> Ragged:
        """Per query the distinct item rows of the user's events before `time` (ms), ascending.

        Impressions do not count.
        """
        history = self.at(user, time)
        values = np.empty(len(history.item), np.int32)
        bounds = np.zeros(len(history) + 1, np.int64)
        n = sorted_unique(
            indptr=history.indptr,
            item=history.item,
            behaviour=history.behaviour,
            wanted=self._seen,
            out=values,
            bounds=bounds,
        )
        return Ragged(bounds, values[:n])

    def most_frequent(self, n: int) -> Int32:
        """At most n item rows, those with the most events first, equal ones in the order of the
        table; forgotten events do not count.

        The first call counts all events. Later calls cost a pass over the counts of the items if
        an event came since, and nothing else.
        """
        if self._counts is None:
            new = self._new_user[: self._added] >= 0
            items = self._base.item
            items = items[self._base.arrival != _GONE] if self._forgot else items
            self._counts = np.bincount(np.concatenate([items, self._new.item[: self._added][new]]))
        limit, found = self._frequent
        if limit != n:
            found = _largest(self._counts, n)
            self._frequent = n, found
        return found

    def _count(self, items: Int32, by: int) -> None:
        """Adds `by` to the counts of items (m,), repeated ones as often, if they are in use."""
        self._frequent = -1, self._frequent[1]
        if self._counts is None or not len(items):
            return
        change = by * np.bincount(items, minlength=len(self._counts))
        change[: len(self._counts)] += self._counts
        self._counts = change

    def add(self, events: Events) -> int:
        """Appends events, in the order of the log; returns how many were new.

        Events that arrived before `end` are in the base already and are left out, as are those of
        unknown items and users (-1). A user row beyond the table starts a new history. The cost is
        proportional to the number of new events.
        """
        fresh = (events.arrival >= self.end) & (events.user >= 0) & (events.item >= 0)
        if len(self._base.item) == 0 or not fresh.all():
            events = events.take(fresh)
        if not len(events):
            return 0
        self._reserve(len(events), int(events.user.max()) + 1)
        place = slice(self._added, self._added + len(events))
        for name, column in zip(_COLUMNS, self._new, strict=True):
            column[place] = getattr(events, name)
        self._new_user[place] = events.user
        chain_events(
            user=events.user,
            first=self._added,
            head=self._chains.head,
            previous=self._chains.previous,
            arrival=self._new.arrival,
            time=self._new.time,
        )
        self._added += len(events)
        self._count(events.item, 1)
        return len(events)

    def forget(self, user: int) -> None:
        """Removes the events of a user row; events that are added later count again."""
        self._forgot = True
        if user < self.n_users:
            own = slice(self._indptr[user], self._indptr[user + 1])
            self._count(self._base.item[own][self._base.arrival[own] != _GONE], -1)
            self._base.arrival[own] = _GONE
        if user < len(self._chains.head):
            self._chains.head[user] = -1
            mine = np.flatnonzero(self._new_user[: self._added] == user)
            self._count(self._new.item[mine], -1)
            self._new_user[mine] = -1

    def appended(self) -> dict[str, NDArray[Any]]:
        """The events that were added and not forgotten, for `restore`: one array per column."""
        kept = np.flatnonzero(self._new_user[: self._added] >= 0)
        columns = {name: column[kept] for name, column in self._new._asdict().items()}
        return columns | {"user": self._new_user[kept]}

    def restore(self, appended: Mapping[str, NDArray[Any]]) -> None:
        """Adds what `appended` returned to histories that were just opened."""
        n = len(appended["user"])
        columns: dict[str, Any] = {name: appended[name] for name in ("user", *_COLUMNS)}
        columns["request"], columns["position"] = np.full(n, -1, np.int64), np.zeros(n, np.int16)
        self.add(Events(**columns))

    def _reserve(self, events: int, users: int) -> None:
        """Grows the arrays for `events` more events and `users` users, at least twofold."""
        head, previous = self._chains
        if users > len(head):
            head = _grown(head, max(users, 2 * len(head)), -1)
        if self._added + events > len(previous):
            size = max(self._added + events, 2 * len(previous), 1024)
            previous = _grown(previous, size, -1)
            self._new = Columns(*(_grown(c, size, 0) for c in self._new))
            self._new_user = _grown(self._new_user, size, 0)
        self._chains = Chains(head, previous)

    def save(self, directory: Path) -> None:
        """Writes one array per file, with the appended events merged into the base."""
        whole = self._merged()
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "indptr.npy", whole._indptr)
        np.save(directory / "seen.npy", whole._seen)
        for name, column in zip(_COLUMNS, whole._base, strict=True):
            np.save(directory / f"{name}.npy", column)
        (directory / "histories.json").write_text(json.dumps({"end": whole.end}))

    @classmethod
    def load(cls, directory: Path) -> Histories:
        """Opens what `save` wrote, memory-mapped.

        Raises VersionError if a file is missing or damaged.
        """
        end = read_json(directory / "histories.json", end=int)["end"]
        indptr = opened(directory / "indptr.npy", np.int64, (None,))
        item = opened(directory / "item.npy", np.int32, (None,))
        if not len(indptr) or indptr[0] != 0 or indptr[-1] != len(item):
            raise VersionError(
                f"{directory / 'indptr.npy'} is damaged: it does not divide the {len(item)} "
                f"events of {directory / 'item.npy'} among users. {ADVICE}"
            )
        types = {"behaviour": np.uint8, "time": np.int64, "arrival": np.int64, "value": np.float32}
        rest = {n: opened(directory / f"{n}.npy", t, (len(item),)) for n, t in types.items()}
        seen = read_array(directory / "seen.npy", np.bool_, (None,), mode=None)
        return cls(indptr, Columns(item=item, **rest), seen, end)

    def _merged(self) -> Histories:
        """The same histories with all events in the base."""
        if not self._added and not self._forgot:
            return self
        users = len(self._indptr) - 1
        user = np.repeat(np.arange(users, dtype=np.int32), np.diff(self._indptr))
        user = np.concatenate([user, self._new_user[: self._added]])
        columns: dict[str, Any] = {
            name: np.concatenate([old, new[: self._added]])
            for name, old, new in zip(_COLUMNS, self._base, self._new, strict=True)
        }
        n = len(user)
        events = Events(
            user=user, request=np.zeros(n, np.int64), position=np.zeros(n, np.int16), **columns
        )
        events = events.take((user >= 0) & (events.arrival != _GONE))
        end = max(self.end, int(events.arrival.max(initial=0)) + 1)
        return Histories._build(events, len(self._chains.head), self._seen, end)


def _largest(counts: Int64, n: int) -> Int32:
    """The places of the n largest counts above 0, largest first, equal ones ascending."""
    n = min(n, int(np.count_nonzero(counts)))
    if n <= 0:
        return np.zeros(0, np.int32)
    least = np.partition(counts, len(counts) - n)[len(counts) - n]
    more, equal = np.flatnonzero(counts > least), np.flatnonzero(counts == least)
    chosen = np.concatenate([more, equal[: n - len(more)]])
    return chosen[np.lexsort((chosen, -counts[chosen]))].astype(np.int32)


def _grown(array: NDArray[Any], size: int, fill: int) -> NDArray[Any]:
    """`array` extended to `size` rows by `fill`."""
    out = np.full(size, fill, array.dtype)
    out[: len(array)] = array
    return out
