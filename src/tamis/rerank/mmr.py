"""Maximal marginal relevance (MMR): relevant items that differ from those placed before.

Carbonell & Goldstein 1998: each place takes `argmax θ·score_i − (1−θ)·max_{j∈S} sim(i, j)`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tamis.cascade import Candidates, Queries
from tamis.rerank._similarity import DiversityRule, SimilarityConfig
from tamis.rerank._statement import Statement


class MMRConfig(SimilarityConfig):
    """Options of MMR (maximal marginal relevance)."""

    theta: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Weight of the score against the similarity to the items placed before; 1 keeps the order."""
    window: Annotated[int, Field(ge=1)] | None = None
    """Number of last places whose similarity counts. If omitted: the whole slate."""


class MMR(DiversityRule):
    """Greedy MMR over the fused value, min-max scaled within the query.

    Equal marginal values are taken in the given order; candidates without a finite value rank
    last. The choice for a place does not depend on the places after it: without other rules, a
    slate of 10 is the head of a slate of 50.

    When to use: the top of the list holds near-duplicates, and a gradual trade-off of value and
    diversity is wanted.
    Cost: O(places · n) similarities per request, each a comparison of category lists or a dot
    product.
    Source: Carbonell and Goldstein 1998, The use of MMR, diversity-based reranking.
    """

    name = "mmr"
    Config = MMRConfig
    config: MMRConfig

    @property
    def at_request(self) -> frozenset[str]:
        return frozenset({"theta", "window"})

    def _theta_at(self, strength: float) -> float:
        return 1 - strength

    def state(self, queries: Queries, candidates: Candidates, n: int) -> Statement:
        """Diversity by MMR; the trace shows each item's marginal value when it was placed.

        The values are within [θ − 1, θ] for similarities in [0, 1].
        """
        del queries, n
        config = self.config
        return self._diversity(candidates, method="mmr", theta=config.theta, window=config.window)
