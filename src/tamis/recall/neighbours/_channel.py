"""Base class of channels that recall by similar items: options, recall and explanation."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled, valid_of
from tamis.data import Dataset
from tamis.recall._common.channel import BaseChannel, need_positives, nothing
from tamis.recall._common.compiled_arguments import ValuedLists, excluded
from tamis.recall._common.held_out import held_out, mean_ndcg
from tamis.recall._common.history_events import interest_values
from tamis.recall._common.interactions import Combine, declared_interest
from tamis.recall.neighbours._kernels import (
    SimilarItems,
    TimedEvents,
    candidate_items,
    candidate_starts,
    candidate_values,
    lists_by_liked_item,
    recall_block,
    truncate_lists,
    vote_weights,
)
from tamis.runtime import Float32, in_blocks, scratch
from tamis.schema import ComponentConfig, Conditions, Needs

QUERIES_PER_BLOCK = 256
CUT = 20
"""Length of the lists whose NDCG chooses `prune`."""
MIN_GAIN = 1.005
"""Smallest relative improvement of the NDCG that is not taken for noise."""
MOST_QUERIES = 10_000
"""Most users of the log whose lists are measured."""
Prune = Literal["candidate", "seen"]


class NeighbourSettings(ComponentConfig):
    """Options of every channel that recalls by similar items."""

    only_with: ClassVar[Conditions] = {"longest": (Needs("prune", none_of=("seen",)),)}

    neighbours: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Number of most similar items kept per item."""
    prune: Literal["candidate", "seen", "auto"] = "candidate"
    """Whose most similar items are kept. candidate: those of the item that may be recalled. seen:
    those of the item that the user liked. auto: chosen by how well held-out likes are ranked, which
    takes two more fits; the later fits of one training follow the first."""
    longest: Annotated[int, Field(ge=1)] = 1000
    """If those of the candidate are kept: maximum number of candidates per liked item."""
    last: Annotated[int, Field(ge=1)] | None = None
    """Number of the user's most recent liked items that are read at a request. If omitted: all."""
    recency: Annotated[float, Field(ge=0)] = 0.5
    """A liked item has the weight (1 + age)^-recency, where age is the number of liked items with a
    later time (items with the same time have the same age); 0: order does not matter."""
    combine: Combine = "max"
    """How the weights of a user's events with one item make the interest value r. max: the largest.
    sum: the sum of the weights of the different behaviours (click 1 and like 2 make 3)."""
    fit_last: Annotated[int, Field(ge=2)] = 5000
    """Number of a user's most recent items read by the fit, whose cost grows with the square of it.
    """


