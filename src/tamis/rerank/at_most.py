"""At most m of one category (author, brand) in any w adjacent places, and in the slate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, FilterExpression, Table, item_condition, separators_of
from tamis.rerank._categories import ItemCategories, can_follow
from tamis.runtime import Int32, grown
from tamis.schema import (
    Component,
    ComponentConfig,
    Conditions,
    Needs,
    NotFittedError,
    read_array,
    read_json,
)

_SEPARATORS = "separators.json"


class AtMostConfig(ComponentConfig):
    """Options of the re-rank rule `at_most`."""

    only_with: ClassVar[Conditions] = {"window": (Needs("limit", none_of=(None,)),)}

    limit: Annotated[int, Field(ge=1)] | None = 2
    """Most items of one category in any `window` adjacent places. If omitted: 2."""
    window: Annotated[int, Field(ge=2)] = 5
    """Number of adjacent places that `limit` looks at."""
    slate: Annotated[int, Field(ge=1)] | None = None
    """Most items of one category in the whole slate. If omitted: no limit."""
    column: str = "category"
    """Items' column whose values are counted: category, author, brand."""
    separator: str | None = None
    """Splits a text column of several values ("Action|Comedy")."""
    count: Literal["all", "primary"] = "all"
    """Whether an item of several categories counts in each of them or only in its first."""
    where: str = ""
    """Condition on the items that count, such as "sponsored" or "price > 100", in the language of
    the page on conditions; others have no limit. Empty: all items."""
    depth: Annotated[int, Field(ge=1)] = 50
    """Number of places that are planned together, independent of n; later places are filled one
    by one."""
    search: Annotated[int, Field(ge=0)] = 100_000
    """Number of candidates that the search examines (about 2 ns each) before it takes the best plan
    found so far."""

    @field_validator("where")
    @classmethod
    def _is_a_condition(cls, where: str) -> str:
        if where:
            FilterExpression.checked(where, ("item",))
        return where

    @model_validator(mode="after")
    def _some_rule(self) -> Self:
        if self.limit is None and self.slate is None:
            raise ValueError("neither limit nor slate is set: the rule would do nothing")
        return self


class AtMost(Component):
    """Keeps the given order as far as the limits allow.

    The first `depth` places are planned together by depth-first search, trying candidates in their
    order: the result is the first plan (by place) that satisfies the limits over the longest head
    of the list. If a slate that satisfies them exists, it is found, unless the search ended early
    (`search`). If none exists, limits are broken behind that head, the slate's before the window's,
    and the trace reports it. The plan does not depend on n: a slate of 10 is the head of a slate
    of 50.

    When to use: a slate of one category or author would tire the user, and a limit is easier to
    explain than a diversity score.
    Cost: a depth-first search over `depth` places, usually some microseconds; at most `search`
    candidates are examined.
    Source: common practice; the search is depth-first with an upper bound.
    """

    name = "at_most"
    Config = AtMostConfig
    config: AtMostConfig

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._categories: ItemCategories | None = None
        self._groups: NDArray[np.int64] | None = None
        self._separators: dict[str, str] | None = {}
        """Separators of the texts that `where` reads as lists; None: an earlier release did not
        save them."""

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Reads the items' categories."""
        if self.config.where:
            context, columns = context or FitContext(), data.items.frame.columns
            self._separators = dict(separators_of(context.items, context.features, columns))
            if self.config.separator:
                self._separators[self.config.column] = self.config.separator
        self._categories = self._read(data.items)
        self._groups = self._categories.groups()
        return self

    def _read(self, items: Table) -> ItemCategories:
        """The categories that count of items."""
        config, where = self.config, f"re-rank `{self.name}`"
        found = ItemCategories.read(items, config.column, config.separator)
        if config.where:
            found = found.among(
                item_condition(config.where, items.frame, self._separators or {}, where)
            )
        return found.primary() if config.count == "primary" else found

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`."""
        if self._categories is None or self._groups is None:
            raise NotFittedError("re-rank `at_most` is used before fit(data); call fit or load it")
        if self._separators is None or not can_follow(self._categories, self.name):
            return
        self._categories = self._categories.replaced(rows, self._read(items.part(rows)), len(items))
        groups = grown(self._groups, len(items), 0)
        groups[rows] = self._categories.groups_of(rows)
        self._groups = groups

    def arrange(
        self, queries: Queries, candidates: Candidates, n: int
    ) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """The permutation (n,), and for each given candidate which limit its place breaks (n,).

        0: none, 1: the slate's, 2: the window's, 3: both. Candidates behind the arranged places
        have 0.
        """
        from tamis.rerank._plan import arrange  # heavy: numba

        del queries
        if self._categories is None or self._groups is None:
            raise NotFittedError("re-rank `at_most` is used before fit(data); call fit or load it")
        self._categories.check(candidates.item, "re-rank `at_most`")
        config = self.config
        unlimited = len(candidates) + 1
        return arrange(
            candidates.indptr,
            candidates.item,
            self._categories.of,
            self._groups,
            (config.limit or unlimited, config.window, config.slate or unlimited),
            (n, config.depth, config.search),
        )

    def save(self, directory: Path) -> None:
        """Writes the categories."""
        if self._categories is None or self._groups is None:
            raise NotFittedError("re-rank `at_most` cannot be saved before fit(data)")
        self._categories.save(directory)
        np.save(directory / "groups.npy", self._groups)
        (directory / _SEPARATORS).write_text(json.dumps(self._separators), "utf-8")

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped."""
        loaded = cls(config)
        loaded._categories = ItemCategories.load(directory)
        items = len(loaded._categories.of)
        loaded._groups = read_array(directory / "groups.npy", np.int64, (items,))
        file = directory / _SEPARATORS
        loaded._separators = read_json(file) if file.is_file() else None
        return loaded
