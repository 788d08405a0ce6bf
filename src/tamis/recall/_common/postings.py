"""Posting lists: the items under a key, best first; and the walk over the lists a query names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tamis.cascade import Queries, Recalled
from tamis.recall._common.channel import nothing
from tamis.runtime import Float64, Int32, Int64, in_blocks, scratch

NEVER = np.zeros(0, np.int64)
"""As `born`: no item has a birth, all are always there."""
_QUERIES_PER_BLOCK = 256


@dataclass(frozen=True, eq=False)
class Postings:
    """L lists of items; list l is `[indptr[l], indptr[l + 1])`, best first.

    `key` is the base-2 logarithm of an item's score in the list: scores that halve with time span
    more than a float can hold, their logarithms do not.
    """

    indptr: Int64
    item: Int32
    key: Float64

    @classmethod
    def of(cls, lists: NDArray[Any], item: NDArray[Any], key: Float64, n: int) -> Postings:
        """From (list, item, key) triples in any order, n lists; ties by the lower item row."""
        order = np.lexsort((item, -key, lists))
        return cls(
            np.concatenate([[0], np.cumsum(np.bincount(lists, minlength=n))]).astype(np.int64),
            item[order].astype(np.int32),
            key[order].astype(np.float64),
        )

    def arrays(self, prefix: str = "posting") -> dict[str, NDArray[Any]]:
        """By name, as a channel keeps them."""
        return {f"{prefix}_{name}": column for name, column in vars(self).items()}

    @classmethod
    def within(cls, arrays: dict[str, NDArray[Any]], prefix: str = "posting") -> Postings:
        """What `arrays` wrote."""
        return cls(*(arrays[f"{prefix}_{name}"] for name in ("indptr", "item", "key")))


@dataclass(frozen=True, eq=False)
class Chosen:
    """The lists that Q queries name: query q's are `lists[indptr[q]:indptr[q + 1]]`."""

    indptr: Int64
    lists: Int32
    weight: Float64
    """Base-2 logarithm of the list's weight."""

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @classmethod
    def one(cls, lists: NDArray[Any]) -> Chosen:
        """One list per query (Q,); -1 = none."""
        named = lists >= 0
        return cls(
            np.concatenate([[0], np.cumsum(named)]).astype(np.int64),
            lists[named].astype(np.int32),
            np.zeros(int(named.sum()), np.float64),
        )

    @classmethod
    def summed(
        cls, query: NDArray[Any], lists: NDArray[Any], weight: NDArray[Any], queries: int
    ) -> Chosen:
        """From (query, list, weight > 0) triples; the weights of a repeated pair add up."""
        width = int(lists.max(initial=0)) + 1
        pairs, at = np.unique(query.astype(np.int64) * width + lists, return_inverse=True)
        total = np.bincount(at, weights=weight, minlength=len(pairs))
        counts = np.bincount(pairs // width, minlength=queries)
        return cls(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            (pairs % width).astype(np.int32),
            np.log2(total),
        )

    def otherwise(self, fallback: int) -> Chosen:
        """Queries that name no list name `fallback`."""
        sizes = np.diff(self.indptr)
        bare = np.flatnonzero(sizes == 0)
        at = self.indptr[bare]
        sizes[bare] = 1
        return Chosen(
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            np.insert(self.lists, at, np.int32(fallback)),
            np.insert(self.weight, at, 0.0),
        )


def walk(
    postings: Postings, chosen: Chosen, queries: Queries, k: int, n_items: int, born: Int64 = NEVER
) -> Recalled:
    """Each query's k best items of its chosen lists by weight + key, as scores `2^(weight + key)`.

    An item of several lists counts where it is best. Left out: excluded items, and items that were
    `born` (ms, (items,)) at or after the query's time.
    """
    found = nothing(len(queries), k)

    def block(begin: int, end: int) -> None:
        _walk(
            (begin, end),
            (postings.indptr, postings.item, postings.key),
            (chosen.indptr, chosen.lists, chosen.weight),
            (queries.exclude.indptr, queries.exclude.values),
            born,
            queries.time,
            scratch("posting taken", n_items, np.bool_),
            found.item,
            found.score,
        )

    in_blocks(block, len(queries), _QUERIES_PER_BLOCK)
    return found


@njit(cache=True, nogil=True)
def listed(values, begin, end, wanted):
    """Is `wanted` in the ascending `values[begin:end]`?"""
    low, high = begin, end
    while low < high:
        middle = (low + high) // 2
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low < end and values[low] == wanted


@njit(cache=True, nogil=True)
def _walk(span, postings, chosen, exclude, born, time, taken, out_item, out_score):
    indptr, item, key = postings
    list_indptr, lists, weight = chosen
    refused_indptr, refused = exclude
    k = out_item.shape[1]
    for q in range(span[0], span[1]):
        named = lists[list_indptr[q] : list_indptr[q + 1]]
        extra = weight[list_indptr[q] : list_indptr[q + 1]]
        place = np.empty(len(named), np.int64)
        for s in range(len(named)):
            place[s] = indptr[named[s]]
        found = 0
        while found < k:
            best, best_key = -1, 0.0
            for s in range(len(named)):
                if place[s] < indptr[named[s] + 1]:
                    here = extra[s] + key[place[s]]
                    if best < 0 or here > best_key:
                        best, best_key = s, here
            if best < 0:
                break
            i = item[place[best]]
            place[best] += 1
            if taken[i] or (len(born) and born[i] >= time[q]):
                continue
            if listed(refused, refused_indptr[q], refused_indptr[q + 1], i):
                continue
            taken[i] = True
            out_item[q, found] = i
            out_score[q, found] = 2.0**best_key
            found += 1
        for s in range(found):
            taken[out_item[q, s]] = False
