"""Fairness of exposure: each group has its share of every head of the slate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset
from tamis.rerank._categories import ItemCategories
from tamis.rerank._group_rule import GroupRule
from tamis.rerank._statement import LeastShare, Statement
from tamis.schema import ComponentConfig, ConfigError

GROUPS = 30


class FairConfig(ComponentConfig):
    """Options of the re-rank rule `fair`."""

    column: str = "author"
    """Items' column of the group, such as the region or the size class of the seller; of several
    values, the first. At most 30 groups."""
    strength: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Each group has at least this part of its share among the candidates, in each head of the
    slate; 1: exposure in proportion to the candidates, rounded down to whole places."""


class Fair(GroupRule):
    """Gives each group of items places in proportion to its candidates.

    A group that makes up 40 % of the ranked candidates has at least 0.4 · strength of the first k
    places for every k, so that it is not shown at the bottom alone.

    When to use: sellers, creators or regions whose items are good enough to be ranked must not
    disappear from the slates.
    Cost: as `at_most`; the groups among the candidates are counted for every request.
    Source: Singh and Joachims 2018, Fairness of Exposure in Rankings; Zehlike et al. 2017, FA*IR.
    """

    name = "fair"
    Config = FairConfig
    config: FairConfig

    @property
    def at_request(self) -> frozenset[str]:
        return frozenset({"strength"})

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._column = self.config.column

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Reads the items' groups. Raises ConfigError where there are more than 30."""
        del context
        self._groups = self._read(data.items)
        groups = len(self._groups.names)
        if groups > GROUPS:
            raise ConfigError(
                f"re-rank `fair`: column {self.config.column!r} has {groups} values; at most "
                f"{GROUPS} groups can have shares. Name a column of fewer, such as a size class"
            )
        return self

    def state(self, queries: Queries, candidates: Candidates, n: int) -> Statement:
        """A quota for each group; the trace shows the group's share of the candidates."""
        group, query = self._group_of(candidates.item), candidates.query
        groups, names = int(group.max(initial=-1)) + 1, self._known().names
        known = group >= 0
        counts = np.zeros((len(queries), groups))
        np.add.at(counts, (query[known], group[known]), 1.0)
        share = counts / np.maximum(np.diff(candidates.indptr), 1)[:, None]
        wanted = self.config.strength * share
        quotas = tuple(
            LeastShare(group == g, wanted[:, g], what=f"{self.config.column} {names[g]}")
            for g in range(groups)
            if (wanted[:, g] * n >= 1).any()
        )
        note = np.zeros(len(candidates), np.float32)
        note[known] = share[query[known], group[known]]
        return Statement(hard=quotas, note=note)

    def save(self, directory: Path) -> None:
        """Writes the groups."""
        self._known().save(directory)

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped."""
        loaded = cls(config)
        loaded._groups = ItemCategories.load(directory)
        return loaded
