"""Runs the service until SIGINT or SIGTERM."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path

from tamis.schema import ConfigError
from tamis.serve.listening import listen
from tamis.serve.worker import Served, configure_log, log, run
from tamis.serve.workers import Supervisor

MOST_WORKERS = 256


def serve(
    project: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    store: str = "",
    workers: int = 1,
    keys: Path | None = None,
    log_user_ids: bool | None = None,
) -> None:
    """Serves the project's serving version over HTTP until SIGINT or SIGTERM.

    Versions that are published meanwhile take its place without a failed request.

    Args:
        host: address to listen on.
        port: TCP port; 0: a free one, which the log names.
        store: address of the journal: "" for a file of the project, or redis://host:port/db.
        workers: processes that share the port, 1 to 256; a useful number is that of the cores. Each
            holds the version and what came since.
        keys: file of API keys. If omitted: that of `[serve] keys`, or the variable TAMIS_KEYS.
        log_user_ids: whether the log names users. If omitted: as `[serve]` says.

    Raises VersionError where the project has no intact serving version, ConfigError where the
    address is not available, `workers` is out of range, or other machines can reach the address and
    there are no keys.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise ConfigError(f"workers = {workers}: give 1 to {MOST_WORKERS}")
    served = Served(str(project), store, None if keys is None else str(keys), log_user_ids)
    if served.keys() is None and not _is_loopback(host):
        raise ConfigError(
            f"--host {host} lets other machines in, and there are no API keys: make one by `tamis "
            f"keys {project / 'keys.txt'} --name web --scopes read,write` and start with --keys, "
            "or leave out --host"
        )
    configure_log()
    listening = listen(host, port)
    log.info("http://%s:%d opens %s", host, listening.getsockname()[1], project)
    if workers == 1:
        run(served, served.open, listening)
    else:
        Supervisor(served, workers, listening).run()
    log.info("stopped")


def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address or a name."""
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:  # not an address of this machine: listening says so
        return False
    return all(ip_address(str(one[4][0]).partition("%")[0]).is_loopback for one in found)
