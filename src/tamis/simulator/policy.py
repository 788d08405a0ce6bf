"""The logging policy, which chooses the slates as an earlier, imperfect recommender would have.

Each slate is a mixture of three sources, recorded per impression: *taste* (noisy affinity, over
candidates of the user's categories and of all), *hot* (popularity decayed by age) and *random*
(uniform over all published items, at a uniformly drawn position).
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from tamis.runtime import Bool, Floats, Ints
from tamis.simulator.clock import DAY_MS
from tamis.simulator.config import SimulationConfig
from tamis.simulator.population import Population
from tamis.simulator.traffic import Requests

# Shares of a request's candidates; the rest are taste candidates from the user's categories.
_RANDOM_CANDIDATES, _HOT_CANDIDATES, _ANYWHERE_CANDIDATES = 0.15, 0.15, 0.15
_TASTE_HALF_LIFE_DAYS, _HOT_HALF_LIFE_DAYS = 20.0, 4.0
_OUTSIDE_QUOTA = 1.0


class Source(IntEnum):
    """Why an item was shown; the first three in the order of the candidate columns.

    An item that was drawn twice counts for the first source, which keeps *random* exactly uniform.
    """

    RANDOM = 0
    HOT = 1
    TASTE = 2
    REPEAT = 3
    """The user has come back for it (`returns.py`)."""


_DRAWN = (Source.RANDOM, Source.HOT, Source.TASTE)


@dataclass(frozen=True)
class DayCatalogue:
    """The sampling weights of the catalogue on one day."""

    by_age: Ints  # (items,), item rows, oldest first
    published: Ints  # (items,), their publishing times, ms
    by_category: Ints  # (items,), item rows, category by category
    category_edge: Ints  # (n_categories + 1,), where each begins in by_category
    taste_mass: Floats  # (items + 1,), cumulative weight along by_category, from 0
    hot_mass: Floats  # (items + 1,)


@dataclass(frozen=True)
class Impressions:
    """n shown items, by request and position."""

    request: Ints  # (n,), row of the request in its batch
    item: Ints  # (n,), item row
    position: Ints  # (n,), from 1
    source: Ints  # (n,), Source


def weigh_catalogue(config: SimulationConfig, population: Population, day: int) -> DayCatalogue:
    """The sampling weights of a day.

    Items published during the day have weight from its start; ``fill_slates`` leaves them out of
    requests before their publication.
    """
    traits = population.items.traits
    by_age = np.argsort(traits.published, kind="stable").astype(np.int32)
    by_category = np.argsort(traits.category, kind="stable").astype(np.int32)
    edges = np.searchsorted(traits.category[by_category], np.arange(config.n_categories + 1))
    start = config.day_start(day)
    age_days = np.maximum(start - traits.published, 0) / DAY_MS
    alive = traits.published < start + DAY_MS
    popularity = population.items.popularity
    # The square root flattens popularity, so that taste also draws unpopular items.
    taste = np.sqrt(popularity) * (0.1 + 0.9 * 0.5 ** (age_days / _TASTE_HALF_LIFE_DAYS)) * alive
    hot = popularity * 0.5 ** (age_days / _HOT_HALF_LIFE_DAYS) * alive
    return DayCatalogue(
        by_age=by_age,
        published=traits.published[by_age],
        by_category=by_category,
        category_edge=edges,
        taste_mass=_running(taste[by_category]),
        hot_mass=_running(hot[by_category]),
    )


def fill_slates(
    config: SimulationConfig,
    population: Population,
    catalogue: DayCatalogue,
    requests: Requests,
    rng: np.random.Generator,
) -> Impressions:
    """A slate per request: ``slate_size`` different published items, or as many as were drawn."""
    items, source = _draw_candidates(config, population, catalogue, requests, rng)
    published = population.items.traits.published[items] <= requests.time[:, None]
    usable = published & _first_in_row(items)
    rank = _rank_in_source(config, population, requests, items, usable, source, rng)
    shares = _source_shares(config)
    quota = rng.multinomial(config.slate_size, shares, size=len(requests))
    key = _place_keys(config.slate_size, rank, source, quota, rng)
    key[~usable] = np.inf
    chosen = np.argsort(key, axis=1, kind="stable")[:, : config.slate_size]
    shown = np.isfinite(np.take_along_axis(key, chosen, axis=1))
    request, place = np.nonzero(shown)
    column = chosen[request, place]
    return Impressions(
        request=request,
        item=items[request, column],
        position=(place + 1).astype(np.int16),
        source=source[column],
    )


def _source_shares(config: SimulationConfig) -> list[float]:
    """Shares of the slate's positions, in the order of ``_DRAWN``."""
    taste = max(0.0, 1.0 - config.random_share - config.hot_share)
    return [config.random_share, config.hot_share, taste]


