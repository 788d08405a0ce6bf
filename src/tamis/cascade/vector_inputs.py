"""Vectors of a recall channel as inputs of a pre-ranker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.cascade.candidates import Candidates
from tamis.cascade.protocols import Embeds, EmbedsItems, GathersItems, ReadsItemVectors
from tamis.cascade.query import Queries
from tamis.features import Block, DenseColumn, Rows
from tamis.runtime import Float32
from tamis.schema import ConfigError, Side


@dataclass(eq=False)
class VectorInputs:
    """Adds the vectors of one channel to the rows of a batch of queries."""

    name: str
    channel: Embeds

    def __call__(self, queries: Queries, candidates: Candidates, rows: Rows) -> Rows:
        user = block_of(self.channel.user_vectors(queries), candidates.query)
        channel = self.channel
        vectors, pointer = (
            channel.vectors_of(candidates.item)
            if isinstance(channel, GathersItems)
            else (channel.item_vectors(), candidates.item)
        )
        item = block_of(vectors, pointer)
        return beside(rows, self.name, user, item)


def vectors_for(scorer: Any, channels: Mapping[str, Any]) -> VectorInputs | None:
    """The vectors that a scorer reads: those of the channel that its `vectors_of` names, or None.

    Raises ConfigError where there is no such channel, or it has no vectors.
    """
    name = getattr(scorer, "vectors_of", None)
    if name is None:
        return None
    embeds = [known for known, channel in channels.items() if isinstance(channel, Embeds)]
    if name not in embeds:
        what = "has no vectors" if name in channels else "is not declared"
        raise ConfigError(
            f"tamis.toml: [cascade.prerank] channel = {name!r} {what}; channels that have vectors "
            f"of users and items: {', '.join(embeds) or 'none; declare two_tower'}"
        )
    return VectorInputs(name, channels[name])


def give_vectors(rules: Mapping[str, Any], channels: Mapping[str, Any]) -> None:
    """Gives each re-rank rule that compares items by a channel's vectors that channel.

    Raises ConfigError where there is no such channel, or it has no vectors of items.
    """
    for rule, stage in rules.items():
        if not isinstance(stage, ReadsItemVectors) or stage.vectors_of is None:
            continue
        name = stage.vectors_of
        embeds = [known for known, channel in channels.items() if isinstance(channel, EmbedsItems)]
        if name not in embeds:
            what = "has no vectors of items" if name in channels else "is not declared"
            raise ConfigError(
                f"tamis.toml: [cascade.rerank.{rule}] channel = {name!r} {what}; channels that "
                f"have some: {', '.join(embeds) or 'none; declare two_tower or content'}"
            )
        stage.use_channel(channels[name])


def user_column(name: str) -> str:
    """Name of the columns that hold the user's vector of a channel."""
    return f"user vector:{name}"


def item_column(name: str) -> str:
    """Name of the candidates' column that holds the item vectors of channel `name`."""
    return f"item vector:{name}"


def block_of(vectors: Float32, pointer: NDArray[np.integer]) -> Block:
    """Vectors (N, d) as a block of inputs; `pointer` (n,) gives the vector of each row."""
    none = np.empty((len(vectors), 0), np.int32)
    return Block(none, vectors, pointer.astype(np.int32, copy=False))


def beside(rows: Rows, name: str, user: Block, item: Block) -> Rows:
    """The rows with two more blocks: user and item vectors of channel `name`."""
    first, width = rows.layout.dense_width, user.dense.shape[1]
    columns = (
        DenseColumn(user_column(name), Side.USER, first, width, moving=True),
        DenseColumn(item_column(name), Side.ITEM, first + width, width),
    )
    layout = replace(rows.layout, dense=(*rows.layout.dense, *columns))
    return rows.beside(layout, user, item)


def rotation(old: Float32, new: Float32) -> Float32:
    """(d, d) orthogonal R that minimises |old R − new|, of vectors (items, d) of two fits.

    R = U Vᵀ of the decomposition `oldᵀ new = U S Vᵀ` (Schönemann 1966). Two fits of one channel
    differ by a rotation of their axes; R aligns them without changing inner products. Zero vectors
    (items that a fit has not seen) do not count. Raises ConfigError where the widths differ.
    """
    if old.shape != new.shape:
        raise ConfigError(
            f"vectors of shape {old.shape} cannot be turned to those of shape {new.shape}: "
            "fix the channel's output_dim"
        )
    both = np.flatnonzero(old.any(axis=1) & new.any(axis=1))
    u, _, vt = np.linalg.svd(old[both].T.astype(np.float64) @ new[both].astype(np.float64))
    return np.asarray(u @ vt, np.float32)
