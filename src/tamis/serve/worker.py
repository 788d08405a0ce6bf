"""A process that answers requests: the only one, or one of several that share a socket.

`main` is started by `tamis.serve.workers`, which writes the `WorkerOrder` on its standard input and
keeps that open: its end means that the supervisor is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from tamis.schema import ServeConfig, TamisError, load_config
from tamis.serve.access import LOCAL
from tamis.serve.app import create_app
from tamis.serve.keys import Keys, keys_of
from tamis.serve.listening import ConnectionCounts, SharedListener
from tamis.service import CONFIG, Serving

log = logging.getLogger("tamis.serve")

KEPT = 75
"""Seconds that an idle connection is kept. Longer than proxies keep theirs (60 s): whoever closes a
connection must be the one that sends the next request, or that request may be lost."""
FINISHES = 10
"""Seconds that requests in flight have to end after SIGTERM."""


@dataclass(frozen=True)
class Served:
    """What a service serves, and to whom."""

    project: str
    store: str
    """Address of the journal."""
    key_file: str | None
    """File of API keys; None: that of `[serve] keys`, or the variable TAMIS_KEYS."""
    log_user_ids: bool | None
    """None: as `[serve]` says."""

    def open(self) -> Serving:
        """The published version, watched."""
        return Serving.open(Path(self.project), self.store)

    def options(self) -> ServeConfig:
        """`[serve]` of the project; the defaults without a `tamis.toml`, whose absence the opening
        of the version reports. Without API keys, this machine's names are the only hosts."""
        options, update = self._declared(), dict[str, object]()
        if self.log_user_ids is not None:
            update["log_user_ids"] = self.log_user_ids
        if not options.hosts and self.keys() is None:
            update["hosts"] = LOCAL
        return options.model_copy(update=update)

    def _declared(self) -> ServeConfig:
        file = Path(self.project) / CONFIG
        return load_config(file).serve if file.is_file() else ServeConfig()

    def keys(self) -> Keys | None:
        """The API keys; None where there are none."""
        declared = self._declared().keys
        own = Path(self.project) / declared if declared else None
        return keys_of(Path(self.key_file) if self.key_file else own)


@dataclass(frozen=True)
class WorkerOrder(Served):
    """What a worker of several is to do."""

    worker: int
    """Its number, from 0."""
    workers: int
    listening: int
    """File descriptor of the listening socket."""
    counts: int
    """File descriptor of `ConnectionCounts`."""
    status: int
    """File descriptor of a pipe to the supervisor: one JSON object per line."""
    warm_first: bool
    """Accept connections when the version is open; False: at once, answering "not ready"."""


def configure_log(worker: int | None = None) -> None:
    """Lines with time and level on standard error, unless the program has set up logging."""
    if not log.hasHandlers():
        who = "" if worker is None else f"worker {worker} "
        logging.basicConfig(format=f"%(asctime)s %(levelname)s {who}%(message)s")
    for name in ("tamis.serve", "tamis.service"):
        logging.getLogger(name).setLevel(logging.INFO)


def run(
    served: Served, source: Any, listening: socket.socket, worker: int = 0, on_ready: Any = None
) -> None:
    """Answers requests until SIGINT or SIGTERM; those in flight are finished.

    Args:
        served: to whom the service answers.
        source: an open `Serving`, or a function that opens one.
        listening: the socket, which is closed.
        worker: number of this process.
        on_ready: called with the name of the version once it is open.

    Raises what `source` raised.
    """
    app = create_app(source, served.keys(), served.options(), worker)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="warning",
        loop="asyncio",
        timeout_keep_alive=KEPT,
        timeout_graceful_shutdown=FINISHES,
    )
    server = ClosingServer(config)
    problems: list[Exception] = []

    def stop(problem: Exception) -> None:
        problems.append(problem)
        server.should_exit = True

    app.state["service"].on_failure = stop
    app.state["service"].on_ready = on_ready
    _end_normally()
    with listening:
        server.run(sockets=[listening])
    if problems:
        raise problems[0]


class ClosingServer(uvicorn.Server):
    """Closes connections that were accepted just as the stop began, too.

    uvicorn closes those that it knows when the stop begins. One that was accepted in the same turn
    of the loop joins them later: its client would be answered until the time to finish is over, and
    be cut off then.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        count = len(self.server_state.tasks)
        log.info("stopping: no new requests, %d in flight have %d s", count, FINISHES)
        closing = asyncio.create_task(self._close_late_ones())
        try:
            await super().shutdown(sockets)
        finally:
            closing.cancel()

    async def _close_late_ones(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            for connection in list(self.server_state.connections):
                connection.shutdown()  # those that answer now close after the answer


def _end_normally() -> None:
    """The server repeats a signal once it has stopped because of it: then there is nothing left to
    do, and the process ends with exit code 0."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)


def main() -> None:
    """Works by the order on standard input; failures go to the supervisor."""
    order = WorkerOrder(**json.loads(sys.stdin.readline()))
    configure_log(order.worker)
    tell = partial(_tell, order.status)
    source: Any = order.open
    try:
        if order.warm_first:
            source = source()
        threading.Thread(target=_end_with_supervisor, daemon=True).start()
        counts = ConnectionCounts(order.counts, order.workers)
        listening = SharedListener(order.listening, counts, order.worker)
        run(order, source, listening, order.worker, on_ready=lambda version: tell(ready=version))
    except TamisError as problem:
        tell(failed=str(problem), kind=type(problem).__name__)
        sys.exit(1)


def _tell(descriptor: int, **words: str) -> None:
    os.write(descriptor, json.dumps(words).encode() + b"\n")


def _end_with_supervisor() -> None:
    """Stops this process when the supervisor has ended, however it ended."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