def _place_keys(
    slate_size: int, rank: Ints, source: Ints, quota: Ints, rng: np.random.Generator
) -> Floats:
    """Sort keys of the candidates ``(r, candidates)``; the slate is those of the smallest keys.

    Within the quota of its source, a candidate has a uniform key in [0, 1), and keys of taste are
    sorted by rank: taste keeps its order, and hot and random items get uniformly drawn positions.
    Candidates beyond the quota follow at the end, where the others do not fill the slate.
    """
    steps = rng.random((len(rank), slate_size))
    steps[np.arange(slate_size) >= quota[:, Source.TASTE, None]] = np.inf
    steps.sort(axis=1)
    in_order = np.take_along_axis(steps, np.clip(rank, 0, slate_size - 1), axis=1)
    key = np.where(source == Source.TASTE, in_order, rng.random(rank.shape))
    return np.where(rank < quota[:, source], key, _OUTSIDE_QUOTA + rank)


def _draw_candidates(
    config: SimulationConfig,
    population: Population,
    catalogue: DayCatalogue,
    requests: Requests,
    rng: np.random.Generator,
) -> tuple[Ints, Ints]:
    """Item rows ``(r, candidates)`` and the source of each column ``(candidates,)``."""
    total = config.candidates
    n_random = min(total, max(1, round(_RANDOM_CANDIDATES * total)))
    n_hot = min(total - n_random, max(1, round(_HOT_CANDIDATES * total)))
    n_taste = total - n_random - n_hot
    n_anywhere = round(_ANYWHERE_CANDIDATES * n_taste)
    columns = [
        _draw_published(catalogue, requests, n_random, rng),
        _draw_weighted(catalogue, catalogue.hot_mass, None, (len(requests), n_hot), rng),
        _draw_published(catalogue, requests, n_anywhere, rng),
        _draw_liked(population, catalogue, requests, n_taste - n_anywhere, rng),
    ]
    source = np.repeat(np.array(_DRAWN, dtype=np.int8), [n_random, n_hot, n_taste])
    return np.concatenate(columns, axis=1), source


def _draw_published(
    catalogue: DayCatalogue, requests: Requests, count: int, rng: np.random.Generator
) -> Ints:
    """(r, count) items drawn uniformly from those published by the time of each request."""
    available = np.searchsorted(catalogue.published, requests.time, side="right")
    place = rng.random((len(requests), count)) * available[:, None]
    return catalogue.by_age[place.astype(np.int64)]


def _draw_liked(
    population: Population,
    catalogue: DayCatalogue,
    requests: Requests,
    count: int,
    rng: np.random.Generator,
) -> Ints:
    """(r, count) items drawn by popularity within categories drawn from each user's tastes."""
    edges = np.cumsum(population.users.taste_share[requests.user], axis=1)[:, None, :-1]
    which = (rng.random((len(requests), count))[..., None] >= edges).sum(axis=-1)
    category = population.users.tastes[requests.user[:, None], which]
    return _draw_weighted(catalogue, catalogue.taste_mass, category, category.shape, rng)


def _draw_weighted(
    catalogue: DayCatalogue,
    mass: Floats,
    category: Ints | None,
    shape: tuple[int, ...],
    rng: np.random.Generator,
) -> Ints:
    """Items of ``shape``, drawn in proportion to weight, of all or within the given categories.

    A category without weight yields an item of a neighbouring one, or one not yet published, which
    ``fill_slates`` leaves out.
    """
    last = len(catalogue.by_category)
    low: Ints = np.array(0) if category is None else catalogue.category_edge[category]
    high: Ints = np.array(last) if category is None else catalogue.category_edge[category + 1]
    target: Floats = mass[low] + rng.random(shape) * (mass[high] - mass[low])
    place: Ints = np.searchsorted(mass, target, side="right") - 1
    return catalogue.by_category[np.clip(place, 0, last - 1)]


def _rank_in_source(
    config: SimulationConfig,
    population: Population,
    requests: Requests,
    items: Ints,
    usable: Bool,
    source: Ints,
    rng: np.random.Generator,
) -> Ints:
    """Rank of each candidate among the usable ones of its source, from 0.

    Taste ranks by noisy affinity; the others rank in the order in which they were drawn, which is
    by weight already.
    """
    rank = np.empty(items.shape, dtype=np.int64)
    for drawn in (Source.RANDOM, Source.HOT):
        columns = source == drawn
        rank[:, columns] = np.cumsum(usable[:, columns], axis=1) - 1
    columns = source == Source.TASTE
    latent = population.items.traits.latent[items[:, columns]]  # (r, taste, latent_dim)
    liking: Floats = np.einsum("rtd,rd->rt", latent, population.users.traits.latent[requests.user])
    liking += config.taste_noise * rng.standard_normal(liking.shape, dtype=np.float32)
    liking[~usable[:, columns]] = -np.inf
    order: Ints = np.argsort(-liking, axis=1, kind="stable")
    places = np.empty_like(order)
    in_order: Ints = np.arange(places.shape[1], dtype=np.int64)[None, :]
    np.put_along_axis(places, order, in_order, axis=1)
    rank[:, columns] = places
    return rank


def _first_in_row(values: Ints) -> Bool:
    """True at the first occurrence of each value in its row."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    new = np.ones(values.shape, dtype=np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.empty_like(new)
    np.put_along_axis(first, order, new, axis=1)
    return first


def _running(weights: Floats) -> Floats:
    """(n + 1,) cumulative sums of n weights, from 0."""
    return np.concatenate([[0.0], np.cumsum(weights)])
