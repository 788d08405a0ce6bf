"""Lookalike of a new item: shown to users like those who first took to it."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, at_end
from tamis.data import Dataset
from tamis.index import VectorIndex
from tamis.recall._common.channel import need_positives
from tamis.recall._common.interactions import grouped, interest_of_behaviour, interests
from tamis.recall._common.mean_vector import mean_liked_vector, nearest_liked_item, to_unit
from tamis.recall._common.spectral import co_liked_vectors
from tamis.recall._common.vector_channel import VectorChannel
from tamis.runtime import Float32
from tamis.schema import ComponentConfig

DAY_MS = 86_400_000


class LookalikeConfig(ComponentConfig):
    """Options of the lookalike channel."""

    most: Annotated[int, Field(ge=1)] = 100
    """An item is new while at most so many users like it."""
    days: Annotated[float, Field(gt=0)] | None = None
    """And while its first event is at most so many days before the log's end; None = at any age."""
    first: Annotated[int, Field(ge=1)] = 50
    """So many of its first interested users make an item's audience."""
    embedding_dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Width of the users' vectors."""
    history: Annotated[int, Field(ge=1, le=1000)] = 50
    """Most recent distinct liked items that make a user's vector."""
    index_recall: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Share of the exact best `index_k` that the index must find."""
    index_k: Annotated[int, Field(ge=1)] = 100
    """List length for which the index is tuned: the channel's quota."""


class Lookalike(VectorChannel):
    """New items for users like those who first took to them (look-alike audience extension).

    Items get vectors from their co-likes: a truncated singular value decomposition of the matrix
    users × items, whose entries are damped by the item's popularity. A user is the mean of the
    vectors of what he liked last; a new item's vector is the mean of its first interested users'
    vectors. Recalled are the new items nearest to the asking user, by cosine; established items
    never are: other channels know more of them.

    When to use: where many items are born and collaborative channels need days to pick them up;
    beside `fresh`, which knows no taste, and `content`, which knows no audience.

    Cost: fit a few products of the likes' matrix with a thin one, O(likes · embedding_dim); memory
    (users + items) × embedding_dim × 4 bytes. Recall: a mean and one search among the new items.

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
        self._arrays = {"interest": interest_of_behaviour(data.behaviours)}
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
        """(I, d) unit means of the new items' first users, and which items are new."""
        c, events, n = self.config, data.events, len(data.items)
        at = np.flatnonzero(data.positive)
        indptr, order = grouped(events.item[at], n)
        mean = np.zeros((n, self._arrays["users"].shape[1]), np.float32)
        fans = np.zeros(n, np.int64)
        _audience(
            indptr,
            events.user[at][order],
            c.first,
            self._arrays["users"],
            np.full(len(data.users), -1, np.int32),
            mean,
            fans,
        )
        mean = to_unit(mean)
        new = (fans >= 1) & (fans <= c.most) & mean.any(axis=1)
        if c.days is not None:
            born = np.full(n, np.iinfo(np.int64).max)
            np.minimum.at(born, events.item, events.time)
            new &= born > data.end - c.days * DAY_MS
        return mean, new

    def user_vectors(self, queries: Queries) -> Float32:
        """(Q, d) unit vectors of the queries' users now; zero without a liked item."""
        arrays = self._arrays
        return mean_liked_vector(queries, arrays["interest"], self.config.history, arrays["items"])

    def audience(self, item: int, n: int) -> NDArray[np.int32]:
        """The n users of the log (rows) nearest to a new item's audience, nearest first; fewer
        where fewer have liked anything, none where the item is not new."""
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
        """The liked item whose vector points most towards the new item's audience."""
        assert self.index is not None
        target = self.index.vectors[item]
        return nearest_liked_item(queries, self._arrays["interest"], self._arrays["items"], target)


@njit(cache=True, nogil=True)
def _audience(indptr, user, first, vectors, last_item, mean, fans):
    """Each item's mean vector of its `first` distinct users, and how many distinct ones it has.

    Users are in order of time within an item; last_item: (U,) of -1.
    """
    for i in range(len(fans)):
        for e in range(indptr[i], indptr[i + 1]):
            u = user[e]
            if last_item[u] == i:
                continue
            last_item[u] = i
            if fans[i] < first:
                mean[i] += vectors[u]
            fans[i] += 1
        mean[i] /= np.float32(max(1, min(fans[i], first)))
