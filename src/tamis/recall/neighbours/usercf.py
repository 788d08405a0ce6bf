"""UserCF: what people with your taste liked lately."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset
from tamis.index import in_blocks, scratch
from tamis.recall._common.channel import BaseChannel, need_positives, nothing
from tamis.recall._common.interactions import distinct, grouped, interest_of_behaviour, interests
from tamis.recall.neighbours._kernels import (
    best_to_front,
    mark_excluded,
    packed,
    unpacked,
    write_best,
)
from tamis.schema import ComponentConfig

QUERIES_PER_BLOCK = 64


class UserCFConfig(ComponentConfig):
    """Options of UserCF."""

    neighbours: Annotated[int, Field(ge=1, le=100_000)] = 200
    """K: most similar users that are asked what they liked."""
    last: Annotated[int, Field(ge=1)] | None = None
    """Most recent liked items of the asking user that make the similarity; None = all."""
    last_of_neighbour: Annotated[int, Field(ge=1)] | None = None
    """Most recent liked items that each similar user brings; None = all."""
    most_users: Annotated[int, Field(ge=1)] = 5000
    """Of each item only so many latest users can become neighbours through it."""


class UserCF(BaseChannel):
    """User-based collaborative filtering, by the history of the moment.

    `sim(u,v) = Σ_{l ∈ I_u∩I_v} 1/log(1+n_l) / √(|I_u||I_v|)`, n_l the users who liked l, so that
    popular items say less. Recall finds the K most similar users v through the lists of who liked
    the query's items, never the asking user itself, and sums `sim(u,v) · r_vi` over their latest
    liked items i.

    When to use: fewer users than items, or tastes that change by the day (news); strangers with a
    history are answered too.
    Cost: fit is a sort of the log; recall reads the users of every liked item, most_users at most,
    and K histories; memory 8 bytes per liked pair, twice.
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
        short = interests(data, self.config.last_of_neighbour)
        users_at, users_of = _latest_users(data, self.config.most_users)
        self._arrays = {
            "items_at": short.indptr,
            "item": short.other,
            "value": short.value,
            "users_at": users_at,
            "user": users_of,
            "rarity": (1 / np.log1p(np.maximum(users, 1))).astype(np.float32),
            "norm": np.sqrt(lengths).astype(np.float32),
            "interest": interest_of_behaviour(data.behaviours),
        }
        return {}

    def _recall(self, queries: Queries, k: int) -> Recalled:
        found = nothing(len(queries), k)
        past = self._past(queries)
        last = self._last(int(np.diff(queries.history.indptr).max()))

        def block(begin: int, end: int) -> None:
            _recall_block(
                (begin, end, last, self.config.neighbours),
                (queries.user, *past),
                (queries.exclude.indptr, queries.exclude.values),
                self._model(),
                self._room(),
                scratch("refused", self._n_items, np.bool_),
                (found.item, found.score),
            )

        in_blocks(block, len(queries), QUERIES_PER_BLOCK)
        return found

    def because(self, queries: Queries, item: int) -> int | None:
        """Of the items shared with the similar user who speaks most for `item`, the rarest."""
        past, arrays = self._past(queries), self._arrays
        last = self._last(len(queries.history.item))
        liked, near, alike = _nearest(
            (0, last, self.config.neighbours), (queries.user, *past), self._model(), self._room()
        )
        spans = [slice(arrays["items_at"][v], arrays["items_at"][v + 1]) for v in near]
        parts = [
            float(alike[s] * arrays["value"][span][arrays["item"][span] == item].sum())
            for s, span in enumerate(spans)
        ]
        if not parts or max(parts) <= 0:
            return None
        closest = near[int(np.argmax(parts))]
        shared = [i for i in sorted(liked.tolist()) if closest in self._users(i)]
        return max(shared, key=lambda i: arrays["rarity"][i])

    def _users(self, item: int) -> NDArray[np.int32]:
        at = self._arrays["users_at"]
        return self._arrays["user"][at[item] : at[item + 1]]

    def _past(self, queries: Queries) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        history = queries.history
        return history.indptr, history.item, self._arrays["interest"][history.behaviour]

    def _last(self, longest: int) -> int:
        return min(self.config.last or longest, longest)

    def _model(self) -> tuple[NDArray[Any], ...]:
        names = ("items_at", "item", "value", "users_at", "user", "rarity", "norm")
        return tuple(self._arrays[name] for name in names)

    def _room(self) -> tuple[NDArray[Any], ...]:
        """This thread's places: sums by user and by item, slots, keys; zero between queries."""
        n_users, n_items = len(self._arrays["norm"]), self._n_items
        return (
            scratch("alike", n_users, np.float32),
            scratch("sum", n_items, np.float32),
            scratch("slot", n_items, np.int32),
            scratch("keys", max(n_users, n_items), np.uint64),
            scratch("touched", max(n_users, n_items) + 1, np.int32),
        )


def _latest_users(data: Dataset, most: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Each item's distinct users with a positive event, the latest first, at most `most`."""
    positive = np.flatnonzero(data.positive)
    users, items = data.events.user[positive], data.events.item[positive]
    indptr, order = grouped(items, len(data.items))
    return _distinct_users(indptr, users[order], most, len(data.users))


@njit(cache=True, nogil=True)
def _distinct_users(indptr, user, most, n_users):
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
def _nearest(span, history, model, room):
    """(liked items, the most similar users, their similarities) of query q, users by row."""
    q, last, most = span
    user, history_at, history_item, history_value = history
    users_at, users_of, rarity, norm = model[3:]
    alike, _, slot, keys, touched = room
    liked, value = np.empty(last, np.int32), np.empty(last, np.float32)
    begin, end = history_at[q], history_at[q + 1]
    count = distinct(history_item, history_value, begin, end, last, slot, liked, value)
    n = 0
    for s in range(count):
        i = liked[s]
        for e in range(users_at[i], users_at[i + 1]):
            v = users_of[e]
            before = alike[v]
            alike[v] = before + rarity[i]
            touched[n] = v
            n += before == 0
    m = 0
    own = np.float32(np.sqrt(count))
    for t in range(n):
        v = touched[t]
        keys[m] = packed(v, alike[v] / (own * norm[v]))
        m += v != user[q]
        alike[v] = 0
    k = min(m, most)
    best_to_front(keys, m, k)
    near, similar = np.empty(k, np.int32), np.empty(k, np.float32)
    keys[:k].sort()
    for t in range(k):
        near[t], similar[t] = unpacked(keys[k - 1 - t])
    return liked[:count], near, similar


@njit(cache=True, nogil=True)
def _recall_block(span, history, exclude, model, room, refused, out):
    begin, end, last, most = span
    items_at, item, value = model[:3]
    exclude_at, excluded = exclude
    total, keys, touched = room[1], room[3], room[4]
    for q in range(begin, end):
        _, near, similar = _nearest((q, last, most), history, model, room)
        n = 0
        for s in range(len(near)):
            for e in range(items_at[near[s]], items_at[near[s] + 1]):
                i = item[e]
                before = total[i]
                after = before + similar[s] * value[e]
                total[i] = after
                touched[n] = i
                n += (before == 0) & (after != 0)
        mark_excluded(excluded, exclude_at[q], exclude_at[q + 1], refused, True)
        write_best(total, touched, n, refused, keys, out[0][q], out[1][q])
        mark_excluded(excluded, exclude_at[q], exclude_at[q + 1], refused, False)
