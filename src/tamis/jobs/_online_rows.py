"""The events of a journal as labelled rows in the order of time, each with inputs as of its moment.

The journal's entries wait in a tail until the answers to their impressions can have come. Then they
are applied to the views of a version in small portions, and the inputs of each portion's
impressions are made before it is applied, by the code that makes those of requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tamis.cascade import Hydrate, impression_labels, shown_candidates
from tamis.data import Dataset, Events
from tamis.features import Batch
from tamis.journal import Event, ItemDelete, Journal, Numbered, UserDelete
from tamis.runtime import Float32, Int32, Int64
from tamis.schema import OnlineConfig
from tamis.service import Recommender, entry_events

PAGE = 10_000
"""Entries that are read from the journal at once."""
PORTION = 256
"""Most entries that are applied at once: inputs of an impression know all entries but those of its
own portion. A portion also ends before the next request of a user who has acted in it."""
MOST = 100_000
"""Most entries of one update; the next one goes on with the others."""

Use = Literal["none", "shown", "action"]


@dataclass(frozen=True, slots=True)
class _Read:
    """An entry of the tail."""

    numbered: Numbered
    use: Use
    """Whether it is an event to learn from, and of which kind."""
    time: int
    """Of an event, ms."""
    came: int
    """When an event reached the service, or this process where that time is not the machine's."""


