"""Content: items like those that the user liked, by what they are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numba import njit
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Ragged
from tamis.index import VectorIndex, best_first, offer
from tamis.recall._common.channel import nothing
from tamis.recall._common.interactions import distinct_lists, interest_of_behaviour
from tamis.recall._common.item_columns import publication_times
from tamis.recall._common.mean_vector import mean_liked_vector, nearest_liked_item
from tamis.recall._common.vector_channel import IndexedChannel
from tamis.recall.content._vectors import content_vectors, usable_columns
from tamis.runtime import Int64
from tamis.schema import ComponentConfig, ConfigError, DenseFeat, Side, VarLenSparseFeat


class ContentConfig(ComponentConfig):
    """Options of the content channel."""

    columns: tuple[str, ...] = ()
    """Item columns that say what an item is: text, lists, vectors, numbers; () = the project's
    item features that are no plain numbers, or else all columns of text, lists and vectors."""
    history: Annotated[int, Field(ge=1, le=1000)] = 20
    """Most recent distinct liked items that are looked at."""
    pool: Literal["mean", "max"] = "mean"
    """mean: near the average of the liked items; max: near any one of them."""
    width: Annotated[int, Field(ge=2, le=4096)] = 128
    """Columns into which values are hashed where there are more of them."""
    index_recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Share of the exact best `index_k` that the index must find."""
    index_k: Annotated[int, Field(ge=1)] = 300
    """List length for which the index is tuned: the channel's quota."""


class Content(IndexedChannel):
    """Items like those that the user liked: the door for items without events.

    An item is a vector: its categories, tags and words, rare ones weighing more (idf), and its
    dense columns (an image's or a text's vector), all columns alike. Recalled are the items nearest
    to the mean of the user's last liked items, or to any one of them (`pool = "max"`). An item can
    be found from the moment it stands in the table; one without any content never is.

    When to use: whenever items arrive faster than events about them, and beside collaborative
    channels for the tail of the catalogue. With vectors of a good encoder it may lead.

    Cost: fit one pass over the items' columns and the index; memory items × width × 4 bytes.
    Recall: one search of the index, with `max` one per liked item.

    Source: Pazzani & Billsus 2007, Content-Based Recommendation Systems; hashing: Weinberger et
    al. 2009, Feature Hashing for Large Scale Multitask Learning.
    """

    name = "content"
    Config = ContentConfig
    config: ContentConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        c = self.config
        columns = _columns(data, context, c.columns)
        if not columns:
            raise ConfigError(
                f"channel {self.name!r}: no column of the items says what they are (they have "
                f"{', '.join(data.items.frame.columns) or 'none'}); name some in `columns`"
            )
        vectors = content_vectors(data.items.frame, columns, c.width)
        self.index = VectorIndex.build(
            vectors,
            k=c.index_k,
            target_recall=c.index_recall,
            present=np.asarray(vectors.any(axis=1)),
            seed=context.seed,
        )
        self._arrays = {
            "interest": interest_of_behaviour(data.behaviours),
            "published": publication_times(self.name, data, context),
        }
        return {"columns": list(columns)}

    def _recall(self, queries: Queries, k: int) -> Recalled:
        c, interest = self.config, self._arrays["interest"]
        if c.pool == "max":
            return self._nearest_to_any(queries, k)
        users = mean_liked_vector(queries, interest, c.history, self.item_vectors())
        return self._nearest(users, queries.time, queries.exclude, k)

    def _nearest_to_any(self, queries: Queries, k: int) -> Recalled:
        """Each item by its largest cosine with a liked one."""
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
        """The liked item that is most like `item`, if any is."""
        vectors = self.item_vectors()
        return nearest_liked_item(queries, self._arrays["interest"], vectors, vectors[item])


def _columns(data: Dataset, context: FitContext, named: tuple[str, ...]) -> dict[str, str | None]:
    """Column → what separates its values, where that is declared."""
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
    return {name: separators.get(name) for name in columns}


def _of_owners(exclude: Ragged, owner: Int64) -> Ragged:
    """The lists of `owner`, one after the other."""
    sizes = np.diff(exclude.indptr)[owner]
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    at = np.repeat(exclude.indptr[owner] - indptr[:-1], sizes) + np.arange(indptr[-1])
    return Ragged(indptr, exclude.values[at])


@njit(cache=True, nogil=True)
def _largest(indptr, item, score, best, out_item, out_score):
    """Query q's best of the lists `[indptr[q], indptr[q + 1])`, an item by its largest score.

    best: (I,) of -inf, and is so again afterwards.
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
