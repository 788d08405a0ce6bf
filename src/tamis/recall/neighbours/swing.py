"""Swing: items held together by people who otherwise share little."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numba import njit
from pydantic import Field

from tamis.data import Dataset
from tamis.index import in_blocks, scratch
from tamis.recall._common.interactions import grouped
from tamis.recall.neighbours._channel import Neighbourhood, NeighbourSettings, Rows
from tamis.recall.neighbours._kernels import keep_row, packed
from tamis.runtime import Int32, Int64

ITEMS_PER_BLOCK = 512
USERS_PER_BLOCK = 256
SLAB = 64_000_000
"""Most float32 numbers of user-by-user sums held at once; items are taken in as many turns."""
Lists = tuple[Int64, Int32]


class SwingConfig(NeighbourSettings):
    """Options of Swing."""

    alpha: Annotated[float, Field(gt=0)] = 1.0
    """α: the larger, the less it matters how much else two users share."""
    power: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A vote is sim^power: sim counts pairs of users, its root users; 1 = sim itself."""
    popularity: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A liked item's votes are divided by |U_j|^popularity: what many like says less of a taste;
    0 = not divided."""
    most_users: Annotated[int, Field(ge=2)] = 500
    """Of each item only so many latest users are read; cost grows with the square of it."""
    fit_last: Annotated[int, Field(ge=2)] = 500
    """Of each user only so many latest items are read; cost grows with the square of it."""


class Swing(Neighbourhood):
    """Items that pairs of users have in common, who share little else.

    `sim(i,j) = Σ_{u<v ∈ U_i∩U_j} w_u·w_v / (α + |I_u ∩ I_v|)`, each unordered pair of users once,
    `w_u = 1/√|I_u|`; I_u are the user's liked items and U_i the item's users, after the two caps:
    first the latest `fit_last` items of each user, then the latest `most_users` users of each item.
    Recall sums `r_uj · (1 + age(j))^-recency · sim(j,i)^power / |U_j|^popularity` over the user's
    liked items j, age = how many of them have a later time; with power = 1, popularity = 0 and
    recency = 0 these are the plain similarities.

    When to use: beside ItemCF, where cliques or fans of one shop make co-occurrence noisy.
    Cost: fit takes the sum over pairs of users of the square of what they share, a few times
    ItemCF's; recall and memory as ItemCF.
    Source: Yang et al. 2020, Large scale product graph construction for recommendation in
    e-commerce.
    """

    name = "swing"
    Config = SwingConfig
    config: SwingConfig

    def _similar(self, data: Dataset) -> Rows:
        n = len(data.items)
        by_user, by_item, place = _both_ways(data, self.config.fit_last, self.config.most_users)
        keep = min(self.config.neighbours, max(n - 1, 1))
        out = np.zeros(n, np.int32), np.empty((n, keep), np.int32), np.empty((n, keep), np.float32)
        lengths = np.diff(by_user[0])
        need = np.concatenate([[0], np.cumsum(lengths[by_item[1]])])[by_item[0]]  # (N + 1,)
        begin = 0
        while begin < n:
            end = int(np.searchsorted(need, need[begin] + SLAB, side="right")) - 1
            end = min(max(end, begin + 1), n)
            self._turn(begin, end, by_user, by_item, place, out)
            begin = end
        return out

    def _turn(
        self, first: int, after: int, by_user: Lists, by_item: Lists, place: Int32, out: Rows
    ) -> None:
        """Rows [first, after) of `out`: sums by user and its items, then by item."""
        n_users, n_items = len(by_user[0]) - 1, len(by_item[0]) - 1
        liked = np.maximum(np.diff(by_item[0]), 1) ** -self.config.popularity
        alike = np.ones(n_items)  # a row's owner and its neighbour: one is liked, one recalled
        scale = (alike, liked) if self.config.prune == "candidate" else (liked, alike)
        lengths = np.diff(by_user[0])
        weight = (1 / np.sqrt(np.maximum(lengths, 1))).astype(np.float32)
        mine = np.where((by_user[1] >= first) & (by_user[1] < after), 1, 0)
        rows = np.concatenate([[0], np.cumsum(mine)])[by_user[0]]  # rows of the slab before a user
        start = np.concatenate([[0], np.cumsum(np.diff(rows) * lengths)]).astype(np.int64)
        slab = np.zeros(start[-1], np.float32)

        def users(begin: int, end: int) -> None:
            _share_block(
                (begin, end, first, after, self.config.alpha),
                by_user,
                by_item,
                weight,
                (start, slab),
                scratch("shared", n_users, np.int32),
                scratch("place", n_users, np.int64),
            )

        def items(begin: int, end: int) -> None:
            _gather_block(
                (first + begin, first + end, first),
                by_user,
                (*by_item, place),
                (start, slab),
                (*scale, self.config.power),
                scratch("sum", n_items, np.float32),
                scratch("keys", n_items, np.uint64),
                out,
            )

        in_blocks(users, n_users, USERS_PER_BLOCK)
        in_blocks(items, after - first, ITEMS_PER_BLOCK)


def _both_ways(data: Dataset, fit_last: int, most_users: int) -> tuple[Lists, Lists, Int32]:
    """Pairs of user and liked item, capped: grouped by user (items ascending), by item (users
    ascending), and for each pair of the latter the item's place in the user's list."""
    positive = np.flatnonzero(data.positive)
    user, item = data.events.user[positive], data.events.item[positive]
    indptr, order = grouped(user, len(data.users))
    at = np.sort(_latest(indptr, order, item, fit_last, len(data.items)))
    user, item = user[at], item[at]
    indptr, order = grouped(item, len(data.items))
    sizes = np.diff(indptr)
    from_end = np.repeat(indptr[1:], sizes) - np.arange(len(order))  # 1 = the latest
    at = order[from_end <= most_users]
    user, item = user[at], item[at]  # by item
    user_at, order = grouped(user, len(data.users))
    by_user = (user_at, item[order])
    owner = np.repeat(np.arange(len(data.users), dtype=np.int32), np.diff(user_at))
    within = (np.arange(len(owner)) - user_at[owner]).astype(np.int32)
    item_at, order = grouped(by_user[1], len(data.items))
    return by_user, (item_at, owner[order]), within[order]


@njit(cache=True, nogil=True)
def _latest(indptr, order, item, limit, n_items):
    """Of each user's events (`order[indptr[u]:indptr[u + 1]]`) the latest one of each of the
    `limit` latest distinct items."""
    met = np.full(n_items, -1, np.int32)
    out = np.empty(len(order), np.int64)
    n = 0
    for u in range(len(indptr) - 1):
        found = 0
        for e in range(indptr[u + 1] - 1, indptr[u] - 1, -1):
            i = item[order[e]]
            if met[i] != u and found < limit:
                met[i] = u
                out[n] = order[e]
                n += 1
                found += 1
    return out[:n].copy()


@njit(cache=True, nogil=True)
def _share_block(span, by_user, by_item, weight, slab, shared, place):
    """For each user u, and items a of [first, after) and b of u: sums over the users v > u who hold
    both, into the slab's row of (u, a), column b."""
    begin, end, first, after, alpha = span
    user_at, user_item = by_user
    start, sums = slab
    others = np.empty(len(shared), np.int32)
    common, row = np.empty(1024, np.int32), np.empty(1024, np.int64)
    for u in range(begin, end):
        if start[u + 1] == start[u]:
            continue
        mine = user_item[user_at[u] : user_at[u + 1]]
        n, size = _count_shared(u, mine, by_item, shared, others)
        if size > len(common):
            common = np.empty(2 * size, np.int32)
        if len(mine) > len(row):
            row = np.empty(2 * len(mine), np.int64)
        _note_shared(u, mine, by_item, shared, others[:n], place, common)
        at = start[u]
        for a in range(len(mine)):
            row[a] = -1
            if first <= mine[a] < after:
                row[a] = at
                at += len(mine)
        for t in range(n):
            v = others[t]
            c = shared[v]
            shared[v] = 0
            if c > 1:
                part = np.float32(weight[u] * weight[v] / (alpha + c))
                _add_pairs(common[place[v] - c : place[v]], part, row, sums)


