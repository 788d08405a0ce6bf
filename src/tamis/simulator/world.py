"""Parameters that items and users share: category centres, prices, group preferences and cities."""

from dataclasses import dataclass

import numpy as np

from tamis.runtime import Floats, Ints
from tamis.simulator.clock import Stream, stream
from tamis.simulator.config import SimulationConfig
from tamis.simulator.names import AGE_BANDS, CITIES, GENDERS

_TOPIC_LENGTH = 0.5


@dataclass(frozen=True)
class World:
    """The shared parameters of a simulation, drawn once per seed."""

    centres: Floats  # (n_categories, latent_dim), unit length
    topics: Floats  # (n_categories, topics_per_category, latent_dim), length 0.5
    category_share: Floats  # (n_categories), sums to 1
    category_log_price: Floats  # (n_categories), natural log
    leaning: Floats  # (genders * age bands, n_categories), added to the group's log-preferences
    city_share: Floats  # (n_cities), sums to 1
    city_place: Floats  # (n_cities, 2), latitude and longitude in degrees


def build_world(config: SimulationConfig) -> World:
    """Draws the shared parameters of a configuration."""
    rng = stream(config.seed, Stream.WORLD)
    shape = (config.n_categories, config.topics_per_category, config.latent_dim)
    groups = len(GENDERS) * len(AGE_BANDS)
    return World(
        centres=unit(rng.standard_normal((config.n_categories, config.latent_dim))),
        topics=_TOPIC_LENGTH * unit(rng.standard_normal(shape)),
        category_share=zipf_share(config.n_categories, 0.5),
        category_log_price=rng.normal(np.log(25.0), 0.6, config.n_categories),
        leaning=rng.normal(0.0, 0.8, (groups, config.n_categories)),
        city_share=zipf_share(config.n_cities, 0.7),
        city_place=np.array([(lat, lon) for _, lat, lon in CITIES[: config.n_cities]]),
    )


def unit(vectors: Floats) -> Floats:
    """The vectors scaled to length 1 along the last axis, float32."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(length, 1e-12)).astype(np.float32)


def zipf_share(count: int, exponent: float) -> Floats:
    """(count,) shares proportional to ``rank ** -exponent``, summing to 1."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return weights / weights.sum()


def scatter(rng: np.random.Generator, count: int, dim: int, length: float) -> Floats:
    """(count, dim) normal vectors, float32, of mean squared length ``length ** 2``."""
    return rng.standard_normal((count, dim), dtype=np.float32) * np.float32(length / np.sqrt(dim))


def draw_places(
    rng: np.random.Generator, world: World, count: int, degrees: float
) -> tuple[Ints, Floats]:
    """(count,) city numbers, by share, and (count, 2) points normally spread around the centres.

    ``degrees`` is the standard deviation of latitude and longitude.
    """
    city = rng.choice(len(world.city_share), count, p=world.city_share).astype(np.int16)
    return city, world.city_place[city] + rng.normal(0.0, degrees, (count, 2))
