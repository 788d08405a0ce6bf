"""Exploration of new items: guaranteed impressions, then a bandit on their rate."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import UNKNOWN, Dataset, Events, Ragged, Table
from tamis.rerank._columns import ItemRule, times_of
from tamis.rerank._item_counts import ItemCounts, earlier_of_same
from tamis.rerank._posterior import best_of, upper_bound
from tamis.rerank._statement import Exploring, Statement
from tamis.runtime import Bool, Float64, Int32, Int64
from tamis.schema import (
    ComponentConfig,
    Conditions,
    ConfigError,
    Needs,
    NotFittedError,
    read_json,
    suggest,
)

log = logging.getLogger("tamis.rerank")

HOUR = 3_600_000
DAY = 24 * HOUR
_FACTS = "explore.json"
_SALT = 0x5DEECE66D
"""Sets the draws of exploration apart from those of the rule `sample`."""
_AFTER = 1e-9
"""Factor of the weights of items that lack no impressions."""
_SLACK = 4.0
"""Standard deviations of chance that a day's exploration may be above its budget."""
_REBUILD = 1_000
"""Rows by which the list of young items may grow before it is made anew."""


class ExploreConfig(ComponentConfig):
    """Options of the re-rank rule `explore`."""

    only_with: ClassVar[Conditions] = {
        "column": (Needs("hours", none_of=(0.0,)),),
        "within_hours": (Needs("guarantee", none_of=(0,)), Needs("hours", none_of=(0.0,))),
    }

    hours: Annotated[float, Field(ge=0)] = 24.0
    """Age up to which an item is new, in hours since its publication. 0: age does not count."""
    impressions: Annotated[int, Field(ge=1)] = 1000
    """Impressions up to which an item is new."""
    places: Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1)] = (
        9,
        10,
    )
    """Places that may explore, from 1; those beyond a slate's end are not used."""
    budget: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Expected share of all places that explore. Each of `places` explores with the same
    probability: budget · slate / number of places, at most 1."""
    guarantee: Annotated[int, Field(ge=0)] = 20
    """Impressions that every new item gets before rates count. 0: rates count at once."""
    within_hours: Annotated[float, Field(gt=0)] = 6.0
    """Hours after its publication in which an item should have its guaranteed impressions: the less
    time is left, the more often it is drawn."""
    method: Literal["thompson", "ucb"] = "thompson"
    """How items with their guaranteed impressions are chosen. thompson: each with the probability
    that its rate is the highest of the request. ucb: the one with the highest upper bound."""
    behaviour: str = ""
    """Behaviour whose rate per impression is learnt. If empty: the positive behaviour with most
    events."""
    prior: Annotated[float, Field(gt=0)] = 20.0
    """Impressions at the catalogue's mean rate with which every item starts."""
    insert: Annotated[int, Field(ge=0, le=1000)] = 20
    """New items that are ranked for every request beside the recalled ones: first those that lack
    guaranteed impressions, then those of a high or uncertain rate."""
    column: str | None = None
    """Items' column of the time of publication. If omitted: `items.published`."""

    @field_validator("places")
    @classmethod
    def _once(cls, places: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(places)) != len(places):
            raise ValueError(f"places = {list(places)}: name each place once")
        return places


