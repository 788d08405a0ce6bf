"""Author: what comes from the people whom one follows, likes, or would like."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Labels, spread
from tamis.index import best_first, offer
from tamis.recall._common.channel import BaseChannel
from tamis.recall._common.interactions import distinct_lists, grouped
from tamis.recall._common.popularity import (
    behaviours_named,
    births,
    column_of,
    counted_events,
    floored,
    log_newness,
    log_worth,
    role_of,
)
from tamis.recall._common.postings import Chosen, Postings, walk
from tamis.schema import ComponentConfig

_AUTHORS_PER_BLOCK = 1024


class AuthorConfig(ComponentConfig):
    """Options of the author channel."""

    source: Literal["followed", "liked", "similar"] = "liked"
    """followed = authors of the items on which the user has an event of a follow behaviour; liked =
    authors of items with a positive event; similar = authors with the same fans as those."""
    behaviours: tuple[str, ...] = ()
    """Behaviours that tell; () = "follow" for followed, else all positive ones."""
    order: Literal["", "newest", "best"] = ""
    """Of an author's items: newest first, or best first, a birth counting like one like; "" =
    newest for followed where births are declared, else best."""
    half_life: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    """Days after which an event, and an item's newness, counts half."""
    newborn: Annotated[float, Field(ge=0)] = 1.0
    """What being published counts with order = "best", in events of weight 1."""
    neighbours: Annotated[int, Field(ge=1, le=10_000)] = 50
    """With similar: most similar authors kept per author."""
    fit_last: Annotated[int, Field(ge=2)] = 1000
    """With similar: most recent authors of a user that fitting reads: its cost is the square."""
    column: str = ""
    """The items' column of the author; "" = the one that [items] declares."""
    separator: str = ""
    """Splits a text column of several authors."""


