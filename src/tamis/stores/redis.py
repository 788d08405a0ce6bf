"""Stores on a Redis server, shared by several machines, with one round trip per read.

    tamis:PROJECT:recall                          set of the versions written
    tamis:PROJECT:recall:VERSION                  JSON: lists (channel → k), vectors, keys
    tamis:PROJECT:recall:VERSION:CHANNEL:lists:B  hash of user row → n int32 items, n float32 scores
    tamis:PROJECT:recall:VERSION:CHANNEL:users:B  hash of user row → d float32; `items` likewise
    tamis:PROJECT:leftovers:QUEUE:USER            sorted set of item ids by the time of adding

Numbers are little-endian. B is the row divided by 65,536, so that a hash has at most that many
fields, and a version is put in place or deleted by a few commands.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from secrets import token_hex
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
import redis
from numpy.typing import NDArray
from redis.backoff import NoBackoff
from redis.retry import Retry

from tamis.runtime import Float32, Int32
from tamis.schema import ConfigError, StoreError
from tamis.stores.embedded import entry_times, no_lists
from tamis.stores.protocols import EntityKind, RecallDraft

BUCKET = 65_536
WRITE_ROWS = 2_000
"""Rows per pipeline when writing: a few megabytes."""
TIMEOUT = 0.25
"""Seconds that a request waits for the server."""
WRITE_TIMEOUT = 30.0
"""Seconds that a batch job waits."""
PAUSE = 1.0
"""Seconds after a failure in which requests fail at once, without waiting for the server."""
ABANDONED = 86_400
"""Seconds after which the temporary keys of an interrupted job expire."""

T = TypeVar("T")


class Server:
    """A Redis server. Failures become StoreError; at most one request per second waits for it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._clients = {wait: self._client(url, wait) for wait in (TIMEOUT, WRITE_TIMEOUT)}
        self._paused_until = 0.0

    def call(self, command: Callable[[Any], T], timeout: float = TIMEOUT) -> T:
        """The result of `command(client)`. Raises StoreError if the server fails."""
        if time.monotonic() < self._paused_until:
            raise self._unavailable("it failed a moment ago")
        try:
            return command(self._clients[timeout])
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            self._paused_until = time.monotonic() + PAUSE
            raise self._unavailable(str(error)) from error
        except redis.RedisError as error:
            raise StoreError(f"the Redis server at {self.address} refused: {error}") from error

    def _unavailable(self, why: str) -> StoreError:
        return StoreError(
            f"the Redis server at {self.address} does not answer ({why}): start it, or correct the "
            "address in `store`"
        )

    def _client(self, url: str, timeout: float) -> Any:
        """A client, which connects at the first command."""
        kind: Any = redis.Redis  # its options have no types
        try:
            return kind.from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=min(timeout, 5.0),
                # One retry, for a connection that the server has closed meanwhile.
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError as error:
            raise ConfigError(f"store = {self.address!r}: {error}") from error


