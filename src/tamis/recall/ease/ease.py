"""EASE: a linear item-to-item model in closed form."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset
from tamis.index import select
from tamis.recall._common.channel import BaseChannel, need_positives, nothing
from tamis.recall._common.compiled_arguments import ValuedLists
from tamis.recall._common.interactions import (
    Interests,
    declared_interest,
    interests,
    with_positive_behaviours,
)
from tamis.recall.ease._kernels import largest_weights, score_dense, score_sparse, weights
from tamis.recall.ease._tuning import TunedOptions, choose, restricted, trial_of
from tamis.runtime import Float32, Int32, in_blocks, scratch
from tamis.schema import ComponentConfig, ConfigError

QUERIES_PER_BLOCK = 64
GB = 1e9
AUTO = "auto"


class EASEConfig(ComponentConfig):
    """Options of EASE."""

    l2: Annotated[float, Field(gt=0)] | Literal["auto"] = AUTO
    """L2 regularisation λ of the weights. auto: chosen by how well held-out likes are ranked."""
    closeness: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = AUTO
    """In the fit, two likes of a user that are a places apart in time have the weight closeness^a;
    1: distance does not matter. auto: chosen as for `l2`."""
    decay: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = AUTO
    """At a request, weight of a liked item relative to the one liked after it; 1: order does not
    matter. auto: chosen as for `l2`."""
    behaviours: tuple[str, ...] = ()
    """Behaviours whose events count as likes. Empty: the positive ones, and others that declare a
    weight above 0. With all behaviours, the score estimates what a user interacts with at all,
    which can be an input of a ranker."""
    last: Annotated[int, Field(ge=1)] | None = None
    """Number of the user's most recent liked items that are read at a request. If omitted: all."""
    neighbours: Annotated[int, Field(ge=1)] | None = None
    """Number of largest positive weights kept per item, to make the version smaller. If omitted:
    all weights."""
    tune_items: Annotated[int, Field(ge=2)] = 3000
    """Number of most liked items on which "auto" options are chosen."""
    max_gb: Annotated[float, Field(gt=0)] = 4.0
    """Maximum memory in GB (10^9 bytes) of the matrix of (liked items)² float32 numbers; the fit
    raises an error if it needs more."""


