"""Stores on a Redis server, shared by several machines, with one round trip per read.

    tamis:PROJECT:recall                         set of the versions written
    tamis:PROJECT:recall:VERSION                 JSON: lists (channel → k), vectors, keys, format
    tamis:PROJECT:recall:VERSION:CHANNEL:lists   hash: user id → JSON {"items": […], "scores": […]}
    tamis:PROJECT:recall:VERSION:CHANNEL:users   hash: user id → d float32, little-endian
    tamis:PROJECT:recall:VERSION:CHANNEL:items   hash: item id → d float32, little-endian
    tamis:PROJECT:leftovers:QUEUE:USER           sorted set of item ids by the time of adding

Ids are external ids in UTF-8, so that services in any language read the store. There is one hash
per channel, so that a version is put in place or deleted by a few commands.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from secrets import token_hex
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import numpy as np
import polars as pl
import redis
from numpy.typing import NDArray
from redis.backoff import NoBackoff
from redis.retry import Retry

from tamis.runtime import Float32, Int32
from tamis.schema import ConfigError, StoreError
from tamis.stores.embedded import entry_times, no_lists
from tamis.stores.protocols import EntityKind, RecallDraft, RowIds

FORMAT = 2
"""Number of the layout above; lists of another layout count as not written."""
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
    """Recalled lists and vectors on a server, by external ids.

    users, items: of the version whose rows the methods take and return.
    """

    def __init__(self, server: Server, project: str, users: RowIds, items: RowIds) -> None:
        self._server = server
        self._root = f"tamis:{project}:recall"
        self._ids = {EntityKind.USERS: users, EntityKind.ITEMS: items}

    @property
    def address(self) -> str:
        return self._server.address

    def lists(self, version: str, channel: str, users: Int32) -> tuple[Int32, Float32]:
        packed = self._values(f"{self._root}:{version}:{channel}:lists", EntityKind.USERS, users)
        missing = any(
            value is None and user >= 0 for value, user in zip(packed, users, strict=True)
        )
        if missing and channel not in self.holds(version):
            raise self._nothing(version, channel)
        found = [None if value is None else self._decoded(value, channel) for value in packed]
        sizes = [0 if each is None else len(each.items) for each in found]
        shape = (len(users), max(sizes, default=0))
        item = np.full(shape, -1, np.int32)
        score = np.full(shape, -np.inf, np.float32)
        for q, each in enumerate(found):
            if each is not None:
                item[q, : sizes[q]] = self._ids[EntityKind.ITEMS].rows_of_texts(each.items)
                score[q, : sizes[q]] = np.array(each.scores, np.float32)  # None becomes NaN
        return item, score

    def vectors(self, version: str, channel: str, side: EntityKind, rows: Int32) -> Float32:
        packed = self._values(f"{self._root}:{version}:{channel}:{side}", side, rows)
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
        keys = self._written(version).get("keys", [])

        def delete(client: Any) -> None:
            pipe = client.pipeline()
            pipe.unlink(f"{self._root}:{version}", *keys)
            pipe.srem(self._root, version)
            pipe.execute()

        self._server.call(delete, WRITE_TIMEOUT)

    def forget_user(self, user: str, rows: Mapping[str, int]) -> None:
        keys = [
            key
            for version in self.versions()
            for key in self._written(version).get("keys", [])
            if key.endswith((":lists", f":{EntityKind.USERS}"))
        ]

        def delete(client: Any) -> None:
            pipe = client.pipeline()
            for key in keys:
                pipe.hdel(key, user)
            pipe.execute()

        self._server.call(delete)

    @contextmanager
    def write(self, version: str) -> Generator[RecallDraft]:
        draft = _KeyDraft(self._server, f"{self._root}:{version}", token_hex(4), self._ids)
        self._server.call(
            lambda client: client.ping(), WRITE_TIMEOUT
        )  # fails early if the server is not available
        try:
            yield draft
            draft.publish(self._root, version, set(self._written(version).get("keys", [])))
        except BaseException:
            draft.discard()
            raise

    def _values(self, key: str, side: EntityKind, rows: Int32) -> list[bytes | None]:
        """The values of the rows' fields; None for rows beyond the table and missing fields."""
        ids = self._ids[side]
        wanted = np.flatnonzero((rows >= 0) & (rows < len(ids)))
        out: list[bytes | None] = [None] * len(rows)
        if len(wanted):
            # One call per row: a request reads one, for which `gather` takes as long as the server.
            fields = [ids.ids.item(row) for row in rows[wanted].tolist()]
            values = self._server.call(lambda client: client.hmget(key, fields))
            for q, value in zip(wanted.tolist(), values, strict=True):
                out[q] = value
        return out

    def _written(self, version: str) -> dict[str, Any]:
        """What was written for a version, in any format."""
        text = self._server.call(lambda client: client.get(f"{self._root}:{version}"))
        return {} if text is None else json.loads(text)

    def _about(self, version: str) -> dict[str, Any]:
        """What was written for a version in this format."""
        about = self._written(version)
        return about if about.get("format") == FORMAT else {}

    def _decoded(self, value: bytes, channel: str) -> _List:
        try:
            return _LISTS.decode(value)
        except msgspec.DecodeError as error:
            raise StoreError(
                f"a list of channel {channel!r} in {self.address} is damaged ({error}): run "
                "`tamis recall` again"
            ) from error

    def _nothing(self, version: str, channel: str) -> StoreError:
        return no_lists(version, self.address, channel if self._about(version) else None)


