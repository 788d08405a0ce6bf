"""Users like given ones, or for an item: by an index of the user vectors of a version."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import polars as pl

from tamis.bundle import Kind, Version, Versions
from tamis.cascade import Embeds, EmbedsItems, Queries
from tamis.data import UNKNOWN, Ragged
from tamis.index import VectorIndex
from tamis.runtime import Bool, Float32, Int32, Int64
from tamis.schema import ConfigError, RequestError, VersionError, suggest
from tamis.service.answer import unknown_item
from tamis.service.assembly import Parts
from tamis.service.lookalike_lift import Lift, UserItems, measured

BLOCK = 4096
"""Users whose vectors are computed at once."""
FIRST = 100
"""Latest users who liked an item whose mean vector stands for it."""
MEASURED = 100
"""Items at most on which the lift is measured."""
_NOBODY: Int32 = np.zeros(0, np.int32)


@dataclass(frozen=True)
class LookalikeUser:
    """A user who is like the given ones."""

    user_id: str
    score: float
    """Cosine of the user's vector and the mean vector of the given users."""
    rank: int
    """From 1."""


@dataclass(frozen=True)
class LookalikeList:
    """The users most like given ones."""

    version: str
    channel: str
    """The channel whose user vectors were compared."""
    item_id: str | None
    """The given item."""
    seeds: int
    """Known users with a vector whose mean was compared; 0: the vector of the item itself was."""
    unknown_user_ids: tuple[str, ...]
    """Given users whom the version does not know, or of whom nothing is known."""
    users: tuple[LookalikeUser, ...]
    """Best first, without the given users and those who liked the given item."""
    expected_lift: Lift | None = None
    """Measured on held-out events; None where it could not be, see `note`."""
    note: str = ""
    """Why no lift was measured."""

    def frame(self) -> pl.DataFrame:
        """(n,) user_id, score, rank."""
        columns = {
            "user_id": [user.user_id for user in self.users],
            "score": [user.score for user in self.users],
            "rank": [user.rank for user in self.users],
        }
        return pl.DataFrame(
            columns, schema={"user_id": pl.String, "score": pl.Float32, "rank": pl.Int32}
        )


class UserVectors:
    """The vectors of all users of a version as of the end of its data, and an index of them.

    Args:
        version: the version.
        channel: whose vectors; "": `two_tower` where it is declared, else the first channel with
            vectors of users, else the mean vectors of liked items of the first channel with vectors
            of items.

    Raises ConfigError where no channel has vectors, RequestError where the named one has none.
    """

    def __init__(self, version: Version, channel: str = "") -> None:
        self.version = version
        self.parts = Parts.open(version)
        self.channel = _channel_of(self.parts, channel)
        self.until = version.manifest.data_until
        self.likes = likes_of(self.parts, self.until)
        vectors = self._computed()
        known = np.asarray(vectors.any(axis=1))
        varies = np.ptp(vectors[known], axis=0) > 0 if known.any() else np.ones(0, np.bool_)
        self._used = varies if varies.any() else np.ones(vectors.shape[1], np.bool_)
        """Coordinates that differ between users; a constant one carries an item's bias."""
        self.vectors = _unit(vectors[:, self._used])
        self.known: Bool = np.asarray(self.vectors.any(axis=1))
        self.index = VectorIndex.build(self.vectors, k=1000, present=self.known)

    def _computed(self) -> Float32:
        """(U, d)"""
        n = len(self.parts.users)
        blocks: list[Float32] = []
        for first in range(0, max(n, 1), BLOCK):
            rows = np.arange(first, min(first + BLOCK, n), dtype=np.int32)
            moment = np.full(len(rows), self.until, np.int64)
            blocks.append(self._of(self.parts.queries(rows, moment), first))
        return np.concatenate(blocks)

    def _of(self, queries: Queries, first: int) -> Float32:
        channel = self.parts.channels[self.channel]
        if isinstance(channel, Embeds):
            return channel.user_vectors(queries)
        vectors = cast("EmbedsItems", channel).item_vectors()
        likes = self.likes.of_users(first, first + len(queries))
        return likes @ vectors / np.maximum(likes.sum(axis=1), 1).astype(np.float32)

    def seeds_of(self, item: int, without: Int32 = _NOBODY) -> Int32:
        """The latest users who liked an item, at most `FIRST`, without some rows."""
        users = self.likes.users_of(item)
        return users[~np.isin(users, without)][-FIRST:]

    def mean(self, users: Int32) -> Float32:
        """(1, d) unit mean vector of users."""
        return _unit(self.vectors[users].mean(axis=0, keepdims=True))

    def of_item(self, item: int) -> Float32 | None:
        """(1, d) the vector of an item, in the space of the users' vectors; None: it has none."""
        channel = self.parts.channels[self.channel]
        vector = cast("EmbedsItems", channel).item_vectors()[item : item + 1, self._used]
        return _unit(vector) if vector.any() else None

    def rows_of(self, ids: Collection[str]) -> Int32:
        """The rows (m,) of the ids that the version has, ascending."""
        rows = self.parts.users.rows(pl.Series(list(ids), dtype=pl.String))
        return np.unique(rows[rows != UNKNOWN])

    def nearest(self, target: Float32, n: int, without: Int32) -> tuple[Int32, Float32]:
        """The n users (rows) nearest to a vector (1, d), best first, without some rows."""
        rows, scores = self.index.search(target, n, Ragged.of([np.unique(without)]))
        found = rows[0] >= 0
        return rows[0][found], scores[0][found]


