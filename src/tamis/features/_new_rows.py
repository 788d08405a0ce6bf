"""Encodes users and items that are new or changed by what was fitted, for a space that serves.

A row has the values that it would have had in the table at the time of the fit, with the
vocabularies of the fit: ids that these do not hold are unseen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamis.data import Table, number_array
from tamis.features._fitted import Fitted, item_order
from tamis.features._growing import GrowingRows
from tamis.features._lookup import Attributes, HistoryLookup
from tamis.features._place import Distance
from tamis.features._row_values import (
    attributes_of,
    category_codes,
    history_codes,
    scaled_numbers,
    seen_codes,
    values_of,
)
from tamis.features.layout import Layout
from tamis.features.own_items import OwnItemFeatures
from tamis.features.pair_features import Category, Interest, Number
from tamis.runtime import Int32
from tamis.schema import DenseFeat, Side


class NewRows:
    """Takes up new and changed users and items in the arrays of a fitted space."""

    def __init__(self) -> None:
        self._arrays: dict[str, GrowingRows] = {}

    def users(self, fitted: Fitted, layout: Layout, users: Table, rows: Int32) -> Fitted:
        """The fitted state with the users `rows` (m,) of the table."""
        ids, dense = attributes_of(fitted.encoders, fitted.sides, layout, Side.USER, users, rows)
        found = Attributes(
            self._put("user ids", fitted.users.ids, rows, ids, users),
            self._put("user numbers", fitted.users.dense, rows, dense, users),
        )
        return replace(fitted, users=found)

    def items(self, fitted: Fitted, layout: Layout, items: Table, rows: Int32) -> Fitted:
        """The fitted state with the items `rows` (m,) of the table."""
        ids, dense = attributes_of(fitted.encoders, fitted.sides, layout, Side.ITEM, items, rows)
        part, features = items.part(rows), {f.name: f for f in fitted.encoders.features}
        for group in fitted.recipes.groups if fitted.recipes is not None else ():
            group.groups.update(items, rows)
        for pair in fitted.recipes.pairs if fitted.recipes is not None else ():
            if pair.kind == "own":
                pair.groups.update(items, rows)
        histories: list[HistoryLookup] = []
        for lookup in fitted.histories:
            codes = history_codes(fitted.encoders, features, features[lookup.name], part)
            start = np.int32(lookup.pad)
            name = f"history {lookup.name}"
            codes = self._put(name, lookup.codes, rows, codes + start, items, pad=lookup.pad)
            histories.append(replace(lookup, codes=codes))
        return replace(
            fitted,
            items=Attributes(
                self._put("item ids", fitted.items.ids, rows, ids, items),
                self._put("item numbers", fitted.items.dense, rows, dense, items),
            ),
            histories=tuple(histories),
            interest=self._interest(fitted, items, rows, part),
            distance=self._distance(fitted, items, rows, part),
        )

    def _interest(self, fitted: Fitted, items: Table, rows: Int32, part: Table) -> Interest:
        interest, encoders = fitted.interest, fitted.encoders
        features = {f.name: f for f in item_order(encoders.features, fitted.sides)}
        categories: list[Category] = []
        for category in interest.categories:
            feature = features.get(category.name)
            if category.vocabulary is not None:
                codes = category_codes(part, category.name, category.separator, category.vocabulary)
            elif feature is not None and category.name in features:
                codes = seen_codes(encoders.codes(feature, values_of(part, feature)))
            else:  # of an earlier release, which did not keep the vocabulary
                codes = np.zeros((len(rows), 1), np.int32)
            known = codes < len(category.base)
            name = f"category {category.name}"
            codes = self._put(name, category.codes, rows, np.where(known, codes, 0), items, pad=0)
            categories.append(replace(category, codes=codes))
        numbers: list[Number] = []
        for number in interest.numbers:
            feature = features[number.name]
            assert isinstance(feature, DenseFeat)
            scaled = scaled_numbers(encoders, feature, values_of(part, feature))
            values = self._put(f"number {number.name}", number.values, rows, scaled, items)
            numbers.append(replace(number, values=values))
        own = self._own(interest.own, items, rows)
        return replace(interest, categories=tuple(categories), numbers=tuple(numbers), own=own)

    def _own(
        self, own: OwnItemFeatures | None, items: Table, rows: Int32
    ) -> OwnItemFeatures | None:
        """Usual gaps and repeat rates: new items have those of an item without events."""
        if own is None:
            return None
        repeats, n = own.repeats, len(own.repeats.rate)
        fresh = rows[rows >= n]
        gap = np.full(len(fresh), repeats.new_gap, np.float32)
        rate = np.full(len(fresh), repeats.new_rate, np.float32)
        return replace(
            own,
            repeats=replace(
                repeats,
                log_gap=self._put("gaps", repeats.log_gap, fresh, gap, items, unknown=False),
                rate=self._put("rates", repeats.rate, fresh, rate, items, unknown=False),
            ),
        )

    def _distance(self, fitted: Fitted, items: Table, rows: Int32, part: Table) -> Distance | None:
        distance = fitted.distance
        if distance is None:
            return None
        places = np.full((len(rows), 2), np.nan, np.float32)
        if distance.columns is not None and all(name in part for name in distance.columns):
            degrees = [number_array(part.frame[name]) for name in distance.columns]
            places[:] = np.stack(degrees, axis=1)
        return replace(distance, places=self._put("places", distance.places, rows, places, items))

    def _put(
        self,
        name: str,
        array: NDArray[Any],
        rows: Int32,
        values: NDArray[Any],
        table: Table,
        *,
        pad: int | None = None,
        unknown: bool = True,
    ) -> NDArray[Any]:
        """The array with `values` (m, …) in `rows` (m,), of as many rows as the table has.

        Rows get wider where `pad` fills them up.
        """
        if name not in self._arrays:
            self._arrays[name] = GrowingRows(array, unknown=unknown)
        growing = self._arrays[name]
        if pad is not None:
            width = max(1, int((values != pad).sum(axis=1).max(initial=0)))
            growing.widen(max(width, array.shape[1]), pad)
            values = np.pad(values, ((0, 0), (0, growing.width)), constant_values=pad)
            values = np.ascontiguousarray(values[:, : growing.width])
        return growing.put(rows, values, len(table))