class RedisRecall:
    """Recalled lists and vectors on a server."""

    def __init__(self, server: Server, project: str) -> None:
        self._server = server
        self._root = f"tamis:{project}:recall"

    @property
    def address(self) -> str:
        return self._server.address

    def lists(self, version: str, channel: str, users: Int32) -> tuple[Int32, Float32]:
        packed = self._rows(f"{self._root}:{version}:{channel}:lists", users)
        missing = any(
            value is None and user >= 0 for value, user in zip(packed, users, strict=True)
        )
        if missing and channel not in self.holds(version):
            raise self._nothing(version, channel)
        sizes = np.array([0 if value is None else len(value) // 8 for value in packed], np.int64)
        shape = (len(users), int(sizes.max(initial=0)))
        item = np.full(shape, -1, np.int32)
        score = np.full(shape, -np.inf, np.float32)
        for q, (value, n) in enumerate(zip(packed, sizes.tolist(), strict=True)):
            if value is not None:
                item[q, :n] = np.frombuffer(value, "<i4", n)
                score[q, :n] = np.frombuffer(value, "<f4", n, 4 * n)
        return item, score

    def vectors(self, version: str, channel: str, side: EntityKind, rows: Int32) -> Float32:
        packed = self._rows(f"{self._root}:{version}:{channel}:{side}", rows)
        width = max((len(value) // 4 for value in packed if value is not None), default=0)
        if not width:
            width = self._about(version).get("vectors", {}).get(f"{channel}:{side}", 0)
            if not width:
                raise self._nothing(version, channel)
        out = np.zeros((len(rows), width), np.float32)
        for q, value in enumerate(packed):
            if value is not None:
                out[q] = np.frombuffer(value, "<f4")
        return out

    def holds(self, version: str) -> Mapping[str, int]:
        return self._about(version).get("lists", {})

    def versions(self) -> Sequence[str]:
        names: set[bytes] = self._server.call(lambda client: client.smembers(self._root))
        return sorted(name.decode() for name in names)

    def drop(self, version: str) -> None:
        keys = self._about(version).get("keys", [])

        def delete(client: Any) -> None:
            pipe = client.pipeline()
            pipe.unlink(f"{self._root}:{version}", *keys)
            pipe.srem(self._root, version)
            pipe.execute()

        self._server.call(delete, WRITE_TIMEOUT)

    @contextmanager
    def write(self, version: str, *, users: int, items: int) -> Generator[RecallDraft]:
        del users, items  # hashes need no size
        draft = _KeyDraft(self._server, f"{self._root}:{version}", token_hex(4))
        self._server.call(
            lambda client: client.ping(), WRITE_TIMEOUT
        )  # fails early if the server is not available
        try:
            yield draft
            draft.publish(self._root, version, set(self._about(version).get("keys", [])))
        except BaseException:
            draft.discard()
            raise

    def _rows(self, key: str, rows: Int32) -> list[bytes | None]:
        """The values of hash fields; None for negative rows and missing fields."""
        wanted = np.flatnonzero(rows >= 0)
        out: list[bytes | None] = [None] * len(rows)
        if not len(wanted):
            return out
        buckets = rows[wanted] // BUCKET
        groups = [(int(b), wanted[buckets == b]) for b in np.unique(buckets)]

        def read(client: Any) -> list[list[bytes | None]]:
            if len(groups) == 1:  # a request: one command, no pipeline
                bucket, at = groups[0]
                return [client.hmget(f"{key}:{bucket}", rows[at].tolist())]
            pipe = client.pipeline(transaction=False)
            for bucket, at in groups:
                pipe.hmget(f"{key}:{bucket}", rows[at].tolist())
            return pipe.execute()

        for (_, at), values in zip(groups, self._server.call(read), strict=True):
            for q, value in zip(at.tolist(), values, strict=True):
                out[q] = value
        return out

    def _about(self, version: str) -> dict[str, Any]:
        text = self._server.call(lambda client: client.get(f"{self._root}:{version}"))
        return {} if text is None else json.loads(text)

    def _nothing(self, version: str, channel: str) -> StoreError:
        return no_lists(version, self.address, channel if self._about(version) else None)


class _KeyDraft:
    """A draft of keys with temporary names, which are renamed together."""

    def __init__(self, server: Server, prefix: str, token: str) -> None:
        self._server, self._prefix, self._token = server, prefix, token
        self._k: dict[str, int] = {}
        self._widths: dict[str, int] = {}
        self._keys: dict[str, str] = {}
        """Temporary key → final key."""

    def lists(self, channel: str, first: int, item: Int32, score: Float32) -> None:
        self._k[channel] = item.shape[1]
        sizes = (item >= 0).sum(axis=1).tolist()
        items, scores = item.astype("<i4", copy=False), score.astype("<f4", copy=False)
        values = {
            first + q: items[q, :n].tobytes() + scores[q, :n].tobytes()
            for q, n in enumerate(sizes)
            if n
        }
        self._put(f"{self._prefix}:{channel}:lists", values)

    def vectors(self, channel: str, side: EntityKind, first: int, vectors: Float32) -> None:
        self._widths[f"{channel}:{side}"] = vectors.shape[1]
        rows: NDArray[Any] = vectors.astype("<f4", copy=False)
        values = {first + q: row.tobytes() for q, row in enumerate(rows)}
        self._put(f"{self._prefix}:{channel}:{side}", values)

    def _put(self, key: str, values: Mapping[int, bytes]) -> None:
        rows = list(values)
        for begin in range(0, len(rows), WRITE_ROWS):
            buckets: dict[int, dict[int, bytes]] = {}
            for row in rows[begin : begin + WRITE_ROWS]:
                buckets.setdefault(row // BUCKET, {})[row] = values[row]
            self._server.call(lambda client, b=buckets: self._send(client, key, b), WRITE_TIMEOUT)

    def _send(self, client: Any, key: str, buckets: Mapping[int, Mapping[int, bytes]]) -> None:
        pipe = client.pipeline(transaction=False)
        for bucket, mapping in buckets.items():
            final = f"{key}:{bucket}"
            temporary = f"{final}:{self._token}"
            pipe.hset(temporary, mapping=mapping)
            pipe.expire(temporary, ABANDONED)
            self._keys[temporary] = final
        pipe.execute()

    def publish(self, root: str, version: str, former: set[str]) -> None:
        """Renames all keys in one transaction; deletes keys of the former draft not replaced."""
        about = {
            "lists": self._k,
            "vectors": self._widths,
            "keys": sorted(self._keys.values()),
        }

        def rename(client: Any) -> None:
            pipe = client.pipeline()
            for temporary, final in self._keys.items():
                pipe.rename(temporary, final)
                pipe.persist(final)
            gone = former - set(self._keys.values())
            if gone:
                pipe.unlink(*gone)
            pipe.set(self._prefix, json.dumps(about))
            pipe.sadd(root, version)
            pipe.execute()

        self._server.call(rename, WRITE_TIMEOUT)

    def discard(self) -> None:
        """Deletes the temporary keys; if the server is not available, they expire later."""
        if not self._keys:
            return
        try:
            self._server.call(lambda client: client.unlink(*self._keys), WRITE_TIMEOUT)
        except StoreError:
            return


class RedisLeftovers:
    """Queues as sorted sets, which expire with their newest item."""

    def __init__(self, server: Server, project: str, queue: str) -> None:
        self._server = server
        self._prefix = f"tamis:{project}:leftovers:{queue}"

    def update(
        self,
        user: str,
        *,
        shown: Sequence[str],
        left: Sequence[str],
        now: int,
        size: int,
        max_age: int,
    ) -> None:
        key = f"{self._prefix}:{user}"
        entering = dict(entry_times(left, now))

        def change(client: Any) -> None:
            pipe = client.pipeline()
            if shown:
                pipe.zrem(key, *shown)
            if entering:
                pipe.zadd(key, entering, nx=True)
                pipe.pexpire(key, max_age)
            pipe.zremrangebyscore(key, "-inf", f"({now - max_age}")
            pipe.zremrangebyrank(key, 0, -size - 1)
            pipe.execute()

        self._server.call(change)

    def waiting(
        self, users: Sequence[str], since: int
    ) -> Sequence[tuple[Sequence[str], Sequence[int]]]:
        def read(client: Any) -> list[list[tuple[bytes, float]]]:
            pipe = client.pipeline(transaction=False)
            for user in users:
                key = f"{self._prefix}:{user}"
                pipe.zrevrangebyscore(key, "+inf", since, withscores=True)
            return pipe.execute()

        found = self._server.call(read) if users else []
        return [
            ([item.decode() for item, _ in rows], [int(entry) for _, entry in rows])
            for rows in found
        ]
