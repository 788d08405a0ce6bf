"""Several objectives: terms that are added to the value before the slate is arranged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import UNKNOWN, Dataset, Table
from tamis.rerank._columns import ItemRule, ItemValue, times_of
from tamis.rerank._statement import Statement
from tamis.runtime import Float64
from tamis.schema import ComponentConfig, Conditions, Needs

DAY = 86_400_000


class ObjectiveConfig(ComponentConfig):
    """Options of the re-rank rule `objective`."""

    only_with: ClassVar[Conditions] = {
        "half_life": (Needs("freshness", none_of=(0.0,)),),
        "column": (Needs("freshness", none_of=(0.0,)),),
    }

    terms: str = ""
    """Expression over predictions and numbers of items that is added to the value, in the language
    of the fusion, such as "0.3 * click + 0.5 * purchase". Empty: none."""
    freshness: float = 0.0
    """Weight of 2^(−age / half_life): 1 for an item published just now."""
    half_life: Annotated[float, Field(gt=0)] = 7.0
    """Days after which freshness has halved."""
    column: str | None = None
    """Items' column of the time of publication. If omitted: `items.published`."""
    coverage: float = 0.0
    """Weight of 1 − the item's popularity rank (0 the most popular, 1 without events): favours the
    catalogue's long tail."""
    exposure: float = 0.0
    """Weight of 1 / √(1 + impressions of the item): favours items that were shown little."""

    @model_validator(mode="after")
    def _some_term(self) -> Self:
        if not (self.terms or self.freshness or self.coverage or self.exposure):
            raise ValueError("no term has a weight: the rule would do nothing")
        return self


class Objectives(ItemRule):
    """Adds weighted terms to the value, which is min–max scaled within the request.

    The order then is by `value + terms + freshness · … + coverage · … + exposure · …`; MMR, DPP,
    fatigue and drawing work on the sum. A weight of 0.1 is a tenth of the distance between the best
    and the worst candidate of the request. Counts are those at the end of the version's data.

    When to use: clicks, conversions, freshness, coverage and fairness to new items are all wanted,
    and a soft trade-off is better than a quota.
    Cost: a few array operations per request.
    Source: common practice; a weighted sum of objectives as in multi-objective ranking.
    """

    name = "objective"
    Config = ObjectiveConfig
    config: ObjectiveConfig

    _KINDS: ClassVar[Mapping[str, Any]] = {
        "since": np.int64,
        "popularity": np.float64,
        "shown": np.int64,
    }
    _UNCOUNTED: ClassVar[Mapping[str, Any]] = {"popularity": 1.0}

    @property
    def at_request(self) -> frozenset[str]:
        """The weights of the terms that the fit has prepared."""
        return frozenset(
            n for n in ("freshness", "coverage", "exposure") if getattr(self.config, n)
        )

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._value = ItemValue(self.config.terms, f"re-rank `{self.name}`: terms")

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Reads times of publication, popularity, impressions, and the columns of `terms`."""
        self._value.check(data.items, context or FitContext())
        return super().fit(data, context)

    def _of_items(self, items: Table) -> dict[str, NDArray[Any]]:
        since = np.full(len(items), -1)
        if self.config.freshness:
            column = self.config.column or self._roles["published"]
            since = times_of(items, column, self.name)
        return {"since": since, **self._value.columns(items)}

    def _of_events(self, data: Dataset) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {
            "popularity": np.ones(len(data.items)),
            "shown": np.zeros(len(data.items), np.int64),
        }
        if self.config.coverage:
            arrays["popularity"] = _unpopular(_counts(data, data.seen))
        if self.config.exposure:
            arrays["shown"] = _counts(data, ~data.seen)
        return arrays

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms that have a weight: "freshness", "coverage", "exposure", "terms"."""
        return tuple(n for n in ("freshness", "coverage", "exposure", "terms") if self._weight(n))

    def _weight(self, name: str) -> bool:
        return bool(getattr(self.config, name))

    def with_weights(self, weights: Mapping[str, float]) -> Self:
        """The same fitted rule with other weights of its `terms`; 0 where they name none. The
        weight of "terms" is a factor on that expression. The rule itself does not change."""
        given = {name: float(weights.get(name, 0.0)) for name in self.terms}
        options: dict[str, Any] = {n: w for n, w in given.items() if n != "terms"}
        if "terms" in given:
            factor = given["terms"]
            options["terms"] = f"{factor!r} * ({self.config.terms})" if factor else ""
        kept = {"half_life": self.config.half_life, "column": self.config.column}
        other = type(self)(**options, **(kept if options.get("freshness") else {}))
        other._arrays, other._roles = self._arrays, self._roles
        return other

    def added(self, queries: Queries, candidates: Candidates) -> Float64:
        """(n,) what the terms add to the value of each candidate."""
        statement = self.state(queries, candidates, 0)
        assert statement.terms is not None  # every rule of this kind has terms
        return statement.terms

    def state(self, queries: Queries, candidates: Candidates, n: int) -> Statement:
        """The terms; the trace shows their sum for each item."""
        del n
        config, item = self.config, candidates.item
        total = np.zeros(len(candidates))
        since = self._at("since", item)
        if config.freshness:
            age = np.maximum(queries.time[candidates.query] - since, 0) / DAY
            total += config.freshness * np.where(since >= 0, 2.0 ** (-age / config.half_life), 0.0)
        if config.coverage:
            total += config.coverage * self._at("popularity", item)
        if config.exposure:
            total += config.exposure / np.sqrt(1.0 + self._at("shown", item))
        if config.terms:
            value = self._value(candidates, self._columns_at(item))
            total += np.nan_to_num(value, posinf=0.0, neginf=0.0)
        return Statement(terms=total, note=total.astype(np.float32))


def _counts(data: Dataset, which: Any) -> Any:
    """(items,) events of these rows of the log."""
    items = data.events.item[which]
    return np.bincount(items[items != UNKNOWN], minlength=len(data.items)).astype(np.int64)


def _unpopular(counts: Any) -> Float64:
    """(items,) 0 for the most events, growing with the share of the items with events that have
    more; 1 for none."""
    some = np.sort(counts[counts > 0])
    above = len(some) - np.searchsorted(some, counts, side="right")
    return np.where(counts > 0, above / max(len(some), 1), 1.0)
