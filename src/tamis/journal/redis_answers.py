"""The answers of a service on a Redis server.

tamis:{PROJECT}:answers         stream; answer NUMBER-0 has the fields i (id), u (user, may be
                                empty), t (time of writing, ms) and b (the answer as JSON)
tamis:{PROJECT}:answers:ids     hash of id → number
tamis:{PROJECT}:answers:head    the highest number that was given
tamis:{PROJECT}:answers:of:USER set of the numbers of a user's answers
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tamis.journal.entries import Recommendation, answer_of, encoded
from tamis.journal.protocol import Lines, NumberedAnswer
from tamis.journal.redis_connection import LINES, RedisConnection, read_lines

AT_ONCE = 500
"""Answers of one script, which holds up every other client of the server."""

_APPEND = """
local stream, ids, head = KEYS[1], KEYS[2], KEYS[3]
for i = 2, #ARGV, 3 do
  local id, user, body = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('HEXISTS', ids, id) == 0 then
    local number = string.format('%.0f', redis.call('INCR', head))
    redis.call('XADD', stream, number .. '-0', 'i', id, 'u', user, 't', ARGV[1], 'b', body)
    redis.call('HSET', ids, id, number)
    if user ~= '' then redis.call('SADD', stream .. ':of:' .. user, number) end
  end
end
"""

_DELETE = """
for i = 1, #ARGV, 3 do
  redis.call('XDEL', KEYS[1], ARGV[i] .. '-0')
  redis.call('HDEL', KEYS[2], ARGV[i + 1])
  redis.call('SREM', KEYS[1] .. ':of:' .. ARGV[i + 2], ARGV[i])
end
"""


class RedisAnswers:
    """Answers on a server, under the name of a project."""

    def __init__(self, server: RedisConnection, project: str) -> None:
        self._server = server
        stream = f"tamis:{{{project}}}:answers"
        self._keys = (stream, f"{stream}:ids", f"{stream}:head")
        self._append = server.script(_APPEND)
        self._delete = server.script(_DELETE)
        self._lines = server.script(LINES)

    def append(self, answers: Sequence[Recommendation]) -> None:
        for first in range(0, len(answers), AT_ONCE):
            words: list[str | int] = [time.time_ns() // 1_000_000]
            for one in answers[first : first + AT_ONCE]:
                words += (one.recommendation_id, one.user_id or "", encoded(one).decode())
            self._server.call(lambda _, w=words: self._append(keys=self._keys, args=w))

    def find(self, recommendation_id: str) -> Recommendation | None:
        stream, ids, _ = self._keys
        number = self._server.read(lambda c: c.hget(ids, recommendation_id))
        if number is None:
            return None
        found = self._server.read(lambda c: c.xrange(stream, f"{number}-0", f"{number}-0"))
        return self._numbered(*found[0]).answer if found else None

    def read(self, after: int, limit: int) -> list[NumberedAnswer]:
        return [self._numbered(*one) for one in self._page(after, limit)]

    def lines(self, after: int, limit: int, *, slates: bool = True) -> Lines:
        return read_lines(self._server, self._lines, self._keys[0], after, limit)

    @property
    def head(self) -> int:
        return int(self._server.read(lambda c: c.get(self._keys[2])) or 0)

    def trim(self, before: int) -> int:
        deleted = 0
        while page := self._page(0, AT_ONCE):
            old = [one for one in page if int(one[1]["t"]) < before]
            deleted += self._deleted(old)
            if len(old) < len(page):
                break
        return deleted

    def forget_user(self, user_id: str, before: int) -> int:
        stream, deleted = self._keys[0], 0
        numbers = self._server.read(lambda c: c.smembers(f"{stream}:of:{user_id}"))
        wanted = sorted(numbers, key=int)
        for first in range(0, len(wanted), AT_ONCE):
            part = wanted[first : first + AT_ONCE]
            found = self._server.read(lambda c, part=part: _each(c, stream, part))
            old = [one for one in found if self._numbered(*one).answer.position < before]
            deleted += self._deleted(old)
        return deleted

    def _page(self, after: int, limit: int) -> list[tuple[str, dict[str, str]]]:
        if limit < 1:
            return []
        first = f"{after + 1}-0"
        return self._server.read(lambda c: c.xrange(self._keys[0], first, "+", count=limit))

    def _deleted(self, found: Sequence[tuple[str, dict[str, str]]]) -> int:
        words = [
            word for name, fields in found for word in (_number(name), fields["i"], fields["u"])
        ]
        if words:
            self._server.call(lambda _: self._delete(keys=self._keys, args=words))
        return len(found)

    def _numbered(self, name: str, fields: dict[str, str]) -> NumberedAnswer:
        number = _number(name)
        return NumberedAnswer(number, answer_of(fields["b"], f"{self._keys[0]}, answer {number}"))


def _each(client: Any, stream: str, numbers: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """The answers of numbers that are in the stream."""
    pipe = client.pipeline(transaction=False)
    for number in numbers:
        pipe.xrange(stream, f"{number}-0", f"{number}-0")
    return [one for found in pipe.execute() for one in found]


def _number(name: str) -> int:
    return int(name.partition("-")[0])
