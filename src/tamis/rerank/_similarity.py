"""Similarity of items for diversity: by categories, by vectors of a column, or of a channel."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl

from tamis.cascade import Candidates, EmbedsItems, FitContext, GathersItems
from tamis.data import Dataset, Table
from tamis.rerank._categories import ItemCategories, can_follow
from tamis.rerank._rule import SlateRule
from tamis.rerank._statement import Diversity, Statement
from tamis.runtime import Float32, Int32
from tamis.schema import (
    ComponentConfig,
    Conditions,
    ConfigError,
    Needs,
    NotFittedError,
    StageError,
    read_array,
)


class SimilarityConfig(ComponentConfig):
    """Options of the similarity of items."""

    only_with: ClassVar[Conditions] = {
        "column": (Needs("similarity", one_of=("category", "vector")),),
        "separator": (Needs("similarity", one_of=("category",)),),
        "channel": (Needs("similarity", one_of=("channel",)),),
    }

    similarity: Literal["category", "vector", "channel"] = "category"
    """Jaccard of the items' category lists, cosine of their vectors (column), or cosine of their
    vectors in a recall channel."""
    column: str = "category"
    """Items' column of the categories, or of the vectors (lists of one length)."""
    separator: str | None = None
    """Splits a text column of categories ("Action|Comedy")."""
    channel: str = "two_tower"
    """Recall channel whose item vectors are compared, such as "two_tower" or "content"."""