@dataclass(eq=False)
class LookalikeSearch:
    """Finds users like given ones in a serving version, and measures the lift of such lists.

    Args:
        versions: the project's versions.
        channel: whose vectors are compared; see `UserVectors`.
        version: name of the version that answers; "": the published one.

    The lift is that of the evaluation version, which knows the events before its end, on what users
    did from then on. Vectors are computed at the first question, and kept.
    """

    versions: Versions
    channel: str = ""
    version: str = ""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    @cached_property
    def serving(self) -> UserVectors:
        """The users of the version that answers."""
        named = self.version
        version = self.versions.open(named) if named else self.versions.current(Kind.SERVING)
        return UserVectors(version, self.channel)

    @cached_property
    def evaluation(self) -> UserVectors | str:
        """The users of the evaluation version; a sentence where there is none to measure with."""
        try:
            version = self.versions.current(Kind.EVALUATION)
        except VersionError:
            return (
                "the lift is measured with an evaluation version, and there is none: `tamis train`"
            )
        if version.manifest.data_until >= self.serving.until:
            return "the serving version holds no events after the end of the evaluation version"
        return UserVectors(version, self.serving.channel)

    @cached_property
    def held_out(self) -> UserItems:
        """The likes after the end of the evaluation version, in its rows."""
        before, now = cast("UserVectors", self.evaluation), self.serving
        after = now.likes.since(before.until)
        user = before.parts.users.rows(now.parts.users.ids)[after.user]
        item = before.parts.items.rows(now.parts.items.ids)[after.item]
        both = (user != UNKNOWN) & (item != UNKNOWN)
        shape = (len(before.parts.users), len(before.parts.items))
        return UserItems(user[both], item[both], after.time[both], *shape)

    def to_users(
        self,
        user_ids: Sequence[object],
        n: int = 100,
        lift: bool = True,
        deleted: Collection[str] = (),
    ) -> LookalikeList:
        """The n users most like given ones (external ids), who are left out.

        Args:
            user_ids: external ids.
            n: number of users.
            lift: whether the lift is measured.
            deleted: ids of users who were deleted since the version was made: they are not found,
                and count as unknown where they are given.

        Raises RequestError where none of them has a vector, or n is below 1.
        """
        _check(n)
        with self._lock:
            now = self.serving
            rows = now.parts.users.rows(list(user_ids)) if len(user_ids) else np.zeros(0, np.int32)
            known = (
                (rows != UNKNOWN) & now.known[np.maximum(rows, 0)] if len(now.known) else rows > 0
            )
            gone = now.rows_of(deleted)
            known &= ~np.isin(rows, gone)
            unknown = [str(u) for u, here in zip(user_ids, known.tolist(), strict=True) if not here]
            seeds = np.unique(rows[known])
            if not len(seeds):
                raise RequestError(
                    f"user_ids: version {now.version.name} knows nothing of the {len(user_ids)} "
                    f"given users, such as {', '.join(unknown[:3]) or 'none'}; give users with "
                    "events",
                    "user_ids",
                )
            found = now.nearest(now.mean(seeds), n, np.concatenate([rows[rows != UNKNOWN], gone]))
            measure = self._lift_of_users(seeds, n) if lift else (None, "")
        return self._list(None, len(seeds), unknown, found, measure)

    def to_item(
        self,
        item_id: object,
        n: int = 100,
        lift: bool = True,
        deleted: Collection[str] = (),
    ) -> LookalikeList:
        """The n users most like those who liked an item, or nearest to its vector where nobody
        has; those who have liked it are left out.

        Args:
            item_id: external id.
            n: number of users.
            lift: whether the lift is measured.
            deleted: ids of users who were deleted since the version was made: they are not found,
                and are not among those who liked the item.

        Raises RequestError where the item is unknown or has neither, or n is below 1.
        """
        _check(n)
        with self._lock:
            now = self.serving
            row = now.parts.items.row(item_id)
            if row == UNKNOWN:
                raise RequestError(
                    unknown_item(now.parts.config, item_id, now.version.name), "item_id"
                )
            gone = now.rows_of(deleted)
            seeds = now.seeds_of(row, gone)
            seeds = seeds[now.known[seeds]]
            target = now.mean(seeds) if len(seeds) else now.of_item(row)
            if target is None:
                raise RequestError(
                    f"item_id: nobody has liked item {item_id} and channel {now.channel!r} has no "
                    "vector of it; compare by a channel that reads the items' columns (`channel`), "
                    "or give users",
                    "item_id",
                )
            found = now.nearest(target, n, np.concatenate([now.likes.users_of(row), gone]))
            measure = self._lift_of_item(str(now.parts.items.ids[row]), n) if lift else (None, "")
        return self._list(str(now.parts.items.ids[row]), len(seeds), [], found, measure)

    def _list(
        self,
        item_id: str | None,
        seeds: int,
        unknown: Sequence[str],
        found: tuple[Int32, Float32],
        measure: tuple[Lift | None, str],
    ) -> LookalikeList:
        ids = self.serving.parts.users.ids.gather(found[0]).to_list()
        users = [
            LookalikeUser(str(user), float(score), rank)
            for rank, (user, score) in enumerate(zip(ids, found[1].tolist(), strict=True), start=1)
        ]
        return LookalikeList(
            self.serving.version.name,
            self.serving.channel,
            item_id,
            seeds,
            tuple(unknown),
            tuple(users),
            *measure,
        )

    def _lift_of_item(self, item_id: str, n: int) -> tuple[Lift | None, str]:
        """The lift of lists of n users for the item, and for items with about as many likes."""
        before = self.evaluation
        if isinstance(before, str):
            return None, before
        counts, later = before.likes.per_item(), self.held_out.per_item()
        usable = np.flatnonzero((counts > 0) & (later > 0))
        own = before.parts.items.row(item_id)
        wanted = float(counts[own]) if own != UNKNOWN and counts[own] else float(np.median(counts))
        order = np.argsort(np.abs(np.log1p(counts[usable]) - np.log1p(wanted)), kind="stable")
        items = usable[order[:MEASURED]].astype(np.int32)
        seeds = [s[before.known[s]] for s in (before.seeds_of(int(item)) for item in items)]
        some = [k for k, s in enumerate(seeds) if len(s)]
        if not some:
            return None, "no item has users before and after the end of the evaluation version"
        targets = np.concatenate([before.mean(seeds[k]) for k in some])
        liked = Ragged.of([np.unique(before.likes.users_of(int(items[k]))) for k in some])
        found, _ = before.index.search(targets, n, liked)
        return measured(found, items[some], before.likes, self.held_out, before.known), ""

    def _lift_of_users(self, seeds: Int32, n: int) -> tuple[Lift | None, str]:
        """The lift of the list of n users on the items that the given users liked before."""
        before, now = self.evaluation, self.serving
        if isinstance(before, str):
            return None, before
        rows = before.parts.users.rows(now.parts.users.ids.gather(seeds))
        rows = rows[rows != UNKNOWN]
        rows = rows[before.known[rows]]
        if not len(rows):
            return None, "the evaluation version knows nothing of the given users"
        counts = before.likes.per_item(rows)
        usable = np.flatnonzero((counts > 0) & (self.held_out.per_item() > 0))
        items = usable[np.argsort(-counts[usable], kind="stable")[:MEASURED]].astype(np.int32)
        if not len(items):
            return None, "nobody liked an item of the given users after the evaluation version"
        found, _ = before.index.search(before.mean(rows), n, Ragged.of([np.unique(rows)]))
        every = np.repeat(found, len(items), axis=0)
        return measured(every, items, before.likes, self.held_out, before.known, rows), ""


