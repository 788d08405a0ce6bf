"""Real servers for tests: started on a free port of this machine, stopped by process id."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tamis.schema import StoreError

STARTS_WITHIN = 10.0
"""Seconds."""


@contextmanager
def redis_server(port: int | None = None, keep: Path | None = None) -> Generator[str]:
    """A `redis-server`; yields its address `redis://127.0.0.1:port/0`.

    port: TCP port; None: a free one. keep: folder of its append-only file, which is written before
    each answer (appendfsync always); such a server is killed at the end. None: it keeps nothing.
    Raises StoreError where the program is not installed or does
    not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise StoreError(
            "redis-server is not installed: `apt-get install redis-server`, or brew install redis"
        )
    port = _free_port() if port is None else port
    with tempfile.TemporaryDirectory() as folder:
        words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        words += ["--save", "", "--daemonize", "no"]
        if keep is None:
            words += ["--appendonly", "no"]
        else:
            words += ["--dir", str(keep), "--appendonly", "yes", "--appendfsync", "always"]
        process = subprocess.Popen(
            [program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait(process, port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            if keep is None:
                process.terminate()
            else:
                process.kill()
            process.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    """Waits until the server answers PING."""
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0) as line:
                line.sendall(b"PING\r\n")
                if line.recv(16).startswith(b"+PONG"):
                    return
        except OSError:
            time.sleep(0.02)
    raise StoreError(f"redis-server did not answer on port {port} within {STARTS_WITHIN:g} s")
