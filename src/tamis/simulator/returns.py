"""Repeat consumption: the items that users come back for, the gaps, and the return visits."""

from dataclasses import dataclass, replace

import numpy as np

from tamis.runtime import Floats, Ints
from tamis.simulator.clock import DAY_MS, Stream, stream
from tamis.simulator.config import SimulationConfig
from tamis.simulator.policy import Impressions, Source
from tamis.simulator.traffic import Requests

_CONSUMABLE_SHARE = 0.5
_CATEGORY_SIGMA, _ITEM_SIGMA, _VISIT_SIGMA = 0.5, 0.3, 0.25
_LEAST_DAYS = 0.25


def usual_gaps(config: SimulationConfig, category: Ints) -> Floats:
    """(items,) days after which users come back for an item; NaN for items that last.

    Half of the categories (at least one) are consumables, whose usual gaps are log-normal around
    ``repeat_gap_days``; those of their items are log-normal around the category's.
    """
    rng = stream(config.seed, Stream.REPEATS)
    order = rng.permutation(config.n_categories)
    consumed = np.zeros(config.n_categories, dtype=np.bool_)
    consumed[order[: max(1, round(_CONSUMABLE_SHARE * config.n_categories))]] = True
    of_category = np.exp(rng.normal(0.0, _CATEGORY_SIGMA, config.n_categories))
    own = np.exp(rng.normal(0.0, _ITEM_SIGMA, len(category)))
    days = np.maximum(config.repeat_gap_days * of_category[category] * own, _LEAST_DAYS)
    return np.where(consumed[category], days, np.nan)


@dataclass(frozen=True)
class Visits:
    """n planned returns of users for items."""

    user: Ints  # (n,), user row
    item: Ints  # (n,), item row
    time: Ints  # (n,), ms

    def take(self, where: np.ndarray) -> "Visits":
        """The visits selected by a mask or positions."""
        return Visits(self.user[where], self.item[where], self.time[where])


class Returns:
    """The planned returns, at most one per user and item; none while ``repeat_rate`` is 0."""

    def __init__(self, config: SimulationConfig, gap_days: Floats) -> None:
        self._config, self._gap_days = config, gap_days
        nothing = np.zeros(0, dtype=np.int64)
        self._planned = Visits(nothing, nothing, nothing)

    def due(self, day: int) -> Visits:
        """The returns of a day, which are then no longer planned."""
        now = self._planned.time < self._config.day_start(day + 1)
        visits = self._planned.take(now)
        self._planned = self._planned.take(~now)
        return visits

    def plan(self, bought: Visits, day: int, rng: np.random.Generator) -> None:
        """Plans the returns of users who bought consumables on ``day``, or during it.

        With probability ``repeat_rate`` each comes back, after a gap that is log-normal around the
        item's usual one, on the next day at the earliest. A purchase replaces an earlier plan.
        """
        config = self._config
        gap = self._gap_days[bought.item] * np.exp(rng.normal(0.0, _VISIT_SIGMA, len(bought.item)))
        back = (rng.random(len(bought.item)) < config.repeat_rate) & np.isfinite(gap)
        time = bought.time + np.where(back, gap * DAY_MS, 0).astype(np.int64)
        # Requests of this day are drawn already: what falls into it moves to the next morning.
        time = np.maximum(time, config.day_start(day + 1) + bought.time % DAY_MS)
        planned = [self._planned, Visits(bought.user, bought.item, time).take(back)]
        joined = Visits(
            *(np.concatenate([getattr(p, name) for p in planned]) for name in vars(self._planned))
        )
        key = joined.user.astype(np.int64) * len(self._gap_days) + joined.item
        last = len(key) - 1 - np.unique(key[::-1], return_index=True)[1]
        self._planned = joined.take(last[joined.time[last] < config.end_time])


def with_returns(requests: Requests, visits: Visits) -> Requests:
    """The requests of a day and the visits of users who come back, in order of time."""
    if not len(visits.time):
        return requests
    time = np.concatenate([requests.time, visits.time])
    order = np.argsort(time, kind="stable")
    wanted = np.concatenate([requests.wanted, visits.item])
    user = np.concatenate([requests.user, visits.user])
    return Requests(user[order].astype(requests.user.dtype), time[order], wanted[order])


def with_wanted(impressions: Impressions, requests: Requests) -> Impressions:
    """The slates with the item that a user has come back for at position 1.

    It changes places with the item there if the slate has it already, else it replaces that item.
    """
    wanted = requests.wanted[impressions.request]
    if not (wanted >= 0).any():
        return impressions
    item, source = impressions.item.copy(), impressions.source.copy()
    first = np.flatnonzero((wanted >= 0) & (impressions.position == 1))
    place = np.full(len(requests), -1, dtype=np.int64)
    place[impressions.request[first]] = first
    same = np.flatnonzero((wanted >= 0) & (item == wanted))
    top = place[impressions.request[same]]
    item[same], source[same] = item[top], source[top]
    item[first], source[first] = wanted[first], Source.REPEAT
    return replace(impressions, item=item, source=source)