def likes_of(parts: Parts, until: int) -> UserItems:
    """The events of positive behaviours of all users before `until` (ms)."""
    positive = np.array([b.positive for b in parts.config.behaviours.values()])
    n = len(parts.users)
    columns: list[tuple[Int32, Int32, Int64]] = []
    for first in range(0, n, BLOCK):
        rows = np.arange(first, min(first + BLOCK, n), dtype=np.int32)
        history = parts.histories.at(rows, np.full(len(rows), until, np.int64))
        user = np.repeat(rows, np.diff(history.indptr))
        kept = positive[history.behaviour] & (history.item >= 0)
        columns.append((user[kept], history.item[kept], history.time[kept]))
    empty = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64))
    user, item, time = (np.concatenate(c) for c in zip(empty, *columns, strict=True))
    return UserItems(user, item, time, n, len(parts.items))


def _channel_of(parts: Parts, named: str) -> str:
    channels = parts.channels
    if named:
        if named not in channels:
            raise RequestError(
                f"channel = {named!r}: not a channel of the version.{suggest(named, channels)} "
                f"Channels: {', '.join(channels)}",
                "channel",
            )
        if not isinstance(channels[named], EmbedsItems):
            raise RequestError(
                f"channel = {named!r}: this channel has no vectors; name one that has, such as "
                "two_tower, mf or content",
                "channel",
            )
        return named
    declared = parts.config.cascade.channels
    towers = [name for name in channels if (declared[name].use or name) == "two_tower"]
    users = [name for name, channel in channels.items() if isinstance(channel, Embeds)]
    items = [name for name, channel in channels.items() if isinstance(channel, EmbedsItems)]
    for name in (*towers, *users, *items):
        return name
    raise ConfigError(
        "the version has no vectors of users or items: add a channel with vectors, such as "
        "[cascade.channels.two_tower], to tamis.toml and run `tamis train`"
    )


def _unit(vectors: Float32) -> Float32:
    """The rows of vectors (n, d) with length 1; zero rows stay zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(length, 1e-12)).astype(np.float32)


def _check(n: int) -> None:
    if n < 1:
        raise RequestError(f"n = {n}: give at least 1", "n")
