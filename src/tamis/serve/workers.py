"""Several worker processes on one socket: started, started again when they die, stopped."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from prometheus_client.multiprocess import mark_process_dead

from tamis import schema
from tamis.runtime import threads
from tamis.schema import ConfigError, TamisError
from tamis.serve.listening import CLOSED, ConnectionCounts
from tamis.serve.metrics import WORKERS
from tamis.serve.worker import Served

log = logging.getLogger("tamis.serve")

STOPS = 15.0
"""Seconds that workers have to end after SIGTERM, before they are killed."""
LOOKS = 0.1
"""Seconds between two looks at the workers."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds before a dead worker is started again: doubled with each death in a row."""
HEALTHY = 30.0
"""Seconds of life after which a death is the first of a row."""
_THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("NUMBA_NUM_THREADS", "POLARS_MAX_THREADS"),
)
"""Environment variables by which libraries choose their number of threads."""


@dataclass
class _Worker:
    """One place among the workers, and the process that has it."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    status: int = -1
    """Read end of its pipe."""
    text: bytes = b""
    """What it has written since the last line break."""
    ready: bool = False
    started: float = 0.0
    deaths: int = 0
    """In a row."""
    again: float = 0.0
    """When to start it again."""


@dataclass
class Supervisor:
    """Runs worker processes until SIGINT or SIGTERM.

    Args:
        served: what they serve, and to whom.
        workers: number of processes.
        listening: the socket that they share, which is closed at the end.
    """

    served: Served
    workers: int
    listening: socket.socket
    _ending: threading.Event = field(default_factory=threading.Event)
    _problem: TamisError | None = None
    _ever_ready: bool = False

    def run(self) -> None:
        """Raises the TamisError of a worker that could not open the version, if none ever could."""
        if os.name == "nt":
            raise ConfigError("--workers: several workers share a socket as Windows cannot; use 1")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ending.set())
        with (
            self.listening,
            tempfile.TemporaryFile() as file,
            tempfile.TemporaryDirectory(prefix="tamis-metrics-") as metrics,
        ):
            os.set_inheritable(self.listening.fileno(), True)
            file.truncate(ConnectionCounts.size_of(self.workers))
            self._file = file
            self._metrics = os.environ.get(WORKERS) or metrics
            self._counts = ConnectionCounts(file.fileno(), self.workers)
            self._places = [_Worker(number) for number in range(self.workers)]
            try:
                for place in self._places:
                    self._start(place, warm_first=place.number > 0)
                while not self._ending.wait(LOOKS):
                    self._look()
            finally:
                self._stop()
        if self._problem is not None:
            raise self._problem

    def _start(self, place: _Worker, *, warm_first: bool) -> None:
        reading, writing = os.pipe()
        order = {
            **asdict(self.served),
            "worker": place.number,
            "workers": self.workers,
            "listening": self.listening.fileno(),
            "counts": self._file.fileno(),
            "status": writing,
            "warm_first": warm_first,
        }
        self._counts[place.number] = CLOSED
        process = subprocess.Popen(
            [sys.executable, "-c", "from tamis.serve.worker import main; main()"],
            stdin=subprocess.PIPE,
            pass_fds=(self.listening.fileno(), self._file.fileno(), writing),
            env={**os.environ, **thread_limits(self.workers), WORKERS: self._metrics},
        )
        os.close(writing)
        os.set_blocking(reading, False)
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        place.process, place.status, place.text = process, reading, b""
        place.ready, place.started = False, time.monotonic()

    def _look(self) -> None:
        """Reads what the workers report, and starts dead ones again."""
        now = time.monotonic()
        for place in self._places:
            for line in self._lines(place):
                self._hear(place, json.loads(line))
            if place.process is not None and place.process.poll() is not None:
                self._bury(place, now)
            if place.process is None and now >= place.again and not self._ending.is_set():
                self._start(place, warm_first=True)

    def _lines(self, place: _Worker) -> list[bytes]:
        if place.status < 0:
            return []
        try:
            place.text += os.read(place.status, 65_536)
        except BlockingIOError:
            return []
        *lines, place.text = place.text.split(b"\n")
        return lines

    def _hear(self, place: _Worker, message: dict[str, str]) -> None:
        if "ready" in message:
            place.ready = self._ever_ready = True
            log.info("worker %d is ready with version %s", place.number, message["ready"])
            return
        log.error("worker %d: %s", place.number, message["failed"])
        if not self._ever_ready:
            kind = getattr(schema, message["kind"], TamisError)
            self._problem = kind(message["failed"])
            self._ending.set()

    def _bury(self, place: _Worker, now: float) -> None:
        """Takes note of a worker that has ended, and plans when to start it again."""
        assert place.process is not None
        place.deaths = 1 if now - place.started > HEALTHY else place.deaths + 1
        pause = min(FIRST_PAUSE * 2 ** (place.deaths - 1), LONGEST_PAUSE)
        place.again = now + pause
        if not self._ending.is_set():
            log.error(
                "worker %d (process %d) ended with code %d; starting it again in %.1f s",
                *(place.number, place.process.pid, place.process.returncode, pause),
            )
        self._counts[place.number] = CLOSED
        mark_process_dead(place.process.pid, self._metrics)
        self._release(place)

    def _release(self, place: _Worker) -> None:
        if place.process is not None and place.process.stdin is not None:
            place.process.stdin.close()
        if place.status >= 0:
            os.close(place.status)
        place.process, place.status = None, -1

    def _stop(self) -> None:
        """Stops all workers; those that do not end in time are killed."""
        running = [place for place in self._places if place.process is not None]
        processes: list[Any] = [place.process for place in running]
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOPS
        for place, process in zip(running, processes, strict=True):
            try:
                process.wait(max(until - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                log.error("worker %d did not end within %g s: killed", place.number, STOPS)
                process.kill()
                process.wait()
            self._release(place)


def thread_limits(workers: int) -> dict[str, str]:
    """Environment variables that divide the processor's cores among the workers; those that are set
    already stay."""
    each = str(max(threads() // workers, 1))
    return {name: each for name in _THREADS if name not in os.environ}
