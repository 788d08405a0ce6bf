"""The state that answers need beside a version: views of the journal, and its position."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np

from tamis.cascade import Queries, queries_at
from tamis.data import UNKNOWN, Context, Events
from tamis.filters import ExposedFilter
from tamis.journal import (
    DELETED_USER,
    Event,
    ItemDelete,
    ItemHide,
    ItemPatch,
    ItemPut,
    ItemShow,
    Journal,
    Numbered,
    UserDelete,
    UserPatch,
    UserPut,
)
from tamis.runtime import Int32
from tamis.schema import Side, StoreError, VersionError, reading
from tamis.service.assembly import Parts
from tamis.service.views.counters import CountersView
from tamis.service.views.event_arrays import EventReader
from tamis.service.views.exposure import ExposureView
from tamis.service.views.histories import HistoriesView
from tamis.service.views.items import ItemsView
from tamis.service.views.last_entry import LastEntry, Mark
from tamis.service.views.stages import StagesView
from tamis.service.views.users import UsersView

LEAST_PAGE, PAGE = 20, 2_000
"""Least and most entries read from the journal between two looks at the clock, where a request
waits; how many follows from what the last ones cost."""
LARGE_PAGE = 20_000
"""Entries read at once where no request waits."""
_USERS = (UserPut, UserPatch)
_ITEMS = (ItemPut, ItemPatch, ItemDelete, ItemHide, ItemShow)
_View = UsersView | ItemsView | HistoriesView | CountersView | ExposureView | StagesView
_FILE = "views.json"


class Views:
    """Users and items, histories, counters and shown items: of a version, and what came since.

    The state depends on the version and the entries applied alone: two services that have applied
    the same entries of one journal hold the same views, whatever the pages in which they read
    them. Reading never changes a view.

    Args:
        parts: the open version. Its tables, features, histories, statistics and stages receive
            what comes; the files on disk do not change.
        end: the end of the version's data, ms since 1970 UTC.
        position: number of the last entry of the journal that the version's data held; later ones
            are applied. None: the data held none; events that arrived before `end` are left out.
    """

    def __init__(self, parts: Parts, end: int, position: int | None = None) -> None:
        behaviours = tuple(parts.config.behaviours.values())
        impressions = np.array([b.impression for b in behaviours], np.bool_)
        exposed = [f for f in parts.filters.values() if isinstance(f, ExposedFilter)]
        self._parts = parts
        self._reader = EventReader(parts.config, end, leave_early=position is None)
        self.users = UsersView(parts.users)
        self.items = ItemsView(parts.items)
        self.histories = HistoriesView(parts.histories, ~impressions)
        self.counters = CountersView(parts.statistics)
        self.exposure = ExposureView(exposed, behaviours, len(parts.users))
        self.channels = StagesView(parts.channels)
        self.stages = StagesView(parts.rerank)
        self._new_rows = {Side.USER: set[int](), Side.ITEM: set[int]()}
        """Rows that the stages have not taken up yet."""
        self._start = self.position = position or 0
        """Sequence number of the last entry that was applied."""
        self._entry_seconds = float("inf")
        """Seconds that an entry of the last page took to read and to apply."""
        self.last = LastEntry()
        """By which a journal is noticed that lost its end."""
        self.earliest = end
        """The first time (ms) that can be answered for: after the arrival of every event."""
        self.items.apply([entry for entry in parts.withdrawn if isinstance(entry, _ITEMS)])
        self._take_up()

    @property
    def skipped(self) -> Counter[str]:
        """Events that could not be used, by reason."""
        return self._reader.skipped

    def catch_up(self, journal: Journal, seconds: float) -> int:
        """Applies what the journal holds, for at most about `seconds`; returns the lag in entries.

        Raises StoreError where the journal cannot be read.
        """
        until = perf_counter() + seconds
        head = journal.head
        if head < self.position:
            raise StoreError(
                f"the journal ends at entry {head}, and this service has applied entry "
                f"{self.position}: it lost its end or was replaced. Restore it, or train a new "
                "version and start the service again"
            )
        self.last.check(journal, self.position)
        while self.position < head:
            began = perf_counter()
            page = journal.read(self.position, self._page_size(until - began))
            if not page:  # trimmed, or skipped numbers
                self.position = head
                break
            self.apply(page)
            self.last.note(page[-1])
            now = perf_counter()
            self._entry_seconds = (now - began) / len(page)
            if now > until:
                break
        return max(head - self.position, 0)

    def _page_size(self, seconds: float) -> int:
        """Entries that take about half of `seconds`."""
        if seconds == float("inf"):
            return LARGE_PAGE
        wanted = seconds / 2 / max(self._entry_seconds, 1e-9)
        return int(min(max(wanted, LEAST_PAGE), PAGE))

    def apply(self, entries: Sequence[Numbered]) -> None:
        """Applies entries in the order of their numbers; those applied before are left out.

        The position moves with each run of entries of one kind. Where a run fails, the error is
        raised, and the next call begins with it; events, however, are never counted twice: of a
        run of events that fails while it is counted, the rest is lost.
        """
        fresh = [numbered for numbered in entries if numbered.sequence > self.position]
        try:
            for kind, run in groupby(fresh, _kind):
                self._apply_run(kind, list(run))
        finally:
            self._hand_on()

    def _apply_run(self, kind: str, run: Sequence[Numbered]) -> None:
        entries, last = [numbered.entry for numbered in run], run[-1].sequence
        if kind == "event":
            self._apply_events([entry for entry in entries if isinstance(entry, Event)], last)
        elif kind == "user":
            self.users.apply([entry for entry in entries if isinstance(entry, _USERS)])
            self._take_up()
        elif kind == "deletion":
            self._delete_users([entry for entry in entries if isinstance(entry, UserDelete)])
        else:
            self.items.apply([entry for entry in entries if isinstance(entry, _ITEMS)])
            self._take_up()
        self.position = last

    def _apply_events(self, entries: Sequence[Event], last: int) -> None:
        """Counts events; `last`: the number of the last one, to which the position moves before
        the first view counts."""
        used, code = self._reader.usable(entries)
        if not used:
            return
        time, arrival = self._reader.times(used)
        events = Events(
            user=self.users.rows_of([entry.user_id for entry in used]),
            item=self.items.rows_of([entry.item_id for entry in used]),
            behaviour=code.astype(np.uint8),
            time=time,
            arrival=arrival,
            value=np.array([np.nan if e.value is None else e.value for e in used], np.float32),
            request=np.full(len(used), -1, np.int64),
            position=np.array([entry.position or 0 for entry in used], np.int16),
        )
        self._take_up()
        if self.channels.counts or self.stages.counts:
            self._hand_on()  # events count for the item and the user as they are now
        self.position = last
        self.earliest = int(arrival[-1]) + 1
        self.counters.apply(events)
        self.channels.count(events)
        self.stages.count(events)
        self._apply_of_users(events)

    def _apply_of_users(self, events: Events) -> None:
        """Adds events to the histories, but those of users who were deleted later."""
        nobody = self.users.row(DELETED_USER)
        if nobody != UNKNOWN:
            events = events.take(events.user != nobody)
        if not len(events):
            return
        self.histories.apply(events)
        self.exposure.apply(events)
        self.stages.apply(events)

    def _delete_users(self, entries: Sequence[UserDelete]) -> None:
        """Every view forgets a user before its id is gone: an error in between leaves it known."""
        for entry in entries:
            row = self.users.row(entry.user_id)
            if row == UNKNOWN:
                self.users.remove_id(entry.user_id)
                continue
            for view in (self.counters, self.histories, self.exposure, self.stages):
                view.forget(row)
            self.users.remove(row)
        self._take_up()

    def _take_up(self) -> None:
        """Makes counters of new rows, and of new values of changed ones: the next events count
        for these."""
        for side, view in ((Side.USER, self.users), (Side.ITEM, self.items)):
            rows = view.fresh()
            if len(rows):
                self._parts.count_rows(side, rows)
                self._new_rows[side].update(rows.tolist())
                view.fresh_taken()

    def _hand_on(self) -> None:
        """Tells features and stages which rows are new or changed."""
        for side, rows in self._new_rows.items():
            if rows:
                self._parts.take_up(side, np.array(sorted(rows), np.int32))
                rows.clear()

    def user_row(self, user: str | None) -> int:
        """The user's row; UNKNOWN (-1) for one that neither the version nor an entry knows."""
        return self.users.row(user)

    def queries(self, row: int, time: int, context: Context | None) -> Queries:
        """The query of one user row (`user_row`) at `time` (ms), with the history before it."""
        rows, times = np.array([row], np.int32), np.array([time], np.int64)
        return queries_at(self._parts.histories, rows, times, context=context)

    def excluded(self, row: int, time: int) -> Int32:
        """Item rows that no answer at `time` (ms) may hold: hidden and deleted items, those shown
        to the user since the version was made, and new items where a filter or a rule of the
        version cannot judge them; ascending."""
        full = [rows for rows in self.excluded_by(row, time).values() if len(rows)]
        return np.unique(np.concatenate(full)) if full else np.zeros(0, np.int32)

    def excluded_by(self, row: int, time: int) -> dict[str, Int32]:
        """Why `excluded` holds items → their rows."""
        return {
            "hidden or deleted": self.items.never(),
            f"filter exposed: {self.exposure.reason}": self.exposure.shown(row, time),
            "new, and a stage of this version cannot judge it": self._parts.unjudged_items(),
        }

    def why_excluded(self, row: int, time: int, item: int) -> str | None:
        """Why `excluded` holds an item row; None where it does not."""
        if self.items.is_deleted(item):
            return "deleted: PUT or PATCH of /v1/items/ID undoes it"
        if self.items.is_hidden(item):
            return "hidden: POST /v1/items/ID/show undoes it"
        if item in self.exposure.shown(row, time):
            return f"filter exposed: {self.exposure.reason}"
        if item in self._parts.unjudged_items():
            return "new: a filter or a re-rank rule of this version has no update_items"
        return None

    def snapshot(self, folder: Path) -> None:
        """Writes the state since the version, and the position up to which it holds, into a new
        folder; the cost is that of what changed since the version."""
        for name, view in self._views():
            view.snapshot(folder / name)
        facts = {
            "position": self.position,
            "last": msgspec.to_builtins(self.last.mark),
            "earliest": self.earliest,
            "newest": self._reader.newest,
            "skipped": dict(self.skipped),
        }
        (folder / _FILE).write_text(json.dumps(facts))

    def restore(self, folder: Path) -> None:
        """Brings views that were just made of the same version to the state of a snapshot.

        Raises VersionError where the snapshot is damaged; then these views must not be used.
        """
        if self.position != self._start:
            raise VersionError(f"{folder}: a snapshot is restored before entries are applied")
        with reading(folder):
            facts = json.loads((folder / _FILE).read_text("utf-8"))
            for name, view in self._views():
                view.restore(folder / name)
                if name == "items":
                    self._take_up()
                    self._hand_on()  # the channels' state is that of these rows
            self._reader.newest, self.earliest = int(facts["newest"]), int(facts["earliest"])
            self._reader.skipped.update(facts["skipped"])
            self.position = int(facts["position"])
            self.last.mark = msgspec.convert(facts["last"], Mark | None)
        self._hand_on()

    def _views(self) -> Iterator[tuple[str, _View]]:
        yield "users", self.users
        yield "items", self.items
        yield "histories", self.histories
        yield "counters", self.counters
        yield "exposure", self.exposure
        yield "channels", self.channels
        yield "stages", self.stages


def _kind(numbered: Numbered) -> str:
    entry = numbered.entry
    if isinstance(entry, Event):
        return "event"
    if isinstance(entry, UserDelete):
        return "deletion"
    return "user" if isinstance(entry, _USERS) else "item"
