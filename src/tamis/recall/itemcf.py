"""ItemCF: items liked by the same people as the items you liked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numba import njit
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.events import Dataset
from tamis.index import best_first, in_blocks, offer, scratch
from tamis.recall.base import BaseChannel, ChannelSettings, need_positives, nothing
from tamis.recall.interactions import (
    Float32,
    Int32,
    Int64,
    Interests,
    distinct,
    interest_of_behaviour,
    interests,
)

ITEMS_PER_BLOCK = 2048
QUERIES_PER_BLOCK = 256


class ItemCFConfig(ChannelSettings):
    """Options of ItemCF."""

    neighbours: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Neighbours kept per item."""
    prune: Literal["seen", "candidate"] = "seen"
    """Whose best neighbours are kept: the item the user liked, or the item that may be recalled."""
    longest: Annotated[int, Field(ge=1)] = 1000
    """With prune = "candidate": most candidates that one liked item may bring."""
    similarity: Literal["cosine", "count"] = "cosine"
    """count = the plain (discounted) co-occurrence, without dividing by the items' norms."""
    user_discount: bool = True
    """Users count 1 / log(2 + their number of items) instead of 1."""
    last: Annotated[int, Field(ge=1)] | None = None
    """Most recent liked items of the user that are asked for neighbours; None = all."""
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Weight of a liked item relative to the one liked after it; 1 = order does not matter."""
    fit_last: Annotated[int, Field(ge=2)] = 5000
    """Most recent items of a user that fitting reads: its cost is the square of it."""


class ItemCF(BaseChannel):
    """Item-based collaborative filtering (Sarwar et al. 2001; user discount: Breese et al. 1998).

    `sim(i,j) = Σ_u f(|I_u|) r_ui r_uj / √(Σ_u r_ui² · Σ_u r_uj²)`, `f = 1/log(2 + |I_u|)`, r the
    largest behaviour weight of a user's positive events with an item. Recall sums
    `r_uj · decay^age(j) · sim(j,i)` over the user's last liked items j (age 0 = the latest).
    """

    Config = ItemCFConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        by_user = interests(data, self.config.fit_last)
        by_item = by_user.transposed(len(data.items))
        indptr, item, value = _neighbours(by_user, by_item, self.config)
        if self.config.prune == "candidate":
            indptr, item, value = _turned(indptr, item, value, self.config.longest)
        self._arrays = {
            "indptr": indptr,
            "neighbour": item,
            "similarity": value,
            "interest": interest_of_behaviour(data.behaviours),
        }
        return {}

    def _recall(self, queries: Queries, k: int) -> Recalled:
        found = nothing(len(queries), k)
        arrays, history, exclude = self._arrays, queries.history, queries.exclude
        value = arrays["interest"][history.behaviour]
        longest = int(np.diff(history.indptr).max())
        last = min(self.config.last or longest, longest)

        def block(begin: int, end: int) -> None:
            _recall_block(
                (begin, end, last, self.config.decay),
                (arrays["indptr"], arrays["neighbour"], arrays["similarity"]),
                (history.indptr, history.item, value),
                (exclude.indptr, exclude.values),
                scratch("slot", self._n_items, np.int32),
                scratch("sum", self._n_items, np.float32),
                scratch("refused", self._n_items, np.bool_),
                found.item,
                found.score,
            )

        in_blocks(block, len(queries), QUERIES_PER_BLOCK)
        return found

    def because(self, queries: Queries, item: int) -> int | None:
        """The liked item whose neighbourhood adds most to the score of `item`, if any does."""
        arrays, history = self._arrays, queries.history
        n = len(history.item)
        liked, value = np.empty(n, np.int32), np.empty(n, np.float32)
        count = distinct(
            history.item,
            arrays["interest"][history.behaviour],
            0,
            n,
            self.config.last or n,
            scratch("slot", self._n_items, np.int32),
            liked,
            value,
        )
        best, most = None, 0.0
        for age, (j, r) in enumerate(zip(liked[:count].tolist(), value[:count], strict=True)):
            span = slice(arrays["indptr"][j], arrays["indptr"][j + 1])
            at = np.flatnonzero(arrays["neighbour"][span] == item)
            part = self.config.decay**age * float((r * arrays["similarity"][span][at]).sum())
            if part > most:
                best, most = j, part
        return best


def _neighbours(
    by_user: Interests, by_item: Interests, config: ItemCFConfig
) -> tuple[Int64, Int32, Float32]:
    """Each item's most similar items, best first, as a CSR."""
    sizes = np.diff(by_user.indptr)
    discount = 1 / np.log(2.0 + sizes) if config.user_discount else np.ones(len(sizes))
    n = len(by_item.indptr) - 1
    if config.similarity == "cosine":
        squares = np.bincount(
            by_user.other, weights=by_user.value.astype(np.float64) ** 2, minlength=n
        )
        scale = 1 / np.sqrt(np.where(squares > 0, squares, 1.0))
    else:
        scale = np.ones(n)

    def block(begin: int, end: int) -> tuple[Int32, Int32, Float32]:
        return _neighbours_block(
            begin,
            end,
            config.neighbours,
            (by_user.indptr, by_user.other, by_user.value),
            (by_item.indptr, by_item.other, by_item.value),
            discount,
            scale,
            scratch("norm", n, np.float64),
        )

    blocks = in_blocks(block, n, ITEMS_PER_BLOCK)
    sizes = np.concatenate([size for size, _, _ in blocks])
    return (
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.concatenate([item for _, item, _ in blocks]),
        np.concatenate([value for _, _, value in blocks]),
    )