@njit(cache=True, nogil=True)
def _count_shared(u, mine, by_item, shared, others):
    """Counts in `shared` what each user after u has of `mine`; (such users, items to note)."""
    item_at, item_user = by_item
    n, size = 0, 0
    for i in mine:
        for e in range(item_at[i + 1] - 1, item_at[i] - 1, -1):
            v = item_user[e]
            if v <= u:
                break
            if shared[v] == 0:
                others[n] = v
                n += 1
            shared[v] += 1
    for t in range(n):
        if shared[others[t]] > 1:
            size += shared[others[t]]
    return n, size


@njit(cache=True, nogil=True)
def _note_shared(u, mine, by_item, shared, others, place, common):
    """Places in `mine` of what each of `others` shares, if more than one: `common` up to `place`,
    ascending."""
    item_at, item_user = by_item
    size = 0
    for v in others:
        place[v] = size
        size += shared[v] if shared[v] > 1 else 0
    for a in range(len(mine)):
        i = mine[a]
        for e in range(item_at[i + 1] - 1, item_at[i] - 1, -1):
            v = item_user[e]
            if v <= u:
                break
            if shared[v] > 1:
                common[place[v]] = a
                place[v] += 1


@njit(cache=True, nogil=True)
def _add_pairs(common, part, row, sums):
    """Adds `part` for every two of the common places whose row is held."""
    for a in common:
        at = row[a]
        if at >= 0:
            for b in common:
                sums[at + b] += part


@njit(cache=True, nogil=True)
def _gather_block(span, by_user, by_item, slab, votes, total, keys, out):
    """Items [begin, end): the slab's rows of the item's users added up, the most similar kept."""
    begin, end, first = span
    user_at, user_item = by_user
    item_at, item_user, item_place = by_item
    start, sums = slab
    own, other, power = votes
    touched = np.empty(len(total) + 1, np.int32)
    for i in range(begin, end):
        n = 0
        for e in range(item_at[i], item_at[i + 1]):
            u = item_user[e]
            mine = user_item[user_at[u] : user_at[u + 1]]
            above = np.searchsorted(mine[: item_place[e]], first)  # items before the slab's first
            at = start[u] + (item_place[e] - above) * len(mine)
            for b in range(len(mine)):
                add = sums[at + b]
                j = mine[b]
                before = total[j]
                total[j] = before + add
                touched[n] = j
                n += (before == 0) & (add != 0)
        m = 0
        for t in range(n):
            j = touched[t]
            keys[m] = packed(j, total[j] ** power * own[i] * other[j])
            m += j != i
            total[j] = 0
        out[0][i] = keep_row(keys, m, out[1][i], out[2][i])
