"""Statistics of groups of items: of the items of a category, of an author, of a type.

An event counts for each value that its item has. The columns of an item are the mean of those of
its values; an item without a value gets the priors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.data import Dataset, Events, Table
from tamis.features._counting_kernels import NEVER
from tamis.features._groups import Groups
from tamis.features._pair_counting_kernels import mean_rows
from tamis.features._pair_counts import Moments, PairCounts, pair_keys
from tamis.features.recipe import Reads, Recipe, columns_of
from tamis.features.windows import OfflineCounts, OnlineCounts, opened
from tamis.runtime import Bool, Float32, Int32, Int64
from tamis.schema import Behaviour

AUTHOR = ("items", "fans")
"""Further columns of authors: log(1 + number of items published, and of fans)."""


@dataclass(frozen=True, eq=False)
class GroupRecipe:
    """How the events on items become the columns of one attribute; fitted on training data."""

    groups: Groups
    recipe: Recipe
    author: bool = False
    """Whether there are columns `items` and `fans`."""
    fan: Bool | None = None
    """(B,) behaviours that make a user a fan of the author; None unless `author`."""

    @classmethod
    def fit(
        cls, data: Dataset, groups: Groups, windows: tuple[str, ...], author: bool = False
    ) -> GroupRecipe:
        """Fits the priors of rates and means on the events of each value."""
        owner, code = groups.expand(groups.set_of(data.events.item))
        known = code >= 0
        wide = replace(data, events=data.events.take(owner[known]))
        recipe = Recipe.fit(wide, code[known], groups.size, windows)
        recipe = replace(recipe, ages=())
        return cls(groups, recipe, author, fans_of(data.behaviours) if author else None)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the S columns, without that of the attribute."""
        return (*self.recipe.names, *AUTHOR) if self.author else self.recipe.names


def fans_of(behaviours: tuple[Behaviour, ...]) -> Bool:
    """(B,) the behaviours that make a user a fan: follow where it is declared, else positives."""
    follow = np.array([b.name == "follow" for b in behaviours], np.bool_)
    return follow if follow.any() else np.array([b.positive for b in behaviours], np.bool_)


class GroupPlan(NamedTuple):
    """An attribute of the items whose statistics are wanted."""

    groups: Groups
    author: bool = False
    """Whether the values are authors; see AUTHOR."""


def save_groups(recipes: Sequence[GroupRecipe], directory: Path) -> list[dict[str, Any]]:
    """Writes the arrays of the recipes; their plain values for JSON."""
    saved: list[dict[str, Any]] = []
    for number, recipe in enumerate(recipes):
        groups = recipe.groups
        groups.save(directory, f"group{number}")
        saved.append(
            {
                **groups.facts,
                "recipe": asdict(recipe.recipe),
                "author": recipe.author,
                "fan": None if recipe.fan is None else recipe.fan.tolist(),
            }
        )
    return saved


def load_groups(saved: Sequence[dict[str, Any]], directory: Path) -> tuple[GroupRecipe, ...]:
    """What `save_groups` wrote."""
    return tuple(
        GroupRecipe(
            groups=Groups.load(directory, f"group{number}", s),
            recipe=Recipe.from_dict(s["recipe"]),
            author=s["author"],
            fan=np.array(s["fan"], np.bool_) if s["author"] else None,
        )
        for number, s in enumerate(saved)
    )


class _Author(Protocol):
    """Items and fans of authors as of given times."""

    def items(self, code: Int32, time: Int64) -> Int64: ...

    def fans(self, code: Int32, time: Int64) -> Int64: ...


class GroupColumns:
    """The columns of one attribute over its counters: the code shared by offline and online."""

    def __init__(self, recipe: GroupRecipe, counts: Reads, author: _Author | None) -> None:
        self.recipe = recipe
        self._counts = counts
        self._author = author

    def columns(self, sets: Int32, time: Int64) -> Float32:
        """(n, S) of n sets of values as of n times (ms).

        Computed once per value and distinct time where that is fewer than the values of the sets.
        """
        groups = self.recipe.groups
        times, number = np.unique(time, return_inverse=True)
        if (groups.size + 1) * len(times) < len(sets):
            every = np.append(np.arange(groups.size, dtype=np.int32), np.int32(-1))
            table = self._of(np.repeat(every, len(times)), np.tile(times, len(every)))
            return groups.averaged(table, len(times), number, sets)
        owner, code = groups.expand(sets)
        table = self._of(code, time[owner])
        if len(code) == len(sets):
            return table
        out = np.empty((len(sets), table.shape[1]), np.float32)
        mean_rows(table=table, bounds=groups.bounds(sets), out=out)
        return out

    def _of(self, code: Int32, time: Int64) -> Float32:
        """(p, S) of p values as of p times."""
        found = columns_of(self.recipe.recipe, self._counts, code, time, None)
        if self._author is None:
            return found
        more = [self._author.items(code, time), self._author.fans(code, time)]
        return np.column_stack([found, np.log1p(np.stack(more, axis=1)).astype(np.float32)])


