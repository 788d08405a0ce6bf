"""Posting lists: the items under a key, best first, and the search over the lists of a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tamis.cascade import Queries, Recalled
from tamis.recall._common.channel import nothing
from tamis.recall._common.compiled_arguments import excluded
from tamis.recall._common.item_columns import NO_TIMES
from tamis.runtime import Bool, Float64, Int32, Int64, in_blocks, scratch
from tamis.runtime.compiled import inner_njit, njit

_QUERIES_PER_BLOCK = 256


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view of an array that cannot be written: compiled code treats it as another type."""
    view = array.view()
    view.flags.writeable = False
    return view


_FEW = 8
"""Items that are found faster one by one than by a table of all items."""


def among(item: Int32, rows: NDArray[Any]) -> Bool:
    """(n,) whether each of `item` (n,) is one of some rows (r,)."""
    return np.isin(item, rows, kind="sort" if len(rows) <= _FEW else "table")


class PostingLists(NamedTuple):
    """`Postings` as an argument of compiled code."""

    indptr: Int64
    """(L + 1,)"""
    item: Int32
    """(n,)"""
    key: Float64
    """(n,)"""


class Moved(NamedTuple):
    """`LivePostings` as an argument of compiled code."""

    indptr: Int64
    """(L + 1,), or (0,) of lists that do not change."""
    item: Int32
    """(n,)"""
    key: Float64
    """(n,)"""
    moved: Bool
    """(items,), or fewer: further items have not moved."""


class Selection(NamedTuple):
    """`ListSelection` as an argument of compiled code."""

    indptr: Int64
    """(Q + 1,)"""
    lists: Int32
    """(n,)"""
    weight: Float64
    """(n,) base-2 logarithms."""


@dataclass(frozen=True, eq=False)
class Postings:
    """L lists of items; list l is `item[indptr[l]:indptr[l + 1]]`, best first.

    `key` is the base-2 logarithm of an item's score in the list: scores that halve with time span
    a wider range than floating-point numbers, their logarithms do not.
    """

    indptr: Int64
    """(L + 1,)"""
    item: Int32
    """(n,) item rows."""
    key: Float64
    """(n,) descending within a list."""

    @classmethod
    def of(cls, lists: NDArray[Any], item: NDArray[Any], key: Float64, n: int) -> Postings:
        """Builds n lists from (list, item, key) triples (m,) in any order.

        Ties are broken by the lower item row.
        """
        order = np.lexsort((item, -key, lists))
        return cls(
            np.concatenate([[0], np.cumsum(np.bincount(lists, minlength=n))]).astype(np.int64),
            item[order].astype(np.int32),
            key[order].astype(np.float64),
        )

    def best(self, lists: NDArray[Any]) -> Float64:
        """(m,) the key of the first item of each of some lists; 0 for an empty list."""
        begin = self.indptr[lists]
        some = begin < self.indptr[lists + 1]
        out = np.zeros(len(lists))
        out[some] = self.key[begin[some]]
        return out

    def renumbered(self, number: NDArray[Any], n: int) -> Postings:
        """n lists, of which list l of these is number[l], ascending; the others are empty."""
        sizes = np.zeros(n, np.int64)
        sizes[number] = np.diff(self.indptr)
        return Postings(_bounds(sizes), self.item, self.key)

    def replaced(
        self, rows: NDArray[Any], lists: NDArray[Any], item: NDArray[Any], key: Float64
    ) -> Postings:
        """The lists without the items `rows` (r,), and with the (list, item, key) triples (m,).

        The cost is that of copying the entries; nothing is sorted but the triples.
        """
        return self._without(rows)._with(lists, item, key)

    def _without(self, rows: NDArray[Any]) -> Postings:
        gone = np.flatnonzero(among(self.item, rows))
        if not len(gone):
            return self
        owner = np.searchsorted(self.indptr, gone, side="right") - 1
        sizes = np.diff(self.indptr) - np.bincount(owner, minlength=len(self.indptr) - 1)
        item, key = np.delete(self.item, gone), np.delete(self.key, gone)
        return Postings(_bounds(sizes), item, key)

    def _with(self, lists: NDArray[Any], item: NDArray[Any], key: Float64) -> Postings:
        if not len(lists):
            return self
        order = np.lexsort((item, -key, lists))
        lists, item, key = lists[order].astype(np.int64), item[order].astype(np.int32), key[order]
        place = _places(self.compiled(), lists, item, key)
        sizes = np.diff(self.indptr) + np.bincount(lists, minlength=len(self.indptr) - 1)
        return Postings(
            _bounds(sizes), np.insert(self.item, place, item), np.insert(self.key, place, key)
        )

    def arrays(self, prefix: str = "posting") -> dict[str, NDArray[Any]]:
        """The columns by the names under which a channel saves them."""
        return {f"{prefix}_{name}": column for name, column in vars(self).items()}

    @classmethod
    def names(cls, prefix: str = "posting") -> tuple[str, ...]:
        """The names of `arrays`."""
        return tuple(f"{prefix}_{name}" for name in ("indptr", "item", "key"))

    @classmethod
    def within(cls, arrays: dict[str, NDArray[Any]], prefix: str = "posting") -> Postings:
        """The lists whose columns `arrays` holds: the inverse of `Postings.arrays`."""
        return cls(
            indptr=arrays[f"{prefix}_indptr"],
            item=arrays[f"{prefix}_item"],
            key=arrays[f"{prefix}_key"],
        )

    def compiled(self) -> PostingLists:
        """The same arrays as an argument of compiled code: read-only, one compiled type."""
        return PostingLists(read_only(self.indptr), read_only(self.item), read_only(self.key))


