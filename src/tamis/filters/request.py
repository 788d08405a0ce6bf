"""Not what the request itself asks to leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Ragged
from tamis.filters._membership import outside
from tamis.runtime import Bool
from tamis.schema import Component, ComponentConfig


class RequestConfig(ComponentConfig):
    """Options of the request filter."""

    reason: str = "left out by the request"
    """What the trace says of a removed item."""


class RequestFilter(Component):
    """Removes the items of `queries.exclude` (sorted per query); it has no state."""

    name = "request"
    Config = RequestConfig
    config: RequestConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
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
