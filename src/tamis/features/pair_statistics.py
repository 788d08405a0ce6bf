"""Statistics of pairs: of an item among users of a kind, and of a user with items of a kind.

`user:gender`: the events of users of the requesting user's gender on the candidate. `own:category`:
the events of the requesting user on items of the candidate's category. Both count the events that
arrived before the time, in windows as those of users and items. A user or item without a value, and
a pair without events, get the priors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.data import Dataset, Events, Table
from tamis.features._groups import Groups
from tamis.features._live_pairs import LivePairs
from tamis.features._pair_counting_kernels import mean_rows
from tamis.features._pair_counts import pair_keys
from tamis.features.recipe import Recipe, columns_of
from tamis.features.windows import OfflineCounts
from tamis.runtime import Float32, Int32, Int64

PairKind = Literal["user", "own"]


class PairPlan(NamedTuple):
    """An attribute whose statistics of pairs are wanted."""

    kind: PairKind
    """user: an attribute of the users. own: an attribute of the items."""
    groups: Groups


@dataclass(frozen=True, eq=False)
class PairRecipe:
    """How the counts of pairs become the columns of one attribute; fitted on training data."""

    kind: PairKind
    groups: Groups
    recipe: Recipe

    @classmethod
    def fit(cls, data: Dataset, plan: PairPlan, windows: tuple[str, ...]) -> PairRecipe:
        """Fits the priors of the rates on the events of each pair."""
        owner, key = keys_of(plan.kind, plan.groups, data.events, len(data.items))
        _, place = np.unique(key, return_inverse=True)
        wide = replace(data, events=data.events.take(owner))
        pairs = int(place.max(initial=-1)) + 1
        recipe = Recipe.fit(wide, place.astype(np.int32), pairs, windows)
        return cls(*plan, replace(recipe, ages=(), means=()))

    @property
    def name(self) -> str:
        """As in `groups` of tamis.toml, such as `user:gender`."""
        return f"{self.kind}:{self.groups.name}"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the S columns, without that of the attribute."""
        return self.recipe.names


def keys_of(
    kind: PairKind, groups: Groups, events: Events, items: int
) -> tuple[NDArray[np.intp], Int64]:
    """The pairs of events: (p,) positions in `events`, ascending, and (p,) keys of the pairs.

    Events without a value, and those of unknown users and items, have none.
    """
    known = np.flatnonzero((events.user >= 0) & (events.item >= 0) & (events.item < items))
    rows = events.user if kind == "user" else events.item
    owner, code = groups.expand(groups.set_of(rows[known]))
    first = events.item if kind == "user" else events.user
    key = pair_keys(first[known][owner], code)
    kept = key >= 0
    return known[owner[kept]], key[kept]


class _ReadsPairs(Protocol):
    """Counts of pairs as of given times."""

    def columns(self, recipe: Recipe, key: Int64, time: Int64) -> Float32:
        """(n, S) of n pairs as of n times (ms); of negative keys, those of a pair without
        events."""
        ...


class PairColumns:
    """The columns of one attribute over its counts: the code shared by offline and online."""

    def __init__(self, recipe: PairRecipe, counts: _ReadsPairs, items: int) -> None:
        self.recipe = recipe
        self.items = items
        self._counts = counts

    def columns(self, user: Int32, time: Int64, query: NDArray[np.integer], item: Int32) -> Float32:
        """(n, S) of n candidates of Q queries; user (Q,), time (Q,) in ms, query (n,), item (n,).

        A candidate with several values has the mean of their columns.
        """
        groups = self.recipe.groups
        if self.recipe.kind == "user":
            _, code = groups.expand(groups.set_of(user))  # a user has one value at most
            known = np.where((item >= 0) & (item < self.items), item, -1)
            return self._of(pair_keys(known, code[query]), time[query])
        sets = groups.set_of(item)
        if (groups.size + 1) * len(user) < len(item):
            every = np.append(np.arange(groups.size, dtype=np.int32), np.int32(-1))
            key = pair_keys(np.repeat(user, len(every)), np.tile(every, len(user)))
            table = self._of(key, np.repeat(time, len(every)))
            return groups.averaged(table, 1, query * len(every), sets)
        owner, code = groups.expand(sets)
        table = self._of(pair_keys(user[query[owner]], code), time[query[owner]])
        out = np.empty((len(item), table.shape[1]), np.float32)
        mean_rows(table=table, bounds=groups.bounds(sets), out=out)
        return out

    def _of(self, key: Int64, time: Int64) -> Float32:
        """(p, S) of p pairs as of p times."""
        return self._counts.columns(self.recipe.recipe, key, time)


