"""Not what the request itself asks to leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from tamis.cascade import Bool, Candidates, FitContext, Queries, Ragged
from tamis.events import Dataset
from tamis.filters._membership import outside


class RequestConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str = "left out by the request"
    """What the trace says of a removed item."""


class RequestFilter:
    """Removes the items of `queries.exclude` (sorted per query); it has no state."""

    Config = RequestConfig

    def __init__(self, config: RequestConfig | None = None, **options: Any) -> None:
        self.config = config or RequestConfig(**options)
        self.reason = self.config.reason

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Nothing to learn; here so that every filter is fitted alike."""
        del data, context
        return self

    def excluded(self, queries: Queries) -> Ragged:
        """The request's own list."""
        return queries.exclude

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) which candidates the request does not leave out."""
        return outside(candidates, queries.exclude)

    def save(self, directory: Path) -> None:
        """Makes the (empty) directory."""
        directory.mkdir(parents=True, exist_ok=True)

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        del directory
        return cls(config)
