"""Content: items with similar attributes, text or content vectors to those the user liked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Ragged, Table
from tamis.index import VectorIndex, best_first, offer
from tamis.recall._common.channel import nothing
from tamis.recall._common.following import FollowingChannel
from tamis.recall._common.interactions import declared_interest, distinct_lists
from tamis.recall._common.item_columns import publication_column, publication_times
from tamis.recall._common.mean_vector import mean_liked_vector, nearest_liked_item
from tamis.recall._common.vector_channel import IndexedChannel
from tamis.recall.content._vectors import ContentEncoder, usable_columns
from tamis.runtime import Int32, Int64
from tamis.runtime.compiled import njit
from tamis.schema import ComponentConfig, ConfigError, DenseFeat, Side, VarLenSparseFeat


class ContentConfig(ComponentConfig):
    """Options of the content channel."""

    columns: tuple[str, ...] = ()
    """Columns of the items that describe their content: text, lists, vectors, numbers. Empty: the
    project's item features except numbers; without declared features, all columns of text, lists,
    vectors and booleans. With [items.text], its vectors, instead of the columns they encode."""
    history: Annotated[int, Field(ge=1, le=1000)] = 20
    """Number of the user's most recent distinct liked items that are read."""
    pool: Literal["mean", "max"] = "mean"
    """mean: similarity to the average of the liked items. max: to the most similar one of them."""
    width: Annotated[int, Field(ge=2, le=4096)] = 128
    """Maximum number of coordinates of the columns' values; if they have more distinct values, they
    are hashed."""
    index_recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Minimum share of the exact best `index_k` items that the index must find."""
    index_k: Annotated[int, Field(ge=1)] = 300
    """List length for which the index is tuned: the channel's quota."""


