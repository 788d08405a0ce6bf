"""A simulated world that goes on after its log: tastes drift, items are born and withdrawn, new
users sign up, and nobody likes to see the same thing again and again.

The world knows the truth: the expected reward of any item for any user at any moment. So what a
service shows can be judged without chance, and against the best that could have been shown.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
import polars as pl

from tamis.runtime import Float32, Floats, Int64, Ints
from tamis.simulator.behaviour import (
    DEFAULT_COEFFICIENTS,
    ItemTraits,
    Outcomes,
    Responses,
    UserTraits,
    draw_outcomes,
    response_probabilities,
)
from tamis.simulator.clock import DAY_MS
from tamis.simulator.config import SimulationConfig
from tamis.simulator.errors import SimulationConfigError
from tamis.simulator.external_ids import padded_ids
from tamis.simulator.population import build_population
from tamis.simulator.world import scatter, unit

REWARD = {"click": 1.0, "like": 0.5, "cart": 2.0, "purchase": 4.0}
"""Worth of each behaviour: the fusion of the project that `tamis simulate` writes."""
_FORGOTTEN_DAYS = 7.0
"""Time constant of fatigue."""
_SIBLING_LENGTH = 0.45
"""Length of what a newcomer's vector has of its own."""


@dataclass(frozen=True, kw_only=True)
class LifeConfig:
    """How the world changes. With all rates 0 it stays as the log left it.

    Raises SimulationConfigError for a number out of range.
    """

    drift: float = 0.05
    """Share of a user's taste that is replaced per day by a new one, 0 to 1."""
    births: float = 0.01
    """New items per day, as a share of those in the catalogue."""
    deaths: float = 0.01
    """Items withdrawn per day, as a share of those in the catalogue."""
    signups: float = 0.01
    """New users per day, as a share of those who have not left."""
    departures: float = 0.01
    """Users who never come again, per day, as a share of those who have not left."""
    fatigue: float = 0.5
    """Taken off the log-odds of a click per unit of ln(1 + times shown to the user lately)."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("drift", "births", "deaths", "signups", "departures"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise SimulationConfigError(
                    f"{name} = {value} is out of range: give 0 to 1 per day"
                )
        if not 0 <= self.fatigue <= 10:
            raise SimulationConfigError(f"fatigue = {self.fatigue} is out of range: give 0 to 10")


@dataclass(frozen=True)
class Changes:
    """What happened since the last call."""

    items: pl.DataFrame
    """The rows of new items, with the columns of `items.parquet`."""
    withdrawn: list[str]
    """Ids of items that are no longer to be shown."""
    users: pl.DataFrame
    """The rows of new users, with the columns of `users.parquet`."""


class LivingWorld:
    """The population of a simulation after its last day.

    Args:
        config: of the log; equal settings give the population that the log was drawn from.
        life: how it changes.
        start: time (ms) at which the world goes on; if omitted, the end of the log.
    """

    def __init__(
        self, config: SimulationConfig, life: LifeConfig | None = None, start: int | None = None
    ) -> None:
        self._config, self._life = config, life or LifeConfig()
        population = build_population(config)
        self._item_table, self._user_table = population.items.table, population.users.table
        self._items, self._users = population.items.traits, population.users.traits
        self._pace = population.users.requests_per_day.copy()
        self._random = np.random.default_rng([config.seed, self._life.seed, 97])
        self._coefficients = DEFAULT_COEFFICIENTS.eager(config.eagerness)
        # content = latent · view + noise (`catalogue`): the view of newcomers must be the same
        content = self._item_table["content"].to_numpy()
        self._view = np.linalg.lstsq(self._items.latent, content, rcond=None)[0].astype(np.float32)
        self._alive = np.ones(len(self._item_table), np.bool_)
        self._shown: dict[tuple[int, int], tuple[float, int]] = {}
        """(user, item) → impressions that are still remembered, and when (ms) they were counted."""
        self.time = config.end_time if start is None else start
        """The moment (ms) up to which the world has lived."""
        self._owed: dict[str, float] = dict.fromkeys(
            ("births", "deaths", "signups", "departures"), 0.0
        )
        self._number: dict[str, dict[str, int]] = {"user": {}, "item": {}}
        self._named(range(len(self._user_table)), range(len(self._item_table)))

    @property
    def users(self) -> int:
        """Number of users so far."""
        return len(self._user_table)

    @property
    def items(self) -> int:
        """Number of items so far, withdrawn ones included."""
        return len(self._item_table)

    def user_ids(self, rows: Ints) -> list[str]:
        """External ids of user rows."""
        return self._user_table["user_id"].gather(pl.Series(rows)).to_list()

    def item_rows(self, ids: list[str]) -> Int64:
        """(n,) item rows of external ids; -1 for an unknown one."""
        known = self._number["item"]
        return np.array([known.get(one, -1) for one in ids], np.int64)

    def user_rows(self, ids: list[str]) -> Int64:
        """(n,) user rows of external ids; -1 for an unknown one."""
        known = self._number["user"]
        return np.array([known.get(one, -1) for one in ids], np.int64)

    def published(self, rows: Ints) -> Ints:
        """Publishing times (ms) of item rows."""
        return self._items.published[rows]

    def visitors(self, n: int) -> Int64:
        """(n,) user rows that come next, by how active they are."""
        return self._random.choice(self.users, n, p=self._pace / self._pace.sum())

    def expected(self, user: Ints, item: Ints, position: Ints, time: int) -> Responses:
        """The true probabilities of n impressions, each of a user and an item at a position."""
        found = response_probabilities(
            self._users.take(user),
            self._items.take(item),
            position,
            np.full(len(item), time, np.int64),
            self._coefficients,
        )
        tired = self._life.fatigue * np.log1p(self._remembered(user, item, time))
        return replace(found, click=_shifted(found.click, tired))

    def show(self, user: Ints, item: Ints, position: Ints, time: int) -> tuple[Responses, Outcomes]:
        """Shows items: the true probabilities, and what the users did. The world remembers it."""
        responses = self.expected(user, item, position, time)
        outcomes = draw_outcomes(responses, self._random)
        for u, i in zip(user.tolist(), item.tolist(), strict=True):
            self._shown[u, i] = (self._left(u, i, time) + 1.0, time)
        return responses, outcomes

    def best_slate(self, user: int, n: int, time: int) -> tuple[Int64, float]:
        """The n living items of the highest expected reward for a user, best first, and their sum
        at positions 1 … n."""
        rows = np.flatnonzero(self._alive & (self._items.published <= time))
        users = np.full(len(rows), user)
        first = reward(self.expected(users, rows, np.ones(len(rows), np.int64), time))
        best = rows[np.argsort(-first, kind="stable")[:n]]
        placed = self.expected(users[: len(best)], best, np.arange(1, len(best) + 1), time)
        return best, float(reward(placed).sum())

    def live(self, until: int) -> Changes:
        """Lets the world live up to a time (ms); returns what changed."""
        days = max(until - self.time, 0) / DAY_MS
        self.time = max(until, self.time)
        self._drift(days)
        listed, active = int(self._alive.sum()), int(np.count_nonzero(self._pace))
        born, first_item = self._due("births", days * listed), self.items
        signed, first_user = self._due("signups", days * active), self.users
        self._depart(self._due("departures", days * active))
        self._bear(born)
        self._sign_up(signed)
        self._named(range(first_user, self.users), range(first_item, self.items))
        return Changes(
            self._item_table[first_item:],
            self._withdraw(self._due("deaths", days * listed)),
            self._user_table[first_user:],
        )

    def _due(self, what: str, amount: float) -> int:
        """Whole births, deaths or signups; the rest is kept for later."""
        self._owed[what] += getattr(self._life, what) * amount
        due = int(self._owed[what])
        self._owed[what] -= due
        return due

    def _drift(self, days: float) -> None:
        """A share of every taste is replaced by the vector of a random item."""
        if days <= 0 or self._life.drift == 0:
            return
        kept = (1.0 - self._life.drift) ** days
        towards = self._items.latent[self._random.integers(self.items, size=self.users)]
        moved = np.sqrt(kept) * self._users.latent + np.sqrt(1.0 - kept) * towards
        self._users = replace(self._users, latent=unit(moved))

    def _bear(self, count: int) -> None:
        """New items of the authors there are: each like a random item, with a vector, quality and
        price of its own, published now."""
        if not count:
            return
        like = self._random.integers(self.items, size=count)
        own = scatter(self._random, count, self._config.latent_dim, _SIBLING_LENGTH)
        traits = replace(
            self._items.take(like),
            latent=unit(self._items.latent[like] + own),
            quality=self._random.normal(0.0, 0.5, count).astype(np.float32),
            published=np.full(count, self.time, np.int64),
        )
        width = pl.Array(pl.Float32, self._config.content_dim)
        noise = scatter(self._random, count, self._config.content_dim, self._config.content_noise)
        table = self._item_table[like].with_columns(
            item_id=_ids("i", self.items, count),
            published=pl.lit(self.time, pl.Int64),
            content=pl.Series(traits.latent @ self._view + noise, dtype=width),
        )
        self._items = _joined(self._items, traits)
        self._item_table = pl.concat([self._item_table, table])
        self._alive = np.concatenate([self._alive, np.ones(count, np.bool_)])

    def _sign_up(self, count: int) -> None:
        """New users: each like a random user, with a taste of their own, from now on."""
        if not count:
            return
        like = self._random.choice(np.flatnonzero(self._pace), count)
        own = scatter(self._random, count, self._config.latent_dim, _SIBLING_LENGTH)
        traits = replace(self._users.take(like), latent=unit(self._users.latent[like] + own))
        table = self._user_table[like].with_columns(
            user_id=_ids("u", self.users, count), signup=pl.lit(self.time, pl.Int64)
        )
        self._users = _joined(self._users, traits)
        self._pace = np.concatenate([self._pace, self._pace[like]])
        self._user_table = pl.concat([self._user_table, table])

    def _depart(self, count: int) -> None:
        """Users who leave: from now on they are no visitors. One stays at least."""
        rows = np.flatnonzero(self._pace)
        gone = self._random.choice(rows, min(count, len(rows) - 1), replace=False)
        self._pace[gone] = 0.0

    def _withdraw(self, count: int) -> list[str]:
        rows = np.flatnonzero(self._alive)
        gone = self._random.choice(rows, min(count, max(len(rows) - 1, 0)), replace=False)
        self._alive[gone] = False
        return self._item_table["item_id"].gather(pl.Series(np.sort(gone))).to_list()

    def _named(self, users: range, items: range) -> None:
        for side, table, rows in (
            ("user", self._user_table, users),
            ("item", self._item_table, items),
        ):
            ids = table[f"{side}_id"][rows.start : rows.stop].to_list()
            self._number[side].update(zip(ids, rows, strict=True))

    def _remembered(self, user: Ints, item: Ints, time: int) -> Float32:
        pairs = zip(user.tolist(), item.tolist(), strict=True)
        return np.array([self._left(u, i, time) for u, i in pairs], np.float32)

    def _left(self, user: int, item: int, time: int) -> float:
        count, since = self._shown.get((user, item), (0.0, time))
        return count * float(np.exp(-max(time - since, 0) / DAY_MS / _FORGOTTEN_DAYS))


def reward(responses: Responses) -> Floats:
    """The expected worth of each impression, by `REWARD`."""
    worth = REWARD["click"] + REWARD["like"] * responses.like_given_click
    worth = worth + responses.cart_given_click * (
        REWARD["cart"] + REWARD["purchase"] * responses.purchase_given_cart
    )
    return responses.click * worth


def _shifted(probability: Floats, less: Floats) -> Floats:
    """The probabilities with `less` taken off their log-odds."""
    odds = np.log(probability) - np.log1p(-probability) - less
    return (1.0 / (1.0 + np.exp(-odds))).astype(np.float32)


def _ids(letter: str, first: int, count: int) -> pl.Series:
    """The external ids of rows `first` … in the form of the log's tables."""
    return padded_ids("id", letter, first + count)[first:]


Traits = TypeVar("Traits", UserTraits, ItemTraits)


def _joined(traits: Traits, others: Traits) -> Traits:
    """The traits of both, in that order."""
    both = {
        field.name: np.concatenate([getattr(traits, field.name), getattr(others, field.name)])
        for field in fields(traits)
    }
    return type(traits)(**both)
