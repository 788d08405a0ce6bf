"""Author: items by authors whom the user follows or likes, or by similar authors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset, Follows, Labels, Table, codes_of, spread
from tamis.index import best_first, offer
from tamis.recall._common.following import FollowingChannel
from tamis.recall._common.history_events import behaviour_mask, counted_events
from tamis.recall._common.interactions import distinct_lists, grouped
from tamis.recall._common.item_columns import (
    column_of,
    publication_column,
    publication_of,
    role_of,
)
from tamis.recall._common.item_popularity import ItemPopularity
from tamis.recall._common.postings import ListSelection, Postings, best_of_lists
from tamis.runtime import Bool, Int32
from tamis.runtime.compiled import njit
from tamis.schema import ComponentConfig, Conditions, Needs

_AUTHORS_PER_BLOCK = 1024


class AuthorConfig(ComponentConfig):
    """Options of the author channel."""

    only_with: ClassVar[Conditions] = {
        "neighbours": (Needs("source", ("similar",)),),
        "fit_last": (Needs("source", ("similar",)),),
        "new_item_weight": (Needs("order", none_of=("newest",)),),
    }

    source: Literal["followed", "liked", "similar"] = "liked"
    """followed = authors whom the user follows, by [follows] and by events of a follow behaviour on
    their items; liked = authors of items with a positive event; similar = authors with the same
    fans as those."""
    behaviours: tuple[str, ...] = ()
    """Behaviours by which an author counts as followed or liked. Empty: "follow" for source =
    "followed" (none if it is not declared and [follows] is), else all positive behaviours."""
    order: Literal["", "newest", "best"] = ""
    """Order of an author's items. newest: by publication time. best: by time-decayed popularity.
    Empty: newest for source = "followed" if [items] declares `published`, else best."""
    half_life: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    """Days after which an event, or the recency of an item, counts half."""
    new_item_weight: Annotated[float, Field(ge=0)] = 1.0
    """With order = "best": weight of an item's publication, in events of weight 1."""
    neighbours: Annotated[int, Field(ge=1, le=10_000)] = 50
    """With source = "similar": number of most similar authors kept per author."""
    fit_last: Annotated[int, Field(ge=2)] = 1000
    """With source = "similar": number of a user's most recent authors read by the fit, whose cost
    grows with the square of it."""
    column: str = ""
    """The items' column of the author. Empty: the one that [items] declares."""
    separator: str = ""
    """Separator of a text column with several authors. Empty: each text is one author."""


