"""Offline: another channel's lists, computed for all users beforehand and read at request time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import field_validator

from tamis.cascade import Channel, Explains, FitContext, Home, Queries, Recalled
from tamis.data import Dataset
from tamis.recall._common.channel import BaseChannel, nothing
from tamis.schema import ComponentConfig, ConfigError, StageConfig
from tamis.stores import RecallLists, open_recall


class OfflineConfig(ComponentConfig):
    """Options of the offline channel."""

    of: str = "itemcf"
    """The channel whose lists are read: a short name, or `package.module:Class`."""
    settings: dict[str, Any] = {}  # noqa: RUF012
    """That channel's own options."""
    store: str = ""
    """Where the lists are: `redis://host:port/db`, `env:NAME` for a variable that holds such an
    address, or empty for files in the project's folder."""

    @field_validator("of")
    @classmethod
    def _another(cls, of: str) -> str:
        if of in ("offline", "cached"):
            raise ValueError(f"{of} reads a store itself; name the channel that computes the lists")
        return of

    @property
    def declared(self) -> StageConfig:
        """The other channel, as if it stood in `tamis.toml` itself."""
        return StageConfig(use=self.of, **self.settings)


class Offline(BaseChannel):
    """The lists that `tamis recall PROJECT` wrote for this channel and version.

    The channel named by `of` is trained, evaluated and replayed as if it stood here itself, and is
    part of the version. `tamis recall` asks it for every user; `recommend` and `serve` then read
    the list instead of computing it, and leave out what the request may not be shown. For a user
    whose history is what it was at the version's end, both ways give the same answer, as far as
    the stored list reaches: store somewhat more than the quota. Who has no list (a new user) gets
    nothing from here. Where the store does not answer, or nothing was recalled for the version,
    the answer is made without this channel and says so (`degraded`).

    When to use: recall is too slow to compute in a request (large networks, no index), or is shared
    with services that only read Redis; and histories may be a batch old.
    Cost: fitting is the inner channel's; recall is one read (0.01 ms from files, under 0.1 ms from
    a near Redis server); the store takes 8 bytes per user and item.
    Source: the classic "recall offline into a key-value store, rank online"; Covington et al. 2016,
    Deep neural networks for YouTube recommendations.
    """

    name = "offline"
    Config = OfflineConfig
    config: OfflineConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._inner: Channel | None = None
        self._lists: RecallLists | None = None
        self._version = ""

    def wrapped(self) -> tuple[str, StageConfig]:
        """The channel that computes the lists, as `[cascade.channels]` would declare it."""
        return self.config.of, self.config.declared

    def wrap(self, inner: Channel) -> None:
        """Takes the channel that computes the lists. The stage registry calls it."""
        self._inner = inner

    @property
    def inner(self) -> Channel:
        """The channel that computes the lists. Raises ConfigError before `wrap`."""
        if self._inner is None:
            raise ConfigError(
                f"channel {self.name!r} has no inner channel: from Python call "
                f"wrap(channel) first, for instance Offline().wrap(ItemCF())"
            )
        return self._inner

    @property
    def address(self) -> str:
        """Address of the store, as declared."""
        return self.config.store

    def bind(self, home: Home) -> None:
        """From now on recall reads the lists of `home.version` instead of computing."""
        self._lists = open_recall(self.config.store, home.folder, home.project)
        self._version = home.version

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        former = context.former
        inner = former.inner if isinstance(former, Offline) else former
        self.inner.fit(data, replace(context, former=inner))
        return {"of": self.config.of}

    def _recall(self, queries: Queries, k: int) -> Recalled:
        if self._lists is None:
            return self.inner.recall(queries, k)
        item, score = self._lists.lists(self._version, self.name, queries.user)
        return first_allowed(item, score, queries, k)

    def because(self, queries: Queries, item: int) -> int | None:
        """What the inner channel says."""
        return self.inner.because(queries, item) if isinstance(self.inner, Explains) else None

    def save(self, directory: Path) -> None:
        super().save(directory)
        self.inner.save(Path(directory) / "inner")


def first_allowed(item: Any, score: Any, queries: Queries, k: int) -> Recalled:
    """The first k of each stored list (Q, w) that the query does not exclude, in their order."""
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
