"""UserCF: user-based collaborative filtering."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset
from tamis.recall._common.channel import BaseChannel, need_positives, nothing
from tamis.recall._common.compiled_arguments import excluded
from tamis.recall._common.interactions import (
    Combine,
    declared_interest,
    distinct,
    grouped,
    interests,
    places_of_likes,
)
from tamis.recall.neighbours._kernels import (
    best_to_front,
    mark_excluded,
    packed,
    unpacked,
    write_best,
)
from tamis.runtime import in_blocks, scratch
from tamis.runtime.compiled import njit
from tamis.schema import ComponentConfig

QUERIES_PER_BLOCK = 64


class UserCFConfig(ComponentConfig):
    """Options of UserCF."""

    neighbours: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Number K of most similar users whose items are recalled."""
    last: Annotated[int, Field(ge=1)] | None = None
    """Number of the user's most recent liked items that the similarity is computed from. If
    omitted: all."""
    last_of_neighbour: Annotated[int, Field(ge=1)] | None = None
    """Number of each similar user's most recent liked items that are recalled. If omitted: all."""
    combine: Combine = "max"
    """How the weights of a similar user's events with one item make the interest value r. max: the
    largest. sum: the sum of the weights of the different behaviours (click 1 and like 2 make 3)."""
    most_users: Annotated[int, Field(ge=1)] = 5000
    """Number of an item's latest users that are compared with a user who likes it."""


class UserCF(BaseChannel):
    """User-based collaborative filtering from the history in the query.

    `sim(u,v) = Σ_{l ∈ I_u∩I_v} 1/log(1+n_l) / √(|I_u||I_v|)`, where n_l is the number of users who
    liked l. The score of i is the sum of `sim(u,v) · r_vi` over the K most similar users v other
    than u, with r the interest value of v's likes of i: the largest of their weights, or the sum
    over their behaviours. A like is an event of a positive behaviour, or of one that declares a
    weight above 0. Users who are not in the log get an answer from the history in their query.

    When to use: if there are fewer users than items, or if tastes change within days (news).
    Cost: fit: one sort of the log. Recall: reads at most `most_users` users per liked item, and the
    items of K users. Memory: 12 bytes per liked pair.
    Source: Breese et al. 1998, Empirical analysis of predictive algorithms for collaborative
    filtering (inverse user frequency); Resnick et al. 1994, GroupLens.
    """

    name = "usercf"
    Config = UserCFConfig
    config: UserCFConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        n_items = len(data.items)
        by_user = interests(data)
        lengths = np.diff(by_user.indptr)
        users = np.bincount(by_user.other, minlength=n_items)  # n_l
        short = interests(data, self.config.last_of_neighbour, self.config.combine)
        users_at, users_of = _latest_users(data, self.config.most_users)
        self._arrays = {
            "items_at": short.indptr,
            "item": short.other,
            "value": short.value,
            "users_at": users_at,
            "user": users_of,
            "rarity": (1 / np.log1p(np.maximum(users, 1))).astype(np.float32),
            "norm": np.sqrt(lengths).astype(np.float32),
            "interest": declared_interest(data.behaviours),
        }
        return {}

    def _recall(self, queries: Queries, k: int) -> Recalled:
        found = nothing(len(queries), k)
        past = self._past(queries)
        last = self._last(int(np.diff(queries.history.indptr).max()))

        def block(begin: int, end: int) -> None:
            _recall_block(
                begin=begin,
                end=end,
                last=last,
                most=self.config.neighbours,
                history=past,
                exclude=excluded(queries.exclude),
                model=self._model(),
                space=self._scratch(),
                refused=scratch("refused", self._n_items, np.bool_),
                out_item=found.item,
                out_score=found.score,
            )

        in_blocks(block, len(queries), QUERIES_PER_BLOCK)
        return found

    def because(self, queries: Queries, item: int) -> int | None:
        """The rarest liked item in common with the similar user who adds most to the score of
        `item`; None if none adds anything."""
        past, arrays = self._past(queries), self._arrays
        last = self._last(len(queries.history.item))
        liked, near, similarity = _nearest(
            q=0,
            last=last,
            most=self.config.neighbours,
            history=past,
            model=self._model(),
            space=self._scratch(),
        )
        spans = [slice(arrays["items_at"][v], arrays["items_at"][v + 1]) for v in near]
        parts = [
            float(similarity[s] * arrays["value"][span][arrays["item"][span] == item].sum())
            for s, span in enumerate(spans)
        ]
        if not parts or max(parts) <= 0:
            return None
        closest = near[int(np.argmax(parts))]
        shared = [i for i in sorted(liked.tolist()) if closest in self._users(i)]
        return max(shared, key=lambda i: arrays["rarity"][i])

    def _users(self, item: int) -> NDArray[np.int32]:
        """The users of an item that can become neighbours through it."""
        at = self._arrays["users_at"]
        return self._arrays["user"][at[item] : at[item + 1]]

    def _past(self, queries: Queries) -> _Histories:
        """The queries' users and events."""
        history = queries.history
        return _Histories(
            user=queries.user,
            indptr=history.indptr,
            item=history.item,
            value=self._arrays["interest"][history.behaviour],
        )

    def _last(self, longest: int) -> int:
        """Most items read of histories with at most `longest` events."""
        return min(self.config.last or longest, longest)

    def _model(self) -> _Model:
        """The fitted arrays."""
        return _Model(**{name: self._arrays[name] for name in _Model._fields})

    def _scratch(self) -> _QueryScratch:
        """Scratch arrays of the calling thread."""
        n_users, n_items = len(self._arrays["norm"]), self._n_items
        return _QueryScratch(
            by_user=scratch("alike", n_users, np.float32),
            by_item=scratch("sum", n_items, np.float32),
            slot=scratch("slot", n_items, np.int32),
            keys=scratch("keys", max(n_users, n_items), np.uint64),
            touched=scratch("touched", max(n_users, n_items) + 1, np.int32),
        )


