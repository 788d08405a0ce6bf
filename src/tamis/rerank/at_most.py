"""At most m of one category (author, brand) in any w adjacent places, and in the slate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, FilterExpression, Table, item_condition, separators_of
from tamis.rerank._categories import ItemCategories, can_follow
from tamis.rerank._rule import SlateRule
from tamis.rerank._statement import Limit, Statement
from tamis.runtime import Int32
from tamis.schema import ComponentConfig, Conditions, Needs, NotFittedError, read_json

_SEPARATORS = "separators.json"


class AtMostConfig(ComponentConfig):
    """Options of the re-rank rule `at_most`."""

    only_with: ClassVar[Conditions] = {"window": (Needs("limit", none_of=(None,)),)}

    limit: Annotated[int, Field(ge=1)] | None = 2
    """Most items of one category in any `window` adjacent places. If omitted: 2, and no such limit
    where `slate` is given."""
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
    sets: tuple[tuple[str, ...], ...] = ()
    """Values that are counted together, such as [["Cola A", "Cola B"]]; other values have then no
    limit. With slate = 1 the slate never holds two items of one set. Empty: each value alone."""
    where: str = ""
    """Condition on the items that count, such as "sponsored" or "price > 100", in the language of
    the page on conditions; others have no limit. Empty: all items."""

    @field_validator("where")
    @classmethod
    def _is_a_condition(cls, where: str) -> str:
        if where:
            FilterExpression.checked(where, ("item",))
        return where

    @model_validator(mode="before")
    @classmethod
    def _slate_alone(cls, given: Any) -> Any:
        """A limit of the whole slate alone does not bring the usual limit of adjacent places."""
        if isinstance(given, dict) and given.get("slate") and not {"limit", "window"} & set(given):
            return {**given, "limit": None}
        return given

    @model_validator(mode="after")
    def _some_rule(self) -> Self:
        if self.limit is None and self.slate is None:
            raise ValueError("neither limit nor slate is set: the rule would do nothing")
        return self


class AtMost(SlateRule):
    """Limits how many items of one category are near one another, and in the slate.

    The limits hold together with all other rules whenever some slate satisfies them; the order is
    kept as far as that allows. Where they cannot hold, the least important rule is broken, and of
    this rule the slate's limit before the window's; the trace shows where.

    When to use: a slate of one category or author would tire the user, and a limit is easier to
    explain than a diversity score.
    Cost: some nanoseconds per candidate and place; a search with look-ahead where taking the best
    candidate first leads to a place that none may take.
    Source: common practice.
    """

    name = "at_most"
    Config = AtMostConfig
    config: AtMostConfig

    @property
    def at_request(self) -> frozenset[str]:
        return frozenset({"limit", "window", "slate"})

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._categories: ItemCategories | None = None
        self._limit: Limit | None = None
        """What it states of these categories; None: not made yet."""
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
        return self

    def _read(self, items: Table) -> ItemCategories:
        """The categories that count of items."""
        config, where = self.config, f"re-rank `{self.name}`"
        found = ItemCategories.read(items, config.column, config.separator, config.sets)
        if config.where:
            found = found.among(
                item_condition(config.where, items.frame, self._separators or {}, where)
            )
        return found.primary() if config.count == "primary" else found

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`."""
        if self._categories is None:
            raise NotFittedError("re-rank `at_most` is used before fit(data); call fit or load it")
        if self._separators is None or not can_follow(self._categories, self.name):
            return
        self._categories = self._categories.replaced(rows, self._read(items.part(rows)), len(items))

    def state(self, queries: Queries, candidates: Candidates, n: int) -> Statement:
        """The limits; the trace shows which one an item's place breaks: 0 none, 1 that of the
        slate, 2 that of the window, 3 both."""
        del queries, n
        if self._categories is None:
            raise NotFittedError("re-rank `at_most` is used before fit(data); call fit or load it")
        of = self._categories.of
        self._categories.check(candidates.last_item, "re-rank `at_most`")
        if self._limit is None or self._limit.of is not of:
            config = self.config
            self._limit = Limit(of, config.limit, config.window, config.slate, config.column)
        return Statement(hard=(self._limit,))

    def save(self, directory: Path) -> None:
        """Writes the categories."""
        if self._categories is None:
            raise NotFittedError("re-rank `at_most` cannot be saved before fit(data)")
        self._categories.save(directory)
        (directory / _SEPARATORS).write_text(json.dumps(self._separators), "utf-8")

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped."""
        loaded = cls(config)
        loaded._categories = ItemCategories.load(directory)
        file = directory / _SEPARATORS
        loaded._separators = read_json(file) if file.is_file() else None
        return loaded
