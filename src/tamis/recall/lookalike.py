"""Lookalike: new items for users similar to the first users who liked them."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, at_end
from tamis.data import Dataset
from tamis.index import VectorIndex
from tamis.recall._common.channel import need_positives
from tamis.recall._common.interactions import declared_interest, grouped, interests, places_of_likes
from tamis.recall._common.mean_vector import mean_liked_vector, nearest_liked_item, to_unit
from tamis.recall._common.spectral import co_liked_vectors
from tamis.recall._common.vector_channel import VectorChannel
from tamis.runtime import Float32
from tamis.runtime.compiled import njit
from tamis.schema import ComponentConfig

DAY_MS = 86_400_000


class LookalikeConfig(ComponentConfig):
    """Options of the lookalike channel."""

    most: Annotated[int, Field(ge=1)] = 100
    """Maximum number of users who like an item for it to count as new."""
    days: Annotated[float, Field(gt=0)] | None = None
    """Maximum days from an item's first event to the end of the log for it to count as new. If
    omitted: any age."""
    first: Annotated[int, Field(ge=1)] = 50
    """Number of an item's first users who like it whose mean vector is its audience."""
    embedding_dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Width of the users' vectors."""
    history: Annotated[int, Field(ge=1, le=1000)] = 50
    """Number of most recent distinct liked items whose mean is the user's vector."""
    index_recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Minimum share of the exact best `index_k` items that the index must find."""
    index_k: Annotated[int, Field(ge=1)] = 100
    """List length for which the index is tuned: the channel's quota."""


class Lookalike(VectorChannel):
    """New items for users similar to their first users (look-alike audience extension).

    `score(u, i) = cos(mean_{l liked by u} v_l, mean_{w ∈ F_i} p_w)` over the new items i, where F_i
    are the first users who liked i and p_w their user vectors. Item vectors v come from a truncated
    singular value decomposition of the users × items matrix, with entries
    1 / √(likes of the user · likes of the item); a user's vector is the mean of those of his last
    liked items. Items that are no longer new are never returned; other channels recall them better.

    When to use: if many items are added and collaborative channels need days to learn about them;
    together with `fresh`, which is not personalised, and `content`, which ignores who likes an
    item.

    Cost: fit: a few products of the sparse users × items matrix with a narrow one, O(likes ·
    embedding_dim). Recall: a mean and one search among the new items. Memory: (users + items) ×
    embedding_dim × 4 bytes.

    Source: Ma et al. 2016, Score Look-Alike Audiences; the decomposition: Halko et al. 2011,
    Finding Structure with Randomness.
    """

    name = "lookalike"
    Config = LookalikeConfig
    config: LookalikeConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        c = self.config
        liked = interests(data)
        self._arrays = {"interest": declared_interest(data.behaviours)}
        self._arrays["items"] = co_liked_vectors(
            liked.indptr, liked.other, len(data.items), c.embedding_dim, context.seed
        )
        everyone = np.arange(len(data.users), dtype=np.int32)
        self._arrays["users"] = self.user_vectors(at_end(data, everyone, exclude_seen=False))
        vectors, new = self._audiences(data)
        self.index = VectorIndex.build(
            vectors,
            k=c.index_k,
            target_recall=c.index_recall,
            queries=self._arrays["users"][np.diff(liked.indptr) > 0],
            present=new,
            seed=context.seed,
        )
        return {"new": int(new.sum())}

    def _audiences(self, data: Dataset) -> tuple[Float32, NDArray[np.bool_]]:
        """(I, d) unit mean vector of each item's first users, and (I,) whether the item is new."""
        c, events, n = self.config, data.events, len(data.items)
        at = places_of_likes(data)
        indptr, order = grouped(events.item[at], n)
        mean = np.zeros((n, self._arrays["users"].shape[1]), np.float32)
        users = np.zeros(n, np.int64)
        _mean_of_first_users(
            indptr=indptr,
            user=events.user[at][order],
            first=c.first,
            vectors=self._arrays["users"],
            last_item=np.full(len(data.users), -1, np.int32),
            mean=mean,
            users=users,
        )
        mean = to_unit(mean)
        new = (users >= 1) & (users <= c.most) & mean.any(axis=1)
        if c.days is not None:
            first_event = np.full(n, np.iinfo(np.int64).max)
            np.minimum.at(first_event, events.item, events.time)
            new &= first_event > data.end - c.days * DAY_MS
        return mean, new

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, d) unit vectors of the queries' users; zero without a liked item."""
        arrays = self._arrays
        return mean_liked_vector(queries, arrays["interest"], self.config.history, arrays["items"])

    def audience(self, item: int, n: int) -> NDArray[np.int32]:
        """The n users of the log (rows) nearest to a new item's audience, nearest first.

        Fewer if fewer users have liked anything; none if the item is not new.
        """
        assert self.index is not None
        users = self._arrays["users"]
        known = np.asarray(users.any(axis=1))
        target = self.index.vectors[item : item + 1]
        if not self.index.holds(item):
            return np.zeros(0, np.int32)
        near = VectorIndex.build(users, exact_below=len(users) + 1, present=known)
        found = near.search(target, n)[0][0]
        return found[found >= 0]

    def because(self, queries: Queries, item: int) -> int | None:
        """The liked item whose vector has the largest inner product with the item's audience."""
        assert self.index is not None
        target = self.index.vectors[item]
        return nearest_liked_item(queries, self._arrays["interest"], self._arrays["items"], target)


@njit(cache=True, nogil=True)
def _mean_of_first_users(indptr, user, first, vectors, last_item, mean, users):
    """Each item's mean vector of its `first` distinct users, and its number of distinct users.

    Args:
        indptr, user: CSR int64 (I + 1,), int32 (n,): users by item, in order of time.
        vectors: (U, d) float32. last_item: (U,) int32 scratch, all -1.
        mean: (I, d) float32 and users: (I,) int64, zero; the result.
    """
    for i in range(len(users)):
        for e in range(indptr[i], indptr[i + 1]):
            u = user[e]
            if last_item[u] == i:
                continue
            last_item[u] = i
            if users[i] < first:
                mean[i] += vectors[u]
            users[i] += 1
        mean[i] /= np.float32(max(1, min(users[i], first)))
