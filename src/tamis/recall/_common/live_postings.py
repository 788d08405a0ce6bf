"""Posting lists whose keys grow with the likes that come while a version serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.recall._common.postings import Moved, Postings, among, read_only
from tamis.runtime import Bool, Float64, Int32, grown


@dataclass(frozen=True, eq=False)
class LivePostings:
    """The entries that replace those of the fitted lists: an item that gets a like leaves the
    fitted lists with all its entries, and is in these from then on.

    So a like costs a look at the entries, not a sort of the lists.
    """

    entries: Postings
    """Lists of the same numbers as the fitted ones."""
    moved: Bool
    """(items,) the items whose entries are in `entries`."""

    @classmethod
    def empty(cls, lists: int) -> LivePostings:
        """No item has moved; `lists`: number of the fitted lists."""
        none = np.zeros(0, np.int64)
        entries = Postings.of(none, none, np.zeros(0), lists)
        return cls(entries, np.zeros(0, np.bool_))

    def with_likes(
        self, fitted: Postings, lists: NDArray[Any], item: NDArray[Any], key: Float64
    ) -> LivePostings:
        """The entries after likes: log2 of the sum of 2^key is added per list and item.

        Args:
            fitted: the fitted lists.
            lists, item, key: (m,) list, item row and base-2 logarithm of the worth of each like, in
                the order of the journal. Sums are made in that order, so that they do not depend on
                how the journal was cut into pages.
        """
        touched = np.unique(item)
        moved = grown(self.moved, max(len(self.moved), int(touched[-1]) + 1), False)
        new = touched[~moved[touched]]
        moved[touched] = True
        fitted_lists, fitted_item, fitted_key = _of_items(fitted, new)
        live_lists, live_item, live_key = _of_items(self.entries, touched)
        before = len(fitted_lists) + len(live_lists)
        pairs, at = np.unique(
            np.concatenate([fitted_lists, live_lists, lists]).astype(np.int64) * len(moved)
            + np.concatenate([fitted_item, live_item, item]),
            return_inverse=True,
        )
        total = np.full(len(pairs), -np.inf)
        total[at[:before]] = np.concatenate([fitted_key, live_key])
        np.logaddexp2.at(total, at[before:], key)
        whose, row = np.divmod(pairs, len(moved))
        return LivePostings(self.entries.replaced(touched, whose, row, total), moved)

    def renumbered(self, number: NDArray[Any], n: int) -> LivePostings:
        """The same entries in n lists, list l of these being number[l]."""
        return LivePostings(self.entries.renumbered(number, n), self.moved)

    def keys(self, rows: Int32, one_list: int) -> Float64:
        """(r,) the keys of items in one list; NaN for those that have not moved."""
        found = np.full(max(len(self.moved), int(rows.max(initial=-1)) + 1), np.nan)
        bounds = slice(*self.entries.indptr[one_list : one_list + 2].tolist())
        found[self.entries.item[bounds]] = self.entries.key[bounds]
        return found[rows]

    def replaced(
        self, rows: Int32, lists: NDArray[Any], item: NDArray[Any], key: Float64
    ) -> LivePostings:
        """The entries without the items `rows`, and with the (list, item, key) triples (m,) of
        those among them that have moved."""
        return LivePostings(self.entries.replaced(rows, lists, item, key), self.moved)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a snapshot keeps."""
        return self.entries.arrays()

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> LivePostings:
        """The inverse of `arrays`."""
        entries = Postings.within(dict(arrays))
        moved = np.zeros(int(entries.item.max(initial=-1)) + 1, np.bool_)
        moved[entries.item] = True
        return cls(entries, moved)

    def compiled(self) -> Moved:
        """The same arrays as an argument of compiled code."""
        return Moved(*self.entries.compiled(), read_only(self.moved))


def _of_items(
    postings: Postings, rows: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(list, item, key) of the entries of some items (r,)."""
    if not len(rows):
        return np.zeros(0, np.intp), rows, np.zeros(0)
    at = np.flatnonzero(among(postings.item, rows))
    lists = np.searchsorted(postings.indptr, at, side="right") - 1
    return lists, postings.item[at], postings.key[at]
