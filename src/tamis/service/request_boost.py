"""The boosts of a request: factors on the value of items, categories and conditions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import polars as pl

from tamis.cascade import Candidates, Factors, Queries
from tamis.data import item_categories
from tamis.runtime import Bool, Float32
from tamis.schema import RequestError
from tamis.service.assembly import Parts
from tamis.service.request import Boost
from tamis.service.request_filter import RequestCondition, request_condition

Meets = Callable[[Queries, Candidates], Bool]
"""(queries, candidates) → (n,) which of them a boost is for."""


def request_boost(
    boosts: Sequence[Boost], parts: Parts, values: Collection[str]
) -> tuple[Factors | None, list[RequestCondition]]:
    """The factors of a request, None where it has no boost, and the conditions among them.

    Args:
        values: names that the request gives, which conditions read as `request.NAME`.

    Raises RequestError where the project declares no categories, or a condition cannot be parsed or
    names what is not there.
    """
    if not boosts:
        return None, []
    conditions = {
        k: request_condition(boost.where, "boost", f"boost[{k}].where", parts, values)
        for k, boost in enumerate(boosts)
        if boost.where is not None
    }
    rules = [
        conditions[k].keep if k in conditions else _rule(boost, k, parts)
        for k, boost in enumerate(boosts)
    ]

    def factors(queries: Queries, candidates: Candidates) -> Float32:
        factor = np.ones(len(candidates), np.float64)
        for boost, rule in zip(boosts, rules, strict=True):
            factor[rule(queries, candidates)] *= boost.factor
        return factor.astype(np.float32)

    return factors, list(conditions.values())


def _rule(boost: Boost, k: int, parts: Parts) -> Meets:
    """Which candidates a boost of an item or a category is for."""
    if boost.category is not None:
        return _of_category(boost.category, k, parts)
    row = parts.items.row(boost.item_id)
    return lambda queries, candidates: candidates.item == row


def _of_category(category: str, k: int, parts: Parts) -> Meets:
    table, declared = parts.items, parts.config.items
    if declared.category is None or declared.category not in table.columns:
        raise RequestError(
            f"boost[{k}].category: the project declares no column of categories ([items] category "
            "in tamis.toml): name it there and train, or give a condition in `where`",
            "boost",
        )
    column, separator = declared.category, declared.category_separator

    def meets(queries: Queries, candidates: Candidates) -> Bool:
        rows = candidates.item
        shown = table.part(rows)
        lists = item_categories(shown, column, separator)
        return lists.list.contains(pl.lit(category)).to_numpy()

    return meets