class OfflineGroup(GroupColumns):
    """Statistics of one attribute as of any time of a log."""

    def __init__(self, recipe: GroupRecipe, data: Dataset, published: Int64 | None) -> None:
        """`published` (N,) are the items' publishing times (ms), NEVER where unknown."""
        groups, events = recipe.groups, data.events
        owner, code = groups.expand(groups.set_of(events.item))
        known = code >= 0
        owner, code = owner[known], code[known]
        wide = events.take(owner)
        counts = OfflineCounts(code, wide, groups.size, len(data.behaviours), recipe.recipe.windows)
        author = _OfflineAuthor(recipe, wide, code, data, published) if recipe.author else None
        super().__init__(recipe, counts, author)


class _OfflineAuthor:
    """Items and fans of authors as of any time of a log."""

    def __init__(
        self, recipe: GroupRecipe, wide: Events, code: Int32, data: Dataset, published: Int64 | None
    ) -> None:
        """`wide` are the events on items with a value, each once per value, `code` the values."""
        groups = recipe.groups
        assert recipe.fan is not None
        start = _dated(published, groups.rows)
        item, arrival = data.events.item, data.events.arrival
        first = np.full(len(start), np.iinfo(np.int64).max)
        known = (item >= 0) & (item < len(start))
        np.minimum.at(first, item[known], arrival[known])
        start = np.where(start == NEVER, first, start)
        begun = np.flatnonzero(start < np.iinfo(np.int64).max)
        owner, whose = groups.expand(groups.sets[begun])
        self._items = Moments.of(whose, start[begun][owner], groups.size)
        fan = recipe.fan[wide.behaviour] & (wide.user >= 0)
        keys, moments = pair_keys(code[fan], wide.user[fan]), wide.arrival[fan]
        order = np.lexsort((moments, keys))
        _, place = np.unique(keys[order], return_index=True)
        self._fans = Moments.of(code[fan][order][place], moments[order][place], groups.size)

    def items(self, code: Int32, time: Int64) -> Int64:
        return self._items.before(code, time)

    def fans(self, code: Int32, time: Int64) -> Int64:
        return self._fans.before(code, time)


def counts_of(counts: Int64, code: Int32) -> Int64:
    """(n,) the count of each code (n,); 0 for -1."""
    out = np.zeros(len(code), np.int64)
    known = np.flatnonzero(code >= 0)
    out[known] = counts[code[known]]
    return out


def _dated(published: Int64 | None, items: int) -> Int64:
    """(N,) publishing times, NEVER where unknown."""
    return np.full(items, NEVER) if published is None else published


class OnlineGroup(GroupColumns):
    """Statistics of one attribute as of now."""

    def __init__(
        self, recipe: GroupRecipe, counts: OnlineCounts, author: OnlineAuthor | None
    ) -> None:
        super().__init__(recipe, counts, author)
        self._live = counts
        self._live_author = author

    @classmethod
    def empty(cls, recipe: GroupRecipe, behaviours: int, published: Int64 | None) -> OnlineGroup:
        """Without events."""
        counts = OnlineCounts.empty(recipe.groups.size, behaviours, recipe.recipe.windows)
        author = OnlineAuthor.empty(recipe, published) if recipe.author else None
        return cls(recipe, counts, author)

    def add(self, events: Events) -> None:
        """Counts events in order of arrival."""
        groups = self.recipe.groups
        owner, code = groups.expand(groups.set_of(events.item))
        wide = events.take(owner)
        self._live.add(code, wide)
        if self._live_author is not None:
            self._live_author.add(events.item, code, wide)

    def begin_update(self, rows: Int32) -> None:
        """Called before the values and publishing times of items (m,) change."""
        if self._live_author is not None:
            self._live_author.begin_update(rows)

    def update_items(self, items: Table, rows: Int32, published: Int64 | None) -> None:
        """Takes up the values of new and changed items (m,).

        Events count for the values that the item has when they come. `published` (N,) are the
        items' publishing times (ms) by now, NEVER where unknown.
        """
        self.recipe.groups.update(items, rows)
        if self._live_author is not None:
            self._live_author.end_update(rows, published, len(items))

    def changes(self) -> dict[str, NDArray[Any]]:
        """The counters that changed since they were opened or made, for `restore`."""
        own = self._live.changes()
        return own if self._live_author is None else own | self._live_author.changes()

    def restore(self, changes: Mapping[str, NDArray[Any]]) -> None:
        """Brings counters that were just opened to the state that `changes` describes."""
        self._live.restore(changes)
        if self._live_author is not None:
            self._live_author.restore(changes)

    def save(self, directory: Path) -> None:
        """Writes the counters."""
        self._live.save(directory)
        if self._live_author is not None:
            self._live_author.save(directory / "author")

    @classmethod
    def load(cls, directory: Path, recipe: GroupRecipe, published: Int64 | None) -> OnlineGroup:
        """Opens what `save` wrote. Raises ValueError where it is not of this recipe."""
        counts = OnlineCounts.load(directory)
        if counts.windows != recipe.recipe.windows or len(counts) != recipe.groups.size:
            raise ValueError(
                f"the counters of {recipe.groups.name} are of {len(counts)} values and windows "
                f"{counts.windows}, the recipes of {recipe.groups.size} and {recipe.recipe.windows}"
            )
        if not recipe.author:
            return cls(recipe, counts, None)
        return cls(recipe, counts, OnlineAuthor.load(directory / "author", recipe, published))


