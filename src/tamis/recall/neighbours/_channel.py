"""What channels of item neighbourhoods share: options, recall and explanation."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset
from tamis.index import in_blocks, scratch
from tamis.recall._common.channel import BaseChannel, need_positives, nothing
from tamis.recall._common.interactions import interest_of_behaviour
from tamis.recall.neighbours._kernels import (
    candidate_items,
    candidate_starts,
    candidate_values,
    lists_by_liked_item,
    recall_block,
    truncate_lists,
    vote_weights,
)
from tamis.runtime import Float32, Int32
from tamis.schema import ComponentConfig

QUERIES_PER_BLOCK = 256
Rows = tuple[Int32, Int32, Float32]
"""(N,) how many, and (N, K) items and similarities, of which so many are filled."""


class NeighbourSettings(ComponentConfig):
    """Options of every channel of item neighbourhoods."""

    neighbours: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Neighbours kept per item."""
    prune: Literal["candidate", "seen"] = "candidate"
    """Whose best neighbours are kept: the item that may be recalled, or the one the user liked."""
    longest: Annotated[int, Field(ge=1)] = 1000
    """With prune = "candidate": most candidates that one liked item may bring."""
    last: Annotated[int, Field(ge=1)] | None = None
    """Most recent liked items of the user that vote; None = all."""
    recency: Annotated[float, Field(ge=0)] = 0.5
    """A liked item votes with (1 + age)^-recency, age = how many liked items have a later time
    (those of one time are of one age); 0 = order does not matter."""
    fit_last: Annotated[int, Field(ge=2)] = 5000
    """Most recent items of a user that fitting reads: its cost is the square of it."""


class Neighbourhood(BaseChannel):
    """A channel that keeps similar items of every item, and sums them over the liked ones."""

    config: NeighbourSettings

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        size, item, value = self._similar(data)
        if self.config.prune == "seen":
            lists = lists_by_liked_item(size, item, value)
        else:  # one half after the other, so that three halves are in memory at most
            indptr = candidate_starts(size, item)
            value = candidate_values(indptr, size, item, value)
            item = candidate_items(indptr, size, item)
            lists = truncate_lists(indptr, item, value, self.config.longest)
        self._arrays = dict(zip(("indptr", "neighbour", "similarity"), lists, strict=True))
        self._arrays["interest"] = interest_of_behaviour(data.behaviours)
        return {}

    @abstractmethod
    def _similar(self, data: Dataset) -> Rows:
        """Each item's `neighbours` most similar others, in no order; similarities above 0."""

    def _recall(self, queries: Queries, k: int) -> Recalled:
        found = nothing(len(queries), k)
        history, exclude, n = queries.history, queries.exclude, self._n_items
        value = self._arrays["interest"][history.behaviour]
        fade = self._fade(int(np.diff(history.indptr).max()))

        def block(begin: int, end: int) -> None:
            recall_block(
                begin,
                end,
                self._lists,
                (history.indptr, history.item, value, history.time),
                (exclude.indptr, exclude.values),
                fade,
                scratch("sum", n, np.float32),
                scratch("refused", n, np.bool_),
                scratch("slot", n, np.int32),
                scratch("keys", n, np.uint64),
                (found.item, found.score),
            )

        in_blocks(block, len(queries), QUERIES_PER_BLOCK)
        return found

    def because(self, queries: Queries, item: int) -> int | None:
        """The liked item whose vote adds most to the score of `item`, if any does."""
        history = queries.history
        n = len(history.item)
        liked, vote, age = np.empty(n, np.int32), np.empty(n, np.float32), np.empty(n, np.int32)
        past = (history.item, self._arrays["interest"][history.behaviour], history.time)
        slot = scratch("slot", self._n_items, np.int32)
        count = vote_weights(past, 0, n, self._fade(n), slot, liked, vote, age)
        indptr, neighbour, similarity = self._lists
        best, most = None, 0.0
        for j, r in zip(liked[:count].tolist(), vote[:count].tolist(), strict=True):
            span = slice(indptr[j], indptr[j + 1])
            part = r * float(similarity[span][neighbour[span] == item].sum())
            if part > most:
                best, most = j, part
        return best

    @property
    def _lists(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        arrays = self._arrays
        return arrays["indptr"], arrays["neighbour"], arrays["similarity"]

    def _fade(self, longest: int) -> Float32:
        """(ages,) what a vote counts at each age; as many as items may vote."""
        ages = np.arange(min(self.config.last or longest, longest), dtype=np.float64)
        return ((1 + ages) ** -self.config.recency).astype(np.float32)
