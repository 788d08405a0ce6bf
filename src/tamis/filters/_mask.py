"""What filters by an item's attribute share: one boolean per item, looked up per candidate."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from tamis.cascade import Bool, Candidates, FitContext, Queries, Ragged
from tamis.events import Dataset, Table
from tamis.schema import ConfigError, NotFittedError, StageError


class ItemMaskFilter:
    """A filter whose verdict depends on the item alone; a subclass says it in `_allowed`."""

    reason: str
    config: Any

    def __init__(self) -> None:
        self._mask: Bool | None = None

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Reads the verdict on every item from the items' table."""
        del context
        self._mask = self._allowed(data.items)
        return self

    def _allowed(self, items: Table) -> Bool:
        """(items,) True = may be shown."""
        raise NotImplementedError

    def excluded(self, queries: Queries) -> Ragged | None:
        """None: the refused items may be most of the catalogue, so no list is made."""
        del queries
        return None

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) which candidates stay."""
        del queries
        if self._mask is None:
            raise NotFittedError(
                f"filter {self.reason!r} is used before fit(data); call fit or load it first"
            )
        if len(candidates) and candidates.item.max() >= len(self._mask):
            raise StageError(
                f"filter {self.reason!r} knows {len(self._mask)} items and was given item row "
                f"{candidates.item.max()}; fit it on the items' table that recall uses"
            )
        return self._mask[candidates.item]

    def save(self, directory: Path) -> None:
        """Writes `mask.npy` (one byte per item)."""
        if self._mask is None:
            raise NotFittedError(f"filter {self.reason!r} cannot be saved before fit(data)")
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "mask.npy", self._mask)

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped."""
        loaded = cls(config)  # type: ignore[call-arg]
        loaded._mask = np.load(directory / "mask.npy", mmap_mode="r")
        return loaded


def column_of(items: Table, column: str, user: str) -> pl.Series:
    """The items' column, or a ConfigError that lists the columns there are."""
    if column not in items.frame.columns:
        known = ", ".join(items.frame.columns) or "none"
        raise ConfigError(
            f"{user}: column {column!r} is not in the items' table (its columns: {known}); "
            f"set `column` to one of them"
        )
    return items.frame[column]
