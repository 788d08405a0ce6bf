"""Simulated users: attributes, tastes, declared interests and activity."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from tamis.runtime import Floats, Ints
from tamis.simulator.behaviour import UserTraits
from tamis.simulator.clock import DAY_MS, Stream, stream
from tamis.simulator.config import SimulationConfig
from tamis.simulator.external_ids import named, padded_ids
from tamis.simulator.names import ACTIVITY_LEVELS, AGE_BANDS, CITIES, GENDERS, category_names
from tamis.simulator.world import World, draw_places, scatter, unit

TASTES = 3
"""Largest number of categories that a user likes or declares as interests."""
_OWN_LENGTH = 0.35
_FALSE_INTEREST_SHARE = 0.15
_OLD_DAYS_MEAN, _OLD_DAYS_MOST = 250.0, 1_000.0
_GENDER_SHARE = (0.5, 0.47, 0.03)
_AGE_SHARE = (0.05, 0.2, 0.28, 0.22, 0.14, 0.11)
# ln of spending relative to the mean user, in the order of AGE_BANDS.
_AGE_SPENDING = np.array([-0.6, -0.3, 0.0, 0.2, 0.3, 0.15])


@dataclass(frozen=True)
class Audience:
    """All users, one row each: hidden traits and activity, and the public table."""

    traits: UserTraits
    tastes: Ints  # (users, 3), category numbers, most liked first
    taste_share: Floats  # (users, 3), sums to 1; 0 where a user likes fewer
    requests_per_day: Floats  # (users), mean of the Poisson count of a weekday
    signup: Ints  # (users), ms
    table: pl.DataFrame
    """As written to ``users.parquet``; columns as in ``COLUMNS``."""


def build_audience(config: SimulationConfig, world: World) -> Audience:
    """Draws the users of a configuration."""
    rng = stream(config.seed, Stream.USERS)
    gender = rng.choice(len(GENDERS), config.users, p=_GENDER_SHARE).astype(np.int8)
    age = rng.choice(len(AGE_BANDS), config.users, p=_AGE_SHARE).astype(np.int8)
    tastes, share = _tastes(rng, config, world, gender.astype(np.int64) * len(AGE_BANDS) + age)
    city, place = draw_places(rng, world, config.users, 0.08)
    spending = np.log(25.0) + _AGE_SPENDING[age] + rng.normal(0.0, 0.6, config.users)
    traits = UserTraits(
        latent=_latent(rng, config, world, tastes, share),
        log_spending=spending.astype(np.float32),
        interests=_declared(rng, config, tastes, share),
        city=city,
    )
    activity = rng.standard_normal(config.users)
    sigma = config.activity_sigma
    # The -sigma²/2 keeps the mean of the log-normal at the configured rate.
    pace = config.requests_per_user_day * np.exp(sigma * activity - sigma**2 / 2)
    signup = _signups(rng, config)
    table = _table(config, traits, gender, age, place, signup, activity)
    return Audience(traits, tastes, share, pace, signup, table)


def _tastes(
    rng: np.random.Generator, config: SimulationConfig, world: World, group: Ints
) -> tuple[Ints, Floats]:
    """One to three liked categories per user, by the preferences of the user's group, and shares.

    group: (users,) the number of each user's gender and age band.
    """
    likely = np.log(world.category_share) + world.leaning[group]  # (users, n_categories)
    # Adding Gumbel noise and sorting draws without replacement, in proportion to exp(likely).
    likely += rng.gumbel(size=likely.shape)
    wide = min(TASTES, config.n_categories)
    tastes = np.zeros((config.users, TASTES), dtype=np.int16)
    tastes[:, :wide] = np.argsort(-likely, axis=1)[:, :wide]
    count = rng.integers(1, wide + 1, size=config.users)
    # Falling weights: the first taste counts about twice the second.
    share = np.array([1.0, 0.5, 0.3]) * rng.uniform(0.5, 1.5, (config.users, TASTES))
    share[np.arange(TASTES) >= count[:, None]] = 0.0
    return tastes, share / share.sum(axis=1, keepdims=True)


def _latent(
    rng: np.random.Generator, config: SimulationConfig, world: World, tastes: Ints, share: Floats
) -> Floats:
    """(users, latent_dim) unit vectors: mixtures of category and topic centres plus own noise."""
    topic = rng.integers(config.topics_per_category, size=tastes.shape)
    centres = world.centres[tastes] + world.topics[tastes, topic]  # (users, 3, latent_dim)
    own = scatter(rng, config.users, config.latent_dim, _OWN_LENGTH)
    return unit(np.einsum("utd,ut->ud", centres, share) + own)


def _declared(
    rng: np.random.Generator, config: SimulationConfig, tastes: Ints, share: Floats
) -> Ints:
    """(users, 3) declared interests: mostly true tastes, at times another category; -1 = none."""
    wrong = rng.random(tastes.shape) < _FALSE_INTEREST_SHARE
    other = rng.integers(config.n_categories, size=tastes.shape)
    declared = np.where(wrong, other, tastes)
    declared[share == 0.0] = -1
    for later in range(1, TASTES):  # a category is declared once
        repeated = (declared[:, :later] == declared[:, later : later + 1]).any(axis=1)
        declared[repeated, later] = -1
    return declared.astype(np.int16)


def _signups(rng: np.random.Generator, config: SimulationConfig) -> Ints:
    """(users,) signup times, ms. User 0 always precedes the start, so that some user exists."""
    new = rng.random(config.users) < config.new_user_share
    new[0] = False
    age_days = np.minimum(rng.exponential(_OLD_DAYS_MEAN, config.users), _OLD_DAYS_MOST)
    since_start = rng.random(config.users) * config.days
    offset = np.where(new, since_start, -age_days) * DAY_MS
    return np.maximum(config.start_time + offset.astype(np.int64), 0)


def _table(
    config: SimulationConfig,
    traits: UserTraits,
    gender: Ints,
    age: Ints,
    place: Floats,
    signup: Ints,
    activity: Floats,
) -> pl.DataFrame:
    # Half of the users are light, a tenth heavy: median and 90 % quantile of the normal.
    level = np.searchsorted([0.0, 1.2816], activity)
    return pl.DataFrame(
        {
            "user_id": padded_ids("user_id", "u", config.users),
            "gender": named(GENDERS, gender),
            "age_band": named(AGE_BANDS, age),
            "city": named([name for name, _, _ in CITIES], traits.city),
            "lat": np.round(place[:, 0], 5),
            "lon": np.round(place[:, 1], 5),
            "interests": _interest_lists(config, traits.interests),
            "signup": signup,
            "activity_level": named(ACTIVITY_LEVELS, level),
        }
    )


def _interest_lists(config: SimulationConfig, interests: Ints) -> pl.Series:
    """The declared interests as lists of category names."""
    names = [*category_names(config.n_categories), None]  # index -1 is the last name: none
    columns = pl.DataFrame(
        {str(n): named(names, interests[:, n] % len(names)) for n in range(TASTES)}
    )
    return columns.select(pl.concat_list(pl.all()).list.drop_nulls()).to_series()