class OfflinePairs(PairColumns):
    """Statistics of pairs as of any time of a log."""

    def __init__(self, recipe: PairRecipe, data: Dataset) -> None:
        owner, key = keys_of(recipe.kind, recipe.groups, data.events, len(data.items))
        counts = _OfflinePairCounts(key, data, owner, recipe.recipe.windows)
        super().__init__(recipe, counts, len(data.items))


class _OfflinePairCounts:
    """Counts of pairs as of any time of a log."""

    def __init__(
        self, key: Int64, data: Dataset, owner: NDArray[np.intp], windows: tuple[str, ...]
    ) -> None:
        """`key` (p,) of the events `owner` (p,)."""
        self._keys, place = np.unique(key, return_inverse=True)
        events, pairs = data.events.take(owner), len(self._keys)
        rows = place.astype(np.int32)
        self._counts = OfflineCounts(rows, events, pairs, len(data.behaviours), windows)

    def columns(self, recipe: Recipe, key: Int64, time: Int64) -> Float32:
        place = np.searchsorted(self._keys, key)
        found = (np.append(self._keys, -1)[place] == key) & (key >= 0)
        rows = np.where(found, place, -1).astype(np.int32)
        return columns_of(recipe, self._counts, rows, time, None)


class OnlinePairs(PairColumns):
    """Statistics of pairs as of now."""

    def __init__(self, recipe: PairRecipe, counts: LivePairs, items: int) -> None:
        super().__init__(recipe, counts, items)
        self._live = counts

    @classmethod
    def empty(cls, recipe: PairRecipe, behaviours: int, items: int) -> OnlinePairs:
        """Without events."""
        values = recipe.groups.size if recipe.kind == "user" else None
        counts = LivePairs.empty(recipe.recipe.windows, behaviours, items, values)
        return cls(recipe, counts, items)

    def add(self, events: Events) -> None:
        """Counts events in order of arrival."""
        owner, key = keys_of(self.recipe.kind, self.recipe.groups, events, self.items)
        self._live.add(key, events.take(owner))

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items: counters, and values of an attribute of the items."""
        self.items = len(items)
        self._live.grow(len(items))
        if self.recipe.kind == "own":
            self.recipe.groups.update(items, rows)

    def update_users(self, users: Table, rows: Int32) -> None:
        """Takes up the values of new and changed users, of an attribute of the users."""
        if self.recipe.kind == "user":
            self.recipe.groups.update(users, rows)

    def forget_user(self, user: int) -> None:
        """Forgets the counts of a user's own events."""
        if self.recipe.kind == "own":
            self._live.forget(user)

    def changes(self) -> dict[str, NDArray[Any]]:
        """The counts that changed since they were opened or made, for `restore`."""
        return self._live.changes()

    def restore(self, changes: Mapping[str, NDArray[Any]]) -> None:
        """Brings counts that were just opened to the state that `changes` describes."""
        self._live.restore(changes)

    def save(self, directory: Path) -> None:
        """Writes the counts."""
        directory.mkdir(parents=True, exist_ok=True)
        self._live.save(directory)

    @classmethod
    def load(cls, directory: Path, recipe: PairRecipe, items: int) -> OnlinePairs:
        """Opens what `save` wrote, memory-mapped."""
        values = recipe.groups.size if recipe.kind == "user" else None
        behaviours = len(recipe.recipe.behaviours)
        windows = recipe.recipe.windows
        return cls(recipe, LivePairs.load(directory, windows, behaviours, items, values), items)


def save_pairs(recipes: Sequence[PairRecipe], directory: Path) -> list[dict[str, Any]]:
    """Writes the arrays of the recipes; their plain values for JSON."""
    saved: list[dict[str, Any]] = []
    for number, recipe in enumerate(recipes):
        groups = recipe.groups
        groups.save(directory, f"pair{number}")
        saved.append(
            {
                "kind": recipe.kind,
                **groups.facts,
                "recipe": asdict(recipe.recipe),
            }
        )
    return saved


def load_pairs(saved: Sequence[dict[str, Any]], directory: Path) -> tuple[PairRecipe, ...]:
    """What `save_pairs` wrote."""
    return tuple(
        PairRecipe(
            kind=s["kind"],
            groups=Groups.load(directory, f"pair{number}", s),
            recipe=Recipe.from_dict(s["recipe"]),
        )
        for number, s in enumerate(saved)
    )
