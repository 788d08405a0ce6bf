"""Swing: items that many pairs of otherwise dissimilar users have in common."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from tamis.data import Dataset
from tamis.recall._common.interactions import grouped, places_of_likes
from tamis.recall.neighbours._channel import Neighbourhood, NeighbourSettings, Prune
from tamis.recall.neighbours._kernels import SimilarItems, keep_row, packed
from tamis.runtime import Float32, Float64, Int32, Int64, in_blocks, scratch
from tamis.runtime.compiled import inner_njit, njit

ITEMS_PER_BLOCK = 512
USERS_PER_BLOCK = 256
MAX_SUMS = 64_000_000
"""Most float32 sums in memory at once; the items are processed in as many ranges as needed."""


class MemberLists(NamedTuple):
    """A CSR: list x is `member[indptr[x]:indptr[x + 1]]`, ascending."""

    indptr: Int64
    """(X + 1,)"""
    member: Int32
    """(n,) item rows of a user, or user rows of an item."""


class Pairs(NamedTuple):
    """The user-item pairs that the similarity is computed from."""

    by_user: MemberLists
    """Items of each user."""
    by_item: MemberLists
    """Users of each item."""
    place: Int32
    """(n,) for each pair of `by_item`: the item's index in the user's list."""


class Sums(NamedTuple):
    """Sums over pairs of users, for each user u, item a of the range and item b of u."""

    start: Int64
    """(users + 1,) where a user's rows start; a user with R items in the range and L items has R
    rows (a) of L columns (b)."""
    value: Float32
    """(start[-1],)"""


class Scales(NamedTuple):
    """How a sum becomes a similarity: `sum^power · own[row's item] · other[similar item]`."""

    own: Float64
    """(I,)"""
    other: Float64
    """(I,)"""
    power: float


class SwingConfig(NeighbourSettings):
    """Options of Swing."""

    alpha: Annotated[float, Field(gt=0)] = 1.0
    """α: smoothing constant; the larger, the less the number of items that two users share matters.
    """
    power: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Exponent of the similarity in the score, which counts pairs of users; 1: the similarity
    itself."""
    popularity: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Exponent of the division by the liked item's number of users, |U_j|^popularity, which lowers
    the weight of popular liked items; 0: not divided."""
    most_users: Annotated[int, Field(ge=2)] = 500
    """Number of an item's latest users read by the fit, whose cost grows with the square of it."""
    fit_last: Annotated[int, Field(ge=2)] = 500
    """Number of a user's latest items read by the fit, whose cost grows with the square of it."""


class Swing(Neighbourhood):
    """Item similarity by pairs of users who have both items in common and few others.

    `sim(i,j) = Σ_{u<v ∈ U_i∩U_j} w_u·w_v / (α + |I_u ∩ I_v|)` over unordered pairs of users, with
    `w_u = 1/√|I_u|`. I_u are the user's liked items and U_i the item's users, after two caps: first
    the latest `fit_last` items of each user, then the latest `most_users` users of each item. The
    score of i is the sum of
    `r_uj · (1 + age(j))^-recency · sim(j,i)^power / |U_j|^popularity` over the user's liked items
    j, where r is as in `itemcf` and age(j) the number of liked items with a later time; power = 1,
    popularity = 0 and recency = 0 give the plain sum of similarities.

    When to use: together with ItemCF, if groups of users with the same items make co-occurrence
    noisy.
    Cost: fit: the sum over pairs of users of the squared number of common items, a few times that
    of ItemCF. Recall and memory: as ItemCF.
    Source: Yang et al. 2020, Large scale product graph construction for recommendation in
    e-commerce.
    """

    name = "swing"
    Config = SwingConfig
    config: SwingConfig

    def _similar(self, data: Dataset, prune: Prune) -> SimilarItems:
        n = len(data.items)
        pairs = _capped_pairs(data, self.config.fit_last, self.config.most_users)
        out = SimilarItems.empty(n, min(self.config.neighbours, max(n - 1, 1)))
        lengths, by_item = np.diff(pairs.by_user.indptr), pairs.by_item
        # (I + 1,) sums needed for all items before each one
        need = np.concatenate([[0], np.cumsum(lengths[by_item.member])])[by_item.indptr]
        begin = 0
        while begin < n:
            end = int(np.searchsorted(need, need[begin] + MAX_SUMS, side="right")) - 1
            end = min(max(end, begin + 1), n)
            self._fill_range(begin, end, pairs, prune, out)
            begin = end
        return out

    def _fill_range(
        self, first: int, after: int, pairs: Pairs, prune: Prune, out: SimilarItems
    ) -> None:
        """Fills rows [first, after) of `out`: sums by user and his items, then by item."""
        by_user, by_item = pairs.by_user, pairs.by_item
        n_users, n_items = len(by_user.indptr) - 1, len(by_item.indptr) - 1
        liked = np.maximum(np.diff(by_item.indptr), 1) ** -self.config.popularity
        ones = np.ones(n_items)
        if prune == "candidate":  # a row's item is the candidate, the similar one liked
            scales = Scales(own=ones, other=liked, power=self.config.power)
        else:
            scales = Scales(own=liked, other=ones, power=self.config.power)
        lengths = np.diff(by_user.indptr)
        weight = (1 / np.sqrt(np.maximum(lengths, 1))).astype(np.float32)
        mine = np.where((by_user.member >= first) & (by_user.member < after), 1, 0)
        rows = np.concatenate([[0], np.cumsum(mine)])[by_user.indptr]  # rows before each user
        start = np.concatenate([[0], np.cumsum(np.diff(rows) * lengths)]).astype(np.int64)
        sums = Sums(start=start, value=np.zeros(start[-1], np.float32))

        def users(begin: int, end: int) -> None:
            _share_block(
                begin=begin,
                end=end,
                first=first,
                after=after,
                alpha=self.config.alpha,
                by_user=by_user,
                by_item=by_item,
                weight=weight,
                sums=sums,
                shared=scratch("shared", n_users, np.int32),
                place=scratch("place", n_users, np.int64),
            )

        def items(begin: int, end: int) -> None:
            _gather_block(
                begin=first + begin,
                end=first + end,
                first=first,
                pairs=pairs,
                sums=sums,
                scales=scales,
                total=scratch("sum", n_items, np.float32),
                keys=scratch("keys", n_items, np.uint64),
                out=out,
            )

        in_blocks(users, n_users, USERS_PER_BLOCK)
        in_blocks(items, after - first, ITEMS_PER_BLOCK)


