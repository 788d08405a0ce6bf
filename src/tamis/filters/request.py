"""Removes the items that the request itself excludes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, Ragged, Table
from tamis.runtime import Bool, Int32
from tamis.schema import Component, ComponentConfig


class RequestConfig(ComponentConfig):
    """Options of the request filter."""

    reason: str = "excluded by the request"
    """The reason that the trace gives for a removed item."""


class RequestFilter(Component):
    """Removes the items of `queries.exclude`; it has no fitted state.

    When to use: the caller knows items that must not appear, such as those already on the page.
    Cost: one binary search per candidate; the items are excluded from recall in advance.
    Source: common practice.
    """

    name = "request"
    Config = RequestConfig
    config: RequestConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.reason = self.config.reason

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Does nothing: the filter has no state."""
        del data, context
        return self

    def update_items(self, items: Table, rows: Int32) -> None:
        """Does nothing: the filter reads the request alone."""

    def excluded(self, queries: Queries) -> Ragged:
        """The request's exclusion list."""
        return queries.exclude

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) True where the request does not exclude the candidate."""
        from tamis.filters._membership import outside  # heavy: numba

        return outside(candidates, queries.exclude)

    def save(self, directory: Path) -> None:
        """Creates the directory; there is no state to write."""
        directory.mkdir(parents=True, exist_ok=True)

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """A filter with these options; there is no state to read."""
        del directory
        return cls(config)
