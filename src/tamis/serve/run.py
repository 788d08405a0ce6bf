"""Runs the service until SIGINT or SIGTERM."""

from __future__ import annotations

import logging
import socket
from functools import partial
from pathlib import Path

import uvicorn

from tamis.schema import ConfigError
from tamis.serve.app import create_app
from tamis.service import LiveRecommender


def serve(project: Path, host: str = "127.0.0.1", port: int = 8000, store: str = "") -> None:
    """Serves the project's serving version over HTTP until SIGINT or SIGTERM.

    Args:
        store: address of the journal: "" for a file of the project, or redis://host:port/db.
        host: address to listen on.
        port: TCP port; 0: a free one, which the log names.

    Raises VersionError where the project has no intact serving version, ConfigError where the
    address is not available.
    """
    log = logging.getLogger("tamis.serve")
    if not log.hasHandlers():
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    log.setLevel(logging.INFO)
    listening = _listen(host, port)
    log.info("http://%s:%d opens %s", host, listening.getsockname()[1], project)
    app = create_app(partial(LiveRecommender.open, project, store))
    config = uvicorn.Config(app, access_log=False, log_config=None, log_level="warning")
    server = uvicorn.Server(config)
    problems: list[Exception] = []

    def stop(problem: Exception) -> None:
        problems.append(problem)
        server.should_exit = True

    app.state["service"].on_failure = stop
    with listening:
        server.run(sockets=[listening])
    if problems:
        raise problems[0]


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=_family(host), backlog=2048)
    except OSError as problem:
        raise ConfigError(
            f"cannot listen on {host} port {port} ({problem.strerror or problem}): "
            f"stop what listens there, or choose another: --port {port + 1}"
        ) from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