def _capped_pairs(data: Dataset, fit_last: int, most_users: int) -> Pairs:
    """The pairs of user and liked item within the caps: the latest `fit_last` items of each user,
    then the latest `most_users` users of each item."""
    liked = places_of_likes(data)
    user, item = data.events.user[liked], data.events.item[liked]
    indptr, order = grouped(user, len(data.users))
    at = np.sort(_latest(indptr, order, item, fit_last, len(data.items)))
    user, item = user[at], item[at]
    indptr, order = grouped(item, len(data.items))
    sizes = np.diff(indptr)
    from_end = np.repeat(indptr[1:], sizes) - np.arange(len(order))  # 1 = the latest
    at = order[from_end <= most_users]
    user, item = user[at], item[at]  # by item
    user_at, order = grouped(user, len(data.users))
    by_user = MemberLists(user_at, item[order])
    owner = np.repeat(np.arange(len(data.users), dtype=np.int32), np.diff(user_at))
    within = (np.arange(len(owner)) - user_at[owner]).astype(np.int32)
    item_at, order = grouped(by_user.member, len(data.items))
    return Pairs(by_user, MemberLists(item_at, owner[order]), within[order])


@njit(cache=True, nogil=True)
def _latest(indptr, order, item, limit, n_items):
    """Indices of each user's latest event with each of his `limit` latest distinct items.

    indptr int64 (users + 1,) and order int64 (n,): user u's events are
    `order[indptr[u]:indptr[u + 1]]`. item: int32 of all events.
    """
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
def _share_block(begin, end, first, after, alpha, by_user, by_item, weight, sums, shared, place):
    """Users u in [begin, end): for each item a in [first, after) and each item b of u, adds
    `w_u · w_v / (alpha + common items)` over the users v > u who have both to `sums`.

    Args:
        by_user, by_item: MemberLists. weight: (users,) float32 w. sums: Sums.
        shared: (users,) int32 scratch, zero before and after. place: (users,) int64 scratch.
    """
    user_at, user_item = by_user.indptr, by_user.member
    start, value = sums.start, sums.value
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
        _list_shared(u, mine, by_item, shared, others[:n], place, common)
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
                _add_pairs(common[place[v] - c : place[v]], part, row, value)


@inner_njit
def _count_shared(u, mine, by_item, shared, others):
    """Counts in `shared` (users,) how many of u's items `mine` each user v > u has.

    Returns the number of such users, written to `others`, and the sum of their counts above 1.
    """
    item_at, item_user = by_item.indptr, by_item.member
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


@inner_njit
def _list_shared(u, mine, by_item, shared, others, place, common):
    """Lists the indices into `mine` of the items that each of `others` has, if more than one.

    User v's are the `shared[v]` entries of `common` (int32) before `place[v]`, ascending.
    """
    item_at, item_user = by_item.indptr, by_item.member
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


@inner_njit
def _add_pairs(common, part, row, sums):
    """Adds `part` to `sums[row[a] + b]` for all a, b in `common`; rows of -1 are skipped."""
    for a in common:
        at = row[a]
        if at >= 0:
            for b in common:
                sums[at + b] += part


@njit(cache=True, nogil=True)
def _gather_block(begin, end, first, pairs, sums, scales, total, keys, out):
    """Items [begin, end): adds up the rows of `sums` of the item's users, keeps the most similar.

    Args:
        first: the first item of the range that `sums` holds.
        pairs: Pairs. sums: Sums. scales: Scales.
        total: (I,) float32 scratch, zero before and after. keys: (I,) uint64 scratch.
        out: SimilarItems of all items, of which rows [begin, end) are written.
    """
    user_at, user_item = pairs.by_user.indptr, pairs.by_user.member
    item_at, item_user, item_place = pairs.by_item.indptr, pairs.by_item.member, pairs.place
    start, value = sums.start, sums.value
    own, other, power = scales.own, scales.other, scales.power
    touched = np.empty(len(total) + 1, np.int32)
    for i in range(begin, end):
        n = 0
        for e in range(item_at[i], item_at[i + 1]):
            u = item_user[e]
            mine = user_item[user_at[u] : user_at[u + 1]]
            above = np.searchsorted(mine[: item_place[e]], first)  # the user's items before `first`
            at = start[u] + (item_place[e] - above) * len(mine)
            for b in range(len(mine)):
                add = value[at + b]
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
        out.size[i] = keep_row(keys, m, out.item[i], out.value[i])
