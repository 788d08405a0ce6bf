"""Statistics of pairs: of an item among users of a kind, and of a user with items of a kind.

`user:gender`: the events of users of the requesting user's gender on the candidate. `own:category`:
the events of the requesting user on items of the candidate's category. Both count all events that
arrived before the time. A user or item without a value, and a pair without events, get the priors.
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
from tamis.features._growing import GrowingRows
from tamis.features._pair_counting_kernels import mean_rows, read_dense
from tamis.features._pair_counts import Moments, PairCounts, pair_keys
from tamis.features.recipe import Recipe
from tamis.features.windows import Counts, opened
from tamis.runtime import Float32, Int32, Int64

PairKind = Literal["user", "own"]
WINDOW = "all"
"""The only window of pairs, so that their memory stays bounded."""
_CHUNK = 250_000
"""Rows computed at once; bounds the memory of the counts."""


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
    def fit(cls, data: Dataset, plan: PairPlan) -> PairRecipe:
        """Fits the priors of the rates on the events of each pair."""
        owner, key = keys_of(plan.kind, plan.groups, data.events, len(data.items))
        _, place = np.unique(key, return_inverse=True)
        wide = replace(data, events=data.events.take(owner))
        pairs = int(place.max(initial=-1)) + 1
        recipe = Recipe.fit(wide, place.astype(np.int32), pairs, (WINDOW,))
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

    def read(self, key: Int64, time: Int64) -> NDArray[np.integer]: ...


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
        if len(key) > _CHUNK:
            parts = [slice(at, at + _CHUNK) for at in range(0, len(key), _CHUNK)]
            return np.concatenate([self._of(key[p], time[p]) for p in parts])
        total = self._counts.read(key, time).astype(np.int64)
        counts = Counts.zeros(0, 1, total.shape[1])._replace(windowed=total[:, None], total=total)
        return self.recipe.recipe.columns(counts, time, None)


class OfflinePairs(PairColumns):
    """Statistics of pairs as of any time of a log."""

    def __init__(self, recipe: PairRecipe, data: Dataset) -> None:
        owner, key = keys_of(recipe.kind, recipe.groups, data.events, len(data.items))
        super().__init__(recipe, _OfflinePairCounts(key, data, owner), len(data.items))


class _OfflinePairCounts:
    """Counts of pairs as of any time of a log."""

    def __init__(self, key: Int64, data: Dataset, owner: NDArray[np.intp]) -> None:
        """`key` (p,) of the events `owner` (p,)."""
        self._behaviours = len(data.behaviours)
        self._keys, place = np.unique(key, return_inverse=True)
        cells = place * self._behaviours + data.events.behaviour[owner]
        size = len(self._keys) * self._behaviours
        self._moments = Moments.of(cells, data.events.arrival[owner], size)

    def read(self, key: Int64, time: Int64) -> Int64:
        """(n, B)."""
        place = np.searchsorted(self._keys, key)
        found = np.append(self._keys, -1)[place] == key
        found &= key >= 0
        cell = np.where(found, place * self._behaviours, -1)[:, None]
        cells = np.where(cell < 0, -1, cell + np.arange(self._behaviours))
        times = np.repeat(time, self._behaviours)
        return self._moments.before(cells.reshape(-1), times).reshape(len(key), -1)


class OnlinePairs(PairColumns):
    """Statistics of pairs as of now."""

    def __init__(self, recipe: PairRecipe, counts: DenseCounts | SparseCounts, items: int) -> None:
        super().__init__(recipe, counts, items)
        self._live = counts

    @classmethod
    def empty(cls, recipe: PairRecipe, behaviours: int, items: int) -> OnlinePairs:
        """Without events."""
        if recipe.kind == "own":
            return cls(recipe, SparseCounts(PairCounts.empty(behaviours)), items)
        shape = (items, recipe.groups.size, behaviours)
        return cls(recipe, DenseCounts(np.zeros(shape, np.int32)), items)

    def add(self, events: Events) -> None:
        """Counts events."""
        owner, key = keys_of(self.recipe.kind, self.recipe.groups, events, self.items)
        self._live.add(key, events.behaviour[owner])

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
        behaviours = len(recipe.recipe.behaviours)
        if recipe.kind == "own":
            return cls(recipe, SparseCounts(PairCounts.load(directory, behaviours)), items)
        shape = (items, recipe.groups.size, behaviours)
        return cls(recipe, DenseCounts(opened(directory / "total.npy", np.int32, shape)), items)


class DenseCounts:
    """Counts of every pair of item and value: 4 V B bytes per item, at most 2^31 - 1 events.

    Items that are added later have counters of their own, so that the others stay memory-mapped.
    """

    def __init__(self, total: Int32) -> None:
        """`total` (N, V, B)."""
        self._total = total
        self._more = GrowingRows(np.zeros((0, *total.shape[1:]), np.int32), unknown=False)
        self._beyond: Int32 = np.zeros((0, *total.shape[1:]), np.int32)
        self._touched = np.zeros(len(total), np.bool_)

    def grow(self, items: int) -> None:
        """Adds counters of items from N on."""
        none = np.zeros(0, np.int32)
        blank = np.zeros((0, *self._total.shape[1:]), np.int32)
        self._beyond = self._more.put(none, blank, max(items - len(self._total), 0))

    def add(self, key: Int64, column: NDArray[np.integer]) -> None:
        """Counts n events of pairs (n,) and behaviours (n,)."""
        first, second = key >> 32, key & 0xFFFFFFFF
        known = first < len(self._total)
        if not known.all():
            more = ~known
            at = (first[more] - len(self._total), second[more], column[more])
            np.add.at(self._beyond, at, 1)
            first, second, column = first[known], second[known], column[known]
        np.add.at(self._total, (first, second, column), 1)
        self._touched[first] = True

    def read(self, key: Int64, time: Int64) -> Int32:
        """(n, B)."""
        out = np.empty((len(key), self._total.shape[2]), np.int32)
        base = len(self._total)
        beyond = np.flatnonzero(key >> 32 >= base) if len(self._beyond) else ()
        if not len(beyond):
            read_dense(total=self._total, key=key, out=out)
            return out
        near = key.copy()
        near[beyond] = -1
        read_dense(total=self._total, key=near, out=out)
        far = key[beyond]
        out[beyond] = self._beyond[(far >> 32) - base, far & 0xFFFFFFFF]
        return out

    def forget(self, user: int) -> None:
        """Does nothing: it counts items."""

    def changes(self) -> dict[str, NDArray[Any]]:
        rows = np.flatnonzero(self._touched)
        return {"rows": rows, "total": self._total[rows], "more": self._beyond}

    def restore(self, changes: Mapping[str, NDArray[Any]]) -> None:
        rows, more = changes["rows"], changes["more"]
        self._total[rows], self._touched[rows] = changes["total"], True
        self.grow(len(self._total) + len(more))
        self._beyond[:] = more

    def save(self, directory: Path) -> None:
        np.save(directory / "total.npy", np.concatenate([self._total, self._beyond]))


class SparseCounts:
    """Counts of the pairs that occurred."""

    def __init__(self, pairs: PairCounts) -> None:
        self._pairs = pairs

    def grow(self, items: int) -> None:
        """Does nothing: a pair takes memory once it occurs."""

    def add(self, key: Int64, column: NDArray[np.integer]) -> None:
        """Counts n events of pairs (n,) and behaviours (n,)."""
        self._pairs.add(key, column)

    def read(self, key: Int64, time: Int64) -> Int32:
        """(n, B)."""
        return self._pairs.read(key)

    def forget(self, user: int) -> None:
        """Clears the counts of a user's pairs."""
        self._pairs.forget(user)

    def changes(self) -> dict[str, NDArray[Any]]:
        return self._pairs.changes()

    def restore(self, changes: Mapping[str, NDArray[Any]]) -> None:
        self._pairs.restore(changes)

    def save(self, directory: Path) -> None:
        self._pairs.save(directory)


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