class Author(BaseChannel):
    """Items by authors whom the user follows, likes, or by authors whose fans are the same.

    Followed: every author of an item with a follow event, alike. Liked: each author by the sum w of
    the behaviours' weights r. Similar: by `Σ_a w_a · |F_a ∩ F_b| / √(|F_a| |F_b|)` over liked
    authors a, F the users with a counted event on the author's items; authors whom the user likes
    already come only by their likeness to others. An item's score is its author's weight times
    `2^(-age / half_life)` (newest) or its time-decayed likes, birth counting as `newborn` (best);
    an item of several authors counts where it is best. Unborn items are not returned.

    When to use: video, articles, second-hand and shops' pages: where people come back for people.
    Cost: fit one sort of the items (similar: Σ over users of their authors squared); recall walks k
    items over the user's authors; memory 12 bytes an item and 8 per author and neighbour.
    Source: cosine between authors as between items in Sarwar et al. 2001, Item-Based Collaborative
    Filtering Recommendation Algorithms.
    """

    name = "author"
    Config = AuthorConfig
    config: AuthorConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        column = role_of(self.name, context.items, "author", self.config.column)
        column_of(self.name, data.items, column)
        labels = Labels.of_items(data.items, column, self.config.separator or None)
        named = self.config.behaviours
        if self.config.source == "followed":
            named = named or ("follow",)
        counted = behaviours_named(self.name, data, named)
        born = births(self.name, data, context)
        key = self._worth(data, context, born)[labels.row]
        weight = np.array([b.weight or 1.0 for b in data.behaviours], np.float32)
        self._arrays = {
            **Postings.of(labels.code, labels.row, key, len(labels.names)).arrays(),
            "author_indptr": labels.indptr,
            "author": labels.code,
            "counted": counted,
            "weight": np.where(counted, weight, 0).astype(np.float32),
            "born": born,
        }
        if self.config.source == "similar":
            indptr, author, cosine = _similar(data, labels, counted, self.config)
            self._arrays |= {
                "similar_indptr": indptr,
                "similar": author,
                "cosine": cosine,
            }
        return {}

    def _worth(
        self, data: Dataset, context: FitContext, born: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(items,) log2 of each item's score among its author's."""
        order = self.config.order
        if order == "newest":
            cure = 'declare [items] published = "COLUMN", or set order = "best"'
            role_of(self.name, context.items, "published", "", cure)
        if order == "newest" or (order == "" and self.config.source == "followed" and len(born)):
            return floored(log_newness(data, self.config.half_life, born))
        return floored(log_worth(data, self.config.half_life, born, self.config.newborn))

    def _recall(self, queries: Queries, k: int) -> Recalled:
        chosen = self._chosen(queries)
        postings = Postings.within(self._arrays)
        return walk(postings, chosen, queries, k, self._n_items, self._arrays["born"])

    def _chosen(self, queries: Queries) -> Chosen:
        arrays, history = self._arrays, queries.history
        query, at = counted_events(history, arrays["counted"], self._n_items)
        owner, author = spread(arrays["author_indptr"], arrays["author"], history.item[at])
        query, weight = query[owner], arrays["weight"][history.behaviour[at[owner]]]
        if self.config.source == "followed":
            once = np.unique(np.stack([query, author]), axis=1)
            query, author, weight = once[0], once[1], np.ones(once.shape[1], np.float32)
        elif self.config.source == "similar":
            owner, other = spread(arrays["similar_indptr"], arrays["similar"], author)
            cosine = spread(arrays["similar_indptr"], arrays["cosine"], author)[1]
            query, author, weight = query[owner], other, weight[owner] * cosine
        return Chosen.summed(query, author, weight, len(queries))

    def because(self, queries: Queries, item: int) -> int | None:
        """The last item by the same author, or by one whose fans are the same."""
        arrays, history = self._arrays, queries.history
        _, at = counted_events(history, arrays["counted"], self._n_items)
        owner, author = spread(arrays["author_indptr"], arrays["author"], history.item[at])
        if self.config.source == "similar":
            inner, author = spread(arrays["similar_indptr"], arrays["similar"], author)
            owner = owner[inner]
        span = slice(*arrays["author_indptr"][item : item + 2])
        past = history.item[at[owner[np.isin(author, arrays["author"][span])]]]
        past = past[past != item]
        return int(past[-1]) if len(past) else None


def _similar(
    data: Dataset, labels: Labels, counted: NDArray[np.bool_], config: AuthorConfig
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Each author's most similar authors by shared fans, best first, as a CSR."""
    at = np.flatnonzero(counted[data.events.behaviour])
    owner, author = spread(labels.indptr, labels.code, data.events.item[at])
    user = data.events.user[at[owner]]
    indptr, order = grouped(user, len(data.users))
    n = len(labels.names)
    ones = np.ones(len(order), np.float32)
    indptr, author, _ = distinct_lists(indptr, author[order], ones, config.fit_last, n)
    of_user = sparse.csr_matrix(
        (np.ones(len(author), np.float32), author, indptr), shape=(len(data.users), n)
    )
    fans = np.asarray(of_user.sum(axis=0), np.float64).ravel()
    scale = 1 / np.sqrt(np.where(fans > 0, fans, 1.0))
    by_author = of_user.T.tocsr()
    parts: list[tuple[NDArray[Any], ...]] = []
    for begin in range(0, n, _AUTHORS_PER_BLOCK):
        shared = (by_author[begin : begin + _AUTHORS_PER_BLOCK] @ of_user).tocsr()
        parts.append(
            _best(shared.indptr, shared.indices, shared.data, scale, begin, config.neighbours)
        )
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    sizes, found, cosine = (np.concatenate(part) for part in zip(empty, *parts, strict=True))
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), found, cosine


@njit(cache=True, nogil=True)
def _best(indptr, other, shared, scale, begin, k):
    """The k largest cosines of each row but its own: (sizes, authors, cosines)."""
    rows = len(indptr) - 1
    sizes = np.zeros(rows, np.int64)
    found = np.empty(rows * k, np.int32)
    cosine = np.empty(rows * k, np.float32)
    at = 0
    for r in range(rows):
        size = 0
        for e in range(indptr[r], indptr[r + 1]):
            if other[e] != begin + r:
                value = np.float32(shared[e] * scale[begin + r] * scale[other[e]])
                size = offer(found[at : at + k], cosine[at : at + k], size, other[e], value)
        best_first(found[at : at + k], cosine[at : at + k], size)
        sizes[r] = size
        at += size
    return sizes, found[:at].copy(), cosine[:at].copy()
