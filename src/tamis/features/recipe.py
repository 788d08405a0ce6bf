"""Recipes that turn counts per key into columns of statistics: counts, rates, means and ages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tamis.data import Dataset
from tamis.features._counting_kernels import NEVER
from tamis.features._render_kernel import render
from tamis.features.encoders import untupled
from tamis.features.rates import (
    MeanPrior,
    Rate,
    RecipeArrays,
    fit_beta,
    fit_mean,
    rates_of,
    value_groups,
)
from tamis.features.windows import Counts
from tamis.runtime import Float32, Int32, Int64

_DAY = 86_400_000


@dataclass(frozen=True)
class Recipe:
    """How the counts of one side (users or items) become its columns; fitted on training data."""

    windows: tuple[str, ...]
    behaviours: tuple[str, ...]
    plain: tuple[bool, ...]
    """(B,) behaviours that are not impressions; `count:events` is their number."""
    rates: tuple[Rate, ...]
    means: tuple[MeanPrior, ...]
    ages: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Values of the columns `days:first`, `days:last` and `days:published` where there is no such
    time: the means of the training data. (): no such columns."""
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
        out.append("count:events")
        out += ["days:first", "days:last"] if self.ages else []
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
        totals = np.bincount(cells, minlength=size).reshape(keys, len(behaviours))
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


class Reads(Protocol):
    """Counters that are read as of given times: `OfflineCounts` or `OnlineCounts`."""

    def columns(
        self, recipe: RecipeArrays, key: Int32, time: Int64, published: Int64, out: Float32
    ) -> None: ...


def columns_of(
    recipe: Recipe, counts: Reads, key: Int32, time: Int64, published: Int64 | None
) -> Float32:
    """(n, S) of n keys as of n times; `published` (K,) are the keys' publishing times (ms)."""
    out = np.empty((len(key), len(recipe.names)), np.float32)
    used = published if recipe.published and published is not None else np.zeros(0, np.int64)
    counts.columns(recipe.arrays, key, time, used, out)
    return out
