"""A journal on a Redis server, for services on several machines.

    tamis:{PROJECT}:journal         stream; entry SEQUENCE-0 has the fields k (key, may be empty)
                                    and b (the entry as JSON)
    tamis:{PROJECT}:journal:keys    hash of key → sequence number
    tamis:{PROJECT}:journal:state   hash: format, head, start

The braces keep the three on one node of a Redis Cluster. Each write is one Lua script, which a
server runs as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis

from tamis.journal.entries import decoded
from tamis.journal.group_commit import GroupCommit, Line
from tamis.journal.protocol import Appended, Durability, Numbered
from tamis.schema import ConfigError, StoreError

FORMAT = 1
TIMEOUT = 5.0
"""Seconds that a write waits for the server."""
READ_TIMEOUT = 0.25
"""Seconds that a read waits: a request does not wait longer for news."""
PAUSE = 1.0
"""Seconds after a failed read in which reads fail at once."""
WRITTEN_AT_ONCE = 500
"""Entries of one script, which holds up every other client of the server."""
TRIMMED_AT_ONCE = 5_000

_APPEND = """
local stream, keys, state = KEYS[1], KEYS[2], KEYS[3]
redis.call('HSETNX', state, 'format', 1)
local head = tonumber(redis.call('HGET', state, 'head') or '0')
local answer = {}
for i = 1, #ARGV, 2 do
  local key, body = ARGV[i], ARGV[i + 1]
  local first = key ~= '' and redis.call('HGET', keys, key)
  if first then
    answer[#answer + 1] = -tonumber(first)
  else
    head = head + 1
    redis.call('XADD', stream, string.format('%.0f-0', head), 'k', key, 'b', body)
    if key ~= '' then redis.call('HSET', keys, key, string.format('%.0f', head)) end
    answer[#answer + 1] = head
  end
end
redis.call('HSET', state, 'head', string.format('%.0f', head))
return answer
"""

_TRIM = """
local stream, keys, state = KEYS[1], KEYS[2], KEYS[3]
local upto, count = ARGV[1], tonumber(ARGV[2])
local found = redis.call('XRANGE', stream, '-', upto .. '-0', 'COUNT', count)
local last = upto
for _, entry in ipairs(found) do
  if entry[2][2] ~= '' then redis.call('HDEL', keys, entry[2][2]) end
  redis.call('XDEL', stream, entry[1])
  last = string.match(entry[1], '^%d+')
end
if #found < count then last = upto end
local start = tonumber(redis.call('HGET', state, 'start') or '0')
if tonumber(last) > start then redis.call('HSET', state, 'start', last) end
return #found
"""

T = TypeVar("T")


class RedisJournal:
    """A journal on a server, under the name of a project.

    How durable an acknowledged entry is depends on the server's settings, which are read at the
    start: see `durability`. Raises ConfigError for a wrong address, StoreError where the server
    does not answer or holds a journal of a later release.
    """

    def __init__(self, url: str, project: str) -> None:
        parts = urlsplit(url)
        self.address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        stream = f"tamis:{{{project}}}:journal"
        self._keys = (stream, f"{stream}:keys", f"{stream}:state")
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
        self._append = self._client.register_script(_APPEND)
        self._trim = self._client.register_script(_TRIM)
        found = int(self._call(lambda c: c.hget(self._keys[2], "format")) or FORMAT)
        if found != FORMAT:
            raise StoreError(
                f"the journal of {project} at {self.address} has format {found}, which this "
                "release of Tamis does not know: open it with the release that wrote it"
            )
        self._durability = self._promised()
        self._commits = GroupCommit(self._write, name=f"journal {self.address}")

    @property
    def durability(self) -> Durability:
        return self._durability

    def append(self, entries: Sequence[Any]) -> list[Appended]:
        return self._commits.append(entries)

    def read(self, after: int, limit: int) -> list[Numbered]:
        if limit < 1:
            return []
        first = f"{after + 1}-0"
        found = self._read(lambda c: c.xrange(self._keys[0], first, "+", count=limit))
        return [self._numbered(name, fields) for name, fields in found]

    def find(self, key: str) -> Numbered | None:
        sequence = self._read(lambda c: c.hget(self._keys[1], key))
        if sequence is None:
            return None
        found = self._read(lambda c: c.xrange(self._keys[0], f"{sequence}-0", f"{sequence}-0"))
        return self._numbered(*found[0]) if found else None

    @property
    def head(self) -> int:
        return self._state("head")

    @property
    def start(self) -> int:
        return self._state("start")

    def trim(self, upto: int) -> int:
        head = self.head
        if upto > head:
            raise StoreError(f"cannot trim up to entry {upto}: the last one is {head}")
        words, deleted, more = (upto, TRIMMED_AT_ONCE), 0, upto > self.start
        while more:
            count = int(self._call(lambda _: self._trim(keys=self._keys, args=words)))
            deleted += count
            more = count == TRIMMED_AT_ONCE
        return deleted

    def close(self) -> None:
        self._commits.close()
        self._client.close()
        self._reader.close()

    def _write(self, lines: Sequence[Line]) -> list[Appended]:
        results: list[Appended] = []
        for first in range(0, len(lines), WRITTEN_AT_ONCE):
            words: list[str] = []
            for line in lines[first : first + WRITTEN_AT_ONCE]:
                words += (line.key or "", line.body)
            numbers = self._call(lambda _, w=words: self._append(keys=self._keys, args=w))
            results += [Appended(abs(n), n < 0) for n in numbers]
        return results

    def _promised(self) -> Durability:
        """What the server's settings promise; servers that hide their settings promise nothing."""
        found: dict[str, str] = {}
        with suppress(StoreError):
            found = self._call(lambda c: c.config_get("append*"))
        if found.get("appendonly") != "yes":
            return Durability(
                process_killed=False,
                power_lost=False,
                text="the Redis server keeps entries in memory (appendonly is "
                f"{found.get('appendonly', 'not readable')}): all since its last snapshot are lost "
                "when it ends. For more: appendonly yes, appendfsync always",
            )
        fsync = found.get("appendfsync", "unknown")
        if fsync == "always":
            text = "every acknowledged entry is on the server's disk (appendfsync always)"
        else:
            text = (
                f"a killed Redis process loses nothing; a loss of power may lose a second or more "
                f"(appendfsync {fsync}). For more: appendfsync always"
            )
        return Durability(process_killed=True, power_lost=fsync == "always", text=text)

    def _state(self, name: str) -> int:
        return int(self._read(lambda c: c.hget(self._keys[2], name)) or 0)

    def _numbered(self, name: str, fields: dict[str, str]) -> Numbered:
        sequence = int(name.partition("-")[0])
        return Numbered(sequence, decoded(fields["b"], f"{self._keys[0]}, entry {sequence}"))

    def _read(self, command: Callable[[Any], T]) -> T:
        """As `_call`, but soon: after a failure, reads fail at once for a moment."""
        if time.monotonic() < self._paused_until:
            raise StoreError(
                f"the Redis server at {self.address}, which holds the journal, did not answer a "
                "moment ago: start it, or correct its address"
            )
        try:
            with self._failing():
                return command(self._reader)
        except StoreError:
            self._paused_until = time.monotonic() + PAUSE
            raise

    def _call(self, command: Callable[[Any], T]) -> T:
        with self._failing():
            return command(self._client)

    @contextmanager
    def _failing(self) -> Generator[None]:
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            raise StoreError(
                f"the Redis server at {self.address}, which holds the journal, does not answer "
                f"({error}): start it, or correct its address"
            ) from error
        except redis.RedisError as error:
            raise StoreError(
                f"the Redis server at {self.address} refused a call of the journal: {error}"
            ) from error