class _List(msgspec.Struct):
    """A user's list."""

    items: list[str]
    """External ids, best first."""
    scores: list[float | None]
    """None where a score is not finite."""


_LISTS = msgspec.json.Decoder(_List)


class _KeyDraft:
    """A draft of keys with temporary names, which are renamed together."""

    def __init__(
        self, server: Server, prefix: str, token: str, ids: Mapping[EntityKind, RowIds]
    ) -> None:
        self._server, self._prefix, self._token = server, prefix, token
        self._ids = ids
        self._k: dict[str, int] = {}
        self._widths: dict[str, int] = {}
        self._keys: dict[str, str] = {}
        """Temporary key → final key."""

    def lists(self, channel: str, first: int, item: Int32, score: Float32) -> None:
        self._k[channel] = item.shape[1]
        ids = self._ids[EntityKind.ITEMS].ids
        for begin in range(0, len(item), WRITE_ROWS):
            rows = slice(begin, begin + WRITE_ROWS)
            user, values = _encoded(ids, item[rows], score[rows])
            self._put(f"{channel}:lists", EntityKind.USERS, first + begin + user, values)

    def vectors(self, channel: str, side: EntityKind, first: int, vectors: Float32) -> None:
        self._widths[f"{channel}:{side}"] = vectors.shape[1]
        packed: NDArray[Any] = vectors.astype("<f4", copy=False)
        for begin in range(0, len(packed), WRITE_ROWS):
            values = [row.tobytes() for row in packed[begin : begin + WRITE_ROWS]]
            rows = np.arange(first + begin, first + begin + len(values))
            self._put(f"{channel}:{side}", side, rows, values)

    def _put(
        self, key: str, side: EntityKind, rows: NDArray[np.intp], values: Sequence[Any]
    ) -> None:
        if not len(values):
            return
        final = f"{self._prefix}:{key}"
        temporary = f"{final}:{self._token}"
        fields = self._ids[side].ids.gather(rows).to_list()

        def send(client: Any) -> None:
            pipe = client.pipeline(transaction=False)
            pipe.hset(temporary, mapping=dict(zip(fields, values, strict=True)))
            pipe.expire(temporary, ABANDONED)
            pipe.execute()

        self._keys[temporary] = final
        self._server.call(send, WRITE_TIMEOUT)

    def publish(self, root: str, version: str, former: set[str]) -> None:
        """Renames all keys in one transaction; deletes keys of the former draft not replaced."""
        about = {
            "lists": self._k,
            "vectors": self._widths,
            "keys": sorted(self._keys.values()),
            "format": FORMAT,
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


def _encoded(ids: pl.Series, item: Int32, score: Float32) -> tuple[NDArray[np.intp], list[str]]:
    """The rows of lists (n, k) that hold an item, and these lists as JSON texts.

    ids: (N,) external ids of item rows. Scores are written such that they are read back exactly.
    """
    row, place = np.nonzero(item >= 0)
    flat = pl.DataFrame(
        {
            "row": row,
            "items": ids.gather(item[row, place]),
            "scores": score[row, place].astype(np.float64),
        }
    )
    lists = flat.group_by("row", maintain_order=True).agg("items", "scores")
    texts = lists.select(pl.struct("items", "scores").struct.json_encode()).to_series()
    return lists["row"].to_numpy(), texts.to_list()


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

    def forget_user(self, user: str) -> None:
        self._server.call(lambda client: client.unlink(f"{self._prefix}:{user}"))
