"""`tamis update --follow`: vectors of ids learn from the journal's events, published as deltas.

One process per project follows the journal: what was appended since the last delta is learnt from
in the order of time, in one pass, and what changed is published as the next delta of the serving
version. It keeps nothing else: after a crash, the version and its deltas give the state back.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tamis.bundle import (
    Delta,
    DeltaChain,
    DeltaFolder,
    IdChange,
    Kind,
    RowChange,
    VectorChange,
    Version,
    Versions,
)
from tamis.jobs._admission import Admission
from tamis.jobs._online_ranker import OnlineRanker
from tamis.jobs._online_rows import EventFeed, LearningRows
from tamis.jobs._online_towers import OnlineTwoTower
from tamis.journal import Event, Journal, Numbered, WholeJournal, open_journal
from tamis.recall import TwoTower
from tamis.runtime import Float64, Int32, Progress
from tamis.schema import ConfigError, OnlineConfig, Side, VersionError
from tamis.service import Parts, ProjectFolder, Recommender, apply_delta, check_delta
from tamis.train import torch_threads

log = logging.getLogger("tamis.jobs")

KEPT = 100_000
"""Latest events whose times until publication a report sums up."""


@dataclass
class FollowReport:
    """What incremental updates have published."""

    version: str = ""
    """The version that was changed last."""
    delta: int = 0
    """Number of its newest delta."""
    deltas: int = 0
    """Deltas that were published."""
    position: int = 0
    """Number of the journal's last entry that was learnt from, or passed over."""
    rows: int = 0
    """Impressions that were learnt from."""
    events: int = 0
    """Events that were learnt from, impressions included."""
    late: int = 0
    """Events that came too late ([online] lateness)."""
    waiting: int = 0
    """Entries of the journal that wait for later ones."""
    changed: int = 0
    """Vectors in the deltas."""
    admitted: int = 0
    """New ids that got vectors of their own."""
    crowded: int = 0
    """New ids that had enough events, and found no spare row; once per delta."""
    expired: int = 0
    """Ids that are unseen from now on, as they had no event for long."""
    seconds_p50: float | None = None
    """Median seconds from an event's arrival to the delta that holds it, by the machine's clock."""
    seconds_p99: float | None = None
    """99 % of the events took at most so long."""
    event_seconds_p50: float | None = None
    """The same in event time: from the event to the newest event that had been read then."""
    event_seconds_p99: float | None = None
    notes: list[str] = field(default_factory=list[str])
    """Parts of the version that do not learn, and why."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def follow(
    project: Path | str,
    *,
    every: float = 60.0,
    once: bool = False,
    ended: threading.Event | None = None,
    on_delta: Callable[[Delta], None] | None = None,
    progress: bool = False,
) -> FollowReport:
    """Learns from what the journal holds, and goes on with what comes, until it is ended.

    Each `every` seconds it learns from new events whose answers have been waited for (`[online]
    wait`), and publishes a delta if there were any; a backlog is worked off without waiting. When
    another version is published, it goes on with that one.

    Args:
        project: the project's folder.
        every: seconds from one update to the next.
        once: learn from what the journal holds now, and return.
        ended: set it to make the call return after the update that runs.
        on_delta: called with each delta that was published.
        progress: whether to report progress on standard error.

    Raises ConfigError where nothing of the version can learn, with the reasons; VersionError where
    a delta is damaged, or another process follows; StoreError where the journal cannot be read.
    """
    if every < 0:
        raise ConfigError(f"every = {every:g} seconds: give 0 or more")
    folder = ProjectFolder(Path(project))
    report, ended = FollowReport(), ended or threading.Event()
    lags = _Lags()
    with Progress("follow", progress) as shown, torch_threads(1):
        while not ended.is_set():
            version = Versions(folder.root).current(Kind.SERVING)
            shown.begin(f"follow the journal from version {version.name}")
            with ExitStack() as stack:
                session = stack.enter_context(_Session(folder, version))
                report.version, report.notes = version.name, session.notes
                for note in session.notes:
                    shown.message(f"does not learn: {note}")
                for delta in session.run(every, once, ended, shown.message):
                    lags.add(*session.lags)
                    _count(report, delta)
                    shown.message(_line(delta))
                    if on_delta is not None:
                        on_delta(delta)
                report.position, report.delta = session.position, session.number
                report.late += session.unreported
                report.waiting = session.waiting
            del session
            gc.collect()  # closes the version, so that it may be removed
            if once:
                break
    lags.report(report)
    return report


class _Session:
    """Follows the journal from one version.

    Args:
        folder: the project.
        version: the base of the deltas.
    """

    def __init__(self, folder: ProjectFolder, version: Version) -> None:
        self._folder, self._version = folder, version
        self._chain, self._deltas = DeltaChain(version), DeltaFolder(version)
        self._stack = ExitStack()
        self.lags = np.zeros(0), np.zeros(0)
        """Of each event in the last delta: seconds from its arrival, by the machine's clock, and
        from the event itself, in event time."""

    def __enter__(self) -> _Session:
        with ExitStack() as stack:
            stack.enter_context(self._deltas.lock())
            self._recommender = Recommender(self._version)
            options = self._folder.config.online
            self._learners, self.notes = learners_of(self._recommender.parts, options)
            parts, end = self._recommender.parts, self._version.manifest.data_until
            self._admissions = Admission.of(parts, end)
            newest = self._restore()
            journal = _opened(self._folder)
            stack.callback(journal.close)
            self._feed = self._follow(journal, options, newest)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def position(self) -> int:
        """Number of the last entry that was taken."""
        return self._feed.position

    @property
    def number(self) -> int:
        """Number of the newest delta."""
        return self._chain.number

    @property
    def waiting(self) -> int:
        """Entries that wait for later ones."""
        return self._feed.waiting

    @property
    def unreported(self) -> int:
        """Late events since the last delta."""
        return self._feed.late

    def run(
        self, every: float, once: bool, ended: threading.Event, say: Callable[[str], None]
    ) -> Iterator[Delta]:
        """The deltas as they are published, until another version is, or `ended` is set; says when
        events begin to wait for the first of them."""
        told = False
        while not ended.is_set():
            began = time.monotonic()
            self._feed.read(_now())
            clock = self._clock()  # once: what becomes due while it learns is for the next turn
            due = self._feed.due(clock)
            if due:
                delta = self._update(self._feed.take(due))
                if delta is not None:
                    yield delta
            if self._feed.due(clock) or self._feed.behind:
                continue
            if self._feed.waiting and not self.number and not told:
                told = True
                say(self._feed.waiting_text())
            if once or self._replaced():
                return
            ended.wait(max(every - (time.monotonic() - began), 0.01))

    def _update(self, rows: LearningRows) -> Delta | None:
        """Learns from rows and publishes what changed; None where nothing did."""
        learnt = dict[str, dict[str, float]]()
        for learner in self._learners:
            n, total = learner.learn(rows)
            learnt[learner.part] = {"rows": n} | ({"loss": total / n} if n else {})
        for learner in self._learners:
            for side, ids in ((Side.USER, rows.users), (Side.ITEM, rows.items)):
                self._forgotten[learner.part].update(learner.forget(side, ids).tolist())
        self._change_ids(rows)
        self._came.append(rows.came)
        self._times.append(rows.times)
        tables, vectors = dict[str, RowChange](), dict[str, VectorChange]()
        for learner in self._learners:
            change = learner.change()
            if len(change.rows):
                tables[learner.part] = change
                found = learner.vectors(change)
                if found is not None:
                    vectors[learner.part] = found
        if not tables and not self._ids:
            return None
        created = _now()
        came, times = np.concatenate(self._came), np.concatenate(self._times)
        wall, event = (created - came) / 1000, (self._feed.newest - times) / 1000
        facts: dict[str, Any] = {
            "rows": len(rows),
            "events": len(came),
            "late": self._feed.late,
            "admitted": sum(len(change.admitted) for change in self._ids.values()),
            "expired": sum(len(change.expired) for change in self._ids.values()),
            "crowded": sum(one.take_crowded() for one in self._admissions),
            "learnt": learnt,
            "seconds": _quantiles(wall),
            "event_seconds": _quantiles(event),
        }
        delta = Delta(
            base=self._version.name,
            base_checksum=self._version.manifest.checksum,
            number=self._chain.number + 1,
            before=self._chain.checksum,
            since=self._since,
            position=self._feed.position,
            created=created,
            newest=self._feed.taken,
            tables=tables,
            vectors=vectors,
            tombstones={
                part: np.array(sorted(rows), np.int32)
                for part, rows in self._forgotten.items()
                if rows
            },
            ids=self._ids,
            facts=facts,
        )
        delta = self._deltas.publish(delta)
        self._chain.advance(delta)
        self._feed.late, self._since = 0, delta.position
        self._came, self._times, self.lags = [], [], (wall, event)
        self._forgotten.clear()
        self._ids = {}
        return delta

    def _change_ids(self, rows: LearningRows) -> None:
        """Gives rows to new ids, and takes them from expired ones; the next update learns them."""
        parts = self._recommender.parts
        for one in self._admissions:
            of_users = parts.space.side_of(one.feature.name) is Side.USER
            texts = rows.user_ids if of_users else rows.item_ids
            change = one.observe(texts, rows.times.tolist())
            if change is None:
                continue
            tables = parts.users, parts.items
            parts.space.change_ids(one.feature.name, change.expired, change.admitted, tables)
            self._ids[one.feature.name] = change
            for learner in self._learners:
                if isinstance(learner, OnlineRanker):
                    learner.admit(*one.rows(change.admitted.values()))

    def _restore(self) -> int:
        """Applies the deltas that are there, and moves the views to the position of the last one;
        returns the time of the newest event that they have read."""
        newest, position = 0, self._recommender.views.position
        for delta in self._deltas.after(self._chain):
            check_delta(self._recommender.parts, delta)
            apply_delta(self._recommender.parts, delta)
            for learner in self._learners:
                if learner.part in delta.tables:
                    learner.restore(delta.tables[learner.part])
            self._chain.advance(delta)
            newest, position = delta.newest, delta.position
        self._since = position
        return newest

    def _follow(self, journal: Journal, options: OnlineConfig, newest: int) -> EventFeed:
        views = self._recommender.views
        while views.position < self._since:
            page = journal.read(views.position, 10_000)
            page = [one for one in page if one.sequence <= self._since]
            if not page:
                raise VersionError(
                    f"delta {self._chain.number} of {self._version.name} has read entry "
                    f"{self._since} of the journal, which ends at {journal.head}: it lost its end "
                    "or was replaced. Restore it, or train a new version"
                )
            self._remember(page)
            views.apply(page)
        machine = self._recommender.parts.config.clock == "now"
        self._came, self._times = list[Any](), list[Any]()
        self._forgotten = defaultdict[str, set[int]](set)
        self._ids = dict[str, IdChange]()
        return EventFeed(self._recommender, journal, options, machine, newest)

    def _remember(self, page: Sequence[Numbered]) -> None:
        """Takes note of events that earlier updates have learnt from, for admission and expiry;
        which ids these admitted is in the deltas."""
        events = [one.entry for one in page if isinstance(one.entry, Event)]
        for one in self._admissions:
            of_users = self._recommender.parts.space.side_of(one.feature.name) is Side.USER
            texts = [event.user_id if of_users else event.item_id for event in events]
            one.observe(texts, [min(event.time, event.arrival) for event in events])
            one.take_crowded()  # earlier deltas have reported them

    def _clock(self) -> int:
        """The time of the events' clock, ms; 0 where it is known by the events alone."""
        return _now() if self._recommender.parts.config.clock == "now" else 0

    def _replaced(self) -> bool:
        """Whether another version answers by now."""
        return Versions(self._folder.root).current(Kind.SERVING).name != self._version.name