def _bounds(sizes: NDArray[Any]) -> Int64:
    """(L + 1,) bounds of lists of these sizes (L,)."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class ListSelection:
    """The lists that Q queries use: query q's are `lists[indptr[q]:indptr[q + 1]]`."""

    indptr: Int64
    """(Q + 1,)"""
    lists: Int32
    """(n,) list numbers."""
    weight: Float64
    """(n,) base-2 logarithm of each list's weight."""

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.indptr) - 1

    @classmethod
    def one(cls, lists: NDArray[Any]) -> ListSelection:
        """One list of weight 1 for each query (Q,); -1 for none."""
        named = lists >= 0
        return cls(
            np.concatenate([[0], np.cumsum(named)]).astype(np.int64),
            lists[named].astype(np.int32),
            np.zeros(int(named.sum()), np.float64),
        )

    @classmethod
    def summed(
        cls, query: NDArray[Any], lists: NDArray[Any], weight: NDArray[Any], queries: int
    ) -> ListSelection:
        """From (query, list, weight > 0) triples (m,); the weights of repeated pairs are added."""
        width = int(lists.max(initial=0)) + 1
        pairs, at = np.unique(query.astype(np.int64) * width + lists, return_inverse=True)
        total = np.bincount(at, weights=weight, minlength=len(pairs))
        counts = np.bincount(pairs // width, minlength=queries)
        return cls(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            (pairs % width).astype(np.int32),
            np.log2(total),
        )

    def otherwise(self, fallback: int) -> ListSelection:
        """The same selection, with the list `fallback` for queries without a list."""
        sizes = np.diff(self.indptr)
        bare = np.flatnonzero(sizes == 0)
        at = self.indptr[bare]
        sizes[bare] = 1
        return ListSelection(
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            np.insert(self.lists, at, np.int32(fallback)),
            np.insert(self.weight, at, 0.0),
        )


NONE_MOVED = Moved(
    read_only(np.zeros(0, np.int64)),
    read_only(np.zeros(0, np.int32)),
    read_only(np.zeros(0, np.float64)),
    read_only(np.zeros(0, np.bool_)),
)
"""Lists that do not change while they serve."""


def best_of_lists(
    postings: Postings,
    chosen: ListSelection,
    queries: Queries,
    k: int,
    n_items: int,
    published: Int64 = NO_TIMES,
    live: Moved = NONE_MOVED,
) -> Recalled:
    """The k items of each query's lists with the largest weight + key; score `2^(weight + key)`.

    An item of several lists counts once, where its score is largest. Excluded items and items
    whose publication time `published` (ms, (items,) or (0,)) is not before the query's time are
    left out. Items that have moved are read from the `live` lists.
    """
    found = nothing(len(queries), k)

    def block(begin: int, end: int) -> None:
        _merge_lists(
            begin=begin,
            end=end,
            postings=postings.compiled(),
            chosen=Selection(chosen.indptr, chosen.lists, chosen.weight),
            exclude=excluded(queries.exclude),
            live=live,
            published=published,
            time=queries.time,
            taken=scratch("posting taken", n_items, np.bool_),
            out_item=found.item,
            out_score=found.score,
        )

    in_blocks(block, len(queries), _QUERIES_PER_BLOCK)
    return found


@inner_njit
def in_sorted(values, begin, end, wanted):
    """True if `wanted` is in the ascending int32 `values[begin:end]`, by binary search."""
    low, high = begin, end
    while low < high:
        middle = (low + high) // 2
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low < end and values[low] == wanted


@njit(cache=True, nogil=True)
def _places(postings, lists, item, key):
    """(m,) int64 the place before which each (list, item, key) belongs: after the larger keys of
    its list, and after equal ones of lower items."""
    out = np.empty(len(lists), np.int64)
    for at in range(len(lists)):
        low, high = postings.indptr[lists[at]], postings.indptr[lists[at] + 1]
        while low < high:
            middle = (low + high) // 2
            there = postings.key[middle]
            if there > key[at] or (there == key[at] and postings.item[middle] < item[at]):
                low = middle + 1
            else:
                high = middle
        out[at] = low
    return out


@njit(cache=True, nogil=True)
def _merge_lists(
    begin, end, postings, chosen, exclude, live, published, time, taken, out_item, out_score
):
    """Queries [begin, end): merges the chosen posting lists, best first, into the output rows.

    Args:
        postings: PostingLists. chosen: Selection. exclude: Excluded. live: Moved.
        published: (items,) or (0,) int64 ms. time: (Q,) int64 ms of the queries.
        taken: (items,) bool scratch, all False before and after.
        out_item, out_score: (Q, k) int32 and float32, filled with -1 and -inf.
    """
    indptr, item, key = postings.indptr, postings.item, postings.key
    list_indptr, lists, weight = chosen.indptr, chosen.lists, chosen.weight
    refused_indptr, refused = exclude.indptr, exclude.item
    k = out_item.shape[1]
    for q in range(begin, end):
        named = lists[list_indptr[q] : list_indptr[q + 1]]
        extra = weight[list_indptr[q] : list_indptr[q + 1]]
        n = len(named)
        place = np.empty(2 * n, np.int64)  # in the fitted lists, then in the live ones
        for s in range(n):
            place[s] = indptr[named[s]]
            place[n + s] = live.indptr[named[s]] if len(live.indptr) else 0
        found = 0
        while found < k:
            best, best_key = -1, 0.0
            for s in range(n):
                while (
                    place[s] < indptr[named[s] + 1]
                    and item[place[s]] < len(live.moved)
                    and live.moved[item[place[s]]]
                ):
                    place[s] += 1
                if place[s] < indptr[named[s] + 1]:
                    here = extra[s] + key[place[s]]
                    if best < 0 or here > best_key:
                        best, best_key = s, here
                if len(live.indptr) and place[n + s] < live.indptr[named[s] + 1]:
                    here = extra[s] + live.key[place[n + s]]
                    if best < 0 or here > best_key:
                        best, best_key = n + s, here
            if best < 0:
                break
            i = item[place[best]] if best < n else live.item[place[best]]
            place[best] += 1
            if taken[i] or (len(published) and published[i] >= time[q]):
                continue
            if in_sorted(refused, refused_indptr[q], refused_indptr[q + 1], i):
                continue
            taken[i] = True
            out_item[q, found] = i
            out_score[q, found] = 2.0**best_key
            found += 1
        for s in range(found):
            taken[out_item[q, s]] = False