class Explore(ItemRule):
    """Gives new items impressions at some places, within a budget, and learns their rate.

    An item is new while it is younger than `hours` and has fewer than `impressions` impressions.
    A place that explores holds a new item that the other hard rules allow: one that lacks
    guaranteed impressions, drawn by how many it lacks per hour left, else one by its Beta posterior
    of positive events per impression. Otherwise, and where there is none, the place holds what it
    would without this rule. Whether a place explores is drawn per request, seeded by the request's
    id; answers and the journal hold each item's propensity.

    Impressions and positive events of the log count, and those that a service takes in. Nothing is
    explored while more than budget · m + 4 · √(budget · m) of a day's m impressions (UTC) were of
    new items at `places`; those that a client reports without `position` count as such. Answers
    whose impressions are not reported, such as dry runs, count nothing.

    When to use: a catalogue with new items that recall and the ranker know little of.
    Cost: about a millisecond for a request with new items; every inserted item is one more
    candidate of the ranker. The guarantee holds as far as the budget suffices; training warns where
    it cannot.
    Source: Thompson 1933; Kaufmann et al. 2012, On Bayesian Upper Confidence Bounds for Bandit
    Problems. The published X algorithm lifts posts of at most 24 hours with fewer than 1,000
    impressions to the places 15 and 16.
    """

    name = "explore"
    Config = ExploreConfig
    config: ExploreConfig

    _KINDS: ClassVar[Mapping[str, Any]] = {"since": np.int64}
    _UNCOUNTED: ClassVar[Mapping[str, Any]] = {"since": -1}

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._counts: ItemCounts | None = None
        self._impression = np.zeros(0, np.bool_)
        """(behaviours,) which are impressions."""
        self._success = np.zeros(0, np.bool_)
        """(behaviours,) which is the behaviour whose rate is learnt."""
        self._rate = 0.0
        """The catalogue's mean rate."""
        self._day = _Day()
        self._young: tuple[int, Int32] | None = None
        """A time, and the rows that are young at it or later; None: not made yet."""

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Counts impressions and positive events of the log, and reads times of publication.

        Raises ConfigError where the project has no behaviour of impressions, none that is positive,
        or where its slate ends before the first of `places`.
        """
        context = context or FitContext()
        self._check_places(context)
        self._impression = np.array([b.impression for b in data.behaviours], np.bool_)
        if not self._impression.any():
            raise ConfigError(
                "re-rank `explore`: no behaviour is an impression, so impressions of new items "
                "cannot be counted; set `impression = true` in its [behaviours.*]"
            )
        self._success = self._success_of(data)
        super().fit(data, context)
        events = data.events
        today = events.time // DAY == (data.end - 1) // DAY
        before, last = events.take(~today), events.take(today)
        self._counts = ItemCounts(*self._totals(before, len(data.items)))
        self._day, self._young = _Day(), None
        self._count(last, self.config.places)
        shown, positive = self._totals(events, len(data.items))
        self._rate = (positive.sum() + 1.0) / (shown.sum() + 20.0)
        self._rate = float(min(max(self._rate, 1e-6), 0.999))
        self._counts = ItemCounts(shown, positive)
        self._warn(data)
        return self

    def _check_places(self, context: FitContext) -> None:
        config = context.config
        if config is not None and min(self.config.places) > config.cascade.slate:
            raise ConfigError(
                f"re-rank `explore`: places = {list(self.config.places)} are all beyond the slate "
                f"of {config.cascade.slate} places: name places in it, or make `slate` of "
                "[cascade] longer"
            )

    def _success_of(self, data: Dataset) -> Bool:
        """(B,) True for the behaviour whose rate is learnt."""
        names, behaviour = [b.name for b in data.behaviours], self.config.behaviour
        if behaviour and behaviour not in names:
            raise ConfigError(
                f"re-rank `explore`: behaviour = {behaviour!r} is not declared "
                f"(declared: {', '.join(names)}).{suggest(behaviour, names)}"
            )
        if not behaviour:
            positive = np.array([b.positive for b in data.behaviours], np.bool_)
            if not positive.any():
                raise ConfigError(
                    "re-rank `explore`: no behaviour is positive; name the one whose rate is "
                    "learnt as `behaviour`"
                )
            many = np.bincount(data.events.behaviour, minlength=len(names))
            behaviour = names[int(np.where(positive, many, -1).argmax())]
        return np.array([name == behaviour for name in names], np.bool_)

    def _totals(self, events: Events, items: int) -> tuple[Int64, Int64]:
        """(items,) impressions, and positive events."""
        known = events.item != UNKNOWN
        shown = events.item[known & self._impression[events.behaviour]]
        positive = events.item[known & self._success[events.behaviour]]
        return np.bincount(shown, minlength=items), np.bincount(positive, minlength=items)

    def _warn(self, data: Dataset) -> None:
        """Logs a warning where the last day's budget is less than the guaranteed impressions."""
        config, since = self.config, self._fitted()["since"]
        events = data.events
        lately = self._impression[events.behaviour] & (events.time >= data.end - DAY)
        born = int(((since >= data.end - DAY) & (since < data.end)).sum())
        wanted, budget = born * config.guarantee, config.budget * int(lately.sum())
        if config.hours and wanted > budget:
            log.warning(
                "re-rank `explore`: the %d items of the last day need %d guaranteed impressions; "
                "budget = %g of its impressions are %d. Raise `budget`, or lower `guarantee`",
                born,
                wanted,
                config.budget,
                budget,
            )

    def _of_items(self, items: Table) -> dict[str, NDArray[Any]]:
        if not self.config.hours:
            return {"since": np.zeros(len(items), np.int64)}
        column = self.config.column or self._roles["published"]
        return {"since": times_of(items, column, self.name)}

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`."""
        super().update_items(items, rows)
        if self._young is not None:
            time, young = self._young
            self._young = (time, np.union1d(young, rows).astype(np.int32))

    def count_events(self, events: Events) -> None:
        """Counts impressions and positive events, see `CountsEvents`."""
        self._count(events, (0, *self.config.places))  # 0: the client names no place

    def _count(self, events: Events, places: tuple[int, ...]) -> None:
        """Counts events; impressions of new items at `places` count towards the day's budget."""
        counts = self._known()
        known = events.item != UNKNOWN
        shown = events.take(known & self._impression[events.behaviour])
        before = counts.shown(shown.item) + earlier_of_same(shown.item)
        new = self._is_young(shown.item, shown.time) & (before < self.config.impressions)
        self._day = self._day.after(shown.time // DAY, new & np.isin(shown.position, places))
        counts.add(shown.item, events.item[known & self._success[events.behaviour]])

    def appended(self) -> dict[str, NDArray[Any]]:
        """What was counted since the version was opened."""
        day = np.array([self._day.number, self._day.shown, self._day.explored], np.int64)
        return {**self._known().appended(), "day": day}

    def restore(self, appended: Mapping[str, NDArray[Any]]) -> None:
        """Adds what `appended` returned."""
        self._known().restore(appended)
        self._day = _Day(*appended["day"].tolist())

    def _known(self) -> ItemCounts:
        if self._counts is None:
            raise NotFittedError(
                f"re-rank `{self.name}` is used before fit(data); call fit or load it"
            )
        return self._counts

    def _is_young(self, items: Int32, time: Int64) -> Bool:
        """(n,) whether an item is young at a time; items that the rule has not read are not."""
        since = self._fitted()["since"]
        if not self.config.hours:
            return np.ones(len(items), np.bool_)
        own, read = np.full(len(items), -1), items < len(since)
        own[read] = since[items[read]]
        age = time - own
        return (own >= 0) & (age >= 0) & (age < self.config.hours * HOUR)

    def inserted(self, queries: Queries) -> Ragged:
        """The new items that are ranked for every query beside the recalled ones: the first of
        `_most_urgent` that the query does not exclude (hidden items would stay the most urgent)."""
        times, own = np.unique(queries.time, return_inverse=True)
        lists = [self._most_urgent(int(time)) for time in times]
        found: list[Int32] = []
        for query, at in enumerate(own.reshape(-1).tolist()):
            never = queries.exclude[query]
            first = lists[at][: self.config.insert + len(never)]
            free = first[~np.isin(first, never)]
            found.append(np.sort(free[: self.config.insert]))
        return Ragged.of(found)

    def _most_urgent(self, time: int) -> Int32:
        """The new items: those that lack impressions, then by mean rate + deviation."""
        rows = self._new_at(time)
        alpha, beta = self._posterior(rows)
        size = alpha + beta
        optimistic = alpha / size + np.sqrt(alpha * beta / (size + 1)) / size
        urgency = self._urgency(rows, np.full(len(rows), time))
        return rows[np.lexsort((-optimistic, -urgency))]

    def _new_at(self, time: int) -> Int32:
        """The item rows that are new at a time (ms)."""
        if not self.config.hours:
            rows = np.arange(len(self._fitted()["since"]), dtype=np.int32)
        else:
            rows = self._young_from(time)
            rows = rows[self._is_young(rows, np.full(len(rows), time))]
        return rows[self._known().shown(rows) < self.config.impressions]

    def _young_from(self, time: int) -> Int32:
        """Item rows, among them all that are young at a time (ms)."""
        since = self._fitted()["since"]
        if self._young is not None:
            built, rows = self._young
            if built <= time < built + HOUR and len(rows) < len(since) // 2 + _REBUILD:
                return rows
        rows = np.flatnonzero(since > time - self.config.hours * HOUR).astype(np.int32)
        self._young = (time, rows)
        return rows

    def _posterior(self, items: Int32) -> tuple[Float64, Float64]:
        """(n,) the two parameters of the Beta posteriors of items."""
        counts, prior = self._known(), self.config.prior
        positive = counts.positive(items).astype(np.float64)
        shown = counts.shown(items)
        return prior * self._rate + positive, prior * (1 - self._rate) + shown - positive

    def _urgency(self, items: Int32, time: Int64) -> Float64:
        """(n,) guaranteed impressions that are lacking per hour that is left, at least one."""
        lacking = np.maximum(self.config.guarantee - self._known().shown(items), 0)
        if not self.config.hours:
            return lacking.astype(np.float64)
        left = self.config.within_hours - (time - self._at("since", items)) / HOUR
        return lacking / np.maximum(left, 1.0)

    def state(self, queries: Queries, candidates: Candidates, n: int) -> Statement:
        """The exploration; the trace shows 1 for items of places that explored, 0 for others."""
        item, query = candidates.item, candidates.query
        chance = self._chance(queries, candidates, n)
        new = np.isfinite(np.asarray(candidates.columns["value"])) & (chance.max(1) > 0)[query]
        new[new] = self._is_young(item[new], queries.time[query[new]])
        new[new] = self._known().shown(item[new]) < self.config.impressions
        weight = np.zeros(len(candidates))
        weight[new] = self._weight(queries, item[new], query[new])
        seed = queries.seed
        if seed is None:  # replays and evaluations: the same user and time draw the same
            seed = queries.user.astype(np.int64) * 1_000_003 + queries.time
        greedy = self.config.method == "ucb"
        return Statement(exploring=Exploring(weight, chance, greedy, seed ^ _SALT))

    def _chance(self, queries: Queries, candidates: Candidates, n: int) -> Float64:
        """(Q, n) the probability with which each place explores."""
        size = np.minimum(np.diff(candidates.indptr), n)
        places = np.array(self.config.places)
        inside = places[None, :] <= size[:, None]  # (Q, places)
        each = self.config.budget * size / np.maximum(inside.sum(1), 1)
        each = np.minimum(each, 1.0) * self._within_budget(queries.time)
        chance = np.zeros((len(queries), max(n, 1)))
        row, at = np.nonzero(inside)
        chance[row, places[at] - 1] = each[row]
        return chance[:, :n] if n else chance

    def _within_budget(self, time: Int64) -> Bool:
        """(Q,) whether the day of a query may explore more."""
        day, config = self._day, self.config
        mean = config.budget * day.shown
        over = day.explored > mean + _SLACK * np.sqrt(mean)
        return (time // DAY != day.number) | (not over)

    def _weight(self, queries: Queries, items: Int32, query: Int64) -> Float64:
        """(m,) what new items are drawn by; queries (m,) in ascending order.

        Those that lack impressions weigh so much more that others are drawn only where none of
        these may be placed.
        """
        if not len(items):
            return np.zeros(0)
        weight = self._urgency(items, queries.time[query])
        rated = np.flatnonzero(weight <= 0)
        if len(rated):
            alpha, beta = self._posterior(items[rated])
            own = query[rated]
            if self.config.method == "thompson":
                weight[rated] = best_of(alpha, beta, own, len(queries))
            else:
                shown = self._known().shown(items[rated])
                trials = np.bincount(own, shown, len(queries)).astype(np.float64)
                weight[rated] = upper_bound(alpha, beta, trials[own])
            weight[rated] *= _AFTER
        return weight

    def save(self, directory: Path) -> None:
        """Writes times of publication and counts."""
        super().save(directory)
        self._known().save(directory)
        facts = {
            "impression": self._impression.tolist(),
            "success": self._success.tolist(),
            "rate": self._rate,
            "day": [self._day.number, self._day.shown, self._day.explored],
        }
        (directory / _FACTS).write_text(json.dumps(facts), "utf-8")

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped."""
        loaded = super().load(directory, config)
        facts = read_json(directory / _FACTS, impression=list, success=list, rate=float, day=list)
        loaded._counts = ItemCounts.load(directory)
        loaded._impression = np.array(facts["impression"], np.bool_)
        loaded._success = np.array(facts["success"], np.bool_)
        loaded._rate, loaded._day = facts["rate"], _Day(*facts["day"])
        return loaded


class _Day:
    """Impressions of one day (UTC), and those of new items at places that explore."""

    def __init__(self, number: int = -1, shown: int = 0, explored: int = 0) -> None:
        self.number, self.shown, self.explored = number, shown, explored

    def after(self, day: Int64, explored: Bool) -> _Day:
        """The latest day after impressions (n,) of some days; those of earlier days do not count.

        explored: (n,) whether each is of a new item at a place that explores.
        """
        number = max(self.number, int(day.max(initial=-1)))
        now = self if number == self.number else _Day(number)
        of_day = day == number
        return _Day(
            number,
            now.shown + int(np.count_nonzero(of_day)),
            now.explored + int(np.count_nonzero(of_day & explored)),
        )