class _Histories(NamedTuple):
    """The queries' users and events."""

    user: NDArray[np.int32]
    """(Q,) user rows, -1 for unknown users."""
    indptr: NDArray[np.int64]
    """(Q + 1,)"""
    item: NDArray[np.int32]
    """(n,)"""
    value: NDArray[np.float32]
    """(n,) interest value, negative if not a like."""


class _Model(NamedTuple):
    """The fitted state, by the names under which it is saved."""

    items_at: NDArray[np.int64]
    """(users + 1,) bounds of each user's items."""
    item: NDArray[np.int32]
    """(n,) item rows of each user, most recent first."""
    value: NDArray[np.float32]
    """(n,) interest values r."""
    users_at: NDArray[np.int64]
    """(items + 1,) bounds of each item's users."""
    user: NDArray[np.int32]
    """(m,) user rows of each item, most recent first."""
    rarity: NDArray[np.float32]
    """(items,) 1 / log(1 + n_l)."""
    norm: NDArray[np.float32]
    """(users,) √|I_v|."""


class _QueryScratch(NamedTuple):
    """Scratch arrays; all but `keys` and `touched` are zero before and after a query."""

    by_user: NDArray[np.float32]
    """(users,) sums."""
    by_item: NDArray[np.float32]
    """(items,) sums."""
    slot: NDArray[np.int32]
    """(items,)"""
    keys: NDArray[np.uint64]
    """(max(users, items),)"""
    touched: NDArray[np.int32]
    """(max(users, items) + 1,)"""


def _latest_users(data: Dataset, most: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Each item's distinct users who like it, latest first, at most `most`, as a CSR."""
    liked = places_of_likes(data)
    users, items = data.events.user[liked], data.events.item[liked]
    indptr, order = grouped(items, len(data.items))
    return _distinct_users(indptr, users[order], most, len(data.users))


@njit(cache=True, nogil=True)
def _distinct_users(indptr, user, most, n_users):
    """The `most` last distinct users of each list (int64 (I + 1,), int32 (n,)), latest first."""
    met = np.full(n_users, -1, np.int32)
    out_indptr, out = np.zeros(len(indptr), np.int64), np.empty(len(user), np.int32)
    n = 0
    for i in range(len(indptr) - 1):
        for e in range(indptr[i + 1] - 1, indptr[i] - 1, -1):
            v = user[e]
            if met[v] != i and n - out_indptr[i] < most:
                met[v] = i
                out[n] = v
                n += 1
        out_indptr[i + 1] = n
    return out_indptr, out[:n].copy()


@njit(cache=True, nogil=True)
def _nearest(q, last, most, history, model, space):
    """The `most` users most similar to query q's, by its `last` most recent liked items.

    history: _Histories. model: _Model. space: _Scratch.

    Returns the liked items (int32), the similar users (int32), best first, and their similarities
    (float32).
    """
    user = history.user
    users_at, users_of, rarity, norm = model.users_at, model.user, model.rarity, model.norm
    by_user, slot, keys, touched = space.by_user, space.slot, space.keys, space.touched
    liked, value = np.empty(last, np.int32), np.empty(last, np.float32)
    begin, end = history.indptr[q], history.indptr[q + 1]
    count = distinct(history.item, history.value, begin, end, last, slot, liked, value)
    n = 0
    for s in range(count):
        i = liked[s]
        for e in range(users_at[i], users_at[i + 1]):
            v = users_of[e]
            before = by_user[v]
            by_user[v] = before + rarity[i]
            touched[n] = v
            n += before == 0
    m = 0
    own = np.float32(np.sqrt(count))
    for t in range(n):
        v = touched[t]
        keys[m] = packed(v, by_user[v] / (own * norm[v]))
        m += v != user[q]
        by_user[v] = 0
    k = min(m, most)
    best_to_front(keys, m, k)
    near, similar = np.empty(k, np.int32), np.empty(k, np.float32)
    keys[:k].sort()
    for t in range(k):
        near[t], similar[t] = unpacked(keys[k - 1 - t])
    return liked[:count], near, similar


@njit(cache=True, nogil=True)
def _recall_block(
    begin, end, last, most, history, exclude, model, space, refused, out_item, out_score
):
    """Queries [begin, end): sums the items of the most similar users, keeps the best.

    Args:
        last, most, history, model, space: as in `_nearest`.
        exclude: Excluded. refused: (items,) bool scratch, all False before and after.
        out_item, out_score: (Q, k) int32 and float32, filled with -1 and -inf.
    """
    items_at, item, value = model.items_at, model.item, model.value
    exclude_at, excluded_item = exclude.indptr, exclude.item
    total, keys, touched = space.by_item, space.keys, space.touched
    for q in range(begin, end):
        _, near, similar = _nearest(q, last, most, history, model, space)
        n = 0
        for s in range(len(near)):
            for e in range(items_at[near[s]], items_at[near[s] + 1]):
                i = item[e]
                before = total[i]
                after = before + similar[s] * value[e]
                total[i] = after
                touched[n] = i
                n += (before == 0) & (after != 0)
        mark_excluded(excluded_item, exclude_at[q], exclude_at[q + 1], refused, True)
        write_best(total, touched, n, refused, keys, out_item[q], out_score[q])
        mark_excluded(excluded_item, exclude_at[q], exclude_at[q + 1], refused, False)
