"""Maximal marginal relevance (MMR): relevant items that differ from those placed before.

Carbonell & Goldstein 1998: each place takes `argmax θ·score_i − (1−θ)·max_{j∈S} sim(i, j)`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Ragged, Table
from tamis.index import jaccard
from tamis.rerank._categories import ItemCategories
from tamis.runtime import Float32, Int32, Int64
from tamis.runtime.compiled import njit
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
        categories = ItemCategories.read(data.items, config.column, config.separator)
        self._categories = categories.ordered()
        return self

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
        vectors = np.where(np.isfinite(vectors).all(1, keepdims=True), vectors, 0.0)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        self._vectors = (vectors / np.where(norms > 0, norms, 1.0)).astype(np.float32)
        return self

    def arrange(
        self, queries: Queries, candidates: Candidates, n: int
    ) -> tuple[NDArray[np.intp], Float32]:
        """The permutation (n,), and each candidate's marginal value when it was placed (n,).

        The values are in the order of the given candidates: within [θ − 1, θ] for similarities in
        [0, 1], NaN where the place was not arranged.
        """
        del queries
        value = np.asarray(candidates.columns["value"], dtype=np.float64)
        places = max(n, self.config.depth)
        theta, window = self.config.theta, self.config.window or len(candidates) + 1
        by_vector = self.config.similarity == "vector"
        if by_vector:
            of, vectors = Ragged.empty(0), self._gathered(candidates.item)
        else:
            of, vectors = self._checked(candidates.item), np.empty((len(candidates), 0), np.float32)
        return _mmr(
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


def _vectors(items: Table, column: str) -> Float32:
    """(items, d) from a list column; a missing list becomes the zero vector."""
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
    if len(widths) != 1:
        raise ConfigError(
            f"re-rank `mmr`: the vectors of column {column!r} have lengths {sorted(widths)[:5]}; "
            f"they must have one length"
        )
    vectors = np.zeros((len(items), widths[0]), np.float32)
    present = lists.is_not_null().to_numpy()
    vectors[present] = lists.drop_nulls().explode().to_numpy().reshape(-1, widths[0])
    return vectors


@njit(cache=True)
def _scaled(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Min-max to [0, 1] over the finite values; −inf for the others, 0 where all are equal."""
    low, high = np.inf, -np.inf
    for v in value:
        if np.isfinite(v):
            low, high = min(low, v), max(high, v)
    scaled = np.empty(len(value))
    for i in range(len(value)):
        if not np.isfinite(value[i]):
            scaled[i] = -np.inf
        else:
            scaled[i] = (value[i] - low) / (high - low) if high > low else 0.0
    return scaled


@njit(cache=True)
def _best_place(
    score: NDArray[np.float64], like: NDArray[np.float64], taken: NDArray[np.bool_], theta: float
) -> tuple[int, float]:
    """The first candidate with the largest marginal value; candidates without a score rank last."""
    best, most = -1, -np.inf
    for i in range(len(score)):
        if taken[i]:
            continue
        marginal = -np.inf
        if score[i] > -np.inf:
            marginal = theta * score[i] - (1.0 - theta) * like[i]
        if best < 0 or marginal > most:
            best, most = i, marginal
    return best, most


@njit(cache=True)
def _tail(order: NDArray[np.intp], start: int, filled: int, taken: NDArray[np.bool_]) -> None:
    """Writes the candidates not taken, in their order, behind the `filled` places."""
    for i in range(len(taken)):
        if not taken[i]:
            order[start + filled] = start + i
            filled += 1


@njit(cache=True)
def _remember(
    recent: NDArray[np.float64], place: int, new: NDArray[np.float64], like: NDArray[np.float64]
) -> None:
    """Updates `like` (n,): the largest similarity to the last `len(recent)` places.

    `new` (n,) is the similarity to the latest place; `recent` (window, n) is a ring buffer of the
    similarities to those places, with no rows where the window is the whole slate.
    """
    window = len(recent)
    if window == 0:
        for i in range(len(like)):
            like[i] = max(like[i], new[i]) if place > 0 else new[i]
        return
    recent[place % window] = new
    for i in range(len(like)):
        most = recent[0, i]
        for w in range(1, min(place + 1, window)):
            most = max(most, recent[w, i])
        like[i] = most


@njit(cache=True, fastmath={"reassoc", "contract"})
def _dots(vectors: Float32, one: Float32, out: NDArray[np.float64]) -> None:
    """Dot products of `vectors` (n, d) with `one` (d,), into `out` (n,)."""
    for j in range(len(vectors)):
        dot = np.float32(0.0)
        for d in range(len(one)):
            dot += vectors[j, d] * one[d]
        out[j] = dot


@njit(cache=True)
def _overlaps(item: Int32, one: int, indptr: Int64, codes: Int32, out: NDArray[np.float64]) -> None:
    """Jaccard similarity of the items (n,) to item row `one`, into `out` (n,)."""
    mine = codes[indptr[one] : indptr[one + 1]]
    for j in range(len(item)):
        out[j] = jaccard(mine, codes[indptr[item[j]] : indptr[item[j] + 1]])


@njit(cache=True)
def _mmr(
    indptr: Int64,
    value: NDArray[np.float64],
    item: Int32,
    by_vector: bool,
    vectors: Float32,
    of_indptr: Int64,
    of_values: Int32,
    theta: float,
    window: int,
    places: int,
) -> tuple[NDArray[np.intp], Float32]:
    """MMR of every query: the permutation (n,) and the marginal values (n,).

    Similarity is the dot product of the candidates' `vectors` (n, d), or Jaccard of the items'
    category codes `of_values[of_indptr[i] : of_indptr[i + 1]]`, ascending.
    """
    order = np.empty(len(value), np.intp)
    taken_at = np.full(len(value), np.nan, np.float32)
    for q in range(len(indptr) - 1):
        start, end = indptr[q], indptr[q + 1]
        n = end - start
        score = _scaled(value[start:end])
        head = min(n, places)
        taken, like = np.zeros(n, np.bool_), np.zeros(n)
        recent = np.zeros((window if window < head else 0, n))
        new = np.empty(n)
        for place in range(head):
            i, marginal = _best_place(score, like, taken, theta)
            taken[i] = True
            order[start + place] = start + i
            taken_at[start + i] = marginal
            if by_vector:
                _dots(vectors[start:end], vectors[start + i], new)
            else:
                _overlaps(item[start:end], int(item[start + i]), of_indptr, of_values, new)
            _remember(recent, place, new, like)
        _tail(order, start, head, taken)
    return order, taken_at
