"""Numbers per item that re-rank rules read: conditions, groups, times, values of expressions."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tamis.cascade import Candidates, FitContext, Fusion, numeric_columns
from tamis.data import Dataset, Ragged, Table, is_number, item_condition, separators_of
from tamis.rerank._rule import SlateRule
from tamis.runtime import Bool, Float64, Int32, Int64
from tamis.schema import (
    ConfigError,
    NotFittedError,
    StageError,
    prediction_names,
    read_array,
    read_json,
    suggest,
)

_ROLES = "roles.json"


class ItemRule(SlateRule):
    """A rule whose fitted state is named arrays with one entry per item row.

    A subclass defines `_of_items`, what it reads of each row of the items' table, and may define
    `_of_events`, what it counts in the log; items that come later have `_UNCOUNTED` of those.
    """

    _KINDS: ClassVar[Mapping[str, Any]] = {}
    """Array → its type. Further ones are named `column_NAME` and hold float64."""
    _UNCOUNTED: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._arrays: dict[str, NDArray[Any]] | None = None
        self._roles: dict[str, Any] = {}
        """What the fit has taken from its context: names of columns, separators. JSON values."""

    @abstractmethod
    def _of_items(self, items: Table) -> dict[str, NDArray[Any]]:
        """The arrays (m,) of the m rows of a table of items."""

    def _of_events(self, data: Dataset) -> dict[str, NDArray[Any]]:
        """The arrays (items,) that are counted in the log."""
        del data
        return {}

    def fit(self, data: Dataset, context: FitContext | None = None) -> Self:
        """Reads the items' table, and counts events."""
        self._roles = self._read_roles(data, context or FitContext())
        self._arrays = self._of_items(data.items) | self._of_events(data)
        return self

    def _read_roles(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        """What `_of_items` needs of the context, as JSON values."""
        separators = separators_of(context.items, context.features, data.items.frame.columns)
        roles = context.items
        return {
            "separators": dict(separators),
            "author": (roles.author if roles else None) or "author",
            "published": (roles.published if roles else None) or "published",
        }

    def update_items(self, items: Table, rows: Int32) -> None:
        """Takes up new and changed items, see `FollowsItems`."""
        part, arrays = self._of_items(items.part(rows)), self._fitted()
        for name, array in arrays.items():
            longer = np.full(len(items), self._UNCOUNTED.get(name, 0), array.dtype)
            longer[: len(array)] = array
            if name in part:
                longer[rows] = part[name]
            arrays[name] = longer

    def _fitted(self) -> dict[str, NDArray[Any]]:
        if self._arrays is None:
            raise NotFittedError(
                f"re-rank `{self.name}` is used before fit(data); call fit or load it"
            )
        return self._arrays

    def _at(self, name: str, items: Int32) -> NDArray[Any]:
        """(n,) the entries of item rows. Raises StageError for a row beyond the fitted table."""
        array = self._fitted()[name]
        try:
            return array.take(items)
        except IndexError:
            raise StageError(
                f"re-rank `{self.name}` was fitted on {len(array)} items and was given item row "
                f"{items.max()}; fit it on the items' table that recall uses"
            ) from None

    def _columns_at(self, items: Int32) -> dict[str, Float64]:
        """{column of the items' table: (n,) its numbers} of the arrays `column_NAME`."""
        start = "column_"
        names = [name for name in self._fitted() if name.startswith(start)]
        return {name.removeprefix(start): self._at(name, items) for name in names}

    def _holds(self, where: str, items: Table) -> Bool:
        """(m,) where a condition on items holds; all where it is empty."""
        if not where:
            return np.ones(len(items), np.bool_)
        separators = self._roles["separators"]
        return item_condition(where, items.frame, separators, f"re-rank `{self.name}`")

    def save(self, directory: Path) -> None:
        """Writes each array as NAME.npy, and the roles."""
        arrays = self._fitted()
        directory.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            np.save(directory / f"{name}.npy", array)
        (directory / _ROLES).write_text(json.dumps(self._roles), "utf-8")

    @classmethod
    def load(cls, directory: Path, config: Any) -> Self:
        """Opens what `save` wrote, memory-mapped."""
        loaded = cls(config)
        columns = {path.stem: np.float64 for path in sorted(directory.glob("column_*.npy"))}
        loaded._roles = read_json(directory / _ROLES)
        loaded._arrays = {
            name: read_array(directory / f"{name}.npy", kind, (None,))
            for name, kind in {**cls._KINDS, **columns}.items()
        }
        return loaded


class ItemValue:
    """An expression over predictions and numbers of items, such as "bid * click"."""

    def __init__(self, expression: str, option: str) -> None:
        self._expression, self._option = expression, option
        self._fusions: dict[tuple[str, ...], Fusion] = {}

    def columns(self, items: Table) -> dict[str, Float64]:
        """`column_NAME` → the numeric columns of the items that the expression names."""
        named = set(re.findall(r"[A-Za-z_]\w*", self._expression))
        known = numeric_columns(items).items()
        return {f"column_{name}": column for name, column in known if name in named}

    def check(self, items: Table, context: FitContext) -> None:
        """Raises ConfigError where the expression is wrong, if the project's tasks are known."""
        config = context.config
        if self._expression and config is not None and config.tasks:
            columns = numeric_columns(items)
            self._fusion(tuple(prediction_names(list(config.tasks.values()))), columns)

    def __call__(self, candidates: Candidates, columns: Mapping[str, Float64]) -> Float64:
        """(n,) the value of each candidate; columns: (n,) each. Without an expression, and where
        the ranker has failed to predict, the column `value`."""
        if not self._expression or not candidates.predictions:
            return np.asarray(candidates.columns["value"], np.float64)
        fusion = self._fusion(tuple(candidates.predictions), columns)
        return fusion({**candidates.predictions, **columns}, candidates.indptr).astype(np.float64)

    def _fusion(self, predictions: tuple[str, ...], columns: Mapping[str, Float64]) -> Fusion:
        if predictions not in self._fusions:
            wide = {name: (-np.inf, np.inf) for name in columns if name not in predictions}
            self._fusions[predictions] = Fusion(
                self._expression, predictions, self._option, columns=wide
            )
        return self._fusions[predictions]


def numbers_of(items: Table, column: str, rule: str) -> Float64:
    """(items,) a numeric column; missing values are −inf. Raises ConfigError where it has none."""
    known = numeric_columns(items)
    if column not in known:
        raise ConfigError(
            f"re-rank `{rule}`: {column!r} is not a numeric column of the items "
            f"(these are: {', '.join(known) or 'none'}).{suggest(column, known)}"
        )
    return np.nan_to_num(known[column], nan=-np.inf)


def times_of(items: Table, name: str, rule: str) -> Int64:
    """(items,) ms of a column of times; −1 where missing.

    Raises ConfigError where there is no such column, or it holds no times.
    """
    if name not in items.frame.columns:
        known = ", ".join(items.frame.columns) or "none"
        raise ConfigError(
            f"re-rank `{rule}`: the items have no column {name!r} of times (their columns: "
            f"{known}); set `column`, or `published` in [items]"
        )
    values = items.frame[name]
    if isinstance(values.dtype, pl.Date | pl.Datetime):
        values = values.cast(pl.Datetime("ms")).dt.epoch("ms")
    if not is_number(values.dtype):
        raise ConfigError(
            f"re-rank `{rule}`: column {name!r} holds {values.dtype}, not times; declare it as "
            "`published` in [items], or give times in ms since 1970"
        )
    return values.cast(pl.Int64).fill_null(-1).to_numpy()


def first_code(categories: Ragged) -> Int32:
    """(items,) the first code of each item, -1 where it has none."""
    out = np.full(len(categories), -1, np.int32)
    some = np.diff(categories.indptr) > 0
    out[some] = categories.values[categories.indptr[:-1][some]]
    return out