class OnlineAuthor:
    """Items and fans of authors as of now."""

    def __init__(
        self,
        recipe: GroupRecipe,
        published: Int64 | None,
        dated: Moments,
        state: AuthorState,
        pairs: PairCounts,
    ) -> None:
        """
        Args:
            dated: the known publishing times of the authors' items.
            pairs: the pairs of author and fan.
        """
        assert recipe.fan is not None
        self._groups = recipe.groups
        self._fan = recipe.fan
        self._published = published
        self._dated = dated
        self._state = state
        self._pairs = pairs
        self._later = _Later(self._groups.size)
        self._before = np.zeros(0, np.int32), np.zeros(0, np.int64)

    @classmethod
    def empty(cls, recipe: GroupRecipe, published: Int64 | None) -> OnlineAuthor:
        """Without events."""
        groups = recipe.groups
        times = _dated(published, groups.rows)
        known = np.flatnonzero(times != NEVER)
        owner, code = groups.expand(groups.sets[known])
        state = AuthorState(
            started=np.zeros(len(times), np.bool_),
            begun=np.zeros(groups.size, np.int64),
            fans=np.zeros(groups.size, np.int64),
        )
        dated = Moments.of(code, times[known][owner], groups.size)
        return cls(recipe, published, dated, state, PairCounts.empty(1))

    def add(self, item: Int32, code: Int32, wide: Events) -> None:
        """Counts events on items; `code` and `wide` are the events once per value."""
        started, begun, fans = self._state
        known = np.unique(item[(item >= 0) & (item < len(started))])
        fresh = known[~started[known]]
        started[fresh] = True
        if self._published is not None:
            fresh = fresh[self._published[fresh] == NEVER]
        _, whose = self._groups.expand(self._groups.sets[fresh])
        np.add.at(begun, whose[whose >= 0], 1)
        fan = self._fan[wide.behaviour] & (wide.user >= 0) & (code >= 0)
        keys = pair_keys(code[fan], wide.user[fan])
        new = self._pairs.add(keys, np.zeros(len(keys), np.int64))
        np.add.at(fans, code[fan][new], 1)

    def begin_update(self, rows: Int32) -> None:
        """Notes what items (m,) that are about to change count for."""
        self._before = self._groups.set_of(rows), self._times(rows)

    def end_update(self, rows: Int32, published: Int64 | None, items: int) -> None:
        """Counts items (m,) by their new authors and publishing times, where these changed."""
        if items > len(self._state.started):
            more = np.zeros(items - len(self._state.started), np.bool_)
            self._state = self._state._replace(started=np.append(self._state.started, more))
        self._published = published
        old_sets, old_times = self._before
        sets, times = self._groups.set_of(rows), self._times(rows)
        changed = (sets != old_sets) | (times != old_times)
        started = self._state.started[rows[changed]]
        self._count(old_sets[changed], old_times[changed], started, -1)
        self._count(sets[changed], times[changed], started, 1)

    def _times(self, rows: Int32) -> Int64:
        """(m,) publishing times of items, NEVER where unknown and for items that are not there."""
        times, known = np.full(len(rows), NEVER), np.zeros(0, np.int64)
        if self._published is not None:
            known = np.flatnonzero(rows < len(self._published))
            times[known] = self._published[rows[known]]
        return times

    def _count(self, sets: Int32, times: Int64, started: Bool, sign: int) -> None:
        """Adds (1) or takes out (-1) items of sets of authors, by their times and first events."""
        dated = times != NEVER
        owner, code = self._groups.expand(sets[dated])
        self._later.add(code, times[dated][owner], sign)
        _, code = self._groups.expand(sets[started & ~dated])
        np.add.at(self._state.begun, code[code >= 0], sign)

    def items(self, code: Int32, time: Int64) -> Int64:
        begun = counts_of(self._state.begun, code)
        return self._dated.before(code, time) + self._later.before(code, time) + begun

    def fans(self, code: Int32, time: Int64) -> Int64:
        return counts_of(self._state.fans, code)

    def changes(self) -> dict[str, NDArray[Any]]:
        state = {f"author {name}": array for name, array in self._state._asdict().items()}
        pairs = {f"author pairs {name}": array for name, array in self._pairs.changes().items()}
        return state | pairs | {f"author {n}": a for n, a in self._later.saved().items()}

    def restore(self, changes: Mapping[str, NDArray[Any]]) -> None:
        self._state = AuthorState(*(changes[f"author {name}"] for name in AuthorState._fields))
        prefix = "author pairs "
        own = {n.removeprefix(prefix): a for n, a in changes.items() if n.startswith(prefix)}
        self._pairs.restore(own)
        self._later.replace(*(changes[f"author {name}"] for name in ("code", "moment", "sign")))

    def save(self, directory: Path) -> None:
        """Writes the state, the publishing times and the pairs of author and fan."""
        self._pairs.save(directory)
        self._later.merged(self._dated).save(directory)
        for name, array in self._state._asdict().items():
            np.save(directory / f"{name}.npy", array)

    @classmethod
    def load(cls, directory: Path, recipe: GroupRecipe, published: Int64 | None) -> OnlineAuthor:
        """Opens what `save` wrote, memory-mapped."""
        size = recipe.groups.size
        state = AuthorState(
            started=opened(directory / "started.npy", np.bool_, (recipe.groups.rows,)),
            begun=opened(directory / "begun.npy", np.int64, (size,)),
            fans=opened(directory / "fans.npy", np.int64, (size,)),
        )
        dated, pairs = Moments.load(directory, size), PairCounts.load(directory, 1)
        return cls(recipe, published, dated, state, pairs)


