"""Statistics of users and items as model inputs, equal from a log as of time t and live at t.

Per window: log(1 + count) of each behaviour and smoothed rates (successes + α) / (trials + α + β).
Over all time: smoothed mean values, days since the first and the last event, number of events,
and days since an item was published.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import Dataset, Events, Table
from tamis.features._counting_kernels import NEVER
from tamis.features._growing import GrowingRows
from tamis.features.group_statistics import (
    GroupColumns,
    GroupPlan,
    GroupRecipe,
    OfflineGroup,
    OnlineGroup,
    load_groups,
    save_groups,
)
from tamis.features.pair_statistics import (
    OfflinePairs,
    OnlinePairs,
    PairColumns,
    PairPlan,
    PairRecipe,
    load_pairs,
    save_pairs,
)
from tamis.features.recipe import Reads, Recipe, columns_of
from tamis.features.window_names import WINDOWS
from tamis.features.windows import OfflineCounts, OnlineCounts, Rings
from tamis.runtime import Float32, Int32, Int64
from tamis.schema import read_array, read_json, reading


class Statistics(Protocol):
    """Statistics of users and items as of given times; unknown ones (-1) get the priors."""

    @property
    def user_names(self) -> tuple[str, ...]:
        """Names of the S_u columns."""
        ...

    @property
    def item_names(self) -> tuple[str, ...]:
        """Names of the S_i columns."""
        ...

    def users(self, user: Int32, time: Int64) -> Float32:
        """(n, S_u) of n users as of n times (ms); only events that arrived before count."""
        ...

    def items(self, item: Int32, time: Int64) -> Float32:
        """(n, S_i) of n items as of n times (ms), likewise."""
        ...

    def group(self, number: int, sets: Int32, time: Int64) -> Float32:
        """(n, S_g) of n sets of values of the attribute `Recipes.groups[number]`, likewise."""
        ...

    def pair(
        self, number: int, user: Int32, time: Int64, query: NDArray[np.integer], item: Int32
    ) -> Float32:
        """(n, S_p) of n candidates `item` of the attribute `Recipes.pairs[number]`.

        `query` (n,) is each candidate's place in `user` and `time` (Q,).
        """
        ...


class UserStatistics(Protocol):
    """The part of `Statistics` that concerns users."""

    def users(self, user: Int32, time: Int64) -> Float32:
        """(n, S_u) of n users as of n times (ms); only events that arrived before count."""
        ...


@dataclass(frozen=True, eq=False)
class Recipes:
    """The recipes of users and of items, and the publishing times of the items."""

    user: Recipe
    item: Recipe
    published: Int64 | None = None
    """(N,) ms, NEVER where unknown; None = the items' table has no publishing times."""
    groups: tuple[GroupRecipe, ...] = ()
    """The recipes of attributes of the items."""
    pairs: tuple[PairRecipe, ...] = ()
    """The recipes of attributes of users or items by which pairs are counted."""

    @classmethod
    def fit(
        cls,
        data: Dataset,
        windows: Sequence[str],
        groups: Sequence[GroupPlan] = (),
        pairs: Sequence[PairPlan] = (),
    ) -> Recipes:
        """Fits on all of `data`. Raises ConfigError for an unknown window."""
        Rings.of(windows)
        windows = [w for w in WINDOWS if w in windows]
        events, published = data.events, published_times(data.items)
        return cls(
            Recipe.fit(data, events.user, len(data.users), windows),
            Recipe.fit(data, events.item, len(data.items), windows, published),
            published,
            tuple(GroupRecipe.fit(data, g.groups, tuple(windows), g.author) for g in groups),
            tuple(PairRecipe.fit(data, plan, tuple(windows)) for plan in pairs),
        )

    def with_priors_of(self, former: Recipes) -> Recipes:
        """The same, with the priors of rates and means of a former fit of the same attributes: a
        rate that hardly varies would otherwise be far from what models have learnt with."""
        return replace(
            self,
            user=former.user,
            item=former.item,
            groups=tuple(
                replace(one, recipe=old.recipe)
                for one, old in zip(self.groups, former.groups, strict=True)
            ),
            pairs=tuple(
                replace(one, recipe=old.recipe)
                for one, old in zip(self.pairs, former.pairs, strict=True)
            ),
        )

    def save(self, directory: Path) -> None:
        """Writes `recipes.json` and, where there are publishing times, `published.npy`."""
        directory.mkdir(parents=True, exist_ok=True)
        published = None if self.published is None else len(self.published)
        saved = {
            "user": asdict(self.user),
            "item": asdict(self.item),
            "published": published,
            "groups": save_groups(self.groups, directory),
            "pairs": save_pairs(self.pairs, directory),
        }
        (directory / "recipes.json").write_text(json.dumps(saved, indent=1))
        if self.published is not None:
            np.save(directory / "published.npy", self.published)

    @classmethod
    def load(cls, directory: Path) -> Recipes:
        """Reads what `save` wrote."""
        file, times = directory / "recipes.json", directory / "published.npy"
        saved = read_json(file, user=dict, item=dict)
        with reading(file):
            sides = Recipe.from_dict(saved["user"]), Recipe.from_dict(saved["item"])
            Rings.of(sides[0].windows)
        if "published" not in saved:  # as earlier releases wrote it
            dated = read_array(times, np.int64, (None,), mode=None) if times.exists() else None
        else:
            items = read_json(file, published=(int, type(None)))["published"]
            dated = items
            if items is not None:
                dated = read_array(times, np.int64, (items,), mode=None)
        with reading(file):
            groups = load_groups(saved.get("groups", []), directory)
            pairs = load_pairs(saved.get("pairs", []), directory)
        return cls(*sides, dated, groups, pairs)


