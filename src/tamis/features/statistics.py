"""Statistics of users and items as model inputs, equal from a log as of time t and live at t.

Per window: log(1 + count) of each behaviour and smoothed rates (successes + α) / (trials + α + β).
Over all time: smoothed mean values, days since the first and the last event, number of events,
and days since an item was published.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import Dataset, Events
from tamis.features._counting_kernels import NEVER
from tamis.features._render_kernel import render
from tamis.features.encoders import untupled
from tamis.features.rates import MeanPrior, Rate, fit_beta, fit_mean, rates_of, value_groups
from tamis.features.windows import WINDOWS, Counts, OfflineCounts, OnlineCounts, Rings
from tamis.runtime import Bool, Float32, Float64, Int32, Int64
from tamis.schema import read_array, read_json, reading

_DAY = 86_400_000
_CHUNK = 250_000
"""Rows computed at once; bounds the memory of the counts (W × B × 8 bytes per row)."""


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


class RecipeArrays(NamedTuple):
    """A recipe as the kernel `render` reads it: R rates, G means, B behaviours."""

    successes: Int64
    """(R, B) codes of the behaviours that are successes of each rate, filled up with -1."""
    trials: Int64
    """(R, B) likewise, of its trials."""
    priors: Float64
    """(R, 2) α and β."""
    groups: Bool
    """(G, B) behaviours whose values each mean averages."""
    means: Float64
    """(G, 2) prior mean and strength."""
    plain: Bool
    """(B,) behaviours that are not impressions."""
    ages: Float64
    """(3,) see `Recipe.ages`."""


@dataclass(frozen=True)
class Recipe:
    """How the counts of one side (users or items) become its columns; fitted on training data."""

    windows: tuple[str, ...]
    behaviours: tuple[str, ...]
    plain: tuple[bool, ...]
    """(B,) behaviours that are not impressions; `count:events` is their number."""
    rates: tuple[Rate, ...]
    means: tuple[MeanPrior, ...]
    ages: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Values of the columns `days:first`, `days:last` and `days:published` where there is no such
    time: the means of the training data."""
    published: bool = False
    """Whether there is a column `days:published`."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the S columns, in their order."""
        out: list[str] = []
        for window in self.windows:
            out += [f"count:{b}:{window}" for b in self.behaviours]
            out += [f"rate:{r.name}:{window}" for r in self.rates]
        out += [f"mean:{m.name}" for m in self.means]
        out += ["count:events", "days:first", "days:last"]
        return (*out, "days:published") if self.published else tuple(out)

    @cached_property
    def arrays(self) -> RecipeArrays:
        """The recipe as the kernel reads it."""
        behaviours = len(self.behaviours)
        return RecipeArrays(
            successes=_listed([r.successes for r in self.rates], behaviours),
            trials=_listed([r.trials for r in self.rates], behaviours),
            priors=np.array([(r.alpha, r.beta) for r in self.rates]).reshape(-1, 2),
            groups=np.array([m.behaviours for m in self.means], np.bool_).reshape(-1, behaviours),
            means=np.array([(m.mean, m.strength) for m in self.means]).reshape(-1, 2),
            plain=np.array(self.plain, np.bool_),
            ages=np.array(self.ages, np.float64),
        )

    def columns(self, counts: Counts, time: Int64, published: Int64 | None) -> Float32:
        """(n, S) of counts as of `time` (n,) in ms.

        `published` (n,) is each row's publishing time (ms), NEVER where unknown.
        """
        used = published if self.published and published is not None else np.zeros(0, np.int64)
        out = np.empty((len(time), len(self.names)), np.float32)
        render(counts=counts, time=time, published=used, recipe=self.arrays, out=out)
        return out

    @classmethod
    def fit(
        cls,
        data: Dataset,
        key: Int32,
        keys: int,
        windows: Sequence[str],
        published: Int64 | None = None,
    ) -> Recipe:
        """Fits α and β of every rate, the prior of every mean, and the mean ages.

        `key` (E,) is the user or item of each event, of `keys` in all; -1 is left aside.
        `published` (keys,) are publishing times (ms), NEVER where unknown.
        """
        known = key >= 0
        behaviours = data.behaviours
        cells = key[known].astype(np.int64) * len(behaviours) + data.events.behaviour[known]
        size = keys * len(behaviours)
        totals = np.bincount(cells, minlength=size).reshape(keys, -1)
        rates = tuple(fit_beta(r, totals) for r in rates_of(behaviours))
        means = tuple(fit_mean(g, key, data.events) for g in value_groups(behaviours, data.events))
        return cls(
            windows=tuple(windows),
            behaviours=tuple(b.name for b in behaviours),
            plain=tuple(not b.impression for b in behaviours),
            rates=rates,
            means=means,
            ages=_usual_ages(data, key, keys, published),
            published=published is not None,
        )

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Recipe:
        """The recipe of a dictionary that `dataclasses.asdict` made and JSON kept."""
        rates = tuple(Rate(**untupled(r)) for r in saved["rates"])
        means = tuple(MeanPrior(**untupled(m)) for m in saved["means"])
        rest = untupled(saved)
        rest.update(rates=rates, means=means)
        return cls(**rest)


def _listed(masks: Sequence[tuple[bool, ...]], behaviours: int) -> NDArray[np.int64]:
    """(R, B) the codes of the behaviours in each mask, filled up with -1."""
    out = np.full((len(masks), behaviours), -1)
    for row, mask in zip(out, masks, strict=True):
        chosen = np.flatnonzero(mask)
        row[: len(chosen)] = chosen
    return out


