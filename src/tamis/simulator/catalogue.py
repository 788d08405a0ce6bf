"""Simulated items: authors, latent vectors, prices, publishing times and the public table."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from tamis.runtime import Floats, Ints
from tamis.simulator.behaviour import ItemTraits
from tamis.simulator.clock import DAY_MS, Stream, stream
from tamis.simulator.config import SimulationConfig
from tamis.simulator.external_ids import named, padded_ids
from tamis.simulator.names import CITIES, KINDS, category_names, title_nouns, topic_names
from tamis.simulator.world import World, draw_places, scatter, unit, zipf_share

_AUTHOR_LENGTH = 0.35
_OWN_LENGTH = 0.45
# Rank offset of the Zipf-Mandelbrot distribution; without it, one item fills a fifth of all slates.
_HEAD = 15.0
_OLD_DAYS_MEAN, _OLD_DAYS_MOST = 60.0, 365.0
# Typical seconds by kind, in the order of KINDS: reading an article, playing a video.
_TYPICAL_SECONDS = np.array([150.0, 90.0])


@dataclass(frozen=True)
class Catalogue:
    """All items, one row each: hidden traits and popularity, and the public table."""

    traits: ItemTraits
    popularity: Floats  # (items,), in (0, 1], Zipf-like; better items tend to be more popular
    table: pl.DataFrame
    """As written to ``items.parquet``; columns as in ``COLUMNS``."""


def build_catalogue(config: SimulationConfig, world: World) -> Catalogue:
    """Draws the items of a configuration."""
    rng = stream(config.seed, Stream.ITEMS)
    author, category, topic = _authorship(rng, config, world)
    latent = _latent(rng, config, world, author, category, topic)
    quality = rng.normal(0.0, 0.5, config.items).astype(np.float32)
    kind = (rng.random(config.items) < 0.5).astype(np.int8)
    seconds = _TYPICAL_SECONDS[kind] * np.exp(rng.normal(0.0, 0.8, config.items))
    log_price = world.category_log_price[category] + rng.normal(0.0, 0.5, config.items)
    price = np.maximum(np.round(np.exp(log_price), 2), 0.5)
    city, place = draw_places(rng, world, config.items, 0.05)
    traits = ItemTraits(
        latent=latent,
        quality=quality,
        category=category,
        city=city,
        log_price=np.log(price).astype(np.float32),
        duration=np.clip(np.round(seconds), 5, 3_600).astype(np.float32),
        published=_publishing_times(rng, config),
    )
    table = _table(rng, config, traits, kind, author, topic, price, place)
    return Catalogue(traits, _popularity(rng, quality), table)


def _authorship(
    rng: np.random.Generator, config: SimulationConfig, world: World
) -> tuple[Ints, Ints, Ints]:
    """(items,) author, category and topic; authors mostly keep to one category and topic."""
    authors = max(1, config.items // config.items_per_author)
    home = rng.choice(config.n_categories, authors, p=world.category_share)
    theme = rng.integers(config.topics_per_category, size=authors)
    author = rng.choice(authors, config.items, p=zipf_share(authors, 0.6)).astype(np.int32)
    other_category = rng.random(config.items) < 0.1
    other = rng.choice(config.n_categories, config.items, p=world.category_share)
    category = np.where(other_category, other, home[author]).astype(np.int16)
    other_topic = rng.random(config.items) < 0.4
    elsewhere = rng.integers(config.topics_per_category, size=config.items)
    return author, category, np.where(other_topic, elsewhere, theme[author]).astype(np.int16)


def _latent(
    rng: np.random.Generator,
    config: SimulationConfig,
    world: World,
    author: Ints,
    category: Ints,
    topic: Ints,
) -> Floats:
    """(items, latent_dim) unit vectors: category centre + topic + author's offset + own noise."""
    offset = scatter(rng, int(author.max()) + 1, config.latent_dim, _AUTHOR_LENGTH)
    own = scatter(rng, config.items, config.latent_dim, _OWN_LENGTH)
    return unit(world.centres[category] + world.topics[category, topic] + offset[author] + own)


def _publishing_times(rng: np.random.Generator, config: SimulationConfig) -> Ints:
    """(items,) times, ms. Item 0 always precedes the start, so that any request has an item."""
    new = rng.random(config.items) < config.new_item_share
    new[0] = False
    age_days = np.minimum(rng.exponential(_OLD_DAYS_MEAN, config.items), _OLD_DAYS_MOST)
    since_start = rng.random(config.items) * config.days
    offset = np.where(new, since_start, -age_days) * DAY_MS
    return np.maximum(config.start_time + offset.astype(np.int64), 0)


def _popularity(rng: np.random.Generator, quality: Floats) -> Floats:
    """(items,) Zipf weights by a noisy ranking of quality, 1 for the most popular item."""
    order = np.argsort(-(quality + rng.normal(0.0, 0.5, len(quality))), kind="stable")
    popularity = np.empty(len(quality))
    popularity[order] = (np.arange(len(quality)) + _HEAD) ** -0.9
    return popularity / popularity[order[0]]


def _content(rng: np.random.Generator, config: SimulationConfig, latent: Floats) -> Floats:
    """(items, content_dim) rotated, noisy latent vectors.

    Angles between items are kept, but the vectors are not comparable with those of users.
    """
    width = max(config.latent_dim, config.content_dim)
    rotation = np.linalg.qr(rng.standard_normal((width, width)))[0]
    view = latent @ rotation[: config.latent_dim, : config.content_dim].astype(np.float32)
    return view + scatter(rng, len(latent), config.content_dim, config.content_noise)


def _titles(
    rng: np.random.Generator, config: SimulationConfig, category: Ints, kind: Ints, topic: Ints
) -> pl.Series:
    """Titles such as "budget cooking guide": topic, category, and a noun of the kind."""
    nouns = np.array([title_nouns(k) for k in KINDS])  # (kinds, nouns)
    noun = nouns[kind, rng.integers(nouns.shape[1], size=config.items)]
    words = pl.DataFrame(
        {
            "topic": named(topic_names(config.topics_per_category), topic),
            "category": named(category_names(config.n_categories), category),
            "noun": noun,
        }
    )
    return words.select(title=pl.concat_str(pl.all(), separator=" ")).to_series()


def _table(
    rng: np.random.Generator,
    config: SimulationConfig,
    traits: ItemTraits,
    kind: Ints,
    author: Ints,
    topic: Ints,
    price: Floats,
    place: Floats,
) -> pl.DataFrame:
    width = pl.Array(pl.Float32, config.content_dim)
    return pl.DataFrame(
        {
            "item_id": padded_ids("item_id", "i", config.items),
            "title": _titles(rng, config, traits.category, kind, topic),
            "kind": named(KINDS, kind),
            "category": named(category_names(config.n_categories), traits.category),
            "topic": named(topic_names(config.topics_per_category), topic),
            "author_id": padded_ids("author_id", "a", int(author.max()) + 1).gather(
                pl.Series(author)
            ),
            "city": named([name for name, _, _ in CITIES], traits.city),
            "lat": np.round(place[:, 0], 5),
            "lon": np.round(place[:, 1], 5),
            "price": price,
            "duration": traits.duration,
            "published": traits.published,
            "content": pl.Series(_content(rng, config, traits.latent), dtype=width),
        }
    )