def published_times(items: Table) -> Int64 | None:
    """(N,) publishing times of the items (ms), NEVER where unknown; None without such a column."""
    if "published" not in items:
        return None
    return items.frame["published"].cast(pl.Int64).fill_null(NEVER).to_numpy().copy()


class _CountStatistics:
    """Statistics over the counters of users and items: the code shared by offline and online."""

    def __init__(
        self,
        recipes: Recipes,
        users: Reads,
        items: Reads,
        groups: Sequence[GroupColumns],
        pairs: Sequence[PairColumns],
    ) -> None:
        self.recipes = recipes
        self._users = users
        self._items = items
        self._groups = groups
        self._pairs = pairs

    @property
    def user_names(self) -> tuple[str, ...]:
        return self.recipes.user.names

    def users_by(self, recipe: Recipe, user: Int32, time: Int64) -> Float32:
        """`users` by another recipe of the same windows and behaviours, with its own priors."""
        return columns_of(recipe, self._users, user, time, None)

    @property
    def item_names(self) -> tuple[str, ...]:
        return self.recipes.item.names

    def users(self, user: Int32, time: Int64) -> Float32:
        return columns_of(self.recipes.user, self._users, user, time, None)

    def items(self, item: Int32, time: Int64) -> Float32:
        return columns_of(self.recipes.item, self._items, item, time, self.recipes.published)

    def group(self, number: int, sets: Int32, time: Int64) -> Float32:
        return self._groups[number].columns(sets, time)

    def pair(
        self, number: int, user: Int32, time: Int64, query: NDArray[np.integer], item: Int32
    ) -> Float32:
        return self._pairs[number].columns(user, time, query, item)


class OfflineStatistics(_CountStatistics):
    """Statistics of a log as of any time, for training rows and evaluation."""

    def __init__(
        self,
        data: Dataset,
        recipes: Recipes | None = None,
        *,
        windows: Sequence[str] = ("7d", "30d", "all"),
    ) -> None:
        """`recipes` are used as they are; if omitted, they are fitted on `data` for `windows`.

        Raises ConfigError for an unknown window.
        """
        recipes = recipes or Recipes.fit(data, windows)
        behaviours, events = len(data.behaviours), data.events
        windows = recipes.user.windows
        super().__init__(
            recipes,
            OfflineCounts(events.user, events, len(data.users), behaviours, windows),
            OfflineCounts(events.item, events, len(data.items), behaviours, windows),
            [OfflineGroup(group, data, recipes.published) for group in recipes.groups],
            [OfflinePairs(pair, data) for pair in recipes.pairs],
        )


