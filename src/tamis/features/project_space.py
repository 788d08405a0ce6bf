"""The features of a project: the same inputs for a training row and for a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import Dataset
from tamis.features._fitted import Fitted, item_order, user_order
from tamis.features._fitting import fit_space, with_columns
from tamis.features._lists import History
from tamis.features._lookup import context
from tamis.features._saving import load_fitted, save_fitted
from tamis.features.encoding import LayoutBuilder
from tamis.features.layout import Layout
from tamis.features.rows import Block, Rows
from tamis.features.statistics import Recipes, Statistics
from tamis.runtime import Float32, Int32, Int64
from tamis.schema import ConfigError, Feature, ProjectConfig, Side


class FeatureSpace:
    """Declared features over a project's tables, histories, statistics and recall columns.

    A row's dense inputs lie in the order user, item, item statistics, pair; its ids in the order
    user, context, histories, item. Rows share blocks: the user's side is computed once per query,
    the items' attributes once per space, the statistics once per distinct (item, time) where many
    rows ask the same.
    """

    def __init__(self, fitted: Fitted) -> None:
        self._fitted = fitted
        self.layout: Layout = _lay_out(fitted, user=True, item=True, pair=True)
        """Of `rows`."""
        self.user_layout: Layout = _lay_out(fitted, user=True)
        """Of `user_rows`; the same tables, so both towers share one fused embedding."""
        self.item_layout: Layout = _lay_out(fitted, item=True)
        """Of `item_rows`."""

    @classmethod
    def fit(
        cls,
        data: Dataset,
        features: Sequence[Feature],
        *,
        config: ProjectConfig | None = None,
        windows: Sequence[str] | None = None,
        columns: Mapping[str, NDArray[Any]] | Sequence[str] = (),
        item_category: str | None = None,
        seed: int = 0,
    ) -> FeatureSpace:
        """Fits on `data`, all of it: cut it before with `as_of`.

        `windows` of statistics: None = the config's; () = no statistics. `columns` are recall's
        `rank:…` and `score:…` columns (others are passed over): arrays to fit their scales on, or
        names to be fitted later by `fit_columns`. `item_category` names the column whose shares
        in the user's positives become inputs; None = the config's. Raises ConfigError where
        features, windows or columns contradict the tables, DataError for columns of a wrong type.
        """
        return cls(fit_space(data, features, config, windows, columns, item_category, seed))

    def fit_columns(self, columns: Mapping[str, NDArray[Any]]) -> FeatureSpace:
        """The same space with the scales of recall's columns fitted on these candidates."""
        return FeatureSpace(with_columns(self._fitted, columns))

    @property
    def recipes(self) -> Recipes | None:
        """What `OfflineStatistics` and `OnlineStatistics` need; None = no statistics."""
        return self._fitted.recipes

    @property
    def recall_columns(self) -> tuple[str, ...]:
        """Recall's `rank:…` and `score:…` columns that are among the inputs of `rows`."""
        return tuple(column.name for column in self._fitted.interest.columns)

    @property
    def features(self) -> tuple[Feature, ...]:
        return self._fitted.encoders.features

    def coverage(self) -> pl.DataFrame:
        """One row per feature: kind, share of training values present, codes, infinities."""
        return self._fitted.encoders.coverage()

    def user_rows(
        self,
        user: Int32,
        time: Int64,
        history: History,
        statistics: Statistics | None = None,
    ) -> Rows:
        """(Q) users at their moments (ms): profile, context, histories, statistics."""
        block = self._user_block(user, time, history, statistics)
        return Rows(layout=self.user_layout, blocks=[block], n=len(user))

    def item_rows(
        self,
        items: Int32 | None = None,
        statistics: Statistics | None = None,
        time: Int64 | int | None = None,
    ) -> Rows:
        """(n) items, None = all in the table's order; with statistics as of `time` (ms)."""
        if items is None:
            items = np.arange(len(self._fitted.items.ids) - 1, dtype=np.int32)
        blocks = [self._item_block(items)]
        if self._fitted.item_scale is not None:
            if time is None:
                raise ConfigError("this space has item statistics; give `time` (ms) to item_rows")
            moments = np.broadcast_to(np.asarray(time, np.int64), len(items))
            blocks.append(self._statistics_block(items, np.ascontiguousarray(moments), statistics))
        return Rows(layout=self.item_layout, blocks=blocks, n=len(items))

    def rows(
        self,
        user: Int32,
        time: Int64,
        history: History,
        query: NDArray[np.integer],
        item: Int32,
        columns: Mapping[str, NDArray[Any]] | None = None,
        statistics: Statistics | None = None,
    ) -> Rows:
        """n candidates of Q queries: user, time, history per query; `query` (n,) points at them.

        `columns` are recall's (n,); one that is missing counts as "not found". Candidates may
        come in any order, fastest grouped by query.
        """
        users = self._user_block(user, time, history, statistics)
        blocks = [
            Block(users.ids, users.dense, query.astype(np.int32)),
            self._item_block(item),
        ]
        if self._fitted.item_scale is not None:
            blocks.append(self._item_statistics(time, query, item, statistics))
        pair = self._pair(history, query, item, columns or {})
        blocks.append(Block(np.empty((len(item), 0), np.int32), pair))
        return Rows(layout=self.layout, blocks=blocks, n=len(item))

    def _user_block(
        self, user: Int32, time: Int64, history: History, statistics: Statistics | None
    ) -> Block:
        fitted = self._fitted
        place = fitted.users.place(user)
        ids = np.empty((len(user), self.user_layout.id_width), np.int32)
        dense = np.empty((len(user), self.user_layout.dense_width), np.float32)
        at = fitted.users.ids.shape[1]
        ids[:, :at] = fitted.users.ids[place]
        for name, codes in fitted.contexts.items():
            ids[:, at] = codes[context(name, time)]
            at += 1
        for lookup in fitted.histories:
            lookup.write(history, ids[:, at : at + lookup.max_len])
            at += lookup.max_len
        width = fitted.users.dense.shape[1]
        dense[:, :width] = fitted.users.dense[place]
        if fitted.user_scale is not None:
            dense[:, width:] = fitted.user_scale(_given(statistics).users(user, time))
        return Block(ids, dense)

    def _item_block(self, item: Int32) -> Block:
        items = self._fitted.items
        return Block(items.ids, items.dense, items.place(item))

    def _item_statistics(
        self,
        time: Int64,
        query: NDArray[np.integer],
        item: Int32,
        statistics: Statistics | None,
    ) -> Block:
        """One row per candidate, or per (moment, item) where that is fewer."""
        moments, moment = np.unique(time, return_inverse=True)
        items = len(self._fitted.items.ids)
        if len(moments) * items >= len(item):
            return self._statistics_block(item, time[query], statistics)
        every = np.arange(items, dtype=np.int32)
        every[-1] = -1
        block = self._statistics_block(
            np.tile(every, len(moments)), np.repeat(moments, items), statistics
        )
        pointer = moment[query] * items + self._fitted.items.place(item)
        return Block(block.ids, block.dense, pointer.astype(np.int32))

    def _statistics_block(self, item: Int32, time: Int64, statistics: Statistics | None) -> Block:
        assert self._fitted.item_scale is not None
        dense = self._fitted.item_scale(_given(statistics).items(item, time))
        return Block(np.empty((len(item), 0), np.int32), dense)

    def _pair(
        self,
        history: History,
        query: NDArray[np.integer],
        item: Int32,
        columns: Mapping[str, NDArray[Any]],
    ) -> Float32:
        interest = self._fitted.interest
        place = self._fitted.items.place(item)
        out = np.empty((len(item), len(interest.names)), np.float32)
        counts = np.bincount(query, minlength=len(history))
        bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        if len(query) == 0 or (query[1:] >= query[:-1]).all():
            interest.write(bounds, place, history, columns, out)
            return out
        order = np.argsort(query, kind="stable")
        grouped = {name: values[order] for name, values in columns.items()}
        part = np.empty_like(out)
        interest.write(bounds, place[order], history, grouped, part)
        out[order] = part
        return out

    def save(self, directory: Path) -> None:
        """Writes JSON, Arrow and npy files; no pickle."""
        save_fitted(self._fitted, directory)

    @classmethod
    def load(cls, directory: Path) -> FeatureSpace:
        """Opens what `save` wrote; the arrays of users and items are memory-mapped."""
        return cls(load_fitted(directory))


def _given(statistics: Statistics | None) -> Statistics:
    if statistics is None:
        raise ConfigError(
            "this space has statistics among its inputs; pass `statistics` (OfflineStatistics or "
            "OnlineStatistics made with the space's recipes), or fit the space with windows=()"
        )
    return statistics


def _lay_out(
    fitted: Fitted, *, user: bool = False, item: bool = False, pair: bool = False
) -> Layout:
    builder, encoders, recipes = LayoutBuilder(), fitted.encoders, fitted.recipes
    encoders.add_tables(builder)
    if user:
        for f in user_order(encoders.features, fitted.sides):
            side = fitted.sides[f.name]
            encoders.add_columns(builder, f, side)
        for name in recipes.user.names if recipes else ():
            builder.add_dense(f"user {name}", Side.USER, moving=True)
    if item:
        for f in item_order(encoders.features, fitted.sides):
            encoders.add_columns(builder, f, Side.ITEM)
        for name in recipes.item.names if recipes else ():
            builder.add_dense(f"item {name}", Side.ITEM, moving=True)
    if pair:
        for name in fitted.interest.names:
            builder.add_dense(name, Side.CROSS)
    return builder.build()