def _usual_ages(
    data: Dataset, key: Int32, keys: int, published: Int64 | None
) -> tuple[float, float, float]:
    """Mean log(1 + days) at the data's end since first event, last event and publishing."""
    events = data.events
    moment = np.minimum(events.time, events.arrival)
    known = key >= 0
    first, last = np.full(keys, np.iinfo(np.int64).max), np.full(keys, NEVER)
    np.minimum.at(first, key[known], moment[known])
    np.maximum.at(last, key[known], moment[known])
    some = last != NEVER
    dated = published[published != NEVER] if published is not None else np.zeros(0, np.int64)

    def usual(times: Int64) -> float:
        days = np.maximum(data.end - times, 0) / _DAY
        return float(np.log1p(days).mean()) if len(times) else 0.0

    return usual(first[some]), usual(last[some]), usual(dated)


@dataclass(frozen=True, eq=False)
class Recipes:
    """The recipes of users and of items, and the publishing times of the items."""

    user: Recipe
    item: Recipe
    published: Int64 | None = None
    """(N,) ms, NEVER where unknown; None = the items' table has no publishing times."""

    @classmethod
    def fit(cls, data: Dataset, windows: Sequence[str]) -> Recipes:
        """Fits on all of `data`. Raises ConfigError for an unknown window."""
        Rings.of(windows)
        windows = [w for w in WINDOWS if w in windows]
        events, published = data.events, _published(data)
        return cls(
            Recipe.fit(data, events.user, len(data.users), windows),
            Recipe.fit(data, events.item, len(data.items), windows, published),
            published,
        )

    def save(self, directory: Path) -> None:
        """Writes `recipes.json` and, where there are publishing times, `published.npy`."""
        directory.mkdir(parents=True, exist_ok=True)
        published = None if self.published is None else len(self.published)
        saved = {"user": asdict(self.user), "item": asdict(self.item), "published": published}
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
        items = saved.get("published", -1 if times.exists() else None)  # absent in older files
        if items is None:
            return cls(*sides)
        shape = (items if items >= 0 else None,)
        return cls(*sides, read_array(times, np.int64, shape, mode=None))


def _published(data: Dataset) -> Int64 | None:
    """(N,) publishing times of the items (ms), NEVER where unknown."""
    if "published" not in data.items.frame.columns:
        return None
    return data.items.frame["published"].cast(pl.Int64).fill_null(NEVER).to_numpy().copy()


class _Reads(Protocol):
    """Counters that are read as of given times: `OfflineCounts` or `OnlineCounts`."""

    def read(self, key: Int32, time: Int64) -> Counts: ...


class _CountStatistics:
    """Statistics over the counters of users and items: the code shared by offline and online."""

    def __init__(self, recipes: Recipes, users: _Reads, items: _Reads) -> None:
        self.recipes = recipes
        self._users = users
        self._items = items

    @property
    def user_names(self) -> tuple[str, ...]:
        return self.recipes.user.names

    @property
    def item_names(self) -> tuple[str, ...]:
        return self.recipes.item.names

    def users(self, user: Int32, time: Int64) -> Float32:
        return _columns(self.recipes.user, self._users, user, time, None)

    def items(self, item: Int32, time: Int64) -> Float32:
        return _columns(self.recipes.item, self._items, item, time, self.recipes.published)


def _columns(
    recipe: Recipe, counts: _Reads, key: Int32, time: Int64, published: Int64 | None
) -> Float32:
    """(n, S) of n keys as of n times, computed in chunks of `_CHUNK` rows."""
    if len(key) > _CHUNK:
        parts = [slice(at, at + _CHUNK) for at in range(0, len(key), _CHUNK)]
        done = [_columns(recipe, counts, key[p], time[p], published) for p in parts]
        return np.concatenate(done)
    dated = None
    if published is not None:
        known = (key >= 0) & (key < len(published))
        dated = np.where(known, np.append(published, NEVER)[np.where(known, key, -1)], NEVER)
    return recipe.columns(counts.read(key, time), time, dated)


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
        )


class OnlineStatistics(_CountStatistics):
    """Statistics as of now: a snapshot of a log, and the events that arrived since."""

    def __init__(
        self, recipes: Recipes, users: OnlineCounts, items: OnlineCounts, end: int
    ) -> None:
        super().__init__(recipes, users, items)
        self._live = (users, items)
        self.end = end
        """The snapshot holds the events that arrived before this time (ms)."""
        self._known = end

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
        online = cls(recipes, counts[0], counts[1], NEVER)
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
        self._known = max(self._known, int(fresh.arrival[-1]) + 1)
        return len(fresh)

    def save(self, directory: Path) -> None:
        """Writes the recipes, the counters and the end of the events they hold."""
        self.recipes.save(directory)
        self._live[0].save(directory / "users")
        self._live[1].save(directory / "items")
        (directory / "statistics.json").write_text(json.dumps({"end": max(self.end, self._known)}))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Opens what `save` wrote, memory-mapped; events added later stay in memory."""
        end = read_json(directory / "statistics.json", end=int)["end"]
        counts = [OnlineCounts.load(directory / side) for side in ("users", "items")]
        return cls(Recipes.load(directory), counts[0], counts[1], end)
