"""The serving version of a process, exchanged between two requests when another is published.

A request takes `Serving.live` once and uses it to its end, so that an answer never mixes two
versions. The version before is closed with the last reference to it, after its last request.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from pathlib import Path

from tamis.bundle import Kind, Version, Versions
from tamis.schema import TamisError
from tamis.service.clock import Clock, system_clock
from tamis.service.live import LiveRecommender
from tamis.service.live_experiments import wanted_versions
from tamis.service.project_versions import ProjectVersions
from tamis.service.recommender import Recommender

log = logging.getLogger("tamis.service")

INTERVAL = 0.5
"""Seconds between two looks at the pointer to the serving version: one `stat` of a small file."""
RETRY = 30.0
"""Seconds after which a version that could not be opened is tried again: its files, or the journal,
may have been repaired."""
COLLECTIONS = 10
"""Looks after a switch that search for objects of the former version which nothing uses."""


class Serving:
    """The open serving version of a project. A thread watches the project for another one.

    The other version is opened beside the one that answers, warmed up, brought to the end of the
    journal, and only then takes its place. If it cannot be opened, the former one goes on,
    `problem` says why, and it is tried again after `RETRY` seconds, or when another is published.

    Args:
        live: the open version, which this object closes.
        project: the project's folder.
        clock: gives "now" to the versions that are opened later.
        interval: seconds between two looks at the project; None: `look` is called by hand.
    """

    def __init__(
        self,
        live: LiveRecommender,
        project: Path | str,
        clock: Clock = system_clock,
        interval: float | None = INTERVAL,
    ) -> None:
        self.live = live
        """The version that answers. Take it once per request."""
        self._fault: str | None = None
        self.swaps = 0
        """Versions that have replaced another one in this process."""
        self.versions = ProjectVersions(project)
        """The project's versions; publishing one of them makes it the next that answers."""
        self._versions = Versions(Path(project))
        self._clock = clock
        self._seen: object = None
        self._retry = float("inf")
        self._unopened: dict[str, float] = {}
        """Versions of experiments that could not be opened, and when to try again."""
        self._collections = 0
        self._former: list[tuple[str, weakref.ref[LiveRecommender]]] = []
        self._look_at_experiments()  # arms answer by their versions from the first request on
        self._ended = threading.Event()
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None
        if interval is not None:
            self._thread = threading.Thread(
                target=self._watch, args=(interval,), name="versions", daemon=True
            )
            self._thread.start()

    @classmethod
    def open(cls, project: Path | str, store: str = "") -> Serving:
        """The published version of a project, with the journal's entries applied, watched.

        Args:
            store: address of the journal: "" for a file of the project, or redis://host:port/db.

        Raises VersionError where there is no intact version, StoreError where the journal cannot be
        opened.
        """
        return cls(LiveRecommender.open(project, store), project)

    @property
    def problem(self) -> str | None:
        """Why the published version is not the one that answers, or why it answers without its
        newest deltas; None: it does."""
        return self._fault or self.live.delta_problem

    @property
    def open_versions(self) -> list[str]:
        """Names of the versions that are open: the one that answers, and former ones that requests
        still use."""
        former = [name for name, reference in self._former if reference() is not None]
        return [self.live.version, *former]

    def look(self) -> bool:
        """Looks at the pointer to the serving version, and switches if it names another version;
        whether it switched. Applies new deltas of the version that answers. What keeps the
        published version from being opened, or a delta from being applied, is in `problem`."""
        with self._turn:
            self._free()
            self._look_at_experiments()
            self._look_for_deltas()
            seen = self._pointer()
            if seen == self._seen and time.monotonic() < self._retry:
                return False
            self._seen, self._retry = seen, float("inf")
            try:
                version = self._versions.current(Kind.SERVING)
                if version.name != self.live.version:
                    self._switch(version)
                    return True
            except Exception as error:  # a damaged version fails in many ways; requests go on
                self._report(error)
                return False
            self._fault = None
            return False

    def close(self) -> None:
        """Stops watching, writes the answers that wait, and closes the journal."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self.live.close()

    def _watch(self, interval: float) -> None:
        while not self._ended.wait(interval):
            try:
                self.look()
            except Exception:  # whatever it is: later versions and steps must be taken up
                log.exception("looking for versions and experiments failed; it goes on")

    def _look_for_deltas(self) -> None:
        """Applies new deltas of the open versions, each between two requests."""
        for live in (self.live, *self.live.experiments.versions.values()):
            if live.apply_deltas() and live.delta is not None:
                log.info("version %s answers with delta %s", live.version, live.delta.number)

    def _look_at_experiments(self) -> None:
        """Takes up new steps of experiments once the versions that their arms need are open, and
        closes those that none needs any more. A version that cannot be opened is tried again after
        `RETRY` seconds."""
        experiments = self.live.experiments
        found = experiments.read()
        state = experiments.state if found is None else found[0]
        wanted = wanted_versions(state) - {self.live.version}
        opened = {n: live for n, live in experiments.versions.items() if n in wanted}
        for name in sorted(wanted - set(opened)):
            if time.monotonic() < self._unopened.get(name, 0.0):
                continue
            try:
                opened[name] = self._opened(self._versions.open(name))
                log.info("version %s is open for an experiment", name)
            except Exception as error:  # a damaged version fails in many ways; requests go on
                self._unopened[name] = time.monotonic() + RETRY
                log.error("version %s of an experiment was not opened: %s", name, error)
        if found is not None:
            experiments.take(found, opened)
        elif opened.keys() != experiments.versions.keys():
            experiments.versions = opened

    def _opened(self, version: Version) -> LiveRecommender:
        """Another version on the same journal, warmed up."""
        recommender = Recommender(version, self._clock, self.live.store)
        recommender.warm_up()
        return self.live.with_version(recommender)

    def _pointer(self) -> object:
        """What changes when a version is published; None where there is no pointer."""
        try:
            found = self._versions.pointer(Kind.SERVING).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _switch(self, version: Version) -> None:
        log.info("opening version %s beside %s", version.name, self.live.version)
        former, experiments = self.live, self.live.experiments
        ready = experiments.versions.get(version.name)  # open for an experiment already
        fresh = self._opened(version) if ready is None else ready
        if former.version in wanted_versions(experiments.state):
            experiments.versions = {**experiments.versions, former.version: former}
        self.live = fresh
        self._former.append((former.version, weakref.ref(former)))
        self._fault, self.swaps, self._collections = None, self.swaps + 1, COLLECTIONS
        log.info("version %s answers, in the place of %s", self.live.version, former.version)

    def _report(self, error: Exception) -> None:
        """Keeps and logs why the published version could not be opened."""
        known = isinstance(error, TamisError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        problem = f"the published version was not opened, {self.live.version} goes on: {text}"
        if problem != self._fault:
            log.error("%s", problem, exc_info=None if known else error)
        self._fault, self._retry = problem, time.monotonic() + RETRY

    def _free(self) -> None:
        """Frees former versions whose requests have ended; some of their objects refer to one
        another, which the garbage collector finds."""
        if self._former and self._collections:
            self._collections -= 1
            gc.collect()
            for name, reference in self._former:
                if reference() is None:
                    log.info("version %s is closed", name)
            self._former = [pair for pair in self._former if pair[1]() is not None]
