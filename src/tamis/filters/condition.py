"""Keeps items for which a condition on the item, the user and the request holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from pydantic import field_validator

from tamis.cascade import Candidates, FitContext, Queries
from tamis.data import (
    Context,
    Dataset,
    ExpressionError,
    FilterExpression,
    Ragged,
    Scope,
    Table,
    readable,
    separators_of,
)
from tamis.filters._base import with_rows
from tamis.runtime import Bool, Int32
from tamis.schema import (
    Component,
    ComponentConfig,
    ConfigError,
    NotFittedError,
    RequestError,
    StageError,
    read_array,
    read_json,
    reading,
)

_SEPARATORS = "separators.json"
ID = "id"
"""Name under which conditions read the external id of an item or a user."""
_PLACE = ("latitude", "longitude")


class ConditionConfig(ComponentConfig):
    """Options of the condition filter."""

    where: str
    """The condition that items must meet: "price <= user.budget and genres contains 'Drama'"."""
    separator: str = ""
    """Splits text columns that `in` and `contains` look into ("FR|BE"). Empty: as the separators of
    [items] and [[features]] say."""
    unknown: Literal["keep", "remove"] = "keep"
    """What happens to all items of a query that does not give a value of the request that the
    condition reads, unless the condition asks for it with missing(…)."""
    reason: str = ""
    """The reason that the trace gives. If empty: "not" and the condition."""

    @field_validator("where")
    @classmethod
    def _is_a_condition(cls, where: str) -> str:
        FilterExpression.checked(where)
        return where


@dataclass(frozen=True, eq=False)
class _TableColumns:
    """The columns of a table that a condition reads."""

    of: Mapping[str, pl.Series]
    separators: Mapping[str, str]
    """Separators of columns that are still to be split; of the others, values are readable."""

    def at(self, name: str, rows: pl.Series) -> pl.Series:
        """The readable values of a column at `rows`, null for null."""
        return readable(self.of[name].gather(rows), self.separators.get(name))


class ConditionFilter(Component):
    """Keeps items for which a condition holds: on their columns, on the user and on the request.

    The page on conditions describes their language. Values of the request are its `time` (ms),
    `city`, `latitude`, `longitude`, `interests`, the columns of context that the project declares,
    and whatever the caller gives in `values`: `request.regions` is `values = {"regions": ["FR"]}`.

    When to use: fixed conditions with `and`, `or` and `not`, conditions on two columns, and
    conditions that depend on the user or the request.
    Cost: a condition on items alone is evaluated once, at the fit; any other for each request,
    about a millisecond for thousands of candidates.
    Source: common practice.
    """

    name = "condition"
    Config = ConditionConfig
    config: ConditionConfig
    field: str = "values"
    """Field of the request that a value which does not fit is reported for."""

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.expression = FilterExpression.parse(self.config.where)
        self.reason = self.config.reason or f"not {self.config.where}"
        self.reads = reads_of(self.expression)
        self._mask: Bool | None = None
        self._items = self._users = _TableColumns({}, {})
        self._split: dict[str, dict[str, str]] = {"item": {}, "user": {}}
        """Separators of the texts of each table that the condition reads as lists."""
        self._fitted = False

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Reads the columns of the condition; evaluates it where it reads nothing else."""
        context = context or FitContext()
        found = {
            "item": separators_of(context.items, context.features, data.items.frame.columns),
            "user": separators_of(None, context.features, data.users.frame.columns),
        }
        try:
            self.expression.check_names(
                {"item": names_of(data.items), "user": names_of(data.users)}
            )
            self.over(data.items, data.users, found["item"], found["user"])
            self._split = {
                "item": dict(self._items.separators),
                "user": dict(self._users.separators),
            }
            self._items, self._users = (_read(columns) for columns in (self._items, self._users))
            self._mask = None
            if not self.expression.reads("user", "request"):
                self._mask = self._of_items(len(data.items))
            else:  # the types of the columns must go together
                none = pl.Series([], dtype=pl.UInt32)
                self._holds({"item": none, "user": none}, None, 0)
        except (ExpressionError, ValueError) as error:
            fault = (
                self.expression.explained(error) if isinstance(error, ExpressionError) else error
            )
            raise ConfigError(f"filter `{self.name}`: {fault}") from error
        return self

    def over(
        self,
        items: Table,
        users: Table,
        item_separators: Mapping[str, str],
        user_separators: Mapping[str, str],
    ) -> Self:
        """Reads the columns of these tables without a fit, for the filter of a single request."""
        self._items = self._of_table("item", items, item_separators)
        self._users = self._of_table("user", users, user_separators)
        self._fitted = True
        return self

    def _of_items(self, n: int) -> Bool:
        """(n,) where the condition, which reads items alone, holds for the items that were read."""
        return self._holds({"item": pl.Series(np.arange(n, dtype=np.uint32))}, None, n)

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`."""
        part = self._part("item", items, rows)
        if self._mask is None:
            self._items = _replaced(self._items, part, rows, len(items))
            return
        whole, self._items = self._items, part
        try:
            self._mask = with_rows(self._mask, rows, self._of_items(len(rows)), len(items))
        finally:
            self._items = whole

    def update_users(self, users: Table, rows: Int32) -> None:
        """Takes up new and changed users, see `FollowsUsers`."""
        if self._mask is None:
            part = self._part("user", users, rows)
            self._users = _replaced(self._users, part, rows, len(users))

    def _part(self, scope: Scope, table: Table, rows: Int32) -> _TableColumns:
        """The columns of some rows of a table, as they were read at the fit."""
        return _read(self._of_table(scope, table.part(rows), self._split[scope]))

    def _of_table(self, scope: Scope, table: Table, separators: Mapping[str, str]) -> _TableColumns:
        names = [name for where, name in self.expression.keys if where == scope]
        own = self.config.separator
        split = {
            name: separators.get(name) or own
            for name in names
            if name in separators or (own and (scope, name) in self.expression.searched)
        }
        return _TableColumns({name: column_named(table, name) for name in names}, split)

    def excluded(self, queries: Queries) -> Ragged | None:
        """None: the removed items may be a large part of the catalogue, so they are not listed."""
        del queries
        return None

    def keep(self, queries: Queries, candidates: Candidates) -> Bool:
        """(n,) True where the condition holds for the candidate.

        Raises RequestError where a value of the request does not fit the condition.
        """
        if not self._fitted:
            raise NotFittedError(
                f"filter `{self.name}` is used before fit(data): call fit or load it first"
            )
        self._check_items(candidates)
        if self._mask is not None:
            return self._mask[candidates.item]
        query = candidates.query
        user = self._user_rows(queries)[query]
        rows = {"item": pl.Series(candidates.item), "user": user, "request": pl.Series(query)}
        try:
            kept = self._holds(rows, queries, len(candidates))
        except ExpressionError as error:
            raise RequestError(self.expression.explained(error), self.field) from error
        except (ValueError, pl.exceptions.PolarsError) as error:  # never shown unfiltered
            raise RequestError(f"{self.field}: cannot be evaluated: {error}", self.field) from error
        if self.config.unknown == "keep":
            kept |= self._lacks_values(queries)[query]
        return kept

    def _user_rows(self, queries: Queries) -> pl.Series:
        """(Q,) the users' rows, null for unknown ones."""
        known = next(iter(self._users.of.values()), None)
        rows = pl.Series(queries.user).cast(pl.UInt32, strict=False)  # -1 becomes null
        if known is None:
            return rows
        return rows.to_frame("row").select(pl.when(pl.col("row") < len(known)).then("row"))["row"]

    def _holds(self, rows: Mapping[str, pl.Series], queries: Queries | None, n: int) -> Bool:
        """(n,) where the condition holds, at `rows` of each scope.

        queries: None: no request gives any value.
        """
        columns: dict[tuple[Scope, str], pl.Series] = {}
        for scope, name in self.expression.keys:
            if scope == "request":
                if queries is None:
                    column = pl.Series([None] * n, dtype=_request_type(name))
                else:
                    column = value_of_request(name, queries).gather(rows[scope])
            else:
                column = (self._items if scope == "item" else self._users).at(name, rows[scope])
            columns[scope, name] = column
        return self.expression.holds(columns, n)

    def _lacks_values(self, queries: Queries) -> Bool:
        """(Q,) whether the query lacks a value that the condition reads and does not ask for."""
        lacks = np.zeros(len(queries), np.bool_)
        for scope, name in self.expression.keys:
            if scope == "request" and (scope, name) not in self.expression.asked:
                lacks |= value_of_request(name, queries).is_null().to_numpy()
        return lacks

    def _check_items(self, candidates: Candidates) -> None:
        known = self._mask if self._mask is not None else next(iter(self._items.of.values()), None)
        if known is not None and len(candidates) and candidates.item.max() >= len(known):
            raise StageError(
                f"filter `{self.name}` was fitted on {len(known)} items and was given item row "
                f"{candidates.item.max()}; fit it on the items' table that recall uses"
            )

    def save(self, directory: Path) -> None:
        """Writes the result for every item, or the columns that requests need."""
        if not self._fitted:
            raise NotFittedError(f"filter `{self.name}` cannot be saved before fit(data)")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / _SEPARATORS).write_text(json.dumps(self._split, indent=1), "utf-8")
        if self._mask is not None:
            np.save(directory / "mask.npy", self._mask)
            return
        for name, columns in (("items", self._items), ("users", self._users)):
            pl.DataFrame(dict(columns.of)).write_ipc(directory / f"{name}.arrow")

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped. Raises VersionError if it is damaged."""
        loaded = cls(config)
        if not loaded.expression.reads("user", "request"):
            loaded._mask = read_array(directory / "mask.npy", np.bool_, (None,))
        else:
            loaded._items = _opened(directory / "items.arrow", loaded.expression, "item")
            loaded._users = _opened(directory / "users.arrow", loaded.expression, "user")
        if (directory / _SEPARATORS).is_file():  # earlier releases wrote none
            loaded._split = read_json(directory / _SEPARATORS, item=dict, user=dict)
        loaded._fitted = True
        return loaded


def _replaced(columns: _TableColumns, part: _TableColumns, rows: Int32, n: int) -> _TableColumns:
    """Readable columns of n rows: those of `part` at `rows` (m,), the others as they were."""
    here = np.arange(n, dtype=np.int64)
    found: dict[str, pl.Series] = {}
    for name, series in columns.of.items():
        new = part.of[name]
        new = new if series.dtype == pl.Null else new.cast(series.dtype)
        place = here.copy()
        place[rows] = len(series) + np.arange(len(rows))
        found[name] = pl.concat([series.cast(new.dtype), new]).gather(place)
    return _TableColumns(found, {})


def _read(columns: _TableColumns) -> _TableColumns:
    """The same columns, split and readable."""
    split = {name: readable(x, columns.separators.get(name)) for name, x in columns.of.items()}
    return _TableColumns(split, {})


def _opened(path: Path, expression: FilterExpression, scope: Scope) -> _TableColumns:
    with reading(path):
        frame = pl.read_ipc(path)
        return _TableColumns({name: frame[name] for at, name in expression.keys if at == scope}, {})


def names_of(table: Table) -> list[str]:
    """The names by which conditions read a table: its columns, and `id`."""
    columns = table.columns
    return [*columns, *([] if ID in columns else [ID])]


def column_named(table: Table, name: str) -> pl.Series:
    """A column of a table, or its external ids."""
    return table.frame[name] if name in table else table.ids


def reads_of(expression: FilterExpression) -> tuple[str, ...]:
    """The parts of a request that a condition reads: "place", "city", "interests", and the names of
    columns of context and of values."""
    names = dict.fromkeys(name for scope, name in expression.keys if scope == "request")
    usual = {"city": "city", "interests": "interests", **dict.fromkeys(_PLACE, "place")}
    return tuple(dict.fromkeys(usual.get(name, name) for name in names))


def _request_type(name: str) -> Any:
    """The type of a value that every request has or may have; Null for the caller's own."""
    own: dict[str, Any] = {"time": pl.Int64, "city": pl.String, "interests": pl.List(pl.String)}
    return own.get(name, pl.Float64 if name in _PLACE else pl.Null)


def value_of_request(name: str, queries: Queries) -> pl.Series:
    """(Q,) a value of the requests, null where one does not give it.

    Raises RequestError where the requests of a batch give values of several types.
    """
    if name == "time":
        return pl.Series(queries.time)
    context, n = queries.context, len(queries)
    if context is None:
        return pl.Series([None] * n, dtype=_request_type(name))
    if name in _PLACE:
        degrees: Any = getattr(context, name)
        return pl.Series(degrees).fill_nan(None)
    if name == "city":
        return pl.Series(list(context.city), dtype=pl.String)
    if name == "interests":
        lists = [list(words) or None for words in context.interests]
        return pl.Series(lists, dtype=pl.List(pl.String))
    if name in context.columns:
        return context.columns[name].values
    return _given(name, context, n)


def _given(name: str, context: Context, n: int) -> pl.Series:
    """(Q,) what the callers gave as a value of their own."""
    if context.values is None:
        return pl.Series([None] * n, dtype=pl.Null)
    found: Sequence[Any] = [values.get(name) for values in context.values]
    try:
        return pl.Series([list(x) if isinstance(x, tuple) else x for x in found])
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise RequestError(
            f"values: {name} holds values of several types: {found[:3]}", "values"
        ) from error
