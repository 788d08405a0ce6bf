"""Not what the user has already met."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from tamis.cascade import Bool, Candidates, FitContext, Queries, Ragged
from tamis.events import Dataset
from tamis.filters._membership import outside, sorted_sets
from tamis.schema import ConfigError, NotFittedError


class SeenConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    behaviours: tuple[str, ...] = ()
    """Behaviours that make an item seen; empty = all but impressions."""
    reason: str = "seen"
    """What the trace says of a removed item."""


class SeenFilter:
    """Removes items with which the query's history has an event of a counted behaviour."""

    Config = SeenConfig

    def __init__(self, config: SeenConfig | None = None, **options: Any) -> None:
        self.config = config or SeenConfig(**options)
        self.reason = self.config.reason
        self._counted: Bool | None = None

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Notes which behaviour codes count."""
        del context
        names = [b.name for b in data.behaviours]
        unknown = [name for name in self.config.behaviours if name not in names]
        if unknown:
            raise ConfigError(
                f"filter `seen`: behaviour {unknown[0]!r} is not declared "
                f"(declared: {', '.join(names)}); mend `behaviours`"
            )
        counted = [
            b.name in self.config.behaviours if self.config.behaviours else not b.impression
            for b in data.behaviours
        ]
        self._counted = np.array(counted, dtype=np.bool_)
        return self

    def excluded(self, queries: Queries) -> Ragged:
        """Each query's seen item rows, ascending, without repeats."""
        if self._counted is None:
            raise NotFittedError("filter `seen` is used before fit(data); call fit or load it")
        history = queries.history
        # An item row of -1 is an event with an item outside the table: no candidate can be it.
        wanted = self._counted[history.behaviour] & (history.item >= 0)
        return Ragged(*sorted_sets(history.indptr, history.item, wanted))

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) which candidates the user has not seen."""
        return outside(candidates, self.excluded(queries))

    def save(self, directory: Path) -> None:
        """Writes `counted.npy` (one flag per behaviour)."""
        if self._counted is None:
            raise NotFittedError("filter `seen` cannot be saved before fit(data)")
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "counted.npy", self._counted)

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        loaded = cls(config)
        loaded._counted = np.load(directory / "counted.npy")
        return loaded
