"""A serving version with a journal: it takes events, answers with them, remembers its answers."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import is_
from pathlib import Path
from typing import Any, Literal

from tamis.cascade import LearnsFromAnswers
from tamis.experiments import Running
from tamis.journal import (
    Event,
    Journal,
    JournalAwayError,
    Recommendation,
    WholeJournal,
    open_journal,
)
from tamis.schema import (
    AnswersConfig,
    ConfigError,
    ExperimentConfig,
    RequestError,
    Side,
    StoreError,
    VersionError,
)
from tamis.service.answer import Answer, WhyNot
from tamis.service.answer_log import AnswerLog
from tamis.service.deltas import DeltaState
from tamis.service.explanations import Explained, Explanations
from tamis.service.intake import Intake
from tamis.service.live_experiments import ChosenArms, LiveExperiments, wanted_changes
from tamis.service.live_rows import Deleted, KnownRow, LiveRows, TakenRow
from tamis.service.online import forget_user
from tamis.service.ranking import Ranking
from tamis.service.recommender import Recommender
from tamis.service.request import RankRequest, Request
from tamis.service.similar import SimilarList
from tamis.service.snapshots import Snapshots, repeat

log = logging.getLogger("tamis.service")

BUDGET = 0.02
"""Seconds that a request spends on entries that came since the last one; more are left for the
next request, and the answer says how many (`lag`)."""


ATTEMPTS = 3
"""Snapshots that a start tries: one may be damaged, or replaced while it is read."""
SNAPSHOT_WAITS = 60.0
"""Seconds that a start waits for a snapshot that is being written."""


@dataclass(frozen=True)
class Taken:
    """What became of an event that a client sent."""

    status: Literal["accepted", "duplicate", "refused"]
    event_id: str | None = None
    """Its id, given or new; None where it was refused."""
    sequence: int | None = None
    """Its number in the journal; of a duplicate, that of the first."""
    error: RequestError | None = None
    """Why it was refused."""
    behaviour: str | None = None
    """Its behaviour; None where it was refused."""
    unknown: tuple[Literal["user", "item"], ...] = ()
    """Which of its ids the version that answers has not learnt."""


class LiveRecommender:
    """Answers with everything that the journal holds: an accepted event changes the next answer.

    Args:
        recommender: an open version.
        journal: the project's journal, which this object closes.
        answers: writes the answers to the journal; None: a new one.
        experiments: those of the project; None: as the journal's steps make them now.
        may_be_away: whether it starts while the journal's server does not answer. Requests then go
            by what is known, and say so; once it answers, they take up what it holds, some
            milliseconds' share each.
    """

    def __init__(
        self,
        recommender: Recommender,
        journal: Journal,
        answers: AnswerLog | None = None,
        experiments: LiveExperiments[LiveRecommender] | None = None,
        *,
        may_be_away: bool = False,
    ) -> None:
        self.experiments: LiveExperiments[LiveRecommender] = experiments or LiveExperiments(
            journal.experiments
        )
        """The experiments of the project, and other versions that they need."""
        self._arms_of: tuple[object, object] | None = None
        self._broken: dict[str, str] = {}
        """Experiments that these versions cannot have, and why."""
        self._recommender = recommender
        self._journal = journal
        self._intake = Intake(recommender.parts.config, recommender.now)
        self._users = LiveRows(recommender, journal, Side.USER)
        self._items = LiveRows(recommender, journal, Side.ITEM)
        self._answers = answers or AnswerLog(journal)
        self._keep = _kept_of_answers(recommender)
        self._turn = threading.Lock()  # of those who change the views, or write them down
        self._answering = threading.Lock()  # of requests, and of deltas, which come between two
        self._ended = threading.Event()
        try:
            self._catch_up(seconds=float("inf"))
        except JournalAwayError as error:
            if not may_be_away:
                raise
            log.warning("starting without the newest entries of the journal: %s", error)
        self.apply_deltas()
        self._take_snapshots()

    @classmethod
    def open(cls, project: Path | str, store: str = "") -> LiveRecommender:
        """The serving version of a project, with the journal's entries applied, and warmed up, so
        that the first request is as fast as later ones.

        Args:
            store: address of the journal, redis://host:port/db; "" for that of the project, which
                is a file unless `[journal] store` names another.

        Raises VersionError where there is no intact version, StoreError where the journal cannot be
        opened; where its server does not answer, the service starts without it.
        """
        recommender = Recommender.open(project, store=store)
        config = recommender.parts.config
        if store not in ("", config.journal.store):
            log.warning(
                "training does not read the journal given by --store: declare its address as "
                "`store` in [journal] of tamis.toml"
            )
        address = store or config.journal.store
        journal = open_journal(Path(project), config.name, address, may_be_away=True)
        problem: VersionError | None = None
        for _ in range(ATTEMPTS):
            try:
                if _snapshots(recommender).restore(recommender.views, journal):
                    problem = None
                break
            except VersionError as error:
                problem = error
                recommender = Recommender.open(project, store=store)
        if problem is not None:
            log.warning("%s; the service starts from the version and the journal instead", problem)
        recommender.warm_up()
        return cls(recommender, WholeJournal(journal, Path(project)), may_be_away=True)

    def with_version(self, recommender: Recommender) -> LiveRecommender:
        """Another version on the same journal, with its entries applied. Both answer until the
        journal is closed, by one of them."""
        return LiveRecommender(recommender, self._journal, self._answers, self.experiments)

    @property
    def version(self) -> str:
        """Name of the version that answers."""
        return self._recommender.version

    @property
    def project(self) -> Path:
        """The project's folder."""
        return self._recommender.project

    @property
    def store(self) -> str:
        """Address of the journal as it was given; "" for that of the project."""
        return self._recommender.store

    @property
    def journal(self) -> Journal:
        """The project's journal."""
        return self._journal

    @property
    def position(self) -> int:
        """Number of the last entry of the journal that answers take into account."""
        return self._recommender.views.position

    @property
    def skipped(self) -> Mapping[str, int]:
        """Events of the journal that answers cannot take into account, by reason."""
        return self._recommender.views.skipped

    @property
    def delta(self) -> DeltaState | None:
        """The newest delta of the version that answers take into account; None: there is none."""
        return self._recommender.deltas.state

    @property
    def delta_problem(self) -> str | None:
        """Why newer deltas are not applied; None: all are."""
        return self._recommender.deltas.problem

    @property
    def applied_deltas(self) -> int:
        """Deltas that were applied since the version was opened."""
        return self._recommender.deltas.applied

    def apply_deltas(self) -> int:
        """Applies the deltas of the version that are new, each between two requests; how many. May
        be called from any thread."""
        return self._recommender.deltas.catch_up(lambda: self._answering)

    @property
    def faults(self) -> Mapping[tuple[str, str], int]:
        """(stage, "failed", "skipped" or "late") → how often since the version was opened."""
        found: Counter[tuple[str, str]] = Counter()
        for live in {self, *self.experiments.versions.values()}:
            counts = live._recommender.cascade.budgets.counts.copy()  # requests go on counting
            found.update({(stage, str(fault)): n for (stage, fault), n in counts.items()})
        return found

    @property
    def lost_answers(self) -> int:
        """Answers that could not be written to the journal."""
        return self._answers.lost

    def recommend(
        self, request: Request | object = None, *, effort: float = 1.0, **fields: Any
    ) -> Answer:
        """The slate for one request; see `Recommender.recommend`.

        Calls must not overlap. The answer is written to the journal a moment later. Where the
        journal cannot be read, the answer goes by what is known, and says so in `degraded`.
        """
        if not isinstance(request, Request):
            request = Request.of(user_id=request, **fields)
        for other in self.experiments.versions.values():
            if other is not self:
                with other._answering:
                    other._newest()
        self._look_at_arms()
        chosen, notes = self.experiments.chosen(request), list[str]()
        broken = [name for name in chosen.arms if name in self._broken]
        if broken:
            notes += [f"experiment {name}: {self._broken[name]}" for name in broken]
            version = "" if chosen.version_of in broken else chosen.version
            chosen = chosen.without(broken)._replace(version=version)
        live = self.experiments.versions.get(chosen.version, self) if chosen.version else self
        return live._answer(request, effort, chosen, notes)

    def _answer(
        self, request: Request, effort: float, chosen: ChosenArms, notes: Sequence[str]
    ) -> Answer:
        """The answer of this version in the arms of a request. Where it cannot have them together,
        it answers without any, says so, and counts for no experiment."""
        with self._answering:
            lag, failed = self._newest()
            try:
                answered = self._recommender.answer(request, effort, chosen.changes, chosen.against)
            except ConfigError as error:
                notes = (*notes, f"experiments: {error}")
                chosen = chosen.without(list(chosen.arms))
                answered = self._recommender.answer(request, effort)
        answer = answered.answer
        degraded = (*answer.degraded, *failed, *notes)
        teams = tuple(chosen.teams[int(team)] for team in answer.teams)
        answer = replace(answer, lag=lag, degraded=degraded, arms=dict(chosen.arms), teams=teams)
        if not request.dry_run:
            self._answers.add(answered._replace(answer=answer), self.position, self._keep)
        return answer

    def _look_at_arms(self) -> None:
        """After a change of experiments or versions: frees what arms needed that have ended, and
        finds the experiments that cannot be had. All of their arms are left out then: results of
        some of the arms would mislead."""
        experiments = self.experiments
        now = (experiments.state, experiments.versions)
        if self._arms_of is not None and all(map(is_, self._arms_of, now)):
            return
        self._arms_of = now
        opened = {self.version: self, **experiments.versions}
        for live in opened.values():
            live._recommender.arms.keep(wanted_changes(experiments.state))
        self._broken = {}
        for one in experiments.state.running:
            missing = {arm.version for arm in one.design.arms.values()} - {"", *opened}
            if missing:
                self._broken[one.name] = f"version {min(missing)} is not open here"
                log.error("experiment %s: %s", one.name, self._broken[one.name])
                continue
            try:
                for live in opened.values():
                    live._recommender.check_arms(one.name, one.design)
            except ConfigError as error:
                self._broken[one.name] = str(error)
                log.error("experiment %s is left out: %s", one.name, error)

    def check_arms(
        self, name: str, design: ExperimentConfig, running: Sequence[Running] = ()
    ) -> None:
        """Raises ConfigError where the open version cannot have an arm of an experiment, alone or
        with those that run. Nothing that the check has made stays, as the start may still be
        refused. Calls must not overlap with `recommend`."""
        try:
            self._recommender.check_arms(name, design, running)
        finally:
            self._recommender.arms.keep(wanted_changes(self.experiments.state))

    def rank(self, request: RankRequest) -> Ranking:
        """Given items in the order of the ranker; see `Recommender.rank`. Nothing is written to the
        journal. Calls must not overlap with each other or with `recommend`."""
        with self._answering:
            lag, failed = self._newest()
            ranking = self._recommender.rank(request)
        return replace(ranking, lag=lag, degraded=(*ranking.degraded, *failed))

    def similar(self, item_id: object, n: int = 10, by: str | None = None) -> SimilarList:
        """The items nearest to an item; see `Recommender.similar`. Calls must not overlap."""
        with self._answering:
            self._newest()
            return self._recommender.similar(item_id, n, by)

    def _newest(self) -> tuple[int, tuple[str, ...]]:
        """Applies the newest entries; the lag that is left, and what failed."""
        try:
            return self._catch_up(BUDGET), ()
        except StoreError as error:
            log.warning("answering without the newest entries of the journal: %s", error)
            return 0, (f"journal: {error}",)

    def take(self, rows: Sequence[object]) -> list[Taken]:
        """Checks events and appends them to the journal; they are durable when this returns.

        One wrong event does not hold up the others. Raises StoreError where the journal cannot be
        written: then all may be sent again. A journal on a server may hold some of them already,
        which are duplicates then if they have an `event_id` of the client.
        """
        read = self._intake.read(rows)
        events = [event for event in read if isinstance(event, Event)]
        appended = iter(self._journal.append(events))
        taken: list[Taken] = []
        for event in read:
            if isinstance(event, RequestError):
                taken.append(Taken("refused", error=event))
            else:
                sequence, duplicate = next(appended)
                status = "duplicate" if duplicate else "accepted"
                unknown = self._recommender.parts.not_learnt(event.user_id, event.item_id)
                taken.append(
                    Taken(status, event.event_id, sequence, None, event.behaviour, unknown)
                )
        return taken

    def put_users(self, rows: Sequence[object]) -> list[TakenRow]:
        """Users with all their columns: those that are left out are missing from now on.

        Each row is an object with `user_id` and columns of the users' table, checked and answered
        by itself; accepted ones are durable when this returns, and count in the next answer.
        Raises StoreError where the journal cannot be written: then all may be sent again.
        """
        return self._users.put(rows)

    def patch_users(self, rows: Sequence[object]) -> list[TakenRow]:
        """New values of some columns of users; as `put_users`."""
        return self._users.patch(rows)

    def delete_user(self, user: object) -> Deleted:
        """Deletes a user's profile, history, impressions and answers, those that wait to be
        written included. Raises StoreError where the journal cannot be written."""
        return self._users.delete_user(user, self._forget_user)

    def _forget_user(self, user: str, deletion: int, rows: Mapping[str, int]) -> None:
        """Removes what is kept of a user apart from the journal, from before a deletion."""
        self._answers.forget_user(user, deletion)
        for live in {self, *self.experiments.versions.values()}:
            for failed in forget_user(live._recommender.parts.channels, user, rows):
                log.warning("a user was deleted, but not from a store: %s", failed)
        _snapshots(self._recommender).remove_before(deletion)

    def get_user(self, user: object) -> KnownRow | None:
        """A user as the next answer knows it, or None. Calls must not overlap with `recommend`."""
        self._newest()
        return self._users.get(user)

    def deleted_users(self) -> frozenset[str]:
        """Ids of the users of the version who were deleted since it was made. Calls must not
        overlap with `recommend`."""
        self._newest()
        return self._recommender.views.users.deleted()

    def put_items(self, rows: Sequence[object]) -> list[TakenRow]:
        """Items with all their columns; as `put_users`, with `item_id`. A deleted item may be
        recommended again."""
        return self._items.put(rows)

    def patch_items(self, rows: Sequence[object]) -> list[TakenRow]:
        """New values of some columns of items; one that is unknown or deleted is made, with these
        columns alone."""
        return self._items.patch(rows)

    def delete_item(self, item: object) -> int | None:
        """From now on no answer holds the item, until it is put or patched; the number of the
        journal's entry, None where it is unknown. Calls must not overlap with `recommend`."""
        self._newest()
        return self._items.delete_item(item)

    def get_item(self, item: object) -> KnownRow | None:
        """An item as the next answer knows it, or None. Calls must not overlap with `recommend`."""
        self._newest()
        return self._items.get(item)

    def hide(self, item: object) -> int | None:
        """From now on no answer holds the item; the number of the journal's entry, None where the
        item is unknown or was deleted. Calls must not overlap with `recommend`."""
        self._newest()
        return self._items.hide(item)

    def show(self, item: object) -> int | None:
        """Undoes `hide`; None where the item is unknown or was deleted."""
        self._newest()
        return self._items.show(item)

    def answered(self, recommendation_id: str) -> Recommendation | None:
        """An earlier answer as the journal holds it, or None."""
        self._answers.flush()
        return self._journal.answers.find(recommendation_id)

    def explained(self, answer: Recommendation) -> Explained:
        """An earlier answer (`answered`) with the reasons of its items.

        Calls must not overlap with `recommend`. Raises StoreError where its trace is damaged.
        """
        return Explanations(self._recommender_of(answer)).explained(answer)

    def _recommender_of(self, answer: Recommendation) -> Recommender:
        """The version that gave an answer where it is open, else the one that serves."""
        live = self.experiments.versions.get(answer.version, self)
        return live._recommender

    def why_not(self, answer: Recommendation, item: object) -> WhyNot:
        """The stage that removed an item from an earlier answer, as it was when answered.

        Calls must not overlap with `recommend`. Raises RequestError where the answer has no trace,
        or the item is unknown.
        """
        return Explanations(self._recommender_of(answer)).why_not(answer, item)

    def snapshot(self, every: float = 0.0) -> bool:
        """Writes down what is known beside the version, for the next start; see `Snapshots.write`.

        Requests go on meanwhile, without newer entries.
        """
        with self._turn:
            return _snapshots(self._recommender).write(self._recommender.views, every)

    def _take_snapshots(self) -> None:
        """Writes snapshots from time to time, as long as this object is in use."""
        every = 60 * self._recommender.parts.config.journal.snapshot_minutes
        this = weakref.ref(self)

        def work() -> bool:
            live = this()
            if live is not None:
                live.snapshot(0.9 * every)
            return live is not None

        if every:
            repeat(work, every, self._ended)

    def close(self) -> None:
        """Writes the answers that wait, and closes the journal."""
        self._ended.set()
        self._answers.close()
        self._journal.close()

    def _catch_up(self, seconds: float) -> int:
        views = self._recommender.views
        if not self._turn.acquire(timeout=min(seconds, SNAPSHOT_WAITS)):
            return max(self._journal.head - views.position, 0)
        try:
            return views.catch_up(self._journal, seconds)
        finally:
            self._turn.release()


def _kept_of_answers(recommender: Recommender) -> AnswersConfig:
    """What the journal keeps of answers; no rejected items where no channel learns from them."""
    declared, channels = recommender.parts.config.answers, recommender.parts.channels.values()
    if any(isinstance(c, LearnsFromAnswers) and c.learns_from_answers for c in channels):
        return declared
    return declared.model_copy(update={"rejected": 0.0})


def _snapshots(recommender: Recommender) -> Snapshots:
    store = recommender.store or recommender.parts.config.journal.store
    return Snapshots(recommender.project, recommender.version, store)
