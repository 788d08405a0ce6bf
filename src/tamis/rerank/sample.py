"""Draws the slate by temperature, with the probability of each choice."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Table
from tamis.rerank._rule import SlateRule
from tamis.rerank._statement import Drawing, Statement
from tamis.runtime import Int32
from tamis.schema import ComponentConfig


class SampleConfig(ComponentConfig):
    """Options of the re-rank rule `sample`."""

    temperature: Annotated[float, Field(gt=0, le=100)] = 0.05
    """Each place is drawn with probabilities proportional to exp(value / temperature), where the
    value is the score from 0 to 1 within the request, or the marginal value of MMR or DPP."""
    top: Annotated[int, Field(ge=2, le=1000)] = 50
    """The best items among which a place is drawn; others have probability 0."""


class Sample(SlateRule):
    """Draws each place of the slate without replacement, by the softmax of the marginal values.

    Only items that leave the other rules satisfiable are drawn, so these hold in every slate. The
    draw depends on the request's id alone: the same request has the same slate. Each item's
    propensity is its probability at its place given those above it; answers and the journal hold
    it, for evaluation by inverse propensity. Places with a fixed class or a pin are not drawn.

    When to use: a little exploration in every answer, and logs from which other policies can be
    evaluated.
    Cost: some microseconds; with hard rules a search for each of the `top` items of a place,
    together about a millisecond.
    Source: Plackett 1975, The Analysis of Permutations; Swaminathan and Joachims 2015,
    Counterfactual Risk Minimization.
    """

    name = "sample"
    Config = SampleConfig
    config: SampleConfig

    @property
    def at_request(self) -> frozenset[str]:
        return frozenset({"temperature", "top"})

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Nothing is learnt."""
        del data, context
        return self

    def update_items(self, items: Table, rows: Int32) -> None:
        """Nothing is kept of items: new ones are treated like others, see `FollowsItems`."""
        del items, rows

    def state(self, queries: Queries, candidates: Candidates, n: int) -> Statement:
        """The drawing; the trace shows each item's propensity."""
        del candidates, n
        seed = queries.seed
        if seed is None:  # replays and evaluations: the same user and time draw the same
            seed = queries.user.astype(np.int64) * 1_000_003 + queries.time
        config = self.config
        return Statement(drawing=Drawing(config.temperature, config.top, seed))

    def save(self, directory: Path) -> None:
        """Creates the folder; there is nothing to write."""
        directory.mkdir(parents=True, exist_ok=True)

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """A rule with these options."""
        del directory
        return cls(config)