class Learner(Protocol):
    """A stage of an open version whose vectors of ids learn from events."""

    @property
    def part(self) -> str:
        """Its name in a delta."""
        ...

    def learn(self, rows: LearningRows) -> tuple[int, float]:
        """Learns from rows; how many it used, and the sum of their losses."""
        ...

    def forget(self, side: Side, ids: tuple[str, ...]) -> Int32:
        """Forgets what was learnt of deleted users or items; their rows."""
        ...

    def change(self) -> RowChange:
        """What has changed since the last call."""
        ...

    def vectors(self, change: RowChange) -> VectorChange | None:
        """The items' vectors that follow from a change; None without any."""
        ...

    def restore(self, change: RowChange) -> None:
        """Takes over the optimiser's state of rows whose values are in place already."""
        ...


def learners_of(parts: Parts, options: OnlineConfig) -> tuple[list[Learner], list[str]]:
    """What of a version can learn from events, and notes on what cannot.

    Raises ConfigError with the reasons where nothing can.
    """
    learners, reasons = list[Learner](), list[str]()
    reason = OnlineRanker.unable(parts)
    if reason is None:
        learners.append(OnlineRanker(parts, options))
    else:
        reasons.append(f"rank: {reason}")
    for name, channel in parts.channels.items():
        if isinstance(channel, TwoTower):
            reason = channel.cannot_learn()
            if reason is None:
                learners.append(OnlineTwoTower(name, parts, options))
            else:
                reasons.append(f"channel {name}: {reason}")
    if not learners:
        raise ConfigError("nothing of the version can learn from events: " + "; ".join(reasons))
    if parts.prerank is not None:
        reasons.append("prerank: keeps the weights of the version until the next training")
    return learners, reasons