class Content(IndexedChannel, FollowingChannel):
    """Items similar in content to those that the user liked; also recalls items without events.

    `score(u, i) = cos(mean_l x_l, x_i)` (mean), or `max_l cos(x_l, x_i)` (max), over the last liked
    items l. An item's vector x holds its categories, tags and words, weighted by idf, and its dense
    columns (vectors of an image or a text); all columns have the same weight. Items can be recalled
    as soon as they are in the table; items without any content are never returned.

    When to use: if items are added faster than events about them arrive, and together with
    collaborative channels for rarely seen items. With vectors of a good encoder it can be the best
    channel.

    Cost: fit: one pass over the items' columns, and the index. Recall: one search of the index,
    with `max` one per liked item. Memory: items × width × 4 bytes.

    Source: Pazzani & Billsus 2007, Content-Based Recommendation Systems; hashing: Weinberger et
    al. 2009, Feature Hashing for Large Scale Multitask Learning.
    """

    name = "content"
    Config = ContentConfig
    config: ContentConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._encoder: ContentEncoder | None = None

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        c = self.config
        columns = _columns(data, context, c.columns)
        if not columns:
            raise ConfigError(
                f"channel {self.name!r}: no column of the items describes their content (columns: "
                f"{', '.join(data.items.frame.columns) or 'none'}); name some in `columns`"
            )
        self._encoder, vectors = ContentEncoder.fit(data.items.frame, columns, c.width)
        self.index = VectorIndex.build(
            vectors,
            k=c.index_k,
            target_recall=c.index_recall,
            present=np.asarray(vectors.any(axis=1)),
            seed=context.seed,
        )
        self._arrays = {
            "interest": declared_interest(data.behaviours),
            "published": publication_times(self.name, data, context),
        }
        return {
            "columns": list(columns),
            "reading": {"published": publication_column(context)},
        }

    def _of_items(self, items: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        """New items get vectors by the values and weights of the fit."""
        if self._reading is None or self._encoder is None:
            return None
        part = items.part(rows)
        self._put_vectors(rows, self._encoder.encode(part.frame))
        return self._published_with(self._reading, items, part, rows)

    def save(self, directory: Path) -> None:
        super().save(directory)
        if self._encoder is not None:
            self._encoder.save(Path(directory))

    @classmethod
    def load(cls, directory: Path, config: Any = None) -> Self:
        channel = super().load(directory, config)
        channel._encoder = ContentEncoder.load(Path(directory))
        return channel

    def _recall(self, queries: Queries, k: int) -> Recalled:
        c, interest = self.config, self._arrays["interest"]
        if c.pool == "max":
            return self._nearest_to_any(queries, k)
        vectors, item = self.vectors_of(queries.history.item)
        past = replace(queries, history=replace(queries.history, item=item))
        users = mean_liked_vector(past, interest, c.history, vectors)
        return self._nearest(users, queries.time, queries.exclude, k)

    def _nearest_to_any(self, queries: Queries, k: int) -> Recalled:
        """The items with the largest cosine with any of the query's liked items."""
        history, vectors = queries.history, self.item_vectors()
        value = self._arrays["interest"][history.behaviour]
        indptr, liked, _ = distinct_lists(
            history.indptr, history.item, value, self.config.history, len(vectors)
        )
        owner = np.repeat(np.arange(len(queries)), np.diff(indptr))
        exclude = _of_owners(queries.exclude, owner)
        near = self._nearest(vectors[liked], queries.time[owner], exclude, k)
        out = nothing(len(queries), k)
        best = np.full(len(vectors), -np.inf, np.float32)
        _largest(indptr, near.item, near.score, best, out.item, out.score)
        return out

    def because(self, queries: Queries, item: int) -> int | None:
        """The liked item that is most similar to `item`; None if none has a positive cosine."""
        vectors = self.item_vectors()
        return nearest_liked_item(queries, self._arrays["interest"], vectors, vectors[item])


def _columns(data: Dataset, context: FitContext, named: tuple[str, ...]) -> dict[str, str | None]:
    """The columns to use, and the separator of each one's values if it is declared."""
    declared = [
        f
        for f in context.features
        if f.source in data.items.frame.columns
        and f.side in (None, Side.ITEM)
        and not (isinstance(f, DenseFeat) and f.width == 1)
        and not (isinstance(f, VarLenSparseFeat) and f.history)
    ]
    separators = {f.source: f.separator for f in declared if isinstance(f, VarLenSparseFeat)}
    roles = context.items
    if roles is not None and roles.category and roles.category_separator:
        separators.setdefault(roles.category, roles.category_separator)
    if named:
        columns = list(named)
    elif declared:
        columns = list(dict.fromkeys(f.source for f in declared))
    else:
        refused = () if roles is None else (roles.published, roles.latitude, roles.longitude)
        columns = usable_columns(data.items.frame, refused)
    text = None if roles is None else roles.text
    if text is not None and not named and text.name in data.items.frame.columns:
        # the vectors stand for the words of their columns, which would count twice
        columns = [c for c in columns if c not in (*text.columns, text.name)] + [text.name]
    return {name: separators.get(name) for name in columns}


def _of_owners(exclude: Ragged, owner: Int64) -> Ragged:
    """The excluded items of the queries `owner` (n,), as n lists."""
    sizes = np.diff(exclude.indptr)[owner]
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    at = np.repeat(exclude.indptr[owner] - indptr[:-1], sizes) + np.arange(indptr[-1])
    return Ragged(indptr, exclude.values[at])


@njit(cache=True, nogil=True)
def _largest(indptr, item, score, best, out_item, out_score):
    """Each query's best items of several result lists, an item by its largest score.

    Args:
        indptr: (Q + 1,) int64; query q's lists are rows [indptr[q], indptr[q + 1]) of the next.
        item, score: (n, k) int32 and float32 results, -1 where there is none.
        best: (I,) float32 scratch, -inf before and after.
        out_item, out_score: (Q, k) int32 and float32, filled with -1 and -inf.
    """
    for q in range(len(indptr) - 1):
        for s in range(indptr[q], indptr[q + 1]):
            for j in range(item.shape[1]):
                if item[s, j] >= 0:
                    best[item[s, j]] = max(best[item[s, j]], score[s, j])
        found = 0
        for s in range(indptr[q], indptr[q + 1]):
            for j in range(item.shape[1]):
                if item[s, j] >= 0 and best[item[s, j]] > -np.inf:
                    i = item[s, j]
                    found = offer(out_item[q], out_score[q], found, i, best[i])
                    best[i] = -np.inf
        best_first(out_item[q], out_score[q], found)
