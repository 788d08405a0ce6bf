"""Feature space of a project: equal model inputs for training rows and for requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.data import Context, Dataset, Table
from tamis.features._context import ContextInputs
from tamis.features._fitted import Fitted, item_order, user_order
from tamis.features._fitting import SpaceOptions, fit_space, with_columns
from tamis.features._lists import History
from tamis.features._lookup import Attributes
from tamis.features._new_rows import NewRows
from tamis.features._place import DISTANCE
from tamis.features._row_values import attributes_of
from tamis.features._saving import load_fitted, save_fitted
from tamis.features.encoding import LayoutBuilder
from tamis.features.layout import Layout
from tamis.features.rows import Block, LazyBlock, LazyBlocks, Rows
from tamis.features.statistics import Recipes, Statistics, UserStatistics
from tamis.features.vocabulary import FIRST, UNSEEN, Vocabulary
from tamis.runtime import Bool, Float32, Int32, Int64
from tamis.schema import ConfigError, Feature, ProjectConfig, Side, SparseFeat

Tables = tuple[Table, Table]
"""Of users, and of items."""


class FeatureSpace:
    """Encodes the declared features over a project's tables, histories, statistics and recall.

    The dense inputs of a row are in the order user, item, item statistics, statistics of the item's
    groups, pair; its ids in the order user, context, histories, item. Rows share blocks: the user's
    side is computed once per query, the items' attributes once per space, and item statistics once
    per distinct (item, time)
    where that is fewer than the rows.
    """

    def __init__(self, fitted: Fitted) -> None:
        self._fitted = fitted
        self.layout: Layout = _lay_out(fitted, user=True, item=True, pair=True)
        """Layout of `rows`."""
        self.user_layout: Layout = _lay_out(fitted, user=True)
        """Layout of `user_rows`; same tables, so that both towers share one fused embedding."""
        self.item_layout: Layout = _lay_out(fitted, item=True)
        """Layout of `item_rows`; same tables."""
        self._context = ContextInputs(fitted, self.layout)
        self._new = NewRows()

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
        groups: Sequence[str] | Literal["auto"] | None = None,
        seed: int = 0,
        towers: bool = False,
        former: FeatureSpace | None = None,
    ) -> FeatureSpace:
        """Fits on all of `data`; cut it with `as_of` before.

        Args:
            windows: time windows of the statistics. None = those of `config`; () = no statistics.
            columns: `rank:…` and `score:…` columns of recall (others are ignored): arrays (n,) to
                fit their scales on, or names whose scales `fit_columns` fits later.
            item_category: column of the items whose share in the user's positives becomes an
                input. None = that of `config`.
            groups: attributes whose statistics are inputs, as `groups` of tamis.toml. None = those
                of `config`; without windows there are none.
            seed: of the sample of events on which the scales of statistics are fitted.
            towers: whether the model has separate user and item sides: there are then no features
                of user and candidate, and `features` may be empty.
            former: a space of the same features, fitted on earlier data, that models have learnt
                with. Its ids keep their codes, new ones get the codes after them; its scales,
                buckets, priors of rates and recall's `columns` stay. What is counted is counted in
                `data`. None: a fit of its own.

        Raises ConfigError where features or windows contradict the tables, DataError for columns
        of a wrong type.
        """
        earlier = None if former is None else former._fitted
        options = SpaceOptions(config, windows, item_category, groups, seed, towers, earlier)
        return cls(fit_space(data, features, columns, options))

    def fit_columns(self, columns: Mapping[str, NDArray[Any]]) -> FeatureSpace:
        """The same space, with the scales of recall's columns fitted on those of n candidates."""
        return FeatureSpace(with_columns(self._fitted, columns))

    @property
    def recipes(self) -> Recipes | None:
        """For `OfflineStatistics` and `OnlineStatistics`; None = the space has no statistics."""
        return self._fitted.recipes

    @property
    def recall_columns(self) -> tuple[str, ...]:
        """Recall's `rank:…` and `score:…` columns that are among the inputs of `rows`."""
        return tuple(column.name for column in self._fitted.interest.columns)

    @property
    def features(self) -> tuple[Feature, ...]:
        """The declared features."""
        return self._fitted.encoders.features

    @property
    def vocabularies(self) -> Mapping[str, Vocabulary]:
        """The vocabulary of each embedding table."""
        return self._fitted.encoders.vocabularies

    def online_rows(self) -> Bool:
        """(n_rows,) the rows of the fused table whose vectors learn between two trainings: those of
        the ids of features with `online`, but not those of missing and unseen ids."""
        rows = np.zeros(self.layout.n_rows, np.bool_)
        for feature in self.features:
            if isinstance(feature, SparseFeat) and feature.online:
                table = self.layout.table[feature.name]
                rows[table.start + FIRST : table.start + table.size] = True
        return rows

    def change_ids(
        self, name: str, expired: Sequence[int], admitted: Mapping[str, int], tables: Tables
    ) -> None:
        """Changes which ids have codes of their own in the table of a feature that reads the ids of
        users or items; rows of these are encoded again.

        Args:
            name: of the feature.
            expired: codes whose ids are unseen from now on.
            admitted: new ids → codes.
            tables: of users and items, as they are now.
        """
        vocabulary = self.vocabularies[name]
        ids = [text for code in expired if (text := vocabulary.text_of(code)) is not None]
        vocabulary.change(expired, admitted)
        users, items = tables
        of_users = self._fitted.sides[name] is Side.USER
        table = users if of_users else items
        rows = table.rows_of_texts([*ids, *admitted])
        rows = np.unique(rows[rows >= 0]).astype(np.int32)
        rows = rows[rows < (self.n_users if of_users else self.n_items)]
        if len(rows):
            (self.update_users if of_users else self.update_items)(table, rows)

    def reads_ids(self, feature: Feature, users: Table, items: Table) -> bool:
        """Whether a feature reads the ids of users or items themselves, not a column of theirs."""
        side = self._fitted.sides[feature.name]
        table = {Side.USER: users, Side.ITEM: items}.get(side)
        return table is not None and feature.source not in table

    def side_of(self, feature: str) -> Side:
        """Whom a feature describes."""
        return self._fitted.sides[feature]

    def own_rows(self, side: Side, table: Table, ids: Sequence[str]) -> tuple[Int32, Int32]:
        """(m,) the rows of the fused table that belong to some users or items of `table` alone, in
        the tables of features with `online` that read their ids; and (m,) the row of unseen ids of
        the table of each. Hashed ids share their rows with others, so they have none."""
        found, unseen = list[Int32](), list[Int32]()
        for feature in self.features:
            if not isinstance(feature, SparseFeat) or not feature.online:
                continue
            vocabulary = self.vocabularies[feature.name]
            if self._fitted.sides[feature.name] is not side or vocabulary.ids is None:
                continue
            if feature.source in table:  # a column of the table, not its ids
                continue
            codes = vocabulary.encode(pl.Series("id", list(ids), pl.String))
            start = self.layout.table[feature.name].start
            known = codes[codes >= FIRST] + np.int32(start)
            found.append(known)
            unseen.append(np.full(len(known), start + UNSEEN, np.int32))
        if not found:
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        return np.concatenate(found), np.concatenate(unseen)

    @property
    def context_columns(self) -> tuple[str, ...]:
        """The declared columns of context that are among the inputs."""
        return self._context.columns

    @property
    def n_users(self) -> int:
        """Number of users whose attributes it holds."""
        return len(self._fitted.users.ids) - 1

    @property
    def n_items(self) -> int:
        """Number of items whose attributes it holds."""
        return len(self._fitted.items.ids) - 1

    @property
    def reads_context(self) -> bool:
        """Whether the request's place or columns are among the inputs; its time is not meant."""
        return bool(self.context_columns) or self.reads_place

    @property
    def format(self) -> int:
        """Format of the stored files: 2 for inputs that releases before 2 do not know."""
        fitted = self._fitted
        new = self.context_columns or self.reads_place or not fitted.calendar.is_default
        new = new or fitted.group_recipes or fitted.pair_recipes or fitted.interest.own
        new = new or fitted.interest.position
        new = new or any(getattr(f, "ngrams", None) for f in self.features)
        return 2 if new else 1

    @property
    def reads_place(self) -> bool:
        """Whether the place of the request is among the inputs."""
        return self._context.reads_place or self._fitted.distance is not None

    def coverage(self) -> pl.DataFrame:
        """One row per feature: kind, share of training values present, codes, infinite numbers."""
        return self._fitted.encoders.coverage()

    def attributes(self, side: Side) -> Block:
        """The attributes of all users, or of all items; a last row is of an unknown one.

        They are the first columns of `user_layout` and of `item_layout`.
        """
        table = self._fitted.users if side is Side.USER else self._fitted.items
        return Block(table.ids, table.dense)

    def moving_user_inputs(
        self,
        user: Int32,
        time: Int64,
        history: History,
        statistics: UserStatistics | None = None,
        context: Context | None = None,
    ) -> Block:
        """`user_rows` without the attributes: context and histories; statistics, if given."""
        users = self._fitted.users
        ids = np.empty((len(user), self.user_layout.id_width - users.ids.shape[1]), np.int32)
        self._context.write(time, context, ids[:, : self._context.width])
        self._write_histories(history, ids[:, self._context.width :])
        if statistics is None or self._fitted.user_scale is None:
            return Block(ids, np.zeros((len(user), 0), np.float32))
        return Block(ids, self._fitted.user_scale(statistics.users(user, time)))

    def encoded(self, side: Side, table: Table, rows: Int32) -> Block:
        """The attributes of rows (m,) of a table, which may have come after the fit, with the
        vocabularies and scales of the fit. The space does not change."""
        fitted = self._fitted
        ids, dense = attributes_of(fitted.encoders, fitted.sides, self.layout, side, table, rows)
        return Block(ids, dense)

    def without_rows(self) -> FeatureSpace:
        """A space with the same encoders that holds the attributes of no user and no item."""
        users, items = self._fitted.users, self._fitted.items
        return FeatureSpace(
            replace(
                self._fitted,
                users=Attributes(users.ids[-1:], users.dense[-1:]),
                items=Attributes(items.ids[-1:], items.dense[-1:]),
                histories=(),
                recipes=None,
                user_scale=None,
                item_scale=None,
                group_scales=(),
                pair_scales=(),
            )
        )

    def item_statistics(
        self, statistics: Statistics, time: int, items: Int32 | None = None
    ) -> Float32:
        """(n, S) the scaled statistics of items (n,) as of one time (ms); None: of all."""
        if items is None:
            items = np.arange(len(self._fitted.items.ids) - 1, dtype=np.int32)
        times = np.full(len(items), time, np.int64)
        return self._statistics_block(items, times, statistics).dense

    def user_rows(
        self,
        user: Int32,
        time: Int64,
        history: History,
        statistics: Statistics | None = None,
        context: Context | None = None,
    ) -> Rows:
        """Rows of Q users as of Q times (ms): attributes, context, histories, statistics.

        `history` holds one history per user, `context` one request's context; None: all its columns
        are missing. Raises ConfigError where statistics are missing.
        """
        block = self._user_block(user, time, history, statistics, context)
        return Rows(layout=self.user_layout, blocks=[block], n=len(user))

    def item_rows(
        self,
        items: Int32 | None = None,
        statistics: Statistics | None = None,
        time: Int64 | int | None = None,
    ) -> Rows:
        """Rows of n items (None = all, in the table's order), with statistics as of `time` (ms).

        Raises ConfigError where statistics or their time are missing.
        """
        if items is None:
            items = np.arange(self.n_items, dtype=np.int32)
        blocks = [self._item_block(items)]
        if self._fitted.item_scale is not None:
            if time is None:
                raise ConfigError("this space has item statistics; give `time` (ms) to item_rows")
            times = np.broadcast_to(np.asarray(time, np.int64), len(items))
            blocks.append(self._statistics_block(items, np.ascontiguousarray(times), statistics))
            zeros = np.zeros(len(items), int)
            blocks += [
                self._group_block(k, times[:1], statistics, zeros, items)
                for k in range(len(self._fitted.group_recipes))
            ]
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
        context: Context | None = None,
        lazy: bool = False,
    ) -> Rows:
        """Rows of n candidates of Q queries.

        Args:
            user, time, history: of each query (Q,); time in ms.
            query: (n,) the query of each candidate, 0 … Q − 1. Any order; grouped is fastest.
            item: (n,) item rows.
            columns: recall's, each (n,); one that is missing counts as "not found".
            statistics: needed where the space has statistics; else ConfigError.
            context: of each query (Q,): device, city … None: all its columns are missing.
            lazy: whether the blocks of candidates are gathered when they are first read, of the
                rows that are then selected. The statistics must not change in between.
        """
        fitted, users = self._fitted, self._user_block(user, time, history, statistics, context)

        def chosen(at: NDArray[np.intp] | None) -> tuple[NDArray[np.integer], Int32]:
            return (query, item) if at is None else (query[at], item[at])

        def pair(at: NDArray[np.intp] | None) -> Block:
            of = columns or {}
            of = of if at is None else {name: values[at] for name, values in of.items()}
            return _numbers(self._pair(history, time, *chosen(at), of))

        def distance(at: NDArray[np.intp] | None) -> Block:
            assert fitted.distance is not None
            asked, items = chosen(at)
            return _numbers(fitted.distance(context, asked, fitted.items.place(items)))

        ready = [
            Block(users.ids, users.dense, query.astype(np.int32)),
            self._item_block(item),
        ]
        parts = [LazyBlock.of(block) for block in ready]
        if fitted.item_scale is not None and fitted.recipes is not None:
            gather = partial(self._item_statistics, time, statistics)
            width = len(fitted.recipes.item.names)
            parts.append(LazyBlock(0, width, _of_chosen(gather, chosen)))
            for k, recipe in enumerate(fitted.group_recipes):
                gather = partial(self._group_block, k, time, statistics)
                parts.append(LazyBlock(0, len(recipe.names), _of_chosen(gather, chosen)))
        parts.append(LazyBlock(0, len(fitted.interest.names), pair))
        if fitted.distance is not None:
            parts.append(LazyBlock(0, 2, distance))
        for k, recipe in enumerate(fitted.pair_recipes):
            gather = partial(self._pair_block, k, user, time, statistics)
            parts.append(LazyBlock(0, len(recipe.names), _of_chosen(gather, chosen)))
        rows = Rows(
            layout=self.layout, blocks=LazyBlocks(parts, known=dict(enumerate(ready))), n=len(item)
        )
        return rows if lazy else replace(rows, blocks=rows.blocks[:])

    def _user_block(
        self,
        user: Int32,
        time: Int64,
        history: History,
        statistics: Statistics | None,
        context: Context | None,
    ) -> Block:
        fitted = self._fitted
        place = fitted.users.place(user)
        ids = np.empty((len(user), self.user_layout.id_width), np.int32)
        dense = np.empty((len(user), self.user_layout.dense_width), np.float32)
        at = fitted.users.ids.shape[1]
        ids[:, :at] = fitted.users.ids[place]
        self._context.write(time, context, ids[:, at : at + self._context.width])
        self._write_histories(history, ids[:, at + self._context.width :])
        width = fitted.users.dense.shape[1]
        dense[:, :width] = fitted.users.dense[place]
        if fitted.user_scale is not None:
            dense[:, width:] = fitted.user_scale(_required(statistics).users(user, time))
        return Block(ids, dense)

    def _write_histories(self, history: History, out: Int32) -> None:
        """Writes the ids of all histories, one after another, into `out` (Q, W)."""
        at = 0
        for lookup in self._fitted.histories:
            lookup.write(history, out[:, at : at + lookup.max_len])
            at += lookup.max_len

    def _item_block(self, item: Int32) -> Block:
        items = self._fitted.items
        return Block(items.ids, items.dense, items.place(item))

    def _item_statistics(
        self,
        time: Int64,
        statistics: Statistics | None,
        query: NDArray[np.integer],
        item: Int32,
    ) -> Block:
        """Item statistics per candidate, or per distinct (time, item) where that is fewer."""
        times, number = np.unique(time, return_inverse=True)
        items = len(self._fitted.items.ids)
        if len(times) * items >= len(item):
            return self._statistics_block(item, time[query], statistics)
        every = np.arange(items, dtype=np.int32)
        every[-1] = -1
        block = self._statistics_block(
            np.tile(every, len(times)), np.repeat(times, items), statistics
        )
        pointer = number[query] * items + self._fitted.items.place(item)
        return Block(block.ids, block.dense, pointer.astype(np.int32))

    def _group_block(
        self,
        k: int,
        time: Int64,
        statistics: Statistics | None,
        query: NDArray[np.integer],
        item: Int32,
    ) -> Block:
        """Statistics of the groups of one attribute of the items: per candidate, or per distinct
        (set of values, time) where that is fewer."""
        groups, scale = self._fitted.groups[k]
        times, number = np.unique(time, return_inverse=True)
        sets, pointer, moment = groups.set_of(item), None, time[query]
        if len(groups) * len(times) < len(item):
            pointer = (sets * len(times) + number[query]).astype(np.int32)
            sets = np.repeat(np.arange(len(groups), dtype=np.int32), len(times))
            moment = np.tile(times, len(groups))
        dense = scale(_required(statistics).group(k, sets, moment))
        return Block(np.empty((len(dense), 0), np.int32), dense, pointer)

    def _pair_block(
        self,
        k: int,
        user: Int32,
        time: Int64,
        statistics: Statistics | None,
        query: NDArray[np.integer],
        item: Int32,
    ) -> Block:
        """Statistics of pairs of user and candidate, by one attribute."""
        scale = self._fitted.pair_scales[k]
        return _numbers(scale(_required(statistics).pair(k, user, time, query, item)))

    def _statistics_block(self, item: Int32, time: Int64, statistics: Statistics | None) -> Block:
        assert self._fitted.item_scale is not None
        dense = self._fitted.item_scale(_required(statistics).items(item, time))
        return Block(np.empty((len(item), 0), np.int32), dense)

    def _pair(
        self,
        history: History,
        time: Int64,
        query: NDArray[np.integer],
        item: Int32,
        columns: Mapping[str, NDArray[Any]],
    ) -> Float32:
        """(n, X) the features of user and candidate."""
        interest = self._fitted.interest
        place = self._fitted.items.place(item)
        out = np.empty((len(item), len(interest.names)), np.float32)
        counts = np.bincount(query, minlength=len(history))
        bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        if len(query) == 0 or (query[1:] >= query[:-1]).all():
            interest.write(bounds, place, history, time, columns, out)
            return out
        order = np.argsort(query, kind="stable")
        grouped = {name: values[order] for name, values in columns.items()}
        part = np.empty_like(out)
        interest.write(bounds, place[order], history, time, grouped, part)
        out[order] = part
        return out

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items: `rows` (m,) of the whole table as it is now.

        A new row has the values that it would have had at the fit with the vocabularies of the
        fit. `Rows` that were made before must not be read any more.
        """
        self._fitted = self._new.items(self._fitted, self.layout, items, rows)

    def share(self, recipes: Recipes) -> None:
        """Reads the values of attributes from these recipes, which hold the same: those of the
        statistics that rows are made with, so that both number new sets of values alike."""
        if self._fitted.recipes is not None:
            self._fitted = replace(self._fitted, recipes=recipes)

    def update_users(self, users: Table, rows: Int32) -> None:
        """Takes up new and changed users, likewise."""
        self._fitted = self._new.users(self._fitted, self.layout, users, rows)

    def save(self, directory: Path) -> None:
        """Writes JSON, Arrow and npy files; no pickle."""
        save_fitted(self._fitted, directory)

    @classmethod
    def load(cls, directory: Path) -> FeatureSpace:
        """Opens what `save` wrote; the arrays of users and items are memory-mapped."""
        return cls(load_fitted(directory))


def _numbers(dense: Float32) -> Block:
    """A block of numbers (n, d) without ids."""
    return Block(np.empty((len(dense), 0), np.int32), dense)


def _of_chosen(
    gather: Callable[[NDArray[np.integer], Int32], Block],
    chosen: Callable[[NDArray[np.intp] | None], tuple[NDArray[np.integer], Int32]],
) -> Callable[[NDArray[np.intp] | None], Block]:
    """Gathers a block for the queries and items of chosen rows."""
    return lambda at: gather(*chosen(at))


def _required(statistics: Statistics | None) -> Statistics:
    if statistics is None:
        raise ConfigError(
            "this space has statistics among its inputs; pass `statistics` (OfflineStatistics or "
            "OnlineStatistics made with the space's recipes), or fit the space with windows=()"
        )
    return statistics


def _lay_out(
    fitted: Fitted, *, user: bool = False, item: bool = False, pair: bool = False
) -> Layout:
    """The layout of rows with the parts that are requested."""
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
        for group in fitted.group_recipes:
            for name in group.names:
                builder.add_dense(f"{group.groups.name} {name}", Side.ITEM, moving=True)
    if pair:
        for name in fitted.interest.names:
            builder.add_dense(name, Side.CROSS)
        if fitted.distance is not None:
            builder.add_dense(DISTANCE, Side.CROSS, 2)
        for recipe in fitted.pair_recipes:
            for name in recipe.names:
                builder.add_dense(f"{recipe.name} {name}", Side.CROSS)
    return builder.build()