@dataclass
class _Lags:
    """Times of the latest events until they were in a delta, in seconds."""

    wall: list[Float64] = field(default_factory=list[Float64])
    event: list[Float64] = field(default_factory=list[Float64])

    def add(self, wall: Float64, event: Float64) -> None:
        """Takes note of the events of a delta."""
        self.wall.append(wall)
        self.event.append(event)
        while sum(map(len, self.wall[1:])) > KEPT:
            del self.wall[0], self.event[0]

    def report(self, report: FollowReport) -> None:
        """Writes the quantiles into a report."""
        if self.wall:
            wall, event = np.concatenate(self.wall), np.concatenate(self.event)
            if len(wall):
                p50, p99 = (float(np.quantile(wall, q)) for q in (0.5, 0.99))
                report.seconds_p50, report.seconds_p99 = p50, p99
                p50, p99 = (float(np.quantile(event, q)) for q in (0.5, 0.99))
                report.event_seconds_p50, report.event_seconds_p99 = p50, p99


def _quantiles(seconds: Float64) -> dict[str, float]:
    """p50 and p99; empty without any."""
    if not len(seconds):
        return {}
    return {f"p{q}": float(np.quantile(seconds, q / 100)) for q in (50, 99)}


def _count(report: FollowReport, delta: Delta) -> None:
    report.deltas += 1
    report.rows += delta.facts["rows"]
    report.events += delta.facts["events"]
    report.late += delta.facts["late"]
    report.admitted += delta.facts["admitted"]
    report.expired += delta.facts["expired"]
    report.crowded += delta.facts["crowded"]
    report.changed += sum(len(change.rows) for change in delta.tables.values())


def _line(delta: Delta) -> str:
    """One line about a delta."""
    changed = sum(len(change.rows) for change in delta.tables.values())
    facts = delta.facts
    took = facts["seconds"].get("p50")
    return (
        f"delta {delta.number}: {facts['rows']:,} impressions, {changed:,} vectors, journal up to "
        f"entry {delta.position:,}"
        + ("" if took is None else f", {took:.1f} s after the events (median)")
        + (f", {facts['late']:,} events came too late" if facts["late"] else "")
        + (f", {facts['admitted']:,} new ids admitted" if facts["admitted"] else "")
        + (f", {facts['expired']:,} ids expired" if facts["expired"] else "")
        + (f", {facts['crowded']:,} ids found no spare row" if facts["crowded"] else "")
    )


def _opened(folder: ProjectFolder) -> Journal:
    config = folder.config
    return WholeJournal(open_journal(folder.root, config.name, config.journal.store), folder.root)


def _now() -> int:
    """The machine's time, ms since 1970 UTC."""
    return time.time_ns() // 1_000_000
