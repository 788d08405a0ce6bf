"""Hot: what most people liked lately. The answer for strangers, and the bar for the others."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numba import njit
from pydantic import Field

from tamis.cascade import FitContext, Queries, Recalled
from tamis.events import Dataset
from tamis.recall.base import BaseChannel, ChannelSettings, need_positives, nothing
from tamis.recall.interactions import interest_of_behaviour

DAY_MS = 86_400_000.0


class HotConfig(ChannelSettings):
    """Options of the hot channel."""

    half_life: Annotated[float, Field(gt=0)] = 30.0
    """Days after which an event counts half; inf = every event counts alike."""


class Hot(BaseChannel):
    """Time-decayed popularity: `score(i) = Σ r · 2^(-(end - t) / half_life)`.

    The sum is over the positive events of i; `end` is the data's end, r the behaviour's weight.
    Items without a positive event are not returned; excluded items are walked past, so a list is
    short only when the catalogue is.
    """

    Config = HotConfig

    def _fit(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        need_positives(data, self.name)
        r_of = interest_of_behaviour(data.behaviours)
        positive = np.flatnonzero(data.positive)
        events = data.events
        age = (data.end - events.time[positive]) / DAY_MS
        weight = r_of[events.behaviour[positive]] * np.exp2(-age / self.config.half_life)
        score = np.bincount(events.item[positive], weights=weight, minlength=len(data.items))
        liked = np.flatnonzero(np.bincount(events.item[positive], minlength=len(data.items)))
        order = liked[np.argsort(-score[liked], kind="stable")]
        self._arrays = {"item": order.astype(np.int32), "score": score[order].astype(np.float32)}
        return {"end": data.end}

    def _recall(self, queries: Queries, k: int) -> Recalled:
        found = nothing(len(queries), k)
        _walk(
            self._arrays["item"],
            self._arrays["score"],
            queries.exclude.indptr,
            queries.exclude.values,
            found.item,
            found.score,
        )
        return found


@njit(cache=True, nogil=True)
def _walk(order, score, indptr, excluded, out_item, out_score):
    """The first k of `order` that are not in a query's sorted list of excluded items."""
    k = out_item.shape[1]
    for q in range(len(indptr) - 1):
        refused = excluded[indptr[q] : indptr[q + 1]]
        found = 0
        for place in range(len(order)):
            if found == k:
                break
            at = np.searchsorted(refused, order[place])
            if at == len(refused) or refused[at] != order[place]:
                out_item[q, found] = order[place]
                out_score[q, found] = score[place]
                found += 1
