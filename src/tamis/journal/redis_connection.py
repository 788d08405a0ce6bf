"""Calls of a Redis server, with its failures as StoreError."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis

from tamis.journal.protocol import JournalAwayError, Lines
from tamis.schema import ConfigError, StoreError

TIMEOUT = 5.0
"""Seconds that a write waits for the server."""
READ_TIMEOUT = 0.25
"""Seconds that a read waits: a request does not wait longer for news."""
PAUSE = 1.0
"""Seconds after a failed read in which reads fail at once."""

LINES_AT_ONCE = 500
"""Lines of one script, which holds up every other client of the server."""
LINES = """
local found = redis.call('XRANGE', KEYS[1], ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])
local bodies, last = {}, ''
for i, one in ipairs(found) do
  bodies[i] = one[2][#one[2]]
  last = one[1]
end
return {last, table.concat(bodies, '\\n')}
"""
"""Joins the last field of each entry of a stream, its JSON: a client takes longer to read single
entries than the server to join them."""

T = TypeVar("T")


class RedisConnection:
    """A server at `url`. Raises ConfigError for a wrong address."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        kind: Any = redis.Redis  # its options have no types
        try:
            self._client, self._reader = (
                kind.from_url(
                    url, socket_timeout=wait, socket_connect_timeout=wait, decode_responses=True
                )
                for wait in (TIMEOUT, READ_TIMEOUT)
            )
        except ValueError as error:
            raise ConfigError(f"the journal's address {self.address!r}: {error}") from error
        self._paused_until = 0.0

    def script(self, text: str) -> Callable[..., Any]:
        """A Lua script: `script(keys=…, args=…)` runs it, within `call`."""
        return self._client.register_script(text)

    def read(self, command: Callable[[Any], T]) -> T:
        """As `call`, but soon: after a failure, reads fail at once for a moment."""
        if time.monotonic() < self._paused_until:
            raise JournalAwayError(
                f"the Redis server at {self.address}, which holds the journal, did not answer a "
                "moment ago: start it, or correct its address"
            )
        try:
            with self._failing():
                return command(self._reader)
        except StoreError:
            self._paused_until = time.monotonic() + PAUSE
            raise

    def call(self, command: Callable[[Any], T]) -> T:
        """The result of a command, which gets a client. Raises StoreError where it fails,
        JournalAwayError where the server does not answer."""
        with self._failing():
            return command(self._client)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()
        self._reader.close()

    @contextmanager
    def _failing(self) -> Generator[None]:
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            raise JournalAwayError(
                f"the Redis server at {self.address}, which holds the journal, does not answer "
                f"({error}): start it, or correct its address"
            ) from error
        except redis.RedisError as error:
            raise StoreError(
                f"the Redis server at {self.address} refused a call of the journal: {error}"
            ) from error


def read_lines(
    server: RedisConnection, script: Callable[..., Any], stream: str, after: int, limit: int
) -> Lines:
    """The bodies of at most `limit` entries of a stream above number `after`, by `LINES`."""
    texts: list[str] = []
    last, left = after, limit
    while left > 0:
        words = (last + 1, min(left, LINES_AT_ONCE))
        name, text = server.call(lambda _, w=words: script(keys=[stream], args=w))
        if not name:
            break
        texts.append(text)
        last, left = int(name.partition("-")[0]), left - words[1]
    return Lines("\n".join(texts).encode(), last)
