"""Determinantal point process (DPP): the slate whose items are good and span the largest volume.

The kernel is `L_ij = q_i · S_ij · q_j` with `q_i = exp(θ · score_i / 2)`; greedy MAP inference by
incremental Cholesky factorisation, over the whole slate or a sliding window (Chen et al. 2018).
"""

from __future__ import annotations

from math import inf
from typing import Annotated

import numpy as np
from pydantic import Field

from tamis.cascade import Candidates, Queries
from tamis.rerank._similarity import DiversityRule, SimilarityConfig
from tamis.rerank._statement import Statement

HALF, MOST = 10.0, 50.0
"""θ at which a request's diversity is 0.5, and the largest θ."""


class DPPConfig(SimilarityConfig):
    """Options of the determinantal point process."""

    theta: Annotated[float, Field(ge=0, le=MOST)] = HALF
    """Weight of the score in the quality q = exp(θ · score / 2), with scores from 0 to 1 within the
    request; 0: only diversity. A score that is lower by 0.1 costs as much as a similarity of
    √(1 − exp(−0.1 θ)) to the items placed before: 0.8 for θ = 10."""
    window: Annotated[int, Field(ge=1)] | None = None
    """Number of last places whose items count. If omitted: the whole slate, of which as many places
    are diverse as the vectors have dimensions."""


class DPP(DiversityRule):
    """Each place takes the item that adds most to log det L of the items placed so far.

    Scores are the fused value, min-max scaled within the query. Unlike MMR, which compares an item
    with the most similar one alone, a DPP counts what all placed items together already cover.
    Items that they cover completely (d² below 10⁻⁶) are chosen by their score alone.

    When to use: diversity in several aspects at once, by content vectors or those of a two-tower.
    Cost: O(places · n) similarities per request, and O(places² · n) multiplications; with a window
    O(window · places · n).
    Source: Chen, Zhang and Zhou 2018, Fast Greedy MAP Inference for Determinantal Point Process.
    """

    name = "dpp"
    Config = DPPConfig
    config: DPPConfig

    @property
    def at_request(self) -> frozenset[str]:
        return frozenset({"theta", "window"})

    def _theta_at(self, strength: float) -> float:
        return inf if strength <= 0 else min(HALF * (1 - strength) / strength, MOST)

    def state(self, queries: Queries, candidates: Candidates, n: int) -> Statement:
        """Diversity by a DPP; the trace shows the logarithm of the volume that an item added."""
        del queries, n
        config = self.config
        if config.theta == inf:  # a request asks for the order by value alone
            none = np.zeros(len(candidates))
            return Statement(terms=none, note=none.astype(np.float32))
        return self._diversity(candidates, method="dpp", theta=config.theta, window=config.window)
