"""The steps of experiments on a Redis server.

tamis:{PROJECT}:experiments   list of the steps as JSON, the oldest first
"""

from __future__ import annotations

from tamis.journal.entries import ExperimentStep, encoded, step_of
from tamis.journal.redis_connection import RedisConnection

_APPEND = """
if redis.call('LLEN', KEYS[1]) ~= tonumber(ARGV[1]) then return 0 end
redis.call('RPUSH', KEYS[1], ARGV[2])
return 1
"""


class RedisExperiments:
    """Steps on a server, under the name of a project; as durable as the server's entries."""

    def __init__(self, server: RedisConnection, project: str) -> None:
        self._server = server
        self._key = f"tamis:{{{project}}}:experiments"
        self._append = server.script(_APPEND)

    @property
    def head(self) -> int:
        return int(self._server.read(lambda c: c.llen(self._key)))

    def read(self) -> list[ExperimentStep]:
        bodies = self._server.read(lambda c: c.lrange(self._key, 0, -1))
        return [step_of(body, f"{self._key}, step {k}") for k, body in enumerate(bodies, start=1)]

    def append(self, step: ExperimentStep, after: int) -> bool:
        words = (after, encoded(step).decode())
        return bool(self._server.call(lambda _: self._append(keys=(self._key,), args=words)))
