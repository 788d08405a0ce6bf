"""A least share of the places for a group of items: fresh ones, new authors, the long tail."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import UNKNOWN, Dataset, FilterExpression, Table
from tamis.rerank._categories import ItemCategories, can_follow
from tamis.rerank._columns import ItemRule, first_code, times_of
from tamis.rerank._statement import LeastShare, Statement
from tamis.runtime import Bool, Int32, Int64
from tamis.schema import ComponentConfig, Conditions, Needs

DAY = 86_400_000


class QuotaConfig(ComponentConfig):
    """Options of the re-rank rule `quota`."""

    only_with: ClassVar[Conditions] = {
        "days": (Needs("group", one_of=("fresh", "new_authors")),),
        "column": (Needs("group", one_of=("fresh", "new_authors")),),
        "author": (Needs("group", one_of=("new_authors",)),),
        "popular": (Needs("group", one_of=("tail",)),),
    }

    group: Literal["where", "fresh", "new_authors", "tail"] = "where"
    """The items that the share is for. where: those that meet `where`. fresh: published less than
    `days` before the request. new_authors: whose author's first item is as young. tail: not among
    the most popular items."""
    where: str = ""
    """Condition on the items, in the language of the page on conditions; with the other groups, a
    further condition. Empty: all items."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Least share of the places, rounded down to whole places."""
    spread: bool = True
    """Whether the share holds in each head of the slate (0.2: one of the first 5 places, two of the
    first 10 …), or only in the whole slate."""
    days: Annotated[float, Field(gt=0)] = 7.0
    """Largest age in days."""
    column: str | None = None
    """Items' column of the time of publication. If omitted: `items.published`."""
    author: str | None = None
    """Items' column of the author. If omitted: `items.author`."""
    popular: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the items with events that are popular: those with most events, impressions left
    out."""

    @field_validator("where")
    @classmethod
    def _is_a_condition(cls, where: str) -> str:
        if where:
            FilterExpression.checked(where, ("item",))
        return where

    @model_validator(mode="after")
    def _some_group(self) -> Self:
        if self.group == "where" and not self.where:
            raise ValueError("group = 'where' needs a condition in `where`")
        return self


class Quota(ItemRule):
    """Keeps a share of the places for a group of items.

    Members of the group are moved up only as far as the share needs. With fewer of them among the
    candidates, or where more important rules leave no place for them, the share is met as far as
    possible, and the trace says where it is not.

    When to use: fresh items, new authors or the long tail would not be seen by their value alone.
    Cost: as `at_most`.
    Source: common practice; a share in each head of the list as in Zehlike et al. 2017, FA*IR.
    """

    name = "quota"
    Config = QuotaConfig
    config: QuotaConfig

    _KINDS: ClassVar[Mapping[str, Any]] = {
        "member": np.bool_,
        "since": np.int64,
        "popular": np.bool_,
    }

    @property
    def at_request(self) -> frozenset[str]:
        by_age = self.config.group in ("fresh", "new_authors")
        return frozenset({"share", "spread", *(["days"] if by_age else [])})

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._authors: ItemCategories | None = None
        self._first: Int64 | None = None
        """(items,) ms of the first item of each item's author; None: not computed yet."""

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Reads which items may belong to the group, and since when they exist."""
        super().fit(data, context)
        self._first = None
        if self.config.group == "new_authors":
            self._authors = self._read_authors(data.items)
        return self

    def _read_authors(self, items: Table) -> ItemCategories:
        return ItemCategories.read(items, self.config.author or self._roles["author"]).primary()

    def _of_items(self, items: Table) -> dict[str, NDArray[Any]]:
        since = np.full(len(items), -1)
        if self.config.group in ("fresh", "new_authors"):
            column = self.config.column or self._roles["published"]
            since = times_of(items, column, self.name)
        return {"member": self._holds(self.config.where, items), "since": since}

    def _of_events(self, data: Dataset) -> dict[str, NDArray[Any]]:
        popular = np.zeros(len(data.items), np.bool_)
        if self.config.group == "tail":
            popular = _popular(data, self.config.popular)
        return {"popular": popular}

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`."""
        super().update_items(items, rows)
        self._first = None
        if self._authors is not None and can_follow(self._authors, self.name):
            part = self._read_authors(items.part(rows))
            self._authors = self._authors.replaced(rows, part, len(items))

    def _since(self, items: Int32) -> Int64:
        """(n,) ms of publication, or of the first item of the author; −1 where unknown."""
        if self._authors is None:
            return self._at("since", items)
        if self._first is None:
            since, author = self._fitted()["since"], first_code(self._authors.of)
            known = (author >= 0) & (since >= 0)
            first = np.full(int(author.max(initial=-1)) + 2, np.iinfo(np.int64).max)
            np.minimum.at(first, author[known], since[known])
            self._first = np.where(known, first[author], -1)
        return self._first[items]

    def state(self, queries: Queries, candidates: Candidates, n: int) -> Statement:
        """The quota; the trace shows 1 for members of the group, 0 for other items."""
        del n
        item = candidates.item
        member = self._at("member", item)
        if self.config.group == "tail":
            member &= ~self._at("popular", item)
        if self.config.group in ("fresh", "new_authors"):
            since = self._since(item)
            age = queries.time[candidates.query] - since
            member &= (since >= 0) & (age >= 0) & (age < self.config.days * DAY)
        share = np.full(len(queries), self.config.share)
        what = self.config.where or f"{self.config.group.replace('_', ' ')} items"
        quota = LeastShare(member, share, self.config.spread, what)
        return Statement(hard=(quota,), note=member.astype(np.float32))

    def save(self, directory: Path) -> None:
        """Writes what was read of the items."""
        super().save(directory)
        if self._authors is not None:
            self._authors.save(directory)

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped."""
        loaded = super().load(directory, config)
        if loaded.config.group == "new_authors":
            loaded._authors = ItemCategories.load(directory)
        return loaded


def _popular(data: Dataset, share: float) -> Bool:
    """(items,) of the items with events, the share with most of them."""
    items = data.events.item[data.seen]
    counts = np.bincount(items[items != UNKNOWN], minlength=len(data.items))
    order = np.argsort(-counts, kind="stable")[: int(np.ceil(share * (counts > 0).sum()))]
    popular = np.zeros(len(counts), np.bool_)
    popular[order] = True
    return popular
