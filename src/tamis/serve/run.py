"""Runs the service until SIGINT or SIGTERM."""

from __future__ import annotations

import logging
import socket
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from tamis.schema import ConfigError, ServeConfig, load_config
from tamis.serve.app import create_app
from tamis.serve.keys import keys_of
from tamis.service import CONFIG, LiveRecommender


def serve(
    project: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    store: str = "",
    keys: Path | None = None,
    log_user_ids: bool | None = None,
) -> None:
    """Serves the project's serving version over HTTP until SIGINT or SIGTERM.

    Args:
        store: address of the journal: "" for a file of the project, or redis://host:port/db.
        host: address to listen on.
        port: TCP port; 0: a free one, which the log names.
        keys: file of API keys. If omitted: that of `[serve] keys`, or the variable TAMIS_KEYS.
        log_user_ids: whether the log names users. If omitted: as `[serve]` says.

    Raises VersionError where the project has no intact serving version, ConfigError where the
    address is not available, or other machines can reach it and there are no keys.
    """
    options = _options(project)
    if log_user_ids is not None:
        options = options.model_copy(update={"log_user_ids": log_user_ids})
    allowed = keys_of(keys or (project / options.keys if options.keys else None))
    if allowed is None and not _is_loopback(host):
        raise ConfigError(
            f"--host {host} lets other machines in, and there are no API keys: make one by `tamis "
            f"keys {project / 'keys.txt'} --name web --scopes read,write` and start with --keys, "
            "or leave out --host"
        )
    log = logging.getLogger("tamis.serve")
    if not log.hasHandlers():
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    log.setLevel(logging.INFO)
    listening = _listen(host, port)
    log.info("http://%s:%d opens %s", host, listening.getsockname()[1], project)
    app = create_app(partial(LiveRecommender.open, project, store), allowed, options)
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


def _options(project: Path) -> ServeConfig:
    """`[serve]` of the project; the defaults without a `tamis.toml`, whose absence the opening of
    the version reports."""
    file = project / CONFIG
    return load_config(file).serve if file.is_file() else ServeConfig()


def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address or a name."""
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:  # not an address of this machine: listening says so
        return False
    return all(ip_address(str(one[4][0]).partition("%")[0]).is_loopback for one in found)


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
