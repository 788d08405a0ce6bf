"""The listening socket, which several workers may share, and how they share its connections."""

from __future__ import annotations

import mmap
import socket
import time
from typing import Any

from tamis.schema import ConfigError

BACKLOG = 2048
"""Connections that wait in the kernel to be accepted."""
YIELDS = 0.005
"""Seconds that a worker leaves a new connection to a worker that has fewer."""
CLOSED = -1
"""Count of a worker that accepts no connections."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address; port 0: a free one. Raises ConfigError where the address
    is not available."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as problem:
        raise ConfigError(
            f"cannot listen on {host} port {port} ({problem.strerror or problem}): "
            f"stop what listens there, or choose another: --port {port + 1}"
        ) from None
    # Connections inherit it. asyncio sets it only on sockets whose protocol is named; without it
    # the end of an answer on a kept connection waits for the client's delayed ACK, 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class ConnectionCounts:
    """Open connections per worker, in memory that all of them map from one file.

    Each worker writes its own count; nobody waits for a lock.

    Args:
        descriptor: a file of at least `size_of(workers)` bytes.
        workers: number of counts.
    """

    def __init__(self, descriptor: int, workers: int) -> None:
        self._memory = mmap.mmap(descriptor, self.size_of(workers))
        self._counts = memoryview(self._memory).cast("i")[:workers]

    @staticmethod
    def size_of(workers: int) -> int:
        """Bytes of the file."""
        return 4 * workers

    def __getitem__(self, worker: int) -> int:
        return self._counts[worker]

    def __setitem__(self, worker: int, count: int) -> None:
        self._counts[worker] = count

    def has_least(self, worker: int) -> bool:
        """Whether no other worker that accepts connections has fewer."""
        mine = self._counts[worker]
        return all(count >= mine or count == CLOSED for count in self._counts)


class SharedListener(socket.socket):
    """A listening socket whose new connections go to the worker that has the fewest.

    Workers wait for the same socket, so all of them notice a connection. Each takes one at a time,
    and one that has more than another first leaves it a moment. Connections that are kept alive
    would otherwise stay with whichever worker was quicker, often all with one.

    Args:
        descriptor: the socket's file descriptor, inherited.
        counts: open connections of all workers.
        worker: number of this one.
    """

    def __init__(self, descriptor: int, counts: ConnectionCounts, worker: int) -> None:
        super().__init__(fileno=descriptor)
        self._connections, self._worker = counts, worker
        self._took_one = False
        counts[worker] = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """A new connection; BlockingIOError where there is none, or another worker took it."""
        if self._took_one:  # the event loop asks until there is none: others have their turn first
            self._took_one = False
            raise BlockingIOError
        until = time.monotonic() + YIELDS
        while not self._connections.has_least(self._worker) and time.monotonic() < until:
            time.sleep(YIELDS / 10)
        accepted, address = super().accept()
        self._took_one = True
        return _Counted(accepted, self._connections, self._worker), address

    def close(self) -> None:
        """Accepts no more connections; those that are open stay."""
        self._connections[self._worker] = CLOSED
        super().close()


class _Counted(socket.socket):
    """A connection that is counted until it is closed."""

    def __init__(self, accepted: socket.socket, counts: ConnectionCounts, worker: int) -> None:
        super().__init__(fileno=accepted.detach())
        self._connections, self._worker, self._open = counts, worker, True
        counts[worker] += 1

    def close(self) -> None:
        if self._open and self._connections[self._worker] > 0:
            self._connections[self._worker] -= 1
        self._open = False
        super().close()