class _Later:
    """Publishing times that came since a version was made, by author, and those taken back."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._code = np.zeros(0, np.int32)
        self._moment = np.zeros(0, np.int64)
        self._sign = np.zeros(0, np.int64)
        self._signed: tuple[Moments, Moments] | None = None

    def add(self, code: Int32, moment: Int64, sign: int) -> None:
        known = code >= 0
        if not known.any():
            return
        self.replace(
            np.append(self._code, code[known]),
            np.append(self._moment, moment[known]),
            np.append(self._sign, np.full(int(known.sum()), sign)),
        )

    def replace(self, code: Int32, moment: Int64, sign: Int64) -> None:
        self._code, self._moment, self._sign = code, moment, sign
        self._signed = None

    def before(self, code: Int32, time: Int64) -> Int64:
        """(n,) how many more items each author (n,) had published before each time (n,)."""
        if not len(self._code):
            return np.zeros(len(code), np.int64)
        if self._signed is None:
            more, less = self._sign > 0, self._sign < 0
            self._signed = (
                Moments.of(self._code[more], self._moment[more], self._size),
                Moments.of(self._code[less], self._moment[less], self._size),
            )
        return self._signed[0].before(code, time) - self._signed[1].before(code, time)

    def merged(self, base: Moments) -> Moments:
        """The moments of `base` with those that came later, and without those taken back."""
        if not len(self._code):
            return base
        code, moment = base.pairs()
        code, moment = np.append(code, self._code), np.append(moment, self._moment)
        sign = np.append(np.ones(len(code) - len(self._sign), np.int64), self._sign)
        pairs, place = np.unique(np.stack([code, moment], axis=1), axis=0, return_inverse=True)
        count = np.bincount(place.ravel(), sign).astype(np.int64)
        code, moment = np.repeat(pairs, count, axis=0).T
        return Moments.of(code, moment, self._size)

    def saved(self) -> dict[str, NDArray[Any]]:
        return {"code": self._code, "moment": self._moment, "sign": self._sign}


class AuthorState(NamedTuple):
    """Counters of authors that change with events."""

    started: Bool
    """(N,) items that have an event."""
    begun: Int64
    """(V,) items without a publishing time that have an event."""
    fans: Int64
    """(V,) users."""
