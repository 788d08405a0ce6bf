"""State that answers need and that changes while a version serves: a function of the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from time import perf_counter

import numpy as np

from tamis.cascade import Queries, queries_at
from tamis.data import UNKNOWN, Context, Events
from tamis.filters import ExposedFilter
from tamis.journal import Event, ItemHide, ItemShow, Journal, Numbered
from tamis.runtime import Int32
from tamis.schema import StoreError
from tamis.service.assembly import Parts
from tamis.stores import month_of

PAGE = 2_000
"""Entries read from the journal at once."""


class Views:
    """Histories, statistics, shown items and hidden items: those of a version, and what came since.

    The state depends on the version and the entries applied alone: two services that have applied
    the same entries of one journal hold the same views. Reading never changes a view.

    Args:
        parts: the open version. Its histories and statistics receive the events; the files on disk
            do not change.
        end: the end of the version's data, ms since 1970 UTC.
    """

    def __init__(self, parts: Parts, end: int) -> None:
        self._parts = parts
        self._codes = {b.name: code for code, b in enumerate(parts.config.behaviours.values())}
        self._impressions = np.array([b.impression for b in parts.config.behaviours.values()])
        self._new_users: dict[str, int] = {}
        self._hidden: set[int] = set()
        self._shown: dict[int, list[tuple[int, int]]] = {}
        self._exposed = [f for f in parts.filters.values() if isinstance(f, ExposedFilter)]
        self._counted = self._impressions.copy()
        """(behaviours,) events after which the item counts as shown."""
        named = {name for f in self._exposed for name in f.config.behaviours}
        if named:
            self._counted = np.array([name in named for name in parts.config.behaviours])
        self._newest = end
        """Arrival of the last event (ms), at least the end of the version's data."""
        self.position = 0
        """Sequence number of the last entry that was applied."""
        self._end = end
        self.earliest = end
        """The first time (ms) that can be answered for: after the arrival of every event."""
        self.skipped: Counter[str] = Counter()
        """Events that could not be used, by reason."""

    def catch_up(self, journal: Journal, seconds: float) -> int:
        """Applies what the journal holds, for at most about `seconds`; returns the lag in entries.

        Raises StoreError where the journal cannot be read.
        """
        until = perf_counter() + seconds
        head = journal.head
        if head < self.position:
            raise StoreError(
                f"the journal ends at entry {head}, and this service has applied entry "
                f"{self.position}: it lost its end or was replaced. Start the service again"
            )
        while self.position < head:
            page = journal.read(self.position, PAGE)
            if not page:  # trimmed, or skipped numbers
                self.position = head
                break
            self.apply(page)
            if perf_counter() > until:
                break
        return max(head - self.position, 0)

    def apply(self, entries: Sequence[Numbered]) -> None:
        """Applies entries in the order of their numbers; those applied before are left out."""
        fresh = [numbered for numbered in entries if numbered.sequence > self.position]
        self._add([n.entry for n in fresh if isinstance(n.entry, Event)])
        for _, entry in fresh:
            if isinstance(entry, ItemHide):
                self._hidden.add(self._parts.items.row(entry.item_id))
            elif isinstance(entry, ItemShow):
                self._hidden.discard(self._parts.items.row(entry.item_id))
        if fresh:
            self.position = fresh[-1].sequence

    def user_row(self, user: str | None) -> int:
        """The user's row; of a user that came after the version a row beyond its table, in the
        order of their first events; UNKNOWN (-1) for one without any."""
        if user is None:
            return UNKNOWN
        row = self._parts.users.row(user)
        return self._new_users.get(user, UNKNOWN) if row == UNKNOWN else row

    def queries(self, row: int, time: int, context: Context | None) -> Queries:
        """The query of one user row (`user_row`) at `time` (ms), with the history before it.

        The stages know a user that came after the version by the history alone.
        """
        rows, times = np.array([row], np.int32), np.array([time], np.int64)
        queries = queries_at(self._parts.histories, rows, times, context=context)
        return queries if row < len(self._parts.users) else queries.of_unknown_users()

    def excluded(self, row: int, time: int) -> Int32:
        """Item rows that no answer at `time` (ms) may hold: hidden items, and those shown to the
        user since the version was made; ascending."""
        found = {item for item in self._hidden if item != UNKNOWN}
        found.update(self._shown_lately(row, time))
        return np.array(sorted(found), np.int32)

    def why_excluded(self, row: int, time: int, item: int) -> str | None:
        """Why `excluded` holds an item row; None where it does not."""
        if item in self._hidden:
            return "hidden: POST /v1/items/ID/show undoes it"
        if item in self._shown_lately(row, time):
            return f"filter exposed: {self._exposed[0].reason}"
        return None

    def _shown_lately(self, row: int, time: int) -> set[int]:
        """The item rows shown to the user in the months that the filter reads."""
        shown = self._shown.get(row)
        if not shown or not self._exposed:
            return set()
        months = max(f.config.months for f in self._exposed)
        since = int(month_of(np.array([time]))[0]) - months
        return {item for item, month in shown if month > since}

    def _add(self, entries: Sequence[Event]) -> None:
        known = [entry for entry in entries if self._usable(entry)]
        if not known:
            return
        events = self._events(known)
        self.earliest = int(events.arrival[-1]) + 1
        self._parts.statistics.add(events)
        self._remember_shown(events)
        acted = ~self._impressions[events.behaviour]
        if acted.any():
            self._parts.histories.add(events.take(acted))

    def _usable(self, entry: Event) -> bool:
        arrival = entry.arrival
        if self._parts.config.events.arrival is None:  # the log takes an event's time for it
            arrival = min(arrival, entry.time)
        if arrival < self._end:
            self.skipped["it arrived before the end of the version's data"] += 1
            return False
        if entry.behaviour not in self._codes:
            self.skipped["the version does not know the behaviour"] += 1
            return False
        if self._parts.items.row(entry.item_id) == UNKNOWN:
            self.skipped["the version does not know the item"] += 1
            return False
        return True

    def _events(self, entries: Sequence[Event]) -> Events:
        """The entries as arrays. Arrivals never decrease: clocks of several machines may differ."""
        arrival = np.array([entry.arrival for entry in entries], np.int64)
        arrival = np.maximum.accumulate(np.maximum(arrival, self._newest))
        self._newest = int(arrival[-1])
        items = self._parts.items
        return Events(
            user=np.array([self._row_of(entry.user_id) for entry in entries], np.int32),
            item=np.array([items.row(entry.item_id) for entry in entries], np.int32),
            behaviour=np.array([self._codes[entry.behaviour] for entry in entries], np.uint8),
            time=np.minimum(np.array([entry.time for entry in entries], np.int64), arrival),
            arrival=arrival,
            value=np.array(
                [np.nan if entry.value is None else entry.value for entry in entries], np.float32
            ),
            request=np.full(len(entries), -1, np.int64),
            position=np.array([entry.position or 0 for entry in entries], np.int16),
        )

    def _row_of(self, user: str) -> int:
        row = self._parts.users.row(user)
        if row != UNKNOWN:
            return row
        return self._new_users.setdefault(user, len(self._parts.users) + len(self._new_users))

    def _remember_shown(self, events: Events) -> None:
        """Keeps the impressions by user, where a filter removes what was shown."""
        if not self._exposed:
            return
        at = np.flatnonzero(self._counted[events.behaviour])
        months = month_of(events.time[at])
        for user, item, month in zip(
            events.user[at].tolist(), events.item[at].tolist(), months.tolist(), strict=True
        ):
            self._shown.setdefault(user, []).append((item, month))
