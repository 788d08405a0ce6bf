"""Advertisements, promotions, inserted items: fixed places, a least gap, a ranking of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import Dataset, FilterExpression, Ragged, Table
from tamis.rerank._columns import ItemRule, ItemValue, numbers_of
from tamis.rerank._statement import FixedPlaces, Hard, Limit, Statement
from tamis.runtime import Int32
from tamis.schema import ComponentConfig, Conditions, Needs

Place = Annotated[int, Field(ge=1, le=1000)]


class AdsConfig(ComponentConfig):
    """Options of the re-rank rule `ads`."""

    only_with: ClassVar[Conditions] = {
        "elsewhere": (Needs("places", none_of=((),)),),
        "insert_by": (Needs("insert", none_of=(0,)),),
    }

    where: str = "sponsored"
    """Condition on the items that are advertisements (promotions, inserted items), in the language
    of the page on conditions."""
    places: tuple[Place, ...] = ()
    """Places that advertisements take, from 1; where there are too few, the first ones named.
    Empty: they stand where their fused value puts them, within the other limits."""
    value: str = ""
    """Expression that orders the advertisements, in the language of the fusion, such as
    "bid * click" for the expected revenue; predictions are calibrated. Empty: the fused value."""
    least: float | None = None
    """Smallest value of an advertisement; those below are left out of its places. If omitted: no
    bound."""
    gap: Annotated[int, Field(ge=1)] | None = None
    """Fewest other items between two advertisements. If omitted: no bound."""
    slate: Annotated[int, Field(ge=1)] | None = None
    """Most advertisements in the slate. If omitted: no limit."""
    elsewhere: bool = False
    """Whether advertisements may also have other places, by their fused value."""
    insert: Annotated[int, Field(ge=0)] = 0
    """Number of advertisements that are ranked for every request beside the recalled items; filters
    apply to them."""
    insert_by: str | None = None
    """Items' numeric column by which these are chosen, highest first, such as "bid". If omitted: in
    the order of the items' table."""

    @field_validator("where")
    @classmethod
    def _is_a_condition(cls, where: str) -> str:
        FilterExpression.checked(where, ("item",))
        return where

    @model_validator(mode="after")
    def _some_rule(self) -> Self:
        if not self.places and self.gap is None and self.slate is None:
            raise ValueError("neither places, gap nor slate is set: the rule would do nothing")
        if len(set(self.places)) != len(self.places):
            raise ValueError(f"places = {list(self.places)}: name each place once")
        return self


class Ads(ItemRule):
    """Gives advertisements places of their own, a least distance, and a ranking of their own.

    At a fixed place stands the advertisement with the highest `value` that the other rules allow;
    what the fused value and diversity say of it does not count there. Items that meet `where` are
    advertisements wherever they come from: recalled, or inserted by this rule. With fewer of them
    than places, the places named last hold other items, and the trace says so.

    When to use: sponsored items ranked by expected revenue, promotions at agreed places, notices.
    Cost: as `at_most`; every inserted advertisement is one more candidate of the ranker.
    Source: common practice; expected revenue bid · click as in search advertising (Edelman et al.
    2007, Internet Advertising and the Generalized Second-Price Auction).
    """

    name = "ads"
    Config = AdsConfig
    config: AdsConfig

    _KINDS: ClassVar[Mapping[str, Any]] = {"member": np.bool_, "first": np.float64}

    @property
    def at_request(self) -> frozenset[str]:
        return frozenset({"places", "least", "gap", "slate", "elsewhere", "insert"})

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._value = ItemValue(self.config.value, f"re-rank `{self.name}`: value")
        self._chosen: tuple[Int32, Ragged] | None = None
        """The inserted items, and one code for all advertisements; None: not made yet."""

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Reads which items are advertisements, and the columns of `value` and `insert_by`."""
        self._value.check(data.items, context or FitContext())
        self._chosen = None
        return super().fit(data, context)

    def _of_items(self, items: Table) -> dict[str, NDArray[Any]]:
        first, by = np.zeros(len(items)), self.config.insert_by
        if by is not None:
            first = numbers_of(items, by, self.name)
        member = self._holds(self.config.where, items)
        return {"member": member, "first": first, **self._value.columns(items)}

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`."""
        super().update_items(items, rows)
        self._chosen = None

    def _choice(self) -> tuple[Int32, Ragged]:
        """The inserted items, and one code for all advertisements, none for other items."""
        if self._chosen is None:
            member = self._fitted()["member"]
            rows = np.flatnonzero(member).astype(np.int32)
            order = np.argsort(-self._fitted()["first"][rows], kind="stable")
            indptr = np.concatenate([[0], np.cumsum(member)]).astype(np.int64)
            codes = Ragged(indptr, np.zeros(int(indptr[-1]), np.int32))
            self._chosen = rows[order[: self.config.insert]], codes
        return self._chosen

    def inserted(self, queries: Queries) -> Ragged:
        """Item rows that are ranked for every query beside the recalled ones."""
        return Ragged.of([self._choice()[0]] * len(queries))

    def state(self, queries: Queries, candidates: Candidates, n: int) -> Statement:
        """Fixed places and limits; the trace shows an advertisement's value, 0 for other items."""
        del queries, n
        config, item = self.config, candidates.item
        member = self._at("member", item)
        value = np.where(member, self._value(candidates, self._columns_at(item)), 0.0)
        usable = member & np.isfinite(value)
        if config.least is not None:
            usable &= value >= config.least
        hard: list[Hard] = []
        cheap = np.count_nonzero(usable) < np.count_nonzero(member)
        if cheap and config.places and not config.elsewhere:
            kept_out = member & ~usable
            hard.append(FixedPlaces(kept_out, (), value, what="advertisement too cheap"))
        if config.places:
            ranked = np.where(usable, value, -np.inf)
            hard.append(
                FixedPlaces(usable, config.places, ranked, config.elsewhere, "advertisement")
            )
        if config.gap is not None or config.slate is not None:
            window = {} if config.gap is None else {"in_window": 1, "window": config.gap + 1}
            hard.append(Limit(self._choice()[1], in_slate=config.slate, what="kind", **window))
        shown = np.where(usable, value, 0.0) if cheap else value
        return Statement(hard=tuple(hard), note=shown.astype(np.float32))
