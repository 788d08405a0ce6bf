"""Prometheus metrics of the service. Requests only note numbers; a thread sums them up."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter as Counts
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from tamis.runtime import resident_mb
from tamis.service import Answer, DeltaState

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Bounds of the histograms' buckets; a last one holds what is longer."""
WORKERS = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of prometheus-client: folder in which worker processes share metrics."""


class _Request(NamedTuple):
    """What is noted of one HTTP request."""

    method: str
    route: str
    status: int
    seconds: float


class _Answered(NamedTuple):
    """What is noted of one answer of the cascade: counts and seconds, without its items, as an
    answer with reasons may take a megabyte."""

    known: bool
    degraded: frozenset[str]
    """What failed or was left out, without the error's text."""
    seconds: Mapping[str, float]
    candidates: Mapping[tuple[str, str], int]
    removed: Mapping[str, int]
    arms: Mapping[str, str]


class ServiceMetrics:
    """The metrics of one process; `text` adds those of the other workers where there are several.

    `request` and `answer` are called once per request and append to a queue, which takes less than
    a microsecond; `fold` makes the sums, in a thread beside the requests: the service calls it each
    second, so the notes are those of a second.
    """

    def __init__(self) -> None:
        self._noted: deque[_Request | _Answered] = deque()
        self._turn = threading.Lock()
        self._last: dict[object, float] = {}
        self._versions: set[str] = set()
        self._workers = bool(os.environ.get(WORKERS))
        registry = CollectorRegistry()
        self._registry = registry
        own = None if self._workers else registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tamis_{name}", text, labels, registry=own)

        def gauge(name: str, text: str, mode: Any, *labels: str) -> Gauge:
            return Gauge(f"tamis_{name}", text, labels, multiprocess_mode=mode, registry=own)

        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"tamis_{name}_seconds", text, labels, buckets=SECONDS, registry=own)

        self._requests = counter("requests", "HTTP requests", "method", "route", "status")
        self._seconds = seconds("request", "Time of an HTTP request", "route")
        self._stages = seconds("stage", "Time of a stage of an answer", "stage")
        self._candidates = counter(
            "candidates", "Candidates that went into a stage and came out of it", "stage", "side"
        )
        self._filtered = counter("filtered", "Candidates that a filter removed", "filter")
        self._faults = counter(
            "stage_faults", "Stages that failed, were skipped or were late", "stage", "fault"
        )
        self._degraded = counter(
            "degraded", "Answers in which something failed or was left out, by what", "what"
        )
        self._answers = counter("answers", "Answers, by whether the user is known", "known")
        self._arms = counter(
            "experiment_answers", "Answers of arms of experiments", "experiment", "arm"
        )
        self._events = counter("events", "Events that were sent", "status")
        self._behaviours = counter("accepted_events", "Events that were accepted", "behaviour")
        self._unknown = counter(
            "unknown_ids", "Accepted events whose id the version has not learnt", "table"
        )
        self._lost = counter("lost_answers", "Answers that could not be written to the journal")
        self._overload = counter(
            "overload", "Requests that were answered with less work, or refused", "action"
        )
        self._waiting = gauge("waiting_requests", "Requests that wait for a turn", "livesum")
        self._up = gauge("journal_up", "1 where the journal can be read", "livemin")
        self._head = gauge("journal_head", "Number of the journal's last entry", "livemax")
        self._position = gauge("journal_position", "Last entry that answers know", "livemin")
        self._lag = gauge("journal_lag", "Entries that answers do not know yet", "livemax")
        self._version = gauge("version", "1 for the version that answers", "livemax", "version")
        self._delta = gauge("delta", "Number of the newest delta that answers know", "livemin")
        self._delta_age = gauge(
            "delta_age_seconds", "Time since the newest delta that answers know was made", "livemax"
        )
        self._delta_event_age = gauge(
            "delta_event_age_seconds", "Time since the newest event in that delta", "livemax"
        )
        self._delta_refused = gauge(
            "delta_refused", "1 where a newer delta was refused: see /health/ready", "livemax"
        )
        self._deltas = counter("deltas", "Deltas of incremental updates that were applied")
        self._memory = gauge("resident_memory_bytes", "Resident memory of a process", "liveall")

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Notes an HTTP request."""
        self._noted.append(_Request(method, route, status, seconds))

    def answer(self, answer: Answer, tested: bool = False) -> None:
        """Notes an answer of the cascade. tested: a tester asked for its arms."""
        degraded = frozenset(text.partition(": ")[0] for text in answer.degraded)
        counts = (answer.seconds, answer.candidates, answer.removed, {} if tested else answer.arms)
        self._noted.append(_Answered(answer.known, degraded, *counts))

    def events(
        self,
        counts: Mapping[str, int],
        behaviours: Mapping[str, int] | None = None,
        unknown: Mapping[str, int] | None = None,
    ) -> None:
        """Counts events by what became of them.

        behaviours: {behaviour: accepted events}. unknown: {"user" | "item": accepted events whose
        id the version has not learnt}.
        """
        for status, n in counts.items():
            self._events.labels(status).inc(n)
        for behaviour, n in (behaviours or {}).items():
            self._behaviours.labels(behaviour).inc(n)
        for table, n in (unknown or {}).items():
            self._unknown.labels(table).inc(n)

    def overload(self, lowered: int, refused: int, waiting: int) -> None:
        """Sets the sums of the requests that were answered with less work, and refused."""
        self._overload.labels("lowered").inc(self._more("lowered", lowered))
        self._overload.labels("refused").inc(self._more("refused", refused))
        self._waiting.set(waiting)

    def faults(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Sets the sums of the faults of stages, {(stage, fault): n}; a swap begins at 0 again."""
        for (stage, fault), n in dict(counts).items():
            self._faults.labels(stage, fault).inc(self._more((stage, fault), n))

    def journal(self, head: int | None, position: int, lost: int) -> None:
        """Sets how far the journal has been read. head: None where it is out of reach."""
        self._up.set(0 if head is None else 1)
        self._position.set(position)
        self._lost.inc(self._more("lost", lost))
        if head is not None:
            self._head.set(head)
            self._lag.set(max(head - position, 0))

    def deltas(self, newest: DeltaState | None, applied: int, refused: bool) -> None:
        """Sets which delta of the version that answers is the newest, and whether a newer one was
        refused. applied: since the version was opened; a swap begins at 0 again."""
        now = time.time()
        self._deltas.inc(self._more("deltas", applied))
        self._delta_refused.set(refused)
        self._delta.set(0 if newest is None else newest.number)
        self._delta_age.set(0 if newest is None else now - newest.created / 1000)
        self._delta_event_age.set(0 if newest is None else now - newest.newest / 1000)

    def version(self, name: str) -> None:
        """Sets the version that answers."""
        for former in self._versions - {name}:
            self._version.labels(former).set(0)
        self._versions.add(name)
        self._version.labels(name).set(1)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        self.fold()
        registry = self._registry
        if self._workers:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry)

    def fold(self) -> None:
        """Adds what was noted to the sums: one addition per sum, whatever the number of requests,
        as an addition of prometheus-client takes about a microsecond."""
        with self._turn:
            self._memory.set(resident_mb() * 2**20)
            counts: Counts[tuple[Counter, tuple[str, ...]]] = Counts()
            times: dict[tuple[Histogram, str], list[float]] = {}
            for _ in range(len(self._noted)):
                one = self._noted.popleft()
                if isinstance(one, _Answered):
                    self._count(one, counts)
                    for stage, took in one.seconds.items():
                        times.setdefault((self._stages, stage), []).append(took)
                else:
                    counts[self._requests, (one.method, one.route, str(one.status))] += 1
                    times.setdefault((self._seconds, one.route), []).append(one.seconds)
            for (counter, labels), n in counts.items():
                counter.labels(*labels).inc(n)
            for (histogram, label), took in times.items():
                _observe(histogram.labels(label), np.array(took))

    def _count(self, answer: _Answered, counts: Counts[tuple[Counter, tuple[str, ...]]]) -> None:
        counts[self._answers, (str(answer.known).lower(),)] += 1
        for stage_side, n in answer.candidates.items():
            counts[self._candidates, stage_side] += n
        for experiment, arm in answer.arms.items():
            counts[self._arms, (experiment, arm)] += 1
        for name, n in answer.removed.items():
            counts[self._filtered, (name,)] += n
        for what in answer.degraded:
            counts[self._degraded, (what,)] += 1

    def _more(self, what: object, total: float) -> float:
        """How much a sum has grown; one that is smaller than before has begun again."""
        before, self._last[what] = self._last.get(what, 0.0), total
        return total - before if total >= before else total


def _observe(histogram: Histogram, seconds: NDArray[np.float64]) -> None:
    """Many observations (n,) at once, which prometheus-client has no function for."""
    parts: Any = histogram
    at = np.searchsorted(np.array(SECONDS), seconds)
    for k, n in enumerate(np.bincount(at, minlength=len(SECONDS) + 1).tolist()):
        if n:
            parts._buckets[k].inc(n)
    parts._sum.inc(float(seconds.sum()))