@njit(cache=True, nogil=True)
def _neighbours_block(begin, end, keep, by_user, by_item, discount, scale, total):
    """Row by row: sums co-occurrences through the item's users, keeps the `keep` most similar."""
    user_at, user_item, user_value = by_user
    item_at, item_user, item_value = by_item
    size = np.zeros(end - begin, np.int32)
    out_item = np.empty((end - begin) * keep, np.int32)
    out_value = np.empty((end - begin) * keep, np.float32)
    touched = np.empty(len(total), np.int32)
    filled = 0
    for i in range(begin, end):
        n = 0
        for e in range(item_at[i], item_at[i + 1]):
            u = item_user[e]
            r = item_value[e] * discount[u]
            for f in range(user_at[u], user_at[u + 1]):
                j = user_item[f]
                add = r * user_value[f]
                if add == 0:  # or an item could be noted as touched twice
                    continue
                if total[j] == 0:
                    touched[n] = j
                    n += 1
                total[j] += add
        found = 0
        items, values = out_item[filled : filled + keep], out_value[filled : filled + keep]
        for t in range(n):
            j = touched[t]
            similar = np.float32(total[j] * scale[i] * scale[j])
            total[j] = 0
            if j != i and similar > 0:
                found = offer(items, values, found, j, similar)
        best_first(items, values, found)
        size[i - begin] = found
        filled += found
    return size, out_item[:filled].copy(), out_value[:filled].copy()


@njit(cache=True, nogil=True)
def _turned(indptr, seen, value, longest):
    """Lists kept per candidate, as lists per liked item, each cut to its `longest` best."""
    n = len(indptr) - 1
    size = np.zeros(n, np.int64)
    for j in seen:
        size[j] = min(size[j] + 1, longest)
    out_indptr = np.zeros(n + 1, np.int64)
    for j in range(n):
        out_indptr[j + 1] = out_indptr[j] + size[j]
    out_item = np.empty(out_indptr[n], np.int32)
    out_value = np.empty(out_indptr[n], np.float32)
    found = np.zeros(n, np.int64)
    for candidate in range(n):
        for e in range(indptr[candidate], indptr[candidate + 1]):
            j = seen[e]
            span = slice(out_indptr[j], out_indptr[j + 1])
            found[j] = offer(out_item[span], out_value[span], found[j], candidate, value[e])
    for j in range(n):
        span = slice(out_indptr[j], out_indptr[j + 1])
        best_first(out_item[span], out_value[span], found[j])
    return out_indptr, out_item, out_value


@njit(cache=True, nogil=True)
def _recall_block(span, neighbours, history, exclude, slot, total, refused, out_item, out_score):
    begin, end, last, decay = span
    indptr, neighbour, similarity = neighbours
    history_at, history_item, history_value = history
    exclude_at, excluded = exclude
    n_items = len(total)
    liked, value = np.empty(last, np.int32), np.empty(last, np.float32)
    touched = np.empty(n_items, np.int32)
    for q in range(begin, end):
        count = distinct(
            history_item, history_value, history_at[q], history_at[q + 1], last, slot, liked, value
        )
        n = 0
        fade = 1.0
        for s in range(count):
            r = np.float32(value[s] * fade)
            fade *= decay
            for e in range(indptr[liked[s]], indptr[liked[s] + 1]):
                j = neighbour[e]
                add = r * similarity[e]
                if add == 0:  # or an item could be noted as touched twice
                    continue
                if total[j] == 0:
                    touched[n] = j
                    n += 1
                total[j] += add
        for e in range(exclude_at[q], exclude_at[q + 1]):
            if 0 <= excluded[e] < n_items:
                refused[excluded[e]] = True
        found = 0
        for t in range(n):
            j = touched[t]
            if not refused[j]:
                found = offer(out_item[q], out_score[q], found, j, total[j])
            total[j] = 0
        best_first(out_item[q], out_score[q], found)
        for e in range(exclude_at[q], exclude_at[q + 1]):
            if 0 <= excluded[e] < n_items:
                refused[excluded[e]] = False