class EASE(BaseChannel):
    """Embarrassingly shallow autoencoder, optionally weighted by time.

    `B = I − P / diag(P)` by columns, `P = (XᵀKX + λI)⁻¹`, where X holds the users' interest values
    r, the largest weights of their likes of an item, and K weighs two likes of one user that are a
    places apart by closeness^a. The score of i is the sum of `r_uj · decay^age(j) · B[j, i]` over
    the user's liked items j, age 0 for the latest.
    With closeness = decay = 1 this is Steck's EASE. Options set to "auto" are chosen by the NDCG of
    held-out likes: those of `FitContext.valid` if given, else of the last tenth of the log (if all
    events have the same time: a random tenth of each user's likes, with closeness = decay = 1).
    Only liked items have a row of the matrix.

    When to use: up to some ten thousand items, with sparse or dense logs; a strong baseline that is
    fast to fit, and with `decay` also a simple sequence model.
    Cost: fit: (liked items)³ floating-point operations, and for "auto" about 6 fits on at most
    `tune_items` items. Recall: reads one row per liked item. Memory: (liked items)² · 4 bytes,
    6.7 GB for 41,000 items.
    Source: Steck 2019, Embarrassingly Shallow Autoencoders for Sparse Data; the weighting by
    distance in time follows Choi et al. 2021, Session-aware Linear Item-Item Models.
    """

    name = "ease"
    Config = EASEConfig
    config: EASEConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        data = with_positive_behaviours(data, self.config.behaviours, self.name)
        need_positives(data, self.name)
        lists, liked, row = self._rows(data)
        chosen = self._choice(data, context, lists, liked, row)
        own = ValuedLists(lists.indptr, row[lists.other], lists.value)
        weight = weights(own, len(liked), chosen.l2, chosen.closeness)
        self._arrays = {
            "item": liked.astype(np.int32),
            "row": row,
            "interest": declared_interest(data.behaviours),
        }
        if self.config.neighbours is None:
            self._arrays["weight"] = weight
        else:
            column, value = largest_weights(weight, self.config.neighbours)
            self._arrays |= {"neighbour": column, "neighbour_weight": value}
        return {name: x for name, x in chosen._asdict().items() if not np.isnan(x)}

    def chosen(self, data: Dataset, context: FitContext | None = None) -> EASEConfig:
        """The config with a value for every "auto" option, as a fit on `data` would choose it.

        To choose on one data set and fit on another:
        `EASE(EASE().chosen(part, FitContext(valid=…)))`.
        """
        data = with_positive_behaviours(data, self.config.behaviours, self.name)
        need_positives(data, self.name)
        best = self._choice(data, context or FitContext(), *self._rows(data))
        found = {"l2": best.l2, "closeness": best.closeness, "decay": best.decay}
        return self.config.model_copy(update=found)

    def _rows(self, data: Dataset) -> tuple[Interests, Any, Int32]:
        """All users' likes, the rows of the liked items, and each item's row of the matrix (-1 if
        it has none)."""
        lists = interests(data)
        liked = np.unique(lists.other)
        self._refuse_above(len(liked))
        row = np.full(len(data.items), -1, np.int32)
        row[liked] = np.arange(len(liked))
        return lists, liked, row

    def _refuse_above(self, items: int) -> None:
        """Raises ConfigError if the matrix of that many items needs more than `max_gb`."""
        need = items**2 * 4 / GB
        if need > self.config.max_gb:
            raise ConfigError(
                f"channel {self.name!r}: {items} liked items need a matrix of {need:.1f} GB, above "
                f"max_gb = {self.config.max_gb:g}; raise max_gb if there is memory, or use itemcf"
            )

    def _choice(
        self, data: Dataset, context: FitContext, lists: Interests, liked: Any, row: Int32
    ) -> TunedOptions:
        """The setting to fit with: given options, and "auto" ones chosen."""
        c = self.config
        given = [None if x == AUTO else float(x) for x in (c.l2, c.closeness, c.decay)]
        ordered = bool((data.events.time != data.events.time[0]).any())
        if not ordered:
            given[1:] = [1.0 if x is None else x for x in given[1:]]
        l2, closeness, decay = given
        if l2 is not None and closeness is not None and decay is not None:
            return TunedOptions(l2, closeness, decay, float("nan"))
        trial = trial_of(data, context.valid, context.seed)
        if trial is None:
            return choose(None, *given)
        small = row
        if len(liked) > c.tune_items:
            count = np.bincount(lists.other, minlength=len(row))
            kept = np.sort(np.argsort(-count, kind="stable")[: c.tune_items])
            small = np.full(len(row), -1, np.int32)
            small[kept] = np.arange(len(kept))
        trial = restricted(trial, small, min(len(liked), c.tune_items))
        return choose(trial.sample(context.seed), *given)

    def _recall(self, queries: Queries, k: int) -> Recalled:
        arrays, history, exclude = self._arrays, queries.history, queries.exclude
        known = np.append(arrays["row"], np.int32(-1))  # the last entry is for items added later
        n_items = self._n_items
        rows = known[np.where(history.item < n_items, history.item, n_items)]
        value = arrays["interest"][history.behaviour]
        refused = known[np.where(exclude.values < n_items, exclude.values, n_items)]
        found = nothing(len(queries), k)
        n = len(arrays["item"])
        longest = int(np.diff(history.indptr).max())
        assert self._facts is not None
        last, decay = min(self.config.last or longest, longest), self._facts["decay"]
        past = ValuedLists(history.indptr, rows, value)

        def block(begin: int, end: int) -> None:
            sums = np.full((end - begin, n), -np.inf, np.float32)
            self._score(begin, end, last, decay, past, sums)
            bounds, mask = exclude.indptr[begin : end + 1], scratch("refused", n, np.bool_)
            select(sums, bounds, refused, mask, found.item[begin:end], found.score[begin:end])

        in_blocks(block, len(queries), QUERIES_PER_BLOCK)
        here = found.item >= 0
        found.item[here] = arrays["item"][found.item[here]]
        return found

    def _score(
        self, begin: int, end: int, last: int, decay: float, history: ValuedLists, out: Float32
    ) -> None:
        """Writes the scores of queries [begin, end) into `out` (end - begin, liked items)."""
        arrays = self._arrays
        slot = scratch("slot", len(arrays["item"]), np.int32)
        if "weight" in arrays:
            score_dense(
                begin=begin,
                end=end,
                last=last,
                decay=decay,
                history=history,
                weight=arrays["weight"],
                slot=slot,
                out=out,
            )
        else:
            score_sparse(
                begin=begin,
                end=end,
                last=last,
                decay=decay,
                history=history,
                column=arrays["neighbour"],
                weight=arrays["neighbour_weight"],
                slot=slot,
                out=out,
            )
