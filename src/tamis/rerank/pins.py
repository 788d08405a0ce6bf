"""Pins: items with a place of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import UNKNOWN, Dataset, Ragged, Table
from tamis.rerank._rule import SlateRule
from tamis.rerank._statement import PinnedItems, Statement
from tamis.runtime import Int32
from tamis.schema import ComponentConfig, ConfigError, NotFittedError, read_array


class PinsConfig(ComponentConfig):
    """Options of the re-rank rule `pins`."""

    items: tuple[str, ...] = ()
    """Ids of the pinned items, the most important first."""
    places: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = ()
    """The place of each of them, from 1."""

    @model_validator(mode="after")
    def _one_place_each(self) -> Self:
        if len(self.items) != len(self.places):
            raise ValueError(
                f"{len(self.items)} items and {len(self.places)} places: give each item a place"
            )
        for name, values in (("items", self.items), ("places", self.places)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} = {list(values)}: name each once")
        return self


class Pins(SlateRule):
    """Puts chosen items at chosen places, whether they were recalled or not.

    Pinned items are ranked for every request beside the recalled ones; an item that a filter
    removes is not shown, and the answer says that its pin is broken.

    When to use: editorial picks, a campaign's first place, a notice that everybody must see.
    Cost: every pinned item is one more candidate of the ranker.
    Source: common practice.
    """

    name = "pins"
    Config = PinsConfig
    config: PinsConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._rows: Int32 | None = None
        self._places = np.array(self.config.places, np.int64)

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Finds the rows of the pinned items. Raises ConfigError where an item is unknown."""
        del context
        rows = data.items.rows(self.config.items)
        missing = [
            item for item, row in zip(self.config.items, rows, strict=True) if row == UNKNOWN
        ]
        if missing:
            raise ConfigError(
                f"re-rank `pins`: items {missing[:5]} are not in the items' table; check their "
                "ids, or remove them from `items` and `places`"
            )
        self._rows = np.asarray(rows, np.int32)
        return self

    def of_rows(self, rows: Int32) -> Self:
        """The rule for item rows (m,), in the order of `items`, which need no fit."""
        self._rows = rows
        return self

    def update_items(self, items: Table, rows: Int32) -> None:
        """Rows of items do not change: there is nothing to take up, see `FollowsItems`."""
        del items, rows

    def inserted(self, queries: Queries) -> Ragged:
        """Item rows that are ranked for every query beside the recalled ones."""
        return Ragged.of([self._known()] * len(queries))

    def state(self, queries: Queries, candidates: Candidates, n: int) -> Statement:
        """The pins; the trace shows the place of a pinned item, 0 for other items."""
        del queries, n
        rows, note = self._known(), np.zeros(len(candidates), np.float32)
        for row, place in zip(rows.tolist(), self.config.places, strict=True):
            note[candidates.item == row] = place
        return Statement(hard=(PinnedItems(rows, self._places, self.config.items),), note=note)

    def _known(self) -> Int32:
        if self._rows is None:
            raise NotFittedError("re-rank `pins` is used before fit(data); call fit or load it")
        return self._rows

    def save(self, directory: Path) -> None:
        """Writes the rows of the items."""
        rows = self._known()
        directory.mkdir(parents=True, exist_ok=True)
        np.save(directory / "rows.npy", rows)

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote."""
        loaded = cls(config)
        loaded._rows = read_array(directory / "rows.npy", np.int32, (len(loaded.config.items),))
        return loaded
