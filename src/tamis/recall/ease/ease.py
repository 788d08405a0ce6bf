"""EASE: a linear model of all items on all others, solved in closed form."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.data import Dataset
from tamis.index import in_blocks, scratch, select
from tamis.recall._common.channel import BaseChannel, need_positives, nothing
from tamis.recall._common.interactions import (
    Interests,
    interest_of_behaviour,
    interests,
    with_positive_behaviours,
)
from tamis.recall.ease._kernels import strongest, vote, vote_few, weights
from tamis.recall.ease._tuning import Choice, among, choose, trial_of
from tamis.runtime import Int32
from tamis.schema import ComponentConfig, ConfigError

QUERIES_PER_BLOCK = 64
GB = 1e9
AUTO = "auto"


class EASEConfig(ComponentConfig):
    """Options of EASE."""

    l2: Annotated[float, Field(gt=0)] | Literal["auto"] = AUTO
    """λ: how strongly weights are held near zero. Auto: by what users liked next."""
    closeness: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = AUTO
    """In fitting, weight of two likes of a user relative to two that are one place nearer in time;
    1 = how near does not matter."""
    decay: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = AUTO
    """At a request, vote of a liked item relative to the one liked after it; 1 = order does not
    matter."""
    behaviours: tuple[str, ...] = ()
    """Behaviours whose events count; () = the positive ones. With all of them it says what a user
    is likely to meet, which a ranker may weigh against what he is likely to like."""
    last: Annotated[int, Field(ge=1)] | None = None
    """Most recent liked items of the user that vote; None = all."""
    neighbours: Annotated[int, Field(ge=1)] | None = None
    """Keep only each row's so many largest positive weights: a small version; None = all."""
    tune_items: Annotated[int, Field(ge=2)] = 3000
    """Auto options are chosen on the most liked items, at most so many."""
    max_gb: Annotated[float, Field(gt=0)] = 4.0
    """Most memory for the matrix of (liked items)² float32 numbers; above, fit refuses."""


class EASE(BaseChannel):
    """Embarrassingly shallow autoencoder, with a sense of time.

    `B = I − P / diag(P)` by columns, `P = (XᵀKX + λI)⁻¹`, X the users' interest values r; recall
    sums `r_uj · decay^age(j) · B[j, i]` over the user's liked items j, age 0 the latest. K weighs
    two likes of one user that are a places apart by closeness^a; with closeness = decay = 1 this is
    Steck's EASE. What is "auto" is chosen by ranking likes that came later: those of the fit's
    validation set; or the last tenth of the log, held out (of every user's likes, and no weighting
    by time, where all events bear one time). Only items that somebody liked have a row; the matrix
    is made, inverted and kept in one piece of memory.

    When to use: up to some ten thousand items, sparse or dense; the strongest cheap baseline, and
    with recency a sequence model too.
    Cost: fit is (liked items)³ floating-point operations, about 6 times at most `tune_items` for
    what is auto; memory (liked items)² · 4 bytes, 6.7 GB for 41,000; recall reads a row per like.
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
        own = (lists.indptr, row[lists.other], lists.value)
        weight = weights(own, len(liked), chosen.l2, chosen.closeness)
        self._arrays = {
            "item": liked.astype(np.int32),
            "row": row,
            "interest": interest_of_behaviour(data.behaviours),
        }
        if self.config.neighbours is None:
            self._arrays["weight"] = weight
        else:
            column, value = strongest(weight, self.config.neighbours)
            self._arrays |= {"neighbour": column, "neighbour_weight": value}
        return {name: value for name, value in chosen._asdict().items() if value == value}

    def chosen(self, data: Dataset, context: FitContext | None = None) -> EASEConfig:
        """The config with nothing left to choose, as a fit on `data` would choose it.

        To choose by one set and fit on another: `EASE(EASE().chosen(part, FitContext(valid=…)))`.
        """
        data = with_positive_behaviours(data, self.config.behaviours, self.name)
        need_positives(data, self.name)
        best = self._choice(data, context or FitContext(), *self._rows(data))
        found = {"l2": best.l2, "closeness": best.closeness, "decay": best.decay}
        return self.config.model_copy(update=found)

    def _rows(self, data: Dataset) -> tuple[Interests, Any, Int32]:
        """Everybody's likes; the liked items; each item's row of the matrix, -1 = none."""
        lists = interests(data)
        liked = np.unique(lists.other)
        self._refuse_above(len(liked))
        row = np.full(len(data.items), -1, np.int32)
        row[liked] = np.arange(len(liked))
        return lists, liked, row

    def _refuse_above(self, items: int) -> None:
        need = items**2 * 4 / GB
        if need > self.config.max_gb:
            raise ConfigError(
                f"channel {self.name!r}: {items} liked items need a matrix of {need:.1f} GB, above "
                f"max_gb = {self.config.max_gb:g}; raise max_gb if there is memory, or use itemcf"
            )

    def _choice(
        self, data: Dataset, context: FitContext, lists: Interests, liked: Any, row: Int32
    ) -> Choice:
        """The setting to fit with."""
        c = self.config
        given = [None if x == AUTO else float(x) for x in (c.l2, c.closeness, c.decay)]
        ordered = bool((data.events.time != data.events.time[0]).any())
        if not ordered:
            given[1:] = [1.0 if x is None else x for x in given[1:]]
        l2, closeness, decay = given
        if l2 is not None and closeness is not None and decay is not None:
            return Choice(l2, closeness, decay, float("nan"))
        trial = trial_of(data, context.valid, context.seed)
        if trial is None:
            return choose(None, *given)
        small = row
        if len(liked) > c.tune_items:
            count = np.bincount(lists.other, minlength=len(row))
            kept = np.sort(np.argsort(-count, kind="stable")[: c.tune_items])
            small = np.full(len(row), -1, np.int32)
            small[kept] = np.arange(len(kept))
        trial = among(trial, small, min(len(liked), c.tune_items))
        return choose(trial.sample(context.seed), *given)

    def _recall(self, queries: Queries, k: int) -> Recalled:
        arrays, history, exclude = self._arrays, queries.history, queries.exclude
        known = np.append(arrays["row"], np.int32(-1))  # the last stands for later items
        n_items = self._n_items
        rows = known[np.where(history.item < n_items, history.item, n_items)]
        value = arrays["interest"][history.behaviour]
        refused = known[np.where(exclude.values < n_items, exclude.values, n_items)]
        found = nothing(len(queries), k)
        n = len(arrays["item"])
        longest = int(np.diff(history.indptr).max())
        assert self._facts is not None
        setting = (min(self.config.last or longest, longest), self._facts["decay"])
        past = (history.indptr, rows, value)

        def block(begin: int, end: int) -> None:
            sums = np.full((end - begin, n), -np.inf, np.float32)
            self._vote((begin, end, *setting), past, scratch("slot", n, np.int32), sums)
            bounds, mask = exclude.indptr[begin : end + 1], scratch("refused", n, np.bool_)
            select(sums, bounds, refused, mask, found.item[begin:end], found.score[begin:end])

        in_blocks(block, len(queries), QUERIES_PER_BLOCK)
        here = found.item >= 0
        found.item[here] = arrays["item"][found.item[here]]
        return found

    def _vote(self, span: Any, past: Any, slot: Any, sums: Any) -> None:
        arrays = self._arrays
        if "weight" in arrays:
            vote(span, past, arrays["weight"], slot, sums)
        else:
            few = (arrays["neighbour"], arrays["neighbour_weight"])
            vote_few(span, past, few, slot, sums)
