"""Maximal marginal relevance (MMR): relevant items that differ from those placed before.

Carbonell & Goldstein 1998: each place takes `argmax θ·score_i − (1−θ)·max_{j∈S} sim(i, j)`.
"""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Ragged, Table
from tamis.rerank._categories import ItemCategories, can_follow
from tamis.runtime import Float32, Int32, grown
from tamis.schema import (
    Component,
    ComponentConfig,
    ConfigError,
    NotFittedError,
    StageError,
    read_array,
)


class MMRConfig(ComponentConfig):
    """Options of MMR (maximal marginal relevance)."""

    theta: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Weight of the score against the similarity to the items placed before; 1 keeps the order."""
    similarity: Literal["category", "vector"] = "category"
    """Jaccard of the items' category lists, or cosine of their vectors."""
    column: str = "category"
    """Items' column of the categories, or of the vectors (lists of one length)."""
    separator: str | None = None
    """Splits a text column of categories ("Action|Comedy")."""
    window: Annotated[int, Field(ge=1)] | None = None
    """Number of last places whose similarity counts. If omitted: the whole slate."""
    depth: Annotated[int, Field(ge=0)] = 50
    """Minimum number of places that are arranged, so that a later rule sees the same list for
    every n."""


class MMR(Component):
    """Greedy MMR over the fused value, min-max scaled within the query.

    Equal marginal values are taken in the given order; candidates without a finite value rank
    last. The choice for a place does not depend on the places after it, so a slate of 10 is the
    head of a slate of 50.

    When to use: the top of the list holds near-duplicates, and a gradual trade-off of value and
    diversity is wanted.
    Cost: O(depth · n) similarities per request, each a comparison of category lists or a dot
    product.
    Source: Carbonell and Goldstein 1998, The use of MMR, diversity-based reranking.
    """

    name = "mmr"
    Config = MMRConfig
    config: MMRConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._vectors: Float32 | None = None
        self._categories: ItemCategories | None = None

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Reads the items' categories or vectors."""
        del context
        config = self.config
        if config.similarity == "vector":
            return self.with_vectors(_vectors(data.items, config.column))
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
            vectors = grown(self._vectors, len(items), 0.0)
            vectors[rows] = _unit(_vectors(part, self.config.column, self._vectors.shape[1]))
            self._vectors = vectors
        elif self._categories is None:
            raise NotFittedError("re-rank `mmr` is used before fit(data); call fit or load it")
        elif can_follow(self._categories, self.name):
            self._categories = self._categories.replaced(rows, self._read(part), len(items))

    def with_vectors(self, vectors: Float32) -> Self:
        """Measures similarity by these (items, d) vectors, for instance those of a recall tower.

        They are L2-normalised here; a zero or non-finite vector has similarity 0 to every item.
        Raises ConfigError where `similarity` is not "vector".
        """
        if self.config.similarity != "vector":
            raise ConfigError(
                "re-rank `mmr` was given vectors, but its similarity is 'category'; "
                "set similarity = 'vector'"
            )
        self._vectors = _unit(vectors)
        return self

    def arrange(
        self, queries: Queries, candidates: Candidates, n: int
    ) -> tuple[NDArray[np.intp], Float32]:
        """The permutation (n,), and each candidate's marginal value when it was placed (n,).

        The values are in the order of the given candidates: within [θ − 1, θ] for similarities in
        [0, 1], NaN where the place was not arranged.
        """
        from tamis.rerank._mmr_kernels import arrange_by_mmr  # heavy: numba

        del queries
        value = np.asarray(candidates.columns["value"], dtype=np.float64)
        places = max(n, self.config.depth)
        theta, window = self.config.theta, self.config.window or len(candidates) + 1
        by_vector = self.config.similarity == "vector"
        if by_vector:
            of, vectors = Ragged.empty(0), self._gathered(candidates.item)
        else:
            of, vectors = self._checked(candidates.item), np.empty((len(candidates), 0), np.float32)
        return arrange_by_mmr(
            candidates.indptr,
            value,
            candidates.item,
            by_vector,
            vectors,
            of.indptr,
            of.values,
            theta,
            window,
            places,
        )

    def with_diversity(self, strength: float) -> Self:
        """The same rule with `theta = 1 - strength`, for one request."""
        changed = copy(self)
        changed.config = self.config.model_copy(update={"theta": 1 - strength})
        return changed

    def _checked(self, items: Int32) -> Ragged:
        """The categories. Raises StageError where `items` holds a row they were not fitted on."""
        if self._categories is None:
            raise NotFittedError("re-rank `mmr` is used before fit(data); call fit or load it")
        self._categories.check(items, "re-rank `mmr`")
        return self._categories.of

    def _gathered(self, items: Int32) -> Float32:
        if self._vectors is None:
            raise NotFittedError(
                "re-rank `mmr` has no item vectors; call fit(data) or with_vectors(vectors)"
            )
        if len(items) and items.max() >= len(self._vectors):
            raise StageError(
                f"re-rank `mmr` knows {len(self._vectors)} item vectors and was given item row "
                f"{items.max()}; give it the vectors of the version that recall uses"
            )
        return np.ascontiguousarray(self._vectors[items])

    def save(self, directory: Path) -> None:
        """Writes the vectors or the categories."""
        directory.mkdir(parents=True, exist_ok=True)
        if self._vectors is not None:
            np.save(directory / "vectors.npy", self._vectors)
        elif self._categories is not None:
            self._categories.save(directory)
        else:
            raise NotFittedError("re-rank `mmr` cannot be saved before fit(data)")

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped."""
        loaded = cls(config)
        if loaded.config.similarity == "vector":
            loaded._vectors = read_array(directory / "vectors.npy", np.float32, (None, None))
        else:
            loaded._categories = ItemCategories.load(directory)
        return loaded


def _unit(vectors: Float32) -> Float32:
    """The rows of vectors (n, d) with length 1; zero where they are not finite."""
    vectors = np.where(np.isfinite(vectors).all(1, keepdims=True), vectors, 0.0)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def _vectors(items: Table, column: str, width: int | None = None) -> Float32:
    """(items, d) from a list column; a missing list becomes the zero vector.

    width: d, where lists of another length count as missing; None: all must have one length.
    """
    if column not in items.frame.columns:
        known = ", ".join(items.frame.columns) or "none"
        raise ConfigError(
            f"re-rank `mmr`: column {column!r} is not in the items' table (its columns: {known})"
        )
    series = items.frame[column]
    if not isinstance(series.dtype, pl.List | pl.Array):
        raise ConfigError(
            f"re-rank `mmr`: column {column!r} holds {series.dtype}, not lists of numbers; name a "
            f"vector column, or set similarity = 'category'"
        )
    lists = series.cast(pl.List(pl.Float32))
    widths = lists.list.len().drop_nulls().unique().to_list()
    if width is not None:
        lists = lists.to_frame("v").select(pl.when(pl.col("v").list.len() == width).then("v"))["v"]
        widths = [width]
    if len(widths) != 1:
        raise ConfigError(
            f"re-rank `mmr`: the vectors of column {column!r} have lengths {sorted(widths)[:5]}; "
            f"they must have one length"
        )
    vectors = np.zeros((len(items), widths[0]), np.float32)
    present = lists.is_not_null().to_numpy()
    vectors[present] = lists.drop_nulls().explode().to_numpy().reshape(-1, widths[0])
    return vectors