class DiversityRule(SlateRule):
    """A rule that trades the score off against the similarity to the items placed before."""

    config: Any

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._vectors: Float32 | None = None
        self._categories: ItemCategories | None = None
        self._channel: EmbedsItems | None = None

    @property
    def vectors_of(self) -> str | None:
        """The channel whose vectors are compared; None where it reads a column."""
        return self.config.channel if self.config.similarity == "channel" else None

    def use_channel(self, channel: EmbedsItems) -> None:
        """Compares the item vectors of this channel, as they are at each request."""
        self._channel = channel

    def with_diversity(self, strength: float) -> Self:
        """The same rule at another strength, for one request; see `AdjustsDiversity`."""
        changed = copy(self)
        changed.config = self.config.model_copy(update={"theta": self._theta_at(strength)})
        return changed

    @abstractmethod
    def _theta_at(self, strength: float) -> float:
        """The weight of the score at a strength of diversity from 0 to 1."""

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Reads the items' categories or vectors."""
        del context
        config = self.config
        if config.similarity == "vector":
            return self.with_vectors(column_vectors(data.items, config.column, self.name))
        if config.similarity == "category":
            self._categories = self._read(data.items)
        return self

    def _read(self, items: Table) -> ItemCategories:
        """The categories of items, as set operations want them."""
        return ItemCategories.read(items, self.config.column, self.config.separator).ordered()

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`.

        Vectors of another length than those of the fit count as missing.
        """
        part = items.part(rows)
        if self._vectors is not None:
            width = self._vectors.shape[1]
            vectors = np.zeros((len(items), width), np.float32)
            vectors[: len(self._vectors)] = self._vectors
            vectors[rows] = normalised(column_vectors(part, self.config.column, self.name, width))
            self._vectors = vectors
        elif self._categories is not None:
            if can_follow(self._categories, self.name):
                self._categories = self._categories.replaced(rows, self._read(part), len(items))
        elif self.config.similarity != "channel":
            raise self._unfitted("call fit or load it")

    def with_vectors(self, vectors: Float32) -> Self:
        """Measures similarity by these (items, d) vectors.

        They are L2-normalised here; a zero or non-finite vector has similarity 0 to every item.
        Raises ConfigError where `similarity` is not "vector".
        """
        if self.config.similarity != "vector":
            raise ConfigError(
                f"re-rank `{self.name}` was given vectors, but its similarity is "
                f"{self.config.similarity!r}; set similarity = 'vector'"
            )
        self._vectors = normalised(vectors)
        return self

    def _diversity(self, candidates: Candidates, **options: Any) -> Statement:
        """The statement, with the vectors or the categories of the candidates."""
        if self.config.similarity == "category":
            if self._categories is None:
                raise self._unfitted("call fit or load it")
            self._categories.check(candidates.last_item, f"re-rank `{self.name}`")
            return Statement(diversity=Diversity(**options, categories=self._categories.of))
        vectors = self._gathered(candidates)
        return Statement(diversity=Diversity(**options, vectors=vectors))

    def _gathered(self, candidates: Candidates) -> Float32:
        """(n, d) unit vectors of the candidates."""
        items, vectors = candidates.item, self._vectors
        if self.config.similarity == "channel":
            if self._channel is None:
                raise self._unfitted("call use_channel(channel)")
            if isinstance(self._channel, GathersItems):
                gathered, pointer = self._channel.vectors_of(items)
                return normalised(np.take(gathered, pointer, axis=0))
            vectors = self._channel.item_vectors()
        if vectors is None:
            raise self._unfitted("call fit(data) or with_vectors(vectors)")
        if candidates.last_item >= len(vectors):
            raise StageError(
                f"re-rank `{self.name}` knows {len(vectors)} item vectors and was given item row "
                f"{candidates.last_item}; give it the vectors of the version that recall uses"
            )
        found = np.take(vectors, items, axis=0)
        return normalised(found) if self.config.similarity == "channel" else found

    def _unfitted(self, cure: str) -> NotFittedError:
        return NotFittedError(f"re-rank `{self.name}` is used before it knows the items: {cure}")

    def save(self, directory: Path) -> None:
        """Writes the vectors or the categories; of a channel, nothing."""
        directory.mkdir(parents=True, exist_ok=True)
        if self._vectors is not None:
            np.save(directory / "vectors.npy", self._vectors)
        elif self._categories is not None:
            self._categories.save(directory)
        elif self.config.similarity != "channel":
            raise NotFittedError(f"re-rank `{self.name}` cannot be saved before fit(data)")

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped."""
        loaded = cls(config)
        if loaded.config.similarity == "vector":
            loaded._vectors = read_array(directory / "vectors.npy", np.float32, (None, None))
        elif loaded.config.similarity == "category":
            loaded._categories = ItemCategories.load(directory)
        return loaded


def normalised(vectors: Float32) -> Float32:
    """(n, d) with length 1; zero where a vector is zero or not finite."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    known = np.isfinite(lengths) & (lengths > 0)
    return np.where(known, vectors / np.where(known, lengths, 1.0), 0.0).astype(np.float32)


def column_vectors(items: Table, column: str, rule: str, width: int | None = None) -> Float32:
    """(items, d) from a list column; a missing list becomes the zero vector.

    width: d, where lists of another length count as missing; None: all must have one length.
    """
    place = f"re-rank `{rule}`: column {column!r}"
    if column not in items.frame.columns:
        known = ", ".join(items.frame.columns) or "none"
        raise ConfigError(f"{place} is not in the items' table (its columns: {known})")
    series = items.frame[column]
    if not isinstance(series.dtype, pl.List | pl.Array):
        raise ConfigError(
            f"{place} holds {series.dtype}, not lists of numbers; name a vector column, or set "
            "similarity = 'category'"
        )
    lists = series.cast(pl.List(pl.Float32))
    widths = lists.list.len().drop_nulls().unique().to_list()
    if width is not None:
        lists = lists.to_frame("v").select(pl.when(pl.col("v").list.len() == width).then("v"))["v"]
        widths = [width]
    if len(widths) != 1:
        raise ConfigError(
            f"re-rank `{rule}`: the vectors of column {column!r} have lengths "
            f"{sorted(widths)[:5]}; they must have one length"
        )
    vectors = np.zeros((len(items), widths[0]), np.float32)
    present = lists.is_not_null().to_numpy()
    vectors[present] = lists.drop_nulls().explode().to_numpy().reshape(-1, widths[0])
    return vectors
