# pyright: basic
# scipy has no type stubs.
"""The lift of lists of users on held-out events, against users drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import gammaincinv

from tamis.runtime import Bool, Float64, Int32, Int64

DRAWS = 1000
"""Bootstrap samples of the items."""
MANY = 10
"""Items from which on they are resampled; the interval of fewer is that of a Poisson count."""


@dataclass(frozen=True)
class Lift:
    """How much more often the found users liked an item than users drawn at random."""

    lift: float
    """`rate / random_rate`, each item's found users being compared with that item's users."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""
    rate: float
    """Share of the found users who liked the item in the held-out events, mean over the items."""
    random_rate: float
    """The same of all users with a vector who had not liked it before."""
    items: int
    """Number of items that it was measured on."""
    users: int
    """Number of users found for each item."""


@dataclass(frozen=True, eq=False)
class UserItems:
    """Pairs of users and items with times: the likes of a log, in order of time per user."""

    user: Int32
    item: Int32
    time: Int64
    """ms"""
    users: int
    """Number of users of the table."""
    items: int
    _order: Int64 = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_order", np.lexsort((self.time, self.item)))

    @cached_property
    def _bounds(self) -> Int64:
        counts = np.bincount(self.item, minlength=self.items)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def since(self, time: int) -> UserItems:
        """The pairs from `time` (ms) on."""
        later = self.time >= time
        columns = self.user[later], self.item[later], self.time[later]
        return UserItems(*columns, self.users, self.items)

    def users_of(self, item: int) -> Int32:
        """The distinct users of an item, the latest last."""
        users = self.user[self._order[self._bounds[item] : self._bounds[item + 1]]][::-1]
        _, first = np.unique(users, return_index=True)
        return users[np.sort(first)][::-1]

    def per_item(self, users: Int32 | None = None) -> Int64:
        """(items,) number of distinct users of each item, among `users` or all."""
        matrix = self.matrix if users is None else self.matrix[users]
        return np.asarray(matrix.sum(axis=0)).ravel().astype(np.int64)

    @cached_property
    def matrix(self) -> Any:
        """(users, items) sparse, 1 for a pair."""
        shape = (self.users, self.items)
        ones = np.ones(len(self.user), np.float32)
        made = sparse.coo_matrix((ones, (self.user, self.item)), shape=shape).tocsr()
        made.data[:] = 1  # repeated pairs were added
        return made

    def of_users(self, first: int, last: int) -> Any:
        """(last - first, items) sparse rows of users."""
        return self.matrix[first:last]

    def contains(self, user: Int32, item: Int32) -> Bool:
        """(n,) whether a pair is among these; user -1: no."""
        keys = np.sort(self.user.astype(np.int64) * self.items + self.item)
        wanted = user.astype(np.int64) * self.items + item
        if not len(keys):
            return np.zeros(len(wanted), np.bool_)
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return (keys[at] == wanted) & (user >= 0)


def measured(
    found: Int32,
    items: Int32,
    before: UserItems,
    held_out: UserItems,
    known: Bool,
    seeds: Int32 | None = None,
) -> Lift:
    """The lift of lists of users.

    Args:
        found: (m, n) rows of the users found for each item, padded by -1.
        items: (m,) their items.
        before: likes known when the users were found; those who had liked an item do not count.
        held_out: likes after that, of the same rows.
        known: (users,) those who could be found.
        seeds: users who could not be found for any item.
    """
    m, n = found.shape
    pair_user, pair_item = found.ravel(), np.repeat(items, n)
    fresh = (pair_user >= 0) & ~before.contains(pair_user, pair_item)
    hit = fresh & held_out.contains(pair_user, pair_item)
    row = np.repeat(np.arange(m), n)
    trials = np.bincount(row[fresh], minlength=m).astype(np.float64)
    hits = np.bincount(row[hit], minlength=m).astype(np.float64)
    rate = _rates_of_all(items, before, held_out, known, seeds)
    expected = trials * rate
    low, high = _interval(hits, expected)
    total = expected.sum()
    return Lift(
        lift=float(hits.sum() / total) if total else float("nan"),
        low=low,
        high=high,
        rate=float((hits / np.maximum(trials, 1)).mean()),
        random_rate=float(rate.mean()),
        items=m,
        users=n,
    )


def _rates_of_all(
    items: Int32, before: UserItems, held_out: UserItems, known: Bool, seeds: Int32 | None
) -> Float64:
    """(m,) share of the users who could be found, and had not liked the item, who then did."""
    there = known.copy()
    if seeds is not None:
        there[seeds] = False
    pool = np.flatnonzero(there)
    old, new = before.matrix[pool][:, items], held_out.matrix[pool][:, items]
    had = np.asarray(old.sum(axis=0)).ravel()
    did = np.asarray(new.sum(axis=0)).ravel() - np.asarray(new.multiply(old).sum(axis=0)).ravel()
    return (did / np.maximum(len(pool) - had, 1)).astype(np.float64)


def _interval(hits: Float64, expected: Float64) -> tuple[float, float]:
    """The 95 % interval of `Σ hits / Σ expected` over items (m,).

    Of many items: percentiles of the ratio over resampled items; of few: the exact interval of a
    Poisson count (Garwood 1936).
    """
    total = float(expected.sum())
    if not total:
        return float("nan"), float("nan")
    if len(hits) < MANY:
        count = float(hits.sum())
        low = gammaincinv(count, 0.025) if count else 0.0
        return float(low / total), float(gammaincinv(count + 1, 0.975) / total)
    draws = np.random.default_rng(0).integers(0, len(hits), (DRAWS, len(hits)))
    below = expected[draws].sum(axis=1)
    ratio = hits[draws].sum(axis=1) / np.where(below > 0, below, np.nan)
    low, high = np.nanpercentile(ratio, [2.5, 97.5])
    return float(low), float(high)