@dataclass(frozen=True, eq=False)
class LearningRows:
    """Labelled impressions in the order of their times, and what else a stretch of entries says."""

    ids: Int32
    """(n, W) rows of the ranker's fused table."""
    dense: Float32
    """(n, D) numbers."""
    labels: Float32
    """(n, T), NaN where a task has none."""
    actions: Events
    """The positive events and others that are no impressions, in the order of their times, with the
    rows of users and items after the stretch."""
    came: Int64
    """(m,) when each event reached the service, ms."""
    times: Int64
    """(m,) when each event happened, ms."""
    until: int
    """Number of the last entry."""
    user_ids: tuple[str, ...] = ()
    """(m,) the user of each event."""
    item_ids: tuple[str, ...] = ()
    """(m,) the item of each event."""
    users: tuple[str, ...] = ()
    """Users that were deleted."""
    items: tuple[str, ...] = ()
    """Items that were deleted."""

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows in their order, `size` at a time."""
        for at in range(0, len(self), size):
            part = slice(at, at + size)
            ids, dense, labels = self.ids[part], self.dense[part], self.labels[part]
            yield Batch(torch.from_numpy(ids), torch.from_numpy(dense), torch.from_numpy(labels))


@dataclass
class EventFeed:
    """Reads a journal from the position of the views of an open version on.

    Args:
        recommender: the version; its views are moved on.
        journal: the project's journal.
        options: how long events are waited for.
        machine_clock: whether arrivals are times of the machine's clock.
        newest: time of the newest event so far, ms.
    """

    recommender: Recommender
    journal: Journal
    options: OnlineConfig
    machine_clock: bool
    newest: int
    taken: int = 0
    """Time of the newest event that was taken, ms."""
    late: int = 0
    """Events that came too late to be learnt from."""
    _tail: list[_Read] = field(default_factory=list[_Read])

    def __post_init__(self) -> None:
        parts, manifest = self.recommender.parts, self.recommender.manifest
        config = parts.config
        self._config = config
        self._shown = {name for name, b in config.behaviours.items() if b.impression}
        self._end = 0 if manifest.journal_position is not None else manifest.data_until
        self._hydrate = Hydrate(parts.space, parts.statistics)
        self._behaviours = tuple(config.behaviours.values())
        self.taken = self.newest
        self._last = self._head = self.recommender.views.position

    @property
    def position(self) -> int:
        """Number of the last entry that was taken."""
        return self.recommender.views.position

    @property
    def waiting(self) -> int:
        """Entries that were read and not taken yet."""
        return len(self._tail)

    def waiting_text(self) -> str:
        """How many entries wait, and for what."""
        options = self.options
        return (
            f"{self.waiting:,} entries wait: an impression is learnt from {options.wait} + "
            f"{options.lateness} after it, when its clicks have come ([online] wait, lateness)"
        )

    @property
    def behind(self) -> bool:
        """Whether the journal held more than the last call of `read` has read."""
        return self._last < self._head

    def read(self, now: int) -> None:
        """Reads what the journal holds by now, at most `MOST` entries. `now`: ms since 1970.

        Raises StoreError where it cannot be read.
        """
        self._head, most = self.journal.head, len(self._tail) + MOST
        while self.behind and len(self._tail) < most:
            page = self.journal.read(self._last, PAGE)
            if not page:  # numbers were skipped
                self._last = self._head
            else:
                self._tail += [self._noted(one, now) for one in page]
                self._last = page[-1].sequence

    def _noted(self, numbered: Numbered, now: int) -> _Read:
        entry = numbered.entry
        if not isinstance(entry, Event):
            return _Read(numbered, "none", 0, 0)
        time = min(entry.time, entry.arrival)
        arrival = entry.arrival if self._config.events.arrival is not None else time
        came = entry.arrival if self.machine_clock else now
        if entry.behaviour not in self._config.behaviours or arrival < self._end:
            return _Read(numbered, "none", time, came)
        if self.newest - time > self.options.lateness_ms:
            self.late += 1
            return _Read(numbered, "none", time, came)
        self.newest = max(self.newest, time)
        return _Read(numbered, "shown" if entry.behaviour in self._shown else "action", time, came)

    def due(self, now: int) -> int:
        """How many entries of the tail can be taken: those before the first impression that is
        still waited for. `now`: ms since 1970, the time of the events' clock."""
        known = max(self.newest, now) - self.options.lateness_ms - self.options.wait_ms
        for n, one in enumerate(self._tail[:MOST]):
            if one.use == "shown" and one.time > known:
                return n
        return min(len(self._tail), MOST)

    def take(self, n: int) -> LearningRows:
        """The rows of the first n entries of the tail, which the views hold afterwards."""
        events = [one for one in self._tail if one.use != "none"]
        numbers = {one.numbered.sequence: k for k, one in enumerate(events)}
        users, items = self.recommender.parts.users, self.recommender.parts.items
        entries = [one.numbered for one in events]
        known = entry_events(entries, self._config, users, items)
        taken, self._tail = self._tail[:n], self._tail[n:]
        ids: list[Int32] = []
        dense: list[Float32] = []
        rows: list[NDArray[np.intp]] = []
        for portion in _portions(taken):
            at = [numbers[one.numbered.sequence] for one in portion if one.use == "shown"]
            if at:
                batch, of = self._inputs(known, np.array(at), entries)
                ids.append(batch.ids.numpy())
                dense.append(batch.dense.numpy())
                rows.append(of)
            self.recommender.views.apply([one.numbered for one in portion])
        done = np.array([numbers[t.numbered.sequence] for t in taken if t.use != "none"], np.intp)
        known = self._in_rows(known, entries)
        row = np.concatenate(rows) if rows else np.zeros(0, np.intp)
        acted = np.array([one.use == "action" for one in events], np.bool_)
        layout = self.recommender.parts.space.layout
        chosen = [events[k] for k in done.tolist()]
        self.taken = max([self.taken, *(one.time for one in chosen)])
        deleted = [one.numbered.entry for one in taken]
        return LearningRows(
            ids=np.concatenate(ids) if ids else np.zeros((0, layout.id_width), np.int32),
            dense=np.concatenate(dense) if dense else np.zeros((0, layout.dense_width), np.float32),
            labels=self._labels(known, entries, row),
            actions=_by_time(known.take(done[acted[done]])),
            came=np.array([one.came for one in chosen], np.int64),
            times=np.array([one.time for one in chosen], np.int64),
            until=self.position,
            user_ids=tuple(entry.user_id for entry in _events(chosen)),
            item_ids=tuple(entry.item_id for entry in _events(chosen)),
            users=tuple(e.user_id for e in deleted if isinstance(e, UserDelete)),
            items=tuple(e.item_id for e in deleted if isinstance(e, ItemDelete)),
        )

    def _inputs(
        self, events: Events, at: NDArray[np.intp], entries: Sequence[Numbered]
    ) -> tuple[Batch, NDArray[np.intp]]:
        """The inputs of the impressions `at` (m,), in the order of their times, with what the views
        know; and the event of each."""
        parts = self.recommender.parts
        shown = self._in_rows(events.take(at), [entries[k] for k in at.tolist()])
        queries, candidates, rows = shown_candidates(
            shown,
            np.arange(len(at)),
            parts.histories,
            positions=bool(self._config.events.position),
        )
        order = np.argsort(shown.time[rows], kind="stable")
        batch = self._hydrate(queries, candidates).take(torch.from_numpy(order))
        return batch, at[rows[order]]

    def _in_rows(self, events: Events, entries: Sequence[Numbered]) -> Events:
        """The events with the rows that their users and items have now."""
        parts = self.recommender.parts
        named = [one.entry for one in entries]
        assert all(isinstance(entry, Event) for entry in named)
        users = [entry.user_id for entry in named if isinstance(entry, Event)]
        items = [entry.item_id for entry in named if isinstance(entry, Event)]
        return replace(
            events,
            user=parts.users.rows_of_texts(users),
            item=parts.items.rows_of_texts(items),
        )

    def _labels(
        self, events: Events, entries: Sequence[Numbered], row: NDArray[np.intp]
    ) -> Float32:
        """(n, T) labels of the impressions `row` (n,) by the events of the tail."""
        users = {one.entry.user_id for one in entries if isinstance(one.entry, Event)}
        items = {one.entry.item_id for one in entries if isinstance(one.entry, Event)}
        user, item = ({name: k for k, name in enumerate(s)} for s in (users, items))
        named = [one.entry for one in entries if isinstance(one.entry, Event)]
        own = replace(  # of ids, as some have no rows yet
            events,
            user=np.array([user[entry.user_id] for entry in named], np.int32),
            item=np.array([item[entry.item_id] for entry in named], np.int32),
        )
        parts = self.recommender.parts
        data = Dataset(parts.users, parts.items, own, self._behaviours)
        shown = np.flatnonzero(~data.seen)
        labels = impression_labels(self._config, data, shown, events.item[shown])
        return labels[np.searchsorted(shown, row)]


def _events(entries: Sequence[_Read]) -> Iterator[Event]:
    return (one.numbered.entry for one in entries if isinstance(one.numbered.entry, Event))


def _portions(entries: Sequence[_Read]) -> Iterator[list[_Read]]:
    """The entries in portions, each of which ends before a user who has acted in it is shown the
    items of another request."""
    portion, acted, shown = list[_Read](), set[str](), set[tuple[str, object]]()
    for one in entries:
        entry = one.numbered.entry
        user = entry.user_id if isinstance(entry, Event) else ""
        request = (user, (isinstance(entry, Event) and entry.recommendation_id) or one.time)
        again = one.use == "shown" and user in acted and request not in shown
        if len(portion) == PORTION or again:
            yield portion
            portion, acted, shown = [], set(), set()
        portion.append(one)
        if one.use == "action":
            acted.add(user)
        elif one.use == "shown":
            shown.add(request)
    if portion:
        yield portion


def _by_time(events: Events) -> Events:
    return events.take(np.argsort(events.time, kind="stable"))
