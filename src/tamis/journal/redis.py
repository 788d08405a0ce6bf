"""A journal on a Redis server, for services on several machines.

    tamis:{PROJECT}:journal          stream; entry SEQUENCE-0 has the fields k (key, may be empty),
                                     t (time of writing, ms) and b (the entry as JSON)
    tamis:{PROJECT}:journal:keys     hash of key → sequence number
    tamis:{PROJECT}:journal:trimmed  sorted set of the keys of trimmed entries by time of writing
    tamis:{PROJECT}:journal:state    hash: format, head, start

The braces keep them on one node of a Redis Cluster. Each write is one Lua script, which a server
runs as a whole. The answers are in keys of their own (`RedisAnswers`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from tamis.journal.entries import decoded
from tamis.journal.group_commit import Line, PartlyWrittenError
from tamis.journal.numbered_log import NumberedLog
from tamis.journal.protocol import Appended, Durability, JournalAwayError, Lines, Numbered
from tamis.journal.redis_answers import RedisAnswers
from tamis.journal.redis_connection import LINES, RedisConnection, read_lines
from tamis.journal.redis_experiments import RedisExperiments
from tamis.schema import StoreError

FORMAT = 2
WRITTEN_AT_ONCE = 500
"""Entries of one script, which holds up every other client of the server."""
TRIMMED_AT_ONCE = 5_000

_NOT_KNOWN = Durability(
    process_killed=False,
    power_lost=False,
    text="not known yet: the Redis server has not answered since the start",
)

_APPEND = """
local stream, keys, state = KEYS[1], KEYS[2], KEYS[3]
redis.call('HSETNX', state, 'format', 2)
local head = tonumber(redis.call('HGET', state, 'head') or '0')
local answer = {}
for i = 2, #ARGV, 2 do
  local key, body = ARGV[i], ARGV[i + 1]
  local first = key ~= '' and redis.call('HGET', keys, key)
  if first then
    answer[#answer + 1] = -tonumber(first)
  else
    head = head + 1
    local number = string.format('%.0f', head)
    redis.call('XADD', stream, number .. '-0', 'k', key, 't', ARGV[1], 'b', body)
    if key ~= '' then redis.call('HSET', keys, key, number) end
    answer[#answer + 1] = head
  end
end
redis.call('HSET', state, 'head', string.format('%.0f', head))
return answer
"""

_TRIM = """
local stream, state, trimmed = KEYS[1], KEYS[3], KEYS[4]
local upto, count = ARGV[1], tonumber(ARGV[2])
local found = redis.call('XRANGE', stream, '-', upto .. '-0', 'COUNT', count)
local last = upto
for _, entry in ipairs(found) do
  if entry[2][2] ~= '' then redis.call('ZADD', trimmed, entry[2][4], entry[2][2]) end
  redis.call('XDEL', stream, entry[1])
  last = string.match(entry[1], '^%d+')
end
if #found < count then last = upto end
local start = tonumber(redis.call('HGET', state, 'start') or '0')
if tonumber(last) > start then redis.call('HSET', state, 'start', last) end
return #found
"""

_FORGET = """
local keys, trimmed = KEYS[2], KEYS[4]
local found = redis.call('ZRANGEBYSCORE', trimmed, '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, key in ipairs(found) do
  redis.call('HDEL', keys, key)
  redis.call('ZREM', trimmed, key)
end
return #found
"""


class RedisJournal(NumberedLog):
    """A journal on a server, under the name of a project.

    How durable an acknowledged entry is depends on the server's settings, which are read at the
    first call: see `durability`. Raises ConfigError for a wrong address, StoreError where the
    server holds a journal of another release, and, unless it `may_be_away`, JournalAwayError where
    it does not answer.
    """

    def __init__(self, url: str, project: str, *, may_be_away: bool = False) -> None:
        self._server = RedisConnection(url)
        stream = f"tamis:{{{project}}}:journal"
        self._keys = (stream, f"{stream}:keys", f"{stream}:state", f"{stream}:trimmed")
        self._answers = RedisAnswers(self._server, project)
        self._experiments = RedisExperiments(self._server, project)
        self._append, self._trim, self._forget = map(self._server.script, (_APPEND, _TRIM, _FORGET))
        self._lines = self._server.script(LINES)
        self._project = project
        self._durability: Durability | None = None
        try:
            self._learn(self._server.call)
        except JournalAwayError:
            if not may_be_away:
                raise
        super().__init__(name=f"journal {self._server.address}")

    def _check(self) -> None:
        """Learns of the server at the first call that it answers."""
        if self._durability is None:
            self._learn(self._server.read)

    def _learn(self, call: Callable[..., Any]) -> None:
        """Whether this release knows the journal's format, and what the server promises."""

        def stored(client: Any) -> Any:
            return client.hget(self._keys[2], "format")

        found = int(call(stored) or FORMAT)
        if found != FORMAT:
            raise StoreError(
                f"the journal of {self._project} at {self._server.address} has format {found}, "
                "which this release of Tamis does not know: open it with the release that wrote it"
            )
        self._durability = self._promised()

    @property
    def durability(self) -> Durability:
        return self._durability or _NOT_KNOWN

    @property
    def answers(self) -> RedisAnswers:
        return self._answers

    @property
    def experiments(self) -> RedisExperiments:
        return self._experiments

    def read(self, after: int, limit: int) -> list[Numbered]:
        if limit < 1:
            return []
        self._check()
        first = f"{after + 1}-0"
        found = self._server.read(lambda c: c.xrange(self._keys[0], first, "+", count=limit))
        return [self._numbered(name, fields) for name, fields in found]

    def lines(self, after: int, limit: int) -> Lines:
        self._check()
        return read_lines(self._server, self._lines, self._keys[0], after, limit)

    def find(self, key: str) -> Numbered | None:
        sequence = self._server.read(lambda c: c.hget(self._keys[1], key))
        if sequence is None:
            return None
        name = f"{sequence}-0"
        found = self._server.read(lambda c: c.xrange(self._keys[0], name, name))
        return self._numbered(*found[0]) if found else None

    def forget_keys(self, before: int) -> int:
        return self._repeated(self._forget, before)

    def _delete(self, start: int, upto: int) -> int:
        return self._repeated(self._trim, upto)

    def _repeated(self, script: Callable[..., Any], limit: int) -> int:
        """The sum of what a script deletes, called until nothing up to `limit` is left."""
        deleted, count, words = 0, TRIMMED_AT_ONCE, (limit, TRIMMED_AT_ONCE)
        while count == TRIMMED_AT_ONCE:
            count = int(self._server.call(lambda _: script(keys=self._keys, args=words)))
            deleted += count
        return deleted

    def _close(self) -> None:
        self._server.close()

    def _write(self, lines: Sequence[Line]) -> list[Appended]:
        self._check()
        results: list[Appended] = []
        for first in range(0, len(lines), WRITTEN_AT_ONCE):
            words: list[str | int] = [time.time_ns() // 1_000_000]
            for line in lines[first : first + WRITTEN_AT_ONCE]:
                words += (line.key or "", line.body)
            try:
                numbers = self._server.call(
                    lambda _, w=words: self._append(keys=self._keys, args=w)
                )
            except StoreError as error:
                raise PartlyWrittenError(results, error) from error
            results += [Appended(abs(n), n < 0) for n in numbers]
        return results

    def _promised(self) -> Durability:
        """What the server's settings promise; servers that hide their settings promise nothing."""
        found: dict[str, str] = {}
        with suppress(StoreError):
            found = self._server.call(lambda c: c.config_get("append*"))
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
        self._check()
        return int(self._server.read(lambda c: c.hget(self._keys[2], name)) or 0)

    def _numbered(self, name: str, fields: dict[str, str]) -> Numbered:
        sequence = int(name.partition("-")[0])
        return Numbered(sequence, decoded(fields["b"], f"{self._keys[0]}, entry {sequence}"))
