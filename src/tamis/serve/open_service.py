"""The open recommender behind the service; until it is open, the service is not ready."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeGuard, TypeVar, runtime_checkable

from anyio import CapacityLimiter, to_thread

from tamis.experiments import Running
from tamis.journal import Journal, Recommendation
from tamis.schema import ExperimentConfig, ServeConfig
from tamis.serve.errors import OverloadedError
from tamis.service import (
    Answer,
    Deleted,
    DeltaState,
    Explained,
    KnownRow,
    ProjectVersions,
    Ranking,
    RankRequest,
    Request,
    SimilarList,
    Taken,
    TakenRow,
    WhyNot,
)

log = logging.getLogger("tamis.serve")
T = TypeVar("T")
SEARCHES = 2
"""Slow searches that run at once, each in a thread beside the one that answers."""
EFFORTS = ((0.25, 1.0), (0.5, 0.5), (float("inf"), 0.25))
"""(share of the queue that is used, at most; share of the candidates that answers are made of)."""


class Recommends(Protocol):
    """What the service needs of a `Recommender`."""

    @property
    def version(self) -> str: ...

    def recommend(self, request: Request, *, effort: float = 1.0) -> Answer:
        """The slate for one request, of a share of the candidates."""
        ...

    def rank(self, request: RankRequest) -> Ranking:
        """Given items in the order of the ranker."""
        ...

    def similar(self, item_id: object, n: int = 10, by: str | None = None) -> SimilarList:
        """The items nearest to an item."""
        ...


@runtime_checkable
class HasJournal(Recommends, Protocol):
    """A recommender with a journal: `tamis.service.LiveRecommender`."""

    @property
    def project(self) -> Path: ...

    @property
    def store(self) -> str: ...

    @property
    def journal(self) -> Journal: ...

    @property
    def position(self) -> int: ...

    @property
    def lost_answers(self) -> int: ...

    @property
    def faults(self) -> Mapping[tuple[str, str], int]: ...

    @property
    def delta(self) -> DeltaState | None: ...

    @property
    def delta_problem(self) -> str | None: ...

    @property
    def applied_deltas(self) -> int: ...

    @property
    def skipped(self) -> Mapping[str, int]: ...

    def take(self, rows: Sequence[object]) -> list[Taken]: ...

    def put_users(self, rows: Sequence[object]) -> list[TakenRow]: ...

    def patch_users(self, rows: Sequence[object]) -> list[TakenRow]: ...

    def delete_user(self, user: object) -> Deleted: ...

    def get_user(self, user: object) -> KnownRow | None: ...

    def deleted_users(self) -> frozenset[str]: ...

    def put_items(self, rows: Sequence[object]) -> list[TakenRow]: ...

    def patch_items(self, rows: Sequence[object]) -> list[TakenRow]: ...

    def delete_item(self, item: object) -> int | None: ...

    def get_item(self, item: object) -> KnownRow | None: ...

    def hide(self, item: object) -> int | None: ...

    def show(self, item: object) -> int | None: ...

    def check_arms(
        self, name: str, design: ExperimentConfig, running: Sequence[Running] = ()
    ) -> None: ...

    def answered(self, recommendation_id: str) -> Recommendation | None: ...

    def explained(self, answer: Recommendation) -> Explained: ...

    def why_not(self, answer: Recommendation, item: object) -> WhyNot: ...

    def close(self) -> None: ...


_journals: dict[type, bool] = {}


def has_journal(recommender: Recommends | None) -> TypeGuard[HasJournal]:
    """Whether a recommender has a journal; looked up once per class, since Python checks a protocol
    by reading all its members."""
    kind = type(recommender)
    if kind not in _journals:
        _journals[kind] = isinstance(recommender, HasJournal)
    return _journals[kind]


@runtime_checkable
class Swaps(Protocol):
    """Holds the recommender that answers, and exchanges it: `tamis.service.Serving`."""

    @property
    def live(self) -> Recommends: ...

    @property
    def problem(self) -> str | None: ...

    @property
    def open_versions(self) -> list[str]: ...

    @property
    def swaps(self) -> int: ...

    @property
    def versions(self) -> ProjectVersions: ...

    def look(self) -> bool: ...

    def close(self) -> None: ...


class OpenService:
    """Opens the serving version, then answers one request at a time in a thread.

    One at a time because an answer is a few milliseconds of pure computation: more threads would
    only share the same core. The event loop stays free, so health checks are answered meanwhile.
    """

    def __init__(
        self,
        source: Recommends | Swaps | Callable[[], Recommends | Swaps],
        queue: int = ServeConfig().queue,
        worker: int = 0,
    ) -> None:
        self._source = source
        self.queue = queue
        """Requests that may wait for a turn, and slow searches that may wait; more are refused."""
        self.waiting = 0
        """Requests that wait for a turn, and the one that is computed."""
        self.searching = 0
        """Slow searches that wait, and those that run."""
        self.lowered = 0
        """Requests that were answered with less work."""
        self.refused = 0
        """Requests that were refused as too many waited."""
        self._turn: CapacityLimiter | None = None
        self._searches: CapacityLimiter | None = None
        self._alone: Recommends | None = None
        self.serving: Swaps | None = None
        """What exchanges the versions, if anything does; None until it is open."""
        self.worker = worker
        """Number of this process among those that share the port."""
        self.problem: Exception | None = None
        """Why opening failed, or None."""
        self.on_failure: Callable[[Exception], None] | None = None
        """Called when opening failed; without it the service stays up, not ready, and says why."""

        self.on_ready: Callable[[str], None] | None = None
        """Called with the name of the version once it is open."""

    @property
    def recommender(self) -> Recommends | None:
        """The recommender that answers; None until it is open. Take it once per request: the next
        request may get that of another version."""
        serving = self.serving
        return self._alone if serving is None else serving.live

    async def open(self) -> None:
        """Opens the version; a failure is logged and kept in `problem` for `/health/ready`."""
        self._turn, self._searches = CapacityLimiter(1), CapacityLimiter(SEARCHES)
        try:
            source = self._source
            opened = await to_thread.run_sync(source) if callable(source) else source
            if isinstance(opened, Swaps):  # once: this check is slow for a protocol
                self.serving, version = opened, opened.live.version
            else:
                self._alone, version = opened, opened.version
            log.info("version %s is open", version)
            if self.on_ready is not None:
                self.on_ready(version)
        except Exception as problem:
            self.problem = problem
            log.error("no version could be opened: %s", problem)
            if self.on_failure is not None:
                self.on_failure(problem)

    async def run(self, work: Callable[[], T]) -> T:
        """`work()` in a thread, after the requests that came before. Raises OverloadedError where
        too many wait."""
        self.check_queue()
        self.waiting += 1
        try:
            return await to_thread.run_sync(work, limiter=self._turn)
        finally:
            self.waiting -= 1

    async def search(self, work: Callable[[], T]) -> T:
        """`work()`, which may take seconds, in one of `SEARCHES` threads, so that the other threads
        are left to other requests. Raises OverloadedError where too many wait."""
        self.check_searches()
        self.searching += 1
        try:
            return await to_thread.run_sync(work, limiter=self._searches)
        finally:
            self.searching -= 1

    def check_queue(self) -> None:
        """Raises OverloadedError where too many requests wait for a turn."""
        self._check(self.waiting, "requests")

    def check_searches(self) -> None:
        """Raises OverloadedError where too many slow searches wait."""
        self._check(self.searching, "slow searches")

    def _check(self, waiting: int, what: str) -> None:
        if waiting >= self.queue:
            self.refused += 1
            raise OverloadedError(
                f"{waiting} {what} wait already: try again after `Retry-After`, or start more "
                "workers"
            )

    @property
    def effort(self) -> float:
        """Share of the candidates that an answer is made of now, by the requests that wait."""
        share = next(s for part, s in EFFORTS if self.waiting <= max(part * self.queue, 1))
        self.lowered += share < 1
        return share

    async def beside(self, work: Callable[[], T]) -> T:
        """`work()` in a thread, beside requests: for what waits for the journal."""
        return await to_thread.run_sync(work)

    async def close(self) -> None:
        """Writes what waits for the journal, and closes it."""
        if self.serving is not None:
            await self.beside(self.serving.close)
        elif has_journal(self._alone):
            await self.beside(self._alone.close)