class Neighbourhood(BaseChannel):
    """A channel that keeps the most similar items of every item, and sums the similarities over
    the user's liked items."""

    config: NeighbourSettings

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        prune = self._prune(data, context)
        size, item, value = self._similar(data, prune)
        if prune == "seen":
            lists = lists_by_liked_item(size, item, value)
        else:  # values, then items: at most three of the four large arrays are in memory at once
            indptr = candidate_starts(size, item)
            value = candidate_values(indptr, size, item, value)
            item = candidate_items(indptr, size, item)
            lists = truncate_lists(indptr, item, value, self.config.longest)
        self._arrays = dict(zip(("indptr", "neighbour", "similarity"), lists, strict=True))
        self._arrays["interest"] = declared_interest(data.behaviours)
        return {"prune": prune}

    def chosen(self, data: Dataset, context: FitContext | None = None) -> NeighbourSettings:
        """The config with a value for `prune`, as a fit on `data` would choose it.

        To choose on one data set and fit on another:
        `ItemCF(ItemCF(prune="auto").chosen(part, FitContext(valid=…)))`.
        """
        need_positives(data, self.name)
        prune = self._prune(data, context or FitContext())
        return self.config.model_copy(update={"prune": prune})

    def _prune(self, data: Dataset, context: FitContext) -> Prune:
        """Whose most similar items to keep: as given, as an earlier fit chose, or by the NDCG of
        held-out likes.

        The earlier fit is followed so that all versions of a training score alike.
        Those of `context.valid` if it is given, else likes of the log. "candidate" unless the lists
        of "seen" have an NDCG that is higher by the factor MIN_GAIN.
        """
        if self.config.prune != "auto":
            return self.config.prune
        former = context.former
        if isinstance(former, type(self)) and former._facts and former.config.prune == "auto":
            return "seen" if former._facts.get("prune") == "seen" else "candidate"
        known, valid = data, context.valid
        if valid is None:
            holdout = held_out(data, context.seed)
            if holdout is None:
                return "candidate"
            holdout = holdout.sample(MOST_QUERIES, context.seed)
            known, valid = holdout.train, valid_of(holdout)
        if not len(valid.queries):
            return "candidate"
        ndcg: dict[Prune, float] = {}
        for prune in ("candidate", "seen"):
            trial = type(self)(self.config.model_copy(update={"prune": prune}))
            found = trial.fit(known, FitContext()).recall(valid.queries, CUT)
            ndcg[prune] = mean_ndcg(found, valid.targets)
        return "seen" if ndcg["seen"] > ndcg["candidate"] * MIN_GAIN else "candidate"

    @abstractmethod
    def _similar(self, data: Dataset, prune: Prune) -> SimilarItems:
        """Each item's `neighbours` most similar others, unordered; similarities above 0.

        prune: whether a row's item is the candidate or the liked item.
        """

    def _recall(self, queries: Queries, k: int) -> Recalled:
        found = nothing(len(queries), k)
        history, exclude, n = queries.history, queries.exclude, self._n_items
        past = self._past(queries)
        fade = self._fade(int(np.diff(history.indptr).max()))

        def block(begin: int, end: int) -> None:
            recall_block(
                begin=begin,
                end=end,
                similar=self._lists,
                indptr=history.indptr,
                history=past,
                exclude=excluded(exclude),
                fade=fade,
                add=self.config.combine == "sum",
                total=scratch("sum", n, np.float32),
                refused=scratch("refused", n, np.bool_),
                slot=scratch("slot", n, np.int32),
                keys=scratch("keys", n, np.uint64),
                out_item=found.item,
                out_score=found.score,
            )

        in_blocks(block, len(queries), QUERIES_PER_BLOCK)
        return found

    def because(self, queries: Queries, item: int) -> int | None:
        """The liked item that adds most to the score of `item`; None if none adds anything."""
        history = queries.history
        n = len(history.item)
        liked, vote, age = np.empty(n, np.int32), np.empty(n, np.float32), np.empty(n, np.int32)
        past = self._past(queries)
        slot = scratch("slot", self._n_items, np.int32)
        count = vote_weights(
            history=past,
            begin=0,
            end=n,
            fade=self._fade(n),
            add=self.config.combine == "sum",
            slot=slot,
            item=liked,
            vote=vote,
            age=age,
        )
        indptr, neighbour, similarity = self._lists
        best, most = None, 0.0
        for j, r in zip(liked[:count].tolist(), vote[:count].tolist(), strict=True):
            span = slice(indptr[j], indptr[j + 1])
            part = r * float(similarity[span][neighbour[span] == item].sum())
            if part > most:
                best, most = j, part
        return best

    def _past(self, queries: Queries) -> TimedEvents:
        """The events of the queries' histories, with their interest values."""
        history = queries.history
        value = interest_values(history, self._arrays["interest"], self.config.combine)
        return TimedEvents(history.item, value, history.time)

    @property
    def _lists(self) -> ValuedLists:
        """Each item's candidates and their similarities."""
        arrays = self._arrays
        return ValuedLists(arrays["indptr"], arrays["neighbour"], arrays["similarity"])

    def _fade(self, longest: int) -> Float32:
        """(min(last, longest),) weight of a liked item by its age."""
        ages = np.arange(min(self.config.last or longest, longest), dtype=np.float64)
        return ((1 + ages) ** -self.config.recency).astype(np.float32)
