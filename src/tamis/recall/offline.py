"""Offline: another channel's lists, computed for all users in advance and read at request time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import field_validator

from tamis.cascade import (
    Channel,
    CountsHardNegatives,
    Explains,
    FitContext,
    FollowsItems,
    FollowsUsers,
    GivesReasons,
    HasFormat,
    Home,
    LearnsFromAnswers,
    LearnsFromRejections,
    Queries,
    ReadsStatistics,
    Recalled,
)
from tamis.data import UNKNOWN, Dataset, Table
from tamis.features import OnlineStatistics
from tamis.recall._common.channel import BaseChannel, nothing
from tamis.runtime import Int32
from tamis.schema import ComponentConfig, ConfigError, StageConfig
from tamis.stores import RecallStore, open_recall


class OfflineConfig(ComponentConfig):
    """Options of the offline channel."""

    of: str = "itemcf"
    """The channel that computes the lists: a short name, or `package.module:Class`."""
    settings: dict[str, Any] = {}  # noqa: RUF012  # pydantic copies the default
    """Options of that channel."""
    store: str = ""
    """Address of the store: `redis://host:port/db`, or `env:NAME` for an environment variable with
    such an address. Empty: files in the project's folder."""

    @field_validator("of")
    @classmethod
    def _another(cls, of: str) -> str:
        """Refuses channels that read a store themselves."""
        if of in ("offline", "cached"):
            raise ValueError(f"{of} reads a store itself; name a channel that computes its lists")
        return of

    @property
    def declared(self) -> StageConfig:
        """The inner channel's declaration, as `tamis.toml` would declare it."""
        return StageConfig(use=self.of, **self.settings)


class Offline(BaseChannel):
    """Lists of another channel, written by `tamis recall PROJECT` for each version.

    The score is that of the channel named by `of`, which is trained, evaluated and replayed in this
    channel's place and saved with the version. `tamis recall` computes its lists for every user;
    `recommend` and `serve` then read a user's list and remove the excluded items. For a user whose
    history is unchanged since the end of the version's log, the result is the same as computing it,
    up to the length of the stored list: store somewhat more than the quota. A user without a list
    (a new user) gets nothing. If the store does not respond, or has no lists for the version, the
    request is answered without this channel and marked as `degraded`.

    When to use: if recall is too slow for a request (large networks, no index), or is shared with
    services that only read Redis; and if histories may be as old as the last `tamis recall`.
    Cost: fit: that of the inner channel. Recall: one read (0.01 ms from files, under 0.2 ms from a
    Redis server nearby). Store: 8 bytes per user and item in files, about 30 on a Redis
    server, which holds external ids.
    Source: the classic "recall offline into a key-value store, rank online"; Covington et al. 2016,
    Deep neural networks for YouTube recommendations.
    """

    name = "offline"
    Config = OfflineConfig
    config: OfflineConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._inner: Channel | None = None
        self._lists: RecallStore | None = None
        self._users: Table | None = None
        self._version = ""

    def wrapped(self) -> tuple[str, StageConfig]:
        """The inner channel's name and its declaration, as `[cascade.channels]` would hold it."""
        return self.config.of, self.config.declared

    def wrap(self, inner: Channel) -> None:
        """Sets the channel that computes the lists. Called by the stage registry."""
        self._inner = inner

    @property
    def inner(self) -> Channel:
        """The channel that computes the lists. Raises ConfigError before `wrap`."""
        if self._inner is None:
            raise ConfigError(
                f"channel {self.name!r} has no inner channel: in Python, call wrap first, "
                f"for instance offline.wrap(ItemCF())"
            )
        return self._inner

    @property
    def address(self) -> str:
        """Address of the store, as configured."""
        return self.config.store

    def bind(self, home: Home) -> None:
        """Makes `recall` read the lists of `home.version` from now on instead of computing them."""
        self._lists = open_recall(
            self.config.store, home.folder, home.project, home.users, home.items
        )
        self._version, self._users = home.version, home.users

    def forget_stored(self, user: str, rows: Mapping[str, int]) -> None:
        """Deletes the lists and vectors of a user who was deleted."""
        if self._lists is not None:
            self._lists.forget_user(user, rows)

    @property
    def learns_from_rejections(self) -> bool:
        """Whether the inner channel does."""
        inner = self.inner
        return isinstance(inner, LearnsFromRejections) and inner.learns_from_rejections

    @property
    def learns_from_answers(self) -> bool:
        """Whether the inner channel does."""
        return isinstance(self.inner, LearnsFromAnswers) and self.inner.learns_from_answers

    @property
    def hard_negatives(self) -> Mapping[str, int]:
        """Those of the inner channel's last fit."""
        return self.inner.hard_negatives if isinstance(self.inner, CountsHardNegatives) else {}

    @property
    def format(self) -> int:
        """Format of the inner channel's stored files."""
        return self.inner.format if isinstance(self.inner, HasFormat) else 1

    def use_statistics(self, statistics: OnlineStatistics) -> None:
        """Passes a service's counters to the inner channel."""
        if isinstance(self.inner, ReadsStatistics):
            self.inner.use_statistics(statistics)

    def update_items(self, items: Table, rows: Int32) -> None:
        """Passes new and changed items to the inner channel; the stored lists do not hold them."""
        if isinstance(self.inner, FollowsItems):
            self.inner.update_items(items, rows)

    def update_users(self, users: Table, rows: Int32) -> None:
        """Passes new and changed users to the inner channel; new users have no stored list."""
        if isinstance(self.inner, FollowsUsers):
            self.inner.update_users(users, rows)

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        former = context.former
        inner = former.inner if isinstance(former, Offline) else former
        self.inner.fit(data, replace(context, former=inner))
        return {"of": self.config.of}

    def _recall(self, queries: Queries, k: int) -> Recalled:
        if self._lists is None:
            return self.inner.recall(queries, k)
        assert self._users is not None
        again = self._users.is_again(queries.user)  # the lists of such an id were made before
        user = np.where(again, np.int32(UNKNOWN), queries.user)
        item, score = self._lists.lists(self._version, self.name, user)
        return first_allowed(item, score, queries, k)

    def because(self, queries: Queries, item: int) -> int | None:
        """The past item that the inner channel gives as the reason; None if it explains nothing."""
        return self.inner.because(queries, item) if isinstance(self.inner, Explains) else None

    def reason(self, queries: Queries, item: int) -> str | None:
        """The inner channel's own words; None if it has none."""
        return self.inner.reason(queries, item) if isinstance(self.inner, GivesReasons) else None

    def save(self, directory: Path) -> None:
        super().save(directory)
        self.inner.save(Path(directory) / "inner")


def first_allowed(item: Any, score: Any, queries: Queries, k: int) -> Recalled:
    """The first k items of each stored list (Q, w) that the query does not exclude, in order."""
    n, width = item.shape
    owner = np.repeat(np.arange(n), width)
    refused = queries.exclude.contains(owner, item.ravel()).reshape(n, width)
    keep = (item >= 0) & ~refused
    order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(keep, order, axis=1)
    found = nothing(n, k)
    taken = order.shape[1]
    found.item[:, :taken] = np.where(kept, np.take_along_axis(item, order, axis=1), -1)
    found.score[:, :taken] = np.where(kept, np.take_along_axis(score, order, axis=1), -np.inf)
    return found