class OnlineStatistics(_CountStatistics):
    """Statistics as of now: a snapshot of a log, and the events that arrived since."""

    def __init__(
        self,
        recipes: Recipes,
        users: OnlineCounts,
        items: OnlineCounts,
        end: int,
        groups: Sequence[OnlineGroup] = (),
        pairs: Sequence[OnlinePairs] = (),
    ) -> None:
        super().__init__(recipes, users, items, groups, pairs)
        self._live = (users, items)
        self._live_groups = groups
        self._live_pairs = pairs
        self.end = end
        """The snapshot holds the events that arrived before this time (ms)."""
        self._known = end
        self._published: GrowingRows | None = None

    @classmethod
    def of(
        cls,
        data: Dataset,
        recipes: Recipes | None = None,
        *,
        windows: Sequence[str] = ("7d", "30d", "all"),
    ) -> Self:
        """The statistics at the end of `data`; arguments as for `OfflineStatistics`."""
        recipes = recipes or Recipes.fit(data, windows)
        sizes = (len(data.users), len(data.items))
        counts = [OnlineCounts.empty(n, len(data.behaviours), recipes.user.windows) for n in sizes]
        groups = [
            OnlineGroup.empty(group, len(data.behaviours), recipes.published)
            for group in recipes.groups
        ]
        pairs = [
            OnlinePairs.empty(pair, len(data.behaviours), len(data.items)) for pair in recipes.pairs
        ]
        online = cls(recipes, counts[0], counts[1], NEVER, groups, pairs)
        online.add(data.events)
        online.end = data.end
        return online

    def add(self, events: Events) -> int:
        """Counts events that arrived at `end` or later; returns how many.

        Events that arrived before `end` are in the snapshot already and are not counted again, so
        the log may be replayed with overlap. The events of one call may be in any order; calls must
        follow each other in order of arrival. Times that are read must be later than every arrival
        added.
        """
        order = np.argsort(events.arrival, kind="stable")
        order = order[events.arrival[order] >= self.end]
        if not len(order):
            return 0
        fresh = events.take(order)
        self._live[0].add(fresh.user, fresh)
        self._live[1].add(fresh.item, fresh)
        for part in (*self._live_groups, *self._live_pairs):
            part.add(fresh)
        self._known = max(self._known, int(fresh.arrival[-1]) + 1)
        return len(fresh)

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items: `rows` (m,) of the whole table as it is now.

        Events of an item count for the values of its attributes when they come; those that came
        before a change stay where they are.
        """
        self._live[1].grow(len(items))
        for group in self._live_groups:
            group.begin_update(rows)
        if self.recipes.published is not None:
            if self._published is None:
                self._published = GrowingRows(self.recipes.published, unknown=False)
            times = published_times(items.part(rows))
            times = np.full(len(rows), NEVER) if times is None else times
            dated = self._published.put(rows, times, len(items))
            self.recipes = replace(self.recipes, published=dated)
        for group in self._live_groups:
            group.update_items(items, rows, self.recipes.published)
        for pair in self._live_pairs:
            pair.update_items(items, rows)

    def update_users(self, users: Table, rows: Int32) -> None:
        """Takes up new and changed users, likewise."""
        self._live[0].grow(len(users))
        for pair in self._live_pairs:
            pair.update_users(users, rows)

    def forget_user(self, user: int) -> None:
        """Forgets the counts of a user row; those of items keep the user's events."""
        self._live[0].clear(user)
        for pair in self._live_pairs:
            pair.forget_user(user)

    def changes(self) -> dict[str, NDArray[Any]]:
        """The counters that changed since they were opened, for `restore`."""
        saved = {"known": np.array(self._known)}
        for name, part in self._parts():
            saved |= {f"{name}/{key}": array for key, array in part.changes().items()}
        return saved

    def restore(self, changes: Mapping[str, NDArray[Any]]) -> None:
        """Brings statistics that were just opened to the state that `changes` describes.

        The users and items must have been taken up before.
        """
        self._known = int(changes["known"])
        for name, part in self._parts():
            prefix = f"{name}/"
            own = {k.removeprefix(prefix): a for k, a in changes.items() if k.startswith(prefix)}
            part.restore(own)

    def _parts(self) -> Iterator[tuple[str, OnlineCounts | OnlineGroup | OnlinePairs]]:
        yield from zip(("users", "items"), self._live, strict=True)
        for number, group in enumerate(self._live_groups):
            yield f"group{number}", group
        for number, pair in enumerate(self._live_pairs):
            yield f"pair{number}", pair

    def save(self, directory: Path) -> None:
        """Writes the recipes, the counters and the end of the events they hold."""
        self.recipes.save(directory)
        self._live[0].save(directory / "users")
        self._live[1].save(directory / "items")
        for number, group in enumerate(self._live_groups):
            group.save(directory / f"group{number}")
        for number, pair in enumerate(self._live_pairs):
            pair.save(directory / f"pair{number}")
        (directory / "statistics.json").write_text(json.dumps({"end": max(self.end, self._known)}))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Opens what `save` wrote, memory-mapped; events added later stay in memory."""
        end = read_json(directory / "statistics.json", end=int)["end"]
        counts = [OnlineCounts.load(directory / side) for side in ("users", "items")]
        recipes = Recipes.load(directory)
        groups: list[OnlineGroup] = []
        for number, recipe in enumerate(recipes.groups):
            folder = directory / f"group{number}"
            with reading(folder):
                groups.append(OnlineGroup.load(folder, recipe, recipes.published))
        pairs: list[OnlinePairs] = []
        for number, pair in enumerate(recipes.pairs):
            folder = directory / f"pair{number}"
            with reading(folder):
                pairs.append(OnlinePairs.load(folder, pair, len(counts[1])))
        return cls(recipes, counts[0], counts[1], end, groups, pairs)