class Author(FollowingChannel):
    """Items by authors whom the user follows or likes, or by authors similar to those.

    An item's score is its author's weight times `2^(-age / half_life)` (newest) or times
    `new_item_weight · 2^(-age / half_life) + Σ r · 2^(-(end - t) / half_life)` (best). An author's
    weight is 1 (followed), the sum w of the weights r of the user's events (liked), or
    `Σ_a w_a · |F_a ∩ F_b| / √(|F_a| |F_b|)` over the liked authors a (similar), where F are the
    users with a counted event on the author's items. An author is not a neighbour of himself: a
    liked author is returned by `similar` only through other liked authors. An item of several
    authors counts once, with its largest score. Items published at or after the query's time are
    not returned.

    When to use: video, articles, second-hand goods and shop pages, if users return to authors.
    Cost: fit: one sort of the items; for `similar` also the sum over users of their number of
    authors squared. Recall: reads about k items over the user's authors. Memory: 12 bytes per item,
    and 8 per author and neighbour.
    Source: cosine between authors as between items in Sarwar et al. 2001, Item-Based Collaborative
    Filtering Recommendation Algorithms.
    """

    name = "author"
    Config = AuthorConfig
    config: AuthorConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        reading = {
            "column": role_of(self.name, context.items, "author", self.config.column),
            "published": publication_column(context),
        }
        labels, follows = self._authors(data.items, reading), None
        if self.config.source == "followed" and data.follows is not None:
            follows = data.follows
            names = follows.author.str.strip_chars().str.to_lowercase().unique().to_list()
            labels, _ = labels.among(np.array(names, np.str_))
        counted = self._counted(data)
        popularity = self._popularity(data, context, reading)
        key = popularity.keys()[labels.row]
        weight = np.array([b.weight or 1.0 for b in data.behaviours], np.float32)
        self._arrays = {
            **Postings.of(labels.code, labels.row, key, len(labels.names)).arrays(),
            **popularity.arrays(),
            "author_names": labels.names,
            "author_indptr": labels.indptr,
            "author": labels.code,
            "counted": counted,
            "weight": np.where(counted, weight, 0).astype(np.float32),
        }
        if follows is not None:
            self._arrays |= _followed(follows, labels, len(data.users))
        if self.config.source == "similar":
            indptr, author, cosine = _similar(data, labels, counted, self.config)
            self._arrays |= {
                "similar_indptr": indptr,
                "similar": author,
                "cosine": cosine,
            }
        reading |= {"half_life": popularity.half_life, "weight": popularity.new_item_weight}
        return {"reading": reading, **popularity.facts()}

    def _authors(self, items: Table, reading: dict[str, Any]) -> Labels:
        """The authors of items."""
        column_of(self.name, items, reading["column"])
        return Labels.of_items(items, reading["column"], self.config.separator or None)

    def _counted(self, data: Dataset) -> Bool:
        """(behaviours,) True for those by which an author counts as followed or liked."""
        named = self.config.behaviours
        if self.config.source == "followed":
            named = named or ("follow",)
        if named == ("follow",) and data.follows is not None and not self.config.behaviours:
            return np.array([b.name == "follow" for b in data.behaviours])
        return behaviour_mask(self.name, data, named)

    def _popularity(
        self, data: Dataset, context: FitContext, reading: dict[str, Any]
    ) -> ItemPopularity:
        """What orders the items of an author: likes and publication, or publication alone."""
        order, c = self.config.order, self.config
        if order == "newest":
            how_to_fix = 'declare [items] published = "COLUMN", or set order = "best"'
            role_of(self.name, context.items, "published", "", how_to_fix)
        published = publication_of(self.name, data.items, reading["published"])
        if order == "newest" or (order == "" and c.source == "followed" and len(published)):
            none = np.full(len(data.items), -np.inf)
            return ItemPopularity.of(none, published, data.end, c.half_life, 1.0)
        return ItemPopularity.fit(data, published, c.half_life, c.new_item_weight)

    def _of_items(self, items: Table, rows: Int32) -> dict[str, NDArray[Any]] | None:
        reading = self._reading
        if reading is None:
            return None
        part, arrays = items.part(rows), self._arrays
        popularity = ItemPopularity.within(
            arrays, self._facts or {}, reading["half_life"], reading["weight"]
        )
        published = publication_of(self.name, part, reading["published"])
        popularity = popularity.replaced(rows, published, len(items))
        changed = self._authors(part, reading)
        before = Labels(arrays["author_names"], arrays["author_indptr"], arrays["author"])
        labels, number = before.replaced(rows, changed, len(items))
        code = codes_of(labels.names, changed.names.tolist())[changed.code]
        row = rows[changed.row]
        postings = Postings.within(arrays).renumbered(number, len(labels.names))
        postings = postings.replaced(rows, code, row, popularity.keys(row))
        return {
            **postings.arrays(),
            **popularity.arrays(),
            **self._renumbered(number, len(labels.names)),
            "author_names": labels.names,
            "author_indptr": labels.indptr,
            "author": labels.code,
        }

    def _renumbered(self, number: Int32, n: int) -> dict[str, NDArray[Any]]:
        """The arrays of follows and similar authors, author a of the former ones being number[a] of
        n."""
        arrays, found = self._arrays, dict[str, NDArray[Any]]()
        if "follows" in arrays:
            found["follows"] = number[arrays["follows"]]
        if "similar" in arrays:
            sizes = np.zeros(n, np.int64)
            sizes[number] = np.diff(arrays["similar_indptr"])
            found["similar_indptr"] = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
            found["similar"] = number[arrays["similar"]]
        return found

    def _recall(self, queries: Queries, k: int) -> Recalled:
        chosen = self._chosen(queries)
        postings = Postings.within(self._arrays)
        return best_of_lists(postings, chosen, queries, k, self._n_items, self._arrays["published"])

    def _chosen(self, queries: Queries) -> ListSelection:
        """The weighted authors of each query, as posting lists."""
        arrays, history = self._arrays, queries.history
        query, at = counted_events(history, arrays["counted"], self._n_items)
        owner, author = spread(arrays["author_indptr"], arrays["author"], history.item[at])
        query, weight = query[owner], arrays["weight"][history.behaviour[at[owner]]]
        if self.config.source == "followed":
            if "follows" in arrays:
                asker, theirs = _of_users(arrays, queries.user)
                query, author = np.concatenate([query, asker]), np.concatenate([author, theirs])
            once = np.unique(np.stack([query, author]), axis=1)
            query, author, weight = once[0], once[1], np.ones(once.shape[1], np.float32)
        elif self.config.source == "similar":
            owner, other = spread(arrays["similar_indptr"], arrays["similar"], author)
            cosine = spread(arrays["similar_indptr"], arrays["cosine"], author)[1]
            query, author, weight = query[owner], other, weight[owner] * cosine
        return ListSelection.summed(query, author, weight, len(queries))

    def because(self, queries: Queries, item: int) -> int | None:
        """The last counted item by the same author, or by a similar one."""
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


def _followed(follows: Follows, labels: Labels, users: int) -> dict[str, NDArray[Any]]:
    """Each user's authors of the table of follows, as a CSR."""
    author = codes_of(labels.names, follows.author.to_list())
    known = author >= 0
    indptr, order = grouped(follows.user[known], users)
    return {"follows_indptr": indptr, "follows": author[known][order]}


def _of_users(
    arrays: Mapping[str, NDArray[Any]], user: NDArray[np.int32]
) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """(query, author) pairs of the table of follows; none for users added after the fit."""
    known = np.flatnonzero((user >= 0) & (user < len(arrays["follows_indptr"]) - 1))
    owner, author = spread(arrays["follows_indptr"], arrays["follows"], user[known])
    return known[owner], author


def _similar(
    data: Dataset, labels: Labels, counted: NDArray[np.bool_], config: AuthorConfig
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Each author's most similar authors by common users, best first: (indptr, author, cosine)."""
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
            _largest_cosines(
                indptr=shared.indptr,
                other=shared.indices,
                shared=shared.data,
                scale=scale,
                begin=begin,
                k=config.neighbours,
            )
        )
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    sizes, found, cosine = (np.concatenate(part) for part in zip(empty, *parts, strict=True))
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), found, cosine


@njit(cache=True, nogil=True)
def _largest_cosines(indptr, other, shared, scale, begin, k):
    """The k largest cosines of each row, without itself: (sizes, authors, cosines).

    Args:
        indptr, other, shared: CSR (R + 1,), (n,) int32, (n,) float32 of the numbers of common users
            of R consecutive authors with all others.
        scale: (A,) float64, 1 / √(users of the author).
        begin: the first of the R authors.
        k: most authors kept per row.

    Returns int64 (R,), int32 (m,) and float32 (m,), best first within a row.
    """
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
